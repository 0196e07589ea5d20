"""A user without privileges, whose containers have a user namespace (`spec --rootless`)."""

import json
import os
import shutil
import subprocess

from harness import CGROUP, ROOTFS, Failed, case, equal, expect, until

USER = 1000
RANGE = [{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}]


class Bundle:
    """What `spec --rootless` has made for the user, and the runtime called by that user."""

    def __init__(self, box, command="sleep 1000", group=None):
        self.box, self.dir, self.id = box, box.scratch / "rootless", box.scratch.name
        own = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", f"XDG_RUNTIME_DIR={self.dir}", "HOME=/"]
        # It has the streams of the box; the cgroup is entered by a process that is not yet the user's.
        enter = ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"] if group else []
        box.command = [*enter, *own, box.runtime, "--root", str(self.dir / "root")]
        shutil.copytree(ROOTFS, self.dir / "rootfs", symlinks=True)
        subprocess.run(["chown", "-hR", f"{USER}:{USER}", self.dir], check=True)
        box.call("spec", "--rootless", "--bundle", str(self.dir)).ok()
        self.path = self.dir / "config.json"
        self.spec = json.loads(self.path.read_text())
        self.spec["process"] |= {"terminal": False, "args": ["sh", "-c", command]}
        self.write()

    def write(self):
        """Write config.json anew, after a change of `spec`."""
        self.path.write_text(json.dumps(self.spec))

    def run(self, *options):
        """`run`."""
        return self.box.call("run", *options, "--bundle", str(self.dir), self.id)

    def running(self):
        """Run it in the background: this."""
        self.run("-d").ok()
        return self

    def call(self, command, *arguments, options=()):
        """A command about this container."""
        return self.box.call(command, *options, self.id, *arguments)

    def finish(self):
        """Remove it, whatever it does."""
        self.call("delete", options=["--force"])


def rootless(function):
    """A case that gets a function which makes a `Bundle`; what it has made is removed."""

    def wrapped(box):
        made = []

        def bundle(*arguments, **more):
            made.append(Bundle(box, *arguments, **more))
            return made[-1]

        try:
            function(bundle)
        finally:
            for one in made:
                one.finish()

    wrapped.__name__, wrapped.__module__ = function.__name__, function.__module__
    return wrapped


@case("the user is root inside, and the files of the root are its own")
@rootless
def run(bundle):
    b = bundle("id -u; echo x >/tmp/new; hostname")
    b.spec["hostname"] = "box"
    b.spec["root"]["readonly"] = False
    b.write()
    equal(b.run().ok(), "0\nbox\n")
    equal((b.dir / "rootfs/tmp/new").stat().st_uid, USER, "the new file's owner")


@case("create, start, state, exec, kill and delete")
@rootless
def lifecycle(bundle):
    b = bundle()
    b.box.call("create", "--bundle", str(b.dir), b.id).ok()
    equal(b.call("state").json()["status"], "created")
    b.call("start").ok()
    equal(b.call("exec", "id", "-u").ok(), "0\n")
    equal(b.call("exec", "sh", "-c", "exit 7").status, 7, "exec's status")
    expect(b.id in b.box.call("list").ok(), "list does not name it")
    b.call("kill", "KILL").ok()
    until(lambda: b.call("state").json()["status"] == "stopped", "its end")
    b.call("delete").ok()
    b.call("state").refused()


@case("a range of ids is mapped by newuidmap and newgidmap")
@rootless
def mapped_range(bundle):
    b = bundle("cat /proc/self/uid_map /proc/self/gid_map; chown 33:44 /tmp/file && cat /proc/self/setgroups")
    b.spec["root"]["readonly"] = False
    for kind in ("bounding", "effective", "permitted"):
        b.spec["process"]["capabilities"][kind].append("CAP_CHOWN")
    b.spec["linux"] |= {"uidMappings": RANGE, "gidMappings": RANGE}
    b.write()
    (b.dir / "rootfs/tmp/file").touch()
    os.chown(b.dir / "rootfs/tmp/file", USER, USER)
    got = b.run().ok().split()
    equal(got, ["0", str(USER), "1", "1", "100000", "65536"] * 2 + ["allow"])
    owner = (b.dir / "rootfs/tmp/file").stat()
    equal((owner.st_uid, owner.st_gid), (100032, 100043), "the file's owner")


@case("ids that are not the user's to give are refused")
@rootless
def foreign_range(bundle):
    b = bundle("true")
    b.spec["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    b.write()
    b.run().refused()


@case("without a user namespace it is refused", crun="makes one")
@rootless
def no_user_namespace(bundle):
    b = bundle("true")
    b.spec["linux"]["namespaces"] = [one for one in b.spec["linux"]["namespaces"] if one["type"] != "user"]
    for key in ("uidMappings", "gidMappings"):
        b.spec["linux"].pop(key, None)
    b.write()
    b.run().refused()


@case("without a cgroup, ps and pause are refused")
@rootless
def without_cgroup(bundle):
    b = bundle().running()
    for command in ("ps", "pause"):
        b.call(command).refused("cgroup")
    expect(not (CGROUP / b.id).exists(), "there is a cgroup")


@case("a cgroup that is not the user's is refused")
@rootless
def foreign_cgroup(bundle):
    b = bundle("true")
    b.spec["linux"]["cgroupsPath"] = "/not-the-users"
    b.write()
    b.run().refused("permission denied")


@case("limits without a cgroup are refused", crun="goes on without them")
@rootless
def limits_without_cgroup(bundle):
    b = bundle("true")
    b.spec["linux"]["resources"] = {"pids": {"limit": 10}}
    b.write()
    b.run().refused()


@case("a cgroup that was delegated: limits, ps, pause, resume, update; and nothing of it is left")
@rootless
def delegated(bundle):
    top = CGROUP / f"conformance/rootless-{os.getpid()}-{os.urandom(4).hex()}"
    own = top / "own"
    own.mkdir(parents=True)
    try:
        (top / "cgroup.subtree_control").write_text("+memory +pids")
        for path in (top, top / "cgroup.procs", top / "cgroup.subtree_control", own, own / "cgroup.procs"):
            os.chown(path, USER, USER)
        b = bundle(group=own)
        b.spec["linux"]["resources"] = {"pids": {"limit": 10}}
        b.write()
        b.running()
        group = top / b.id
        equal((group / "pids.max").read_text(), "10\n")
        equal(b.call("ps", options=["-f", "json"]).json(), [b.call("state").json()["pid"]])
        b.call("pause").ok()
        equal(b.call("state").json()["status"], "paused")
        b.call("resume").ok()
        b.call("update", options=["--pids-limit", "20"]).ok()
        equal((group / "pids.max").read_text(), "20\n")
        b.finish()
        expect(not group.exists(), "the cgroup is left")
    finally:
        try:
            until(lambda: not (own / "cgroup.procs").read_text(), "the end of the user's processes", 10)
            own.rmdir(), top.rmdir()
        except (OSError, Failed):
            pass
