"""runtime.md: the lifecycle, what each operation does and refuses, the state."""

import json
import os
import stat
import time

from harness import alive, case, equal, expect, read, until

CREATED = "deletes a created container, as engines are used to"


@case("create does not run the process; start does; then it is stopped; delete ends it all")
def whole_life(box):
    c = box.container("echo started").created()
    time.sleep(0.3)
    equal((c.out, c.status()), ("", "created"))
    c.start().ok()
    c.wait("stopped")
    equal(c.out, "started\n", "output")
    c.delete().ok()
    c.call("state").refused()
    expect(not c.cgroup.exists(), "the cgroup is still there after delete")


@case("state has ociVersion, id, status, pid, the bundle's absolute path and the annotations")
def state_of_created(box):
    c = box.container(annotations={"com.example.key": "value"}).created()
    state = c.state()
    equal(state["id"], c.id)
    equal(state["status"], "created")
    equal(state["bundle"], str(c.bundle))
    equal(state["annotations"]["com.example.key"], "value")
    expect(state["ociVersion"].startswith("1."), f"ociVersion {state['ociVersion']}")
    expect(alive(state["pid"]), "its pid is of no process")


@case("state of a running container: the pid is that of the process")
def state_of_running(box):
    c = box.container(["sleep", "1234"]).running()
    equal(c.status(), "running")
    equal(read(f"/proc/{c.pid}/cmdline").split("\0")[:2], ["sleep", "1234"])


@case("state of a stopped container has no process")
def state_of_stopped(box):
    c = box.container("true").running()
    c.wait("stopped")
    expect(not c.state().get("pid"), f"pid {c.state().get('pid')}")


@case("without --bundle it is the working directory, and absolute in the state")
def bundle_is_working_directory(box):
    c = box.container()
    c._start("create", cwd=c.bundle).ok()
    equal(c.state()["bundle"], str(c.bundle))


@case("state of a container that does not exist is an error")
def state_unknown(box):
    box.call("state", "nobody-here").refused()


@case("state without an ID is an error")
def state_without_id(box):
    box.call("state").refused()


@case("create without an ID is an error")
def create_without_id(box):
    box.call("create").refused()


@case("an ID that is in use is refused, and its container is untouched")
def create_twice(box):
    c = box.container().running()
    again = box.container()
    box.call("create", "--bundle", str(again.bundle), c.id).refused()
    equal(c.status(), "running")


@case("an ID that is no name of a file is refused")
def create_bad_id(box):
    c = box.container()
    for name in ("../escape", "a/b", "", ".", ".."):
        box.call("create", "--bundle", str(c.bundle), name).refused()
    expect(not (box.root.parent / "escape").exists(), "something was made outside of --root")


@case("a bundle without config.json is refused")
def create_without_config(box):
    c = box.container()
    (c.bundle / "config.json").unlink()
    c.create().refused("config.json")


@case("a config.json that is no JSON is refused")
def create_bad_json(box):
    c = box.container()
    (c.bundle / "config.json").write_text("{")
    c.create().refused()


@case("a bundle that does not exist is refused")
def create_without_bundle(box):
    box.call("create", "--bundle", "/nowhere", "some-id").refused()
    box.call("state", "some-id").refused()


@case("a root that does not exist is refused")
def create_without_root(box):
    box.refuses(root={"path": "nowhere"})


@case("a change of config.json after create has no effect")
def config_is_read_once(box):
    c = box.container("echo old").created()
    c.spec["process"]["args"] = ["sh", "-c", "echo new"]
    c.write()
    c.start().ok()
    c.wait("stopped")
    equal(c.out, "old\n", "output")


@case("start of a running container is an error and has no effect")
def start_running(box):
    c = box.container().running()
    pid = c.pid
    c.start().refused()
    equal((c.status(), c.pid), ("running", pid))


@case("start of a stopped container is an error")
def start_stopped(box):
    c = box.container("true").running()
    c.wait("stopped")
    c.start().refused()


@case("start of a container that does not exist is an error")
def start_unknown(box):
    box.call("start", "nobody-here").refused()
    box.call("start").refused()


@case("a program that is not there: create or start fails, and says its name")
def program_missing(box):
    c = box.container(["/bin/not-there"])
    done = c.create()
    if done.status == 0:
        done = c.start()
    done.refused("not-there")


@case("a program that may not be executed is refused", crun="looks for a file only, and the exec fails later")
def program_not_executable(box):
    c = box.container(["/plain"])
    c.make("/plain", "text")
    done = c.create()
    if done.status == 0:
        done = c.start()
    done.refused("denied")


@case("kill sends the signal to the process")
def kill_delivers(box):
    c = box.container("trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.1; done").running()
    c.printed("ready")
    c.kill("USR1").ok()
    c.wait("stopped")
    expect("usr1" in c.out, c.out)


@case("kill knows a signal by number, by SIGNAME and by NAME")
def kill_names(box):
    c = box.container("trap 'echo got' USR1; echo ready; while :; do sleep 0.1; done").running()
    c.printed("ready")
    for count, name in enumerate(("10", "SIGUSR1", "USR1"), 1):
        c.kill(name).ok()
        until(lambda: c.out.count("got") == count, f"signal {name}")


@case("kill without a signal sends TERM")
def kill_default(box):
    c = box.container("trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.1; done").running()
    c.printed("ready")
    c.kill().ok()
    c.wait("stopped")
    expect("term" in c.out, c.out)


@case("an unknown signal is refused, and the container untouched")
def kill_bad_signal(box):
    c = box.container().running()
    c.kill("NOSUCH").refused()
    c.kill("12345").refused()
    equal(c.status(), "running")


@case("a created container may be killed")
def kill_created(box):
    c = box.container().created()
    c.kill("KILL").ok()
    c.wait("stopped")


@case("kill of a stopped container is an error")
def kill_stopped(box):
    c = box.container("true").running()
    c.wait("stopped")
    c.kill("KILL").refused()


@case("kill of a container that does not exist is an error")
def kill_unknown(box):
    box.call("kill", "nobody-here", "KILL").refused()
    box.call("kill").refused()


@case("delete of a running container is an error and has no effect")
def delete_running(box):
    c = box.container().running()
    c.delete().refused()
    equal(c.status(), "running")


@case("delete of a created container is an error, as it is not stopped", runc=CREATED, crun=CREATED, coracle=CREATED)
def delete_created(box):
    c = box.container().created()
    c.delete().refused()


@case("delete --force ends a running container, with all its processes")
def delete_force(box):
    c = box.container("sleep 1000 & sleep 1000 & wait").running()
    pids = read(c.cgroup / "cgroup.procs").split()
    c.delete("--force").ok()
    c.call("state").refused()
    expect(not any(alive(pid) for pid in pids), "processes are left")
    expect(not c.cgroup.exists(), "the cgroup is left")


@case("delete --force of a container that does not exist succeeds")
def delete_force_unknown(box):
    box.call("delete", "--force", "nobody-here").ok()


@case("delete of a container that does not exist is an error")
def delete_unknown(box):
    box.call("delete", "nobody-here").refused()
    box.call("delete").refused()


@case("after delete the ID may be used again")
def id_again(box):
    c = box.container("echo one").running()
    c.wait("stopped")
    c.delete().ok()
    c.running()
    c.wait("stopped")
    equal(c.out, "one\none\n")


@case("when the first process of a PID namespace ends, all others do")
def init_ends_all(box):
    c = box.container("sleep 1000 & echo up; read x < /dev/null; sleep 0.5").running()
    c.wait("stopped")
    until(lambda: not read(c.cgroup / "cgroup.procs"), "the end of the container's processes")


@case("delete removes cgroups that the container has made below its own")
def delete_with_cgroups_below(box):
    c = box.container("true").running()
    c.wait("stopped")
    if c.cgroup.exists():
        (c.cgroup / "below/deep").mkdir(parents=True)
    c.delete().ok()
    expect(not c.cgroup.exists(), "the cgroup is left")


@case("run gives the process's exit status")
def run_status(box):
    equal(box.container("exit 7").run().status, 7, "status")
    equal(box.container("exit 0").run().status, 0, "status")


@case("run gives 128 + the signal's number")
def run_signal_status(box):
    c = box.container("kill -KILL $$; sleep 10", hostname=None, linux={"namespaces": [{"type": "mount"}]})
    equal(c.run().status, 137, "status")


@case("run leaves nothing: no state, no cgroup")
def run_leaves_nothing(box):
    c = box.container("true")
    c.run().ok()
    c.call("state").refused()
    expect(not c.cgroup.exists(), "the cgroup is left")
    expect(not box.root.exists() or not any(box.root.iterdir()), "something is left in --root")


@case("run passes signals on that it gets")
def run_forwards_signals(box):
    c = box.container("trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    with open(c.out_path, "wb") as out:
        process = box.spawn(*box.command, "run", "--bundle", str(c.bundle), c.id, stdout=out)
        c.printed("ready")
        process.terminate()
        equal(process.wait(60), 3, "status")
    expect("term" in c.out, c.out)


@case("run --keep leaves the stopped container")
def run_keep(box):
    c = box.container("exit 4")
    equal(c.run("--keep").status, 4, "status")
    equal(c.status(), "stopped")
    c.delete().ok()


@case("--pid-file of create and run has the pid, without a newline")
def pid_file(box):
    c = box.container()
    c.created("--pid-file", str(c.bundle / "pid"))
    equal((c.bundle / "pid").read_text(), str(c.pid))
    d = box.container()
    d.running("--pid-file", str(d.bundle / "pid"))
    equal((d.bundle / "pid").read_text(), str(d.pid))


@case("the state is not for others to read")
def state_is_private(box):
    c = box.container().running()
    for folder, _, files in os.walk(box.root / c.id):
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        for file in files:
            full = os.path.join(folder, file)
            if stat.S_ISREG(os.lstat(full).st_mode):
                expect(not (mode & 0o005 and os.lstat(full).st_mode & 0o022), f"{full} may be written by others")


@case("two roots do not know each other's containers")
def roots_are_separate(box):
    c = box.container().running()
    other = box.scratch / "other"
    box.call("--root", str(other), "state", c.id).refused()


@case("unknown properties of config.json are ignored")
def unknown_properties(box):
    equal(box.output("echo fine", futureProperty={"a": [1]}, linux={"futureProperty": 1}), "fine")


@case("a version that is no semantic version is refused", runc="does not look at it", crun="does not look at it")
def bad_version(box):
    box.refuses(ociVersion="one")


@case("a version of another major series is refused", runc="takes it", crun="takes it")
def version_too_new(box):
    box.refuses(ociVersion="2.0.0")


@case("config.json without process: create succeeds, start is an error", runc="refuses at create", crun="refuses at create", coracle="refuses at create, as runc and crun do")
def no_process(box):
    c = box.container(process=None)
    c.create().ok()
    c.start().refused()


@case("a process without args is refused")
def no_arguments(box):
    box.refuses(process={"args": []})


@case("--log-format json: an error is a JSON object with msg and level")
def json_log(box):
    c = box.container(root={"path": "nowhere"})
    log = box.scratch / "log.json"
    box.call("--log", str(log), "--log-format", "json", "create", "--bundle", str(c.bundle), c.id).refused()
    last = json.loads(log.read_text().splitlines()[-1])
    equal(last["level"], "error")
    expect(last["msg"] and last["time"], f"{last}")


@case("--log takes the error as text, which standard error has too")
def text_log(box):
    log = box.scratch / "log"
    box.call("--log", str(log), "state", "nobody-here").refused()
    expect(log.read_text().strip(), "the log is empty")


@case("a container outlives the command that made it, and the runtime leaves no process")
def no_daemon(box):
    c = box.container().running()
    pid = c.pid
    expect(alive(pid), "it has ended")
    status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    parent = int(status["PPid"])
    comm = read(f"/proc/{parent}/cmdline")
    expect(box.runtime not in comm, f"the runtime still runs as the parent: {comm!r}")
