"""config.md and config-linux.md: root, mounts and their options, propagation, masks, devices."""

import os
import subprocess
from pathlib import Path

from harness import ROOTFS, case, equal, expect, read

TMPFS = {"type": "tmpfs", "source": "tmpfs"}


def bind(source, destination, *options):
    """A bind mount."""
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def options_of(mountinfo, point):
    """The options of a mount, of its super block too, and its optional fields."""
    found = [line for line in mountinfo.splitlines() if line.split()[4] == point]
    expect(found, f"nothing is mounted on {point}")
    before, after = found[-1].split(" - ")
    return set(before.split()[5].split(",")), set(after.split()[2].split(",")), before.split()[6:]


@case("the root is writable by default")
def root_writable(box):
    equal(box.output("echo x >/file && cat /file"), "x")


@case("root.readonly")
def root_readonly(box):
    c = box.container("touch /file", root={"readonly": True})
    expect(c.run().status != 0, "a file was made")
    expect(not (c.rootfs / "file").exists(), "a file was made")
    equal(box.output("touch /dev/shm/x && echo fine", root={"readonly": True}), "fine")


@case("an absolute root.path")
def root_absolute(box):
    c = box.container("cat /mark")
    c.make("/mark", "here")
    c.spec["root"]["path"] = str(c.rootfs)
    c.write()
    equal(c.run().ok(), "here")


@case("nothing of the host's mounts is visible")
def no_host_mounts(box):
    got = box.output("cat /proc/self/mountinfo")
    expect(not [line for line in got.splitlines() if "9p" in line or "erofs" in line or "/var/lib" in line], got)


@case("a tmpfs with its options")
def tmpfs(box):
    mount = {"destination": "/mnt/t", **TMPFS, "options": ["nosuid", "nodev", "noexec", "size=1m", "mode=0710", "uid=7"]}
    info = box.output("cat /proc/self/mountinfo; stat -c '%a %u' /mnt/t >&2; stat -c '%a %u' /mnt/t", mounts=[mount])
    flags, data, _ = options_of("\n".join(info.splitlines()[:-1]), "/mnt/t")
    expect({"nosuid", "nodev", "noexec"} <= flags and "size=1024k" in data, f"{flags} {data}")
    equal(info.splitlines()[-1], "710 7")


@case("later mounts lie on earlier ones")
def order(box):
    c = box.container("cat /a/b/one; ls /a", mounts=[{"destination": "/a", **TMPFS}, {"destination": "/a/b", **TMPFS}])
    c.spec["mounts"] += [bind(c.bundle / "one", "/a/b/one")]
    (c.bundle / "one").write_text("one\n")
    c.write()
    equal(c.run().ok(), "one\nb\n")


@case("a bind mount of a folder, to be written")
def bind_folder(box):
    folder = box.scratch / "data"
    folder.mkdir()
    box.output("echo x >/data/file", mounts=[bind(folder, "/data")])
    equal(read(folder / "file"), "x")


@case("a bind mount of a file: its mount point is made")
def bind_file(box):
    (box.scratch / "file").write_text("text")
    equal(box.output("cat /new/place/file", mounts=[bind(box.scratch / "file", "/new/place/file")]), "text")


@case("a bind mount is read-only by ro, and so in the kernel's eyes")
def bind_readonly(box):
    folder = box.scratch / "data"
    folder.mkdir()
    c = box.container("touch /data/file", mounts=[bind(folder, "/data", "ro")])
    expect(c.run().status != 0 and not (folder / "file").exists(), "a file was made")


@case("a bind mount's flags: nosuid, nodev, noexec")
def bind_flags(box):
    flags, _, _ = options_of(box.output("cat /proc/self/mountinfo", mounts=[bind("/tmp", "/data", "nosuid", "nodev", "noexec")]), "/data")
    expect({"nosuid", "nodev", "noexec"} <= flags, f"{flags}")


@case("a relative source is the bundle's")
def bind_relative(box):
    c = box.container("cat /file", mounts=[bind("text", "/file")])
    (c.bundle / "text").write_text("mine")
    equal(c.run().ok(), "mine")


@case("type none with bind is a bind mount")
def bind_none(box):
    equal(box.output("ls /data", mounts=[{"destination": "/data", "type": "none", "source": f"{ROOTFS}/etc", "options": ["bind"]}]).split(), ["group", "passwd"])


@case("a bind mount without a type")
def bind_without_type(box):
    equal(box.output("ls /data", mounts=[{"destination": "/data", "source": f"{ROOTFS}/etc", "options": ["bind"]}]).split(), ["group", "passwd"])


@case("a source that does not exist is refused, and not made")
def bind_missing(box):
    missing = box.scratch / "missing"
    box.refuses(mounts=[bind(missing, "/data")])
    expect(not missing.exists(), "it was made")


@case("an unknown file system is refused")
def unknown_type(box):
    box.refuses(mounts=[{"destination": "/data", "type": "nonsense", "source": "x"}])


@case("an option that the file system does not know is refused")
def unknown_option(box):
    box.refuses(mounts=[{"destination": "/data", **TMPFS, "options": ["nonsense=1"]}])


@case("rbind takes the mounts below, bind does not")
def recursive(box):
    folder = box.scratch / "tree"
    (folder / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "below"], check=True)
    try:
        (folder / "below/mark").write_text("x")
        single = {"destination": "/one", "type": "bind", "source": str(folder), "options": ["bind"]}
        equal(box.output("ls /all/below; echo -; ls /one/below", mounts=[bind(folder, "/all"), single]), "mark\n-")
    finally:
        subprocess.run(["umount", folder / "below"], check=False)


def tree_option(box, option):
    """The flags of a mount below one that has this option."""
    folder = box.scratch / "tree"
    (folder / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "below"], check=True)
    try:
        return options_of(box.output("cat /proc/self/mountinfo", mounts=[bind(folder, "/all", option)]), "/all/below")[0]
    finally:
        subprocess.run(["umount", folder / "below"], check=False)


@case("rro makes the mounts below read-only too; ro does not")
def recursive_readonly(box):
    expect("ro" in tree_option(box, "rro"), "the mount below is writable")


@case("ro does not change the mounts below")
def not_recursive_readonly(box):
    expect("rw" in tree_option(box, "ro"), "the mount below is read-only")


@case("rnosuid, rnodev, rnoexec")
def recursive_flags(box):
    folder = box.scratch / "tree2"
    (folder / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "below"], check=True)
    try:
        flags, _, _ = options_of(box.output("cat /proc/self/mountinfo", mounts=[bind(folder, "/all", "rnosuid", "rnodev", "rnoexec")]), "/all/below")
        expect({"nosuid", "nodev", "noexec"} <= flags, f"{flags}")
    finally:
        subprocess.run(["umount", folder / "below"], check=False)


def propagation(box, option):
    """The optional fields of a bind mount with this propagation."""
    return options_of(box.output("cat /proc/self/mountinfo", mounts=[bind(f"{ROOTFS}/etc", "/data", option)]), "/data")[2]


@case("a mount is private if nothing else is said")
def propagation_default(box):
    folder = box.scratch / "p"
    folder.mkdir()
    fields = options_of(box.output("cat /proc/self/mountinfo", mounts=[bind(folder, "/data")]), "/data")[2]
    expect(not any(field.startswith("shared") for field in fields), f"{fields}")


@case("private, slave, shared mounts", crun="what is shared becomes private with the root")
def propagation_of_mounts(box):
    equal(propagation(box, "rprivate"), [], "rprivate")
    expect(any(field.startswith("shared") for field in propagation(box, "shared")), "shared is not shared")
    expect(not any(field.startswith("shared") for field in propagation(box, "rslave")), "rslave is shared")


@case("a mount that the host makes later shows in an rslave bind mount")
def propagation_from_host(box):
    folder = box.scratch / "shared"
    (folder / "late").mkdir(parents=True)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "--make-shared", folder], check=True)
    try:
        c = box.container(mounts=[bind(folder, "/data", "rslave")], linux={"rootfsPropagation": "rslave"}).running()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "late"], check=True)
        (folder / "late/mark").write_text("x")
        equal(c.exec("ls /data/late").ok(), "mark\n")
        c.delete("--force").ok()
    finally:
        subprocess.run(["umount", "-R", folder], check=False)


@case("rootfsPropagation of the root", runc="a shared root ends up private")
def root_propagation(box):
    for value, shared in (("private", False), ("slave", False), ("shared", True)):
        fields = options_of(box.output("cat /proc/self/mountinfo", linux={"rootfsPropagation": value}), "/")[2]
        equal(any(field.startswith("shared") for field in fields), shared, f"{value}: {fields}: shared")


@case("what the container mounts never shows on the host")
def propagation_to_host(box):
    c = box.container(mounts=[{"destination": "/t", **TMPFS}]).running()
    got = [line.split()[4] for line in read("/proc/self/mountinfo").splitlines() if str(c.bundle) in line.split()[4]]
    equal(got, [str(c.rootfs)], "the host's mounts in the bundle (the root's own is one)")


@case("a destination that goes through a link stays in the root")
def destination_link(box):
    c = box.container("ls /inside/x; true", mounts=[bind(f"{ROOTFS}/etc", "/link/x")])
    target = box.scratch / "outside"
    target.mkdir()
    (c.rootfs / "link").symlink_to(target)
    done = c.run()
    expect(not any(target.iterdir()), f"something was made outside: {list(target.iterdir())} {done.err}")


@case("a destination with .. stays in the root")
def destination_dots(box):
    c = box.container("true", mounts=[bind(f"{ROOTFS}/etc", f"/../../..{box.scratch}/outside")])
    c.run()
    expect(not (box.scratch / "outside").exists(), "something was made outside")


@case("/proc as a link is refused (CVE-2019-19921)")
def cve_2019_19921_proc_link(box):
    c = box.container("true")
    (c.rootfs / "proc").rmdir()
    (c.rootfs / "proc").symlink_to("tmp")
    c.run().refused()


@case("a mount over /proc other than proc is refused", crun="takes it")
def cve_2019_16884_over_proc(box):
    folder = box.scratch / "fake"
    folder.mkdir()
    box.refuses(mounts=[bind(folder, "/proc")])


@case("the default file systems: proc, sysfs, devpts, shm and their types")
def default_file_systems(box):
    got = {line.split(" ")[1]: line.split(" ")[2] for line in box.output("cat /proc/mounts").splitlines()}
    want = {"/proc": "proc", "/sys": "sysfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs", "/dev": "tmpfs", "/sys/fs/cgroup": "cgroup2"}
    equal({key: got.get(key) for key in want}, want)


@case("the cgroup mount shows the container's own cgroup, read-only by ro")
def cgroup_mount(box):
    got = box.output("cat /sys/fs/cgroup/cgroup.procs | wc -l; mkdir /sys/fs/cgroup/x 2>&1; true").splitlines()
    expect(int(got[0]) >= 1 and "Read-only" in got[1], f"{got}")


@case("the links /dev/fd, stdin, stdout, stderr, ptmx")
def device_links(box):
    got = box.output("for l in fd stdin stdout stderr; do readlink /dev/$l; done").split()
    equal(got, ["/proc/self/fd"] + [f"/proc/self/fd/{number}" for number in range(3)])
    expect(box.output("readlink /dev/ptmx || echo bound") in ("pts/ptmx", "/dev/pts/ptmx", "bound"), "/dev/ptmx")


@case("the default devices, with their numbers and for everyone")
def default_devices(box):
    want = {"null": "1,3", "zero": "1,5", "full": "1,7", "random": "1,8", "urandom": "1,9", "tty": "5,0"}
    got = box.output("cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t,%T %a %u' $d; done")
    equal(got, "\n".join(f"{name} {numbers} 666 0" for name, numbers in want.items()))


@case("a device that is asked for: type, numbers, mode, owner")
def device(box):
    devices = [{"path": "/dev/thing", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4}]
    equal(box.output("stat -c '%F %t,%T %a %u %g' /dev/thing", linux={"devices": devices}), "character special file a,e5 640 3 4")


@case("the host's /dev/ptmx among the devices is left out: the container has its own")
def device_ptmx(box):
    devices = [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]
    expect(box.output("readlink /dev/ptmx", linux={"devices": devices}) in ("pts/ptmx", "/dev/pts/ptmx"), "/dev/ptmx")


@case("a block device, and a path outside of /dev")
def device_block(box):
    devices = [{"path": "/other/disk", "type": "b", "major": 7, "minor": 3, "fileMode": 0o600}]
    equal(box.output("stat -c '%F %t,%T %a' /other/disk", linux={"devices": devices}), "block special file 7,3 600")


@case("a FIFO as a device")
def device_fifo(box):
    equal(box.output("stat -c %F /dev/pipe", linux={"devices": [{"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]}), "fifo")


@case("a device of an unknown type is refused", crun="takes it for another")
def device_unknown(box):
    box.refuses(linux={"devices": [{"path": "/dev/x", "type": "x", "major": 1, "minor": 3}]})


@case("maskedPaths: a file is empty, a folder too, a missing one is no matter")
def masked(box):
    c = box.container("cat /secret; ls /hidden; ls /hidden | wc -l", linux={"maskedPaths": ["/secret", "/hidden", "/proc/nothing/there"]})
    c.make("/secret", "secret")
    c.make("/hidden/file", "secret")
    equal(c.run().ok(), "0\n")


@case("maskedPaths cannot be unmasked by writing")
def masked_write(box):
    c = box.container("echo x >/hidden/new", linux={"maskedPaths": ["/hidden"]})
    c.make("/hidden/file")
    expect(c.run().status != 0, "written")


@case("a mask never reaches outside of the root, whatever /dev/null is (CVE-2025-31133)", runc="1.1.15 has that hole")
def cve_2025_31133_masked_null_link(box):
    evil = f"evil-{box.scratch.name}"
    c = box.container(f"echo {evil} >/proc/timer_list", linux={"maskedPaths": ["/proc/timer_list"]})
    c.spec["mounts"] = [mount for mount in c.spec["mounts"] if not mount["destination"].startswith("/dev")]
    c.write()
    c.make("/dev/")
    (c.rootfs / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    c.run()
    pattern = Path("/proc/sys/kernel/core_pattern")
    found = read(pattern)
    if found == evil:
        pattern.write_text("core")
    expect(found != evil, "the host's core_pattern was written")


@case("readonlyPaths: to be read, not written")
def readonly_paths(box):
    c = box.container("cat /fixed/file; echo x >/fixed/file", linux={"readonlyPaths": ["/fixed", "/proc/sys", "/missing"]})
    c.make("/fixed/file", "text")
    done = c.run()
    expect(done.status != 0 and c.out == "text", f"{done.status} {c.out}")


@case("a masked path that is not absolute is refused or of no effect, never another file")
def masked_relative(box):
    c = box.container("cat /etc/passwd | wc -l", linux={"maskedPaths": ["etc/passwd"]})
    if c.run().status == 0:
        expect(c.out.strip() in ("2", "0"), c.out)


@case("an idmapped bind mount", runc="1.1 does not have it")
def idmapped(box):
    folder = box.scratch / "data"
    folder.mkdir()
    (folder / "file").write_text("x")
    os.chown(folder / "file", 5, 6)
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    mount = {**bind(folder, "/data"), "uidMappings": maps, "gidMappings": maps}
    equal(box.output("stat -c '%u %g' /data/file", mounts=[mount]), "100005 100006")


@case("an idmapped bind mount for the container's user namespace: the owner is as on the disk", runc="1.1 does not have it")
def idmapped_user(box):
    folder = box.scratch / "data"
    folder.mkdir()
    (folder / "file").write_text("x")
    os.chown(folder / "file", 5, 6)
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    mount = {**bind(folder, "/data"), "uidMappings": maps, "gidMappings": maps}
    kinds = [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network", "cgroup", "user")]
    linux = {"namespaces": kinds, "uidMappings": maps, "gidMappings": maps}
    # The root of a new user namespace cannot make the mount point in a root that is not its own.
    c = box.container("stat -c '%u %g' /data/file; touch /data/new", mounts=[mount], linux=linux)
    c.make("/data/")
    equal(c.run().ok(), "5 6\n")
    equal(os.stat(folder / "new").st_uid, 0, "the owner of a new file on the disk")


@case("--no-pivot")
def no_pivot(box):
    c = box.container("ls /etc")
    equal(c.run("--no-pivot").ok(), "group\npasswd\n")
