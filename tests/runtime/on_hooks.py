"""config.md, POSIX-platform hooks: when, where, with what, and what a failure does."""

import json

from harness import case, equal, expect, namespace, until

BEFORE = ("prestart", "createRuntime", "createContainer")


def log(box, text):
    """A hook that appends to the host's file `log`."""
    return {"path": "/bin/sh", "args": ["sh", "-c", f"echo {text} >>{box.scratch}/log"]}


def logged(box):
    """What hooks have appended."""
    path = box.scratch / "log"
    return path.read_text().split() if path.exists() else []


FAILING = {"path": "/bin/false", "args": ["false"]}


@case("hooks run in their order: prestart, createRuntime, createContainer at create, poststart at start, poststop at delete", runc="1.1 runs poststart at create")
def order(box):
    kinds = (*BEFORE, "poststart", "poststop")
    c = box.container("true", hooks={kind: [log(box, f"{kind}-1"), log(box, f"{kind}-2")] for kind in kinds}).created()
    want = [f"{kind}-{number}" for kind in BEFORE for number in (1, 2)]
    equal(logged(box), want, "after create")
    c.start().ok()
    want += ["poststart-1", "poststart-2"]
    equal(logged(box), want, "after start")
    c.wait("stopped")
    equal(logged(box), want, "after the end")
    c.delete().ok()
    equal(logged(box), [*want, "poststop-1", "poststop-2"], "after delete")


@case("startContainer runs in the container, before the process")
def start_container(box):
    c = box.container("cat /hooked", hooks={"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "hostname >/hooked"], "env": ["PATH=/bin"]}]})
    c.created()
    expect(not (c.rootfs / "hooked").exists(), "it ran at create")
    c.start().ok()
    c.wait("stopped")
    equal(c.out, "box\n")


@case("a hook gets the container's state on its standard input")
def state_on_stdin(box):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >{box.scratch}/state"]}
    c = box.container(hooks={"createRuntime": [hook]}, annotations={"a": "b"}).created()
    state = json.loads((box.scratch / "state").read_text())
    equal((state["id"], state["bundle"], state["pid"]), (c.id, str(c.bundle), c.pid))
    expect(state["status"] in ("creating", "created"), state["status"])
    equal(state["annotations"]["a"], "b")


@case("the state that poststart and poststop get", runc="1.1 runs poststart at create")
def state_of_later_hooks(box):
    def hook(name):
        return [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{box.scratch}/{name}"]}]

    c = box.container(hooks={"poststart": hook("poststart"), "poststop": hook("poststop")}).running()
    equal(json.loads((box.scratch / "poststart").read_text())["status"], "running")
    c.delete("--force").ok()
    equal(json.loads((box.scratch / "poststop").read_text())["status"], "stopped")


@case("a hook's environment is env alone")
def environment(box):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"tr '\\0' '\\n' </proc/self/environ >{box.scratch}/env"], "env": ["ONLY=this", "PATH=/bin"]}
    box.container(hooks={"createRuntime": [hook]}).created()
    equal(sorted((box.scratch / "env").read_text().split()), ["ONLY=this", "PATH=/bin"])


@case("a hook's args[0] is its name, not its path")
def argument_zero(box):
    hook = {"path": "/bin/sh", "args": ["other-name", "-c", f"tr '\\0' ' ' </proc/$$/cmdline >{box.scratch}/line"]}
    box.container(hooks={"createRuntime": [hook]}).created()
    equal((box.scratch / "line").read_text().split()[0], "other-name")


@case("createRuntime runs in the runtime's namespaces, createContainer in the container's")
def namespaces(box):
    def hook(name):
        return [{"path": "/bin/sh", "args": ["sh", "-c", f"readlink /proc/self/ns/mnt >{box.scratch}/{name}"], "env": ["PATH=/bin"]}]

    c = box.container(hooks={"createRuntime": hook("runtime"), "createContainer": hook("container")}).created()
    own, inside = ((box.scratch / name).read_text().strip() for name in ("runtime", "container"))

    equal(own, namespace("self", "mnt"), "createRuntime's mount namespace")
    equal(inside, namespace(c.pid, "mnt"), "createContainer's mount namespace")


def failing_before(box, kind):
    """A failing hook before the process: create fails, nothing is left, later hooks do not run."""
    c = box.container("true", hooks={kind: [FAILING, log(box, "never")], "poststop": [log(box, "poststop")]})
    c.create().refused()
    c.call("state").refused()
    expect("never" not in logged(box), "the hook after the one that failed has run")
    until(lambda: not c.cgroup.exists(), "the end of its cgroup")


@case("a failing prestart hook fails create")
def failing_prestart(box):
    failing_before(box, "prestart")


@case("a failing createRuntime hook fails create")
def failing_create_runtime(box):
    failing_before(box, "createRuntime")


@case("a failing createContainer hook fails create")
def failing_create_container(box):
    failing_before(box, "createContainer")


@case("a failing startContainer hook fails start, and the process does not run", runc="start does not wait for the hook", crun="start does not wait for the hook")
def failing_start_container(box):
    c = box.container("echo ran", hooks={"startContainer": [FAILING]}).created()
    c.start().refused()
    equal(c.out, "")


@case("a failing startContainer hook: the process does not run")
def failing_start_container_stops(box):
    c = box.container("echo ran", hooks={"startContainer": [FAILING]}).created()
    c.start()
    c.wait("stopped")
    equal(c.out, "")


@case("a failing poststop hook does not keep the container from being deleted", runc="1.1 runs no hook after it")
def failing_poststop(box):
    c = box.container("true", hooks={"poststop": [FAILING, log(box, "after")]}).running()
    c.wait("stopped")
    c.delete()
    c.call("state").refused()
    equal(logged(box), ["after"])


@case("a hook that does not exist fails create")
def missing(box):
    c = box.container("true", hooks={"createRuntime": [{"path": "/no/such/hook"}]})
    c.create().refused()


@case("a hook's path must be absolute", crun="takes it")
def relative(box):
    box.refuses(hooks={"createRuntime": [{"path": "true", "args": ["true"]}]})


@case("a hook that takes longer than its timeout fails")
def timeout(box):
    hook = {"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}
    c = box.container("true", hooks={"createRuntime": [hook]})
    c.create().refused()
    c.call("state").refused()


@case("poststop runs when create is undone by delete --force of a created container")
def poststop_of_created(box):
    c = box.container("true", hooks={"poststop": [log(box, "poststop")]}).created()
    c.delete("--force").ok()
    equal(logged(box), ["poststop"])


@case("run carries out all hooks")
def all_by_run(box):
    kinds = (*BEFORE, "poststart", "poststop")
    c = box.container("sleep 0.3", hooks={kind: [log(box, kind)] for kind in kinds})
    c.run().ok()
    equal(logged(box), list(kinds))
