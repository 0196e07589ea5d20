"""The command line that engines call: exec, ps, list, spec, features, versions; terminals and the console socket."""

import json
import os

from harness import CAPABILITIES, PATH, ConsoleSocket, alive, case, equal, expect, namespace, until

SIZE = {"width": 93, "height": 37}


def process(command, **more):
    """A process.json for exec."""
    caps = {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")}
    return {"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", command], "env": [PATH], "cwd": "/", "capabilities": caps, **more}


def exec_process(container, command, *options, **more):
    """`exec --process`."""
    path = container.bundle / "process.json"
    path.write_text(json.dumps(process(command, **more)))
    return container.box.call("exec", *options, "--process", str(path), container.id)


@case("exec runs in the container's namespaces, with its root")
def exec_plain(box):
    c = box.container().running()
    got = c.exec("hostname; pwd; for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; done").ok().split()
    equal(got[:2], ["box", "/"])
    equal(got[2:], [namespace(c.pid, kind) for kind in ("mnt", "pid", "uts", "ipc", "net", "cgroup")])


@case("exec gives the exit status")
def exec_status(box):
    c = box.container().running()
    equal(c.exec("exit 42").status, 42)
    equal(c.exec("kill -KILL $$").status, 137)


@case("exec passes standard input")
def exec_stdin(box):
    c = box.container().running()
    equal(box.call("exec", c.id, "cat", stdin="some text").ok(), "some text")


@case("exec of a program that is not there fails with 127 or 1 and a message, and the container goes on")
def exec_missing(box):
    c = box.container().running()
    done = c.exec(["/bin/not-there"])
    done.refused("not-there")
    equal(c.status(), "running")


@case("exec in a container that does not run is an error")
def exec_stopped(box):
    c = box.container("true").running()
    c.wait("stopped")
    c.exec("true").refused()
    box.call("exec", "nobody-here", "true").refused()


@case("exec in a created container")
def exec_created(box):
    c = box.container("true").created()
    equal(c.exec("echo inside").ok(), "inside\n")


@case("exec --env, --cwd, --user", crun="looks for the program without PATH when there is --env")
def exec_options(box):
    c = box.container().running()
    equal(c.exec('echo "$A"; pwd; id -u; id -g', "--env", "A=1", "--cwd", "/etc", "--user", "1000:1001").ok().split(), ["1", "/etc", "1000", "1001"])


@case("exec --user with nonsense is an error, never another user (CVE-2026-30892)", runc="1.1.15 has that hole", crun="1.21 has that hole")
def cve_2026_30892_exec_user_nonsense(box):
    c = box.container().running()
    for text in ("x", "1000:x", "-1", "4294967296", "1000:", ":5", "1 000", "0x10"):
        done = c.exec("id -u", "--user", text)
        expect(done.status != 0 or done.out.strip() == text.split(":")[0].lstrip("0") or done.out.strip() == text.split(":")[0], f"{text!r} gave user {done.out.strip()}")


@case("exec --process takes a whole process")
def exec_process_file(box):
    c = box.container().running()
    got = exec_process(c, 'echo "$A"; pwd; id -u; id -G', env=[PATH, "A=b"], cwd="/etc", user={"uid": 7, "gid": 8, "additionalGids": [9]}).ok().split("\n")
    equal(got[:3], ["b", "/etc", "7"])
    equal(set(got[3].split()), {"8", "9"})


@case("exec --process: capabilities, rlimits, noNewPrivileges, oomScoreAdj")
def exec_process_attributes(box):
    c = box.container().running()
    more = {
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
        "noNewPrivileges": True,
    }
    got = exec_process(c, "grep -E 'CapBnd|CapEff|CapInh|NoNewPrivs' /proc/self/status; ulimit -n", **more).ok().split()
    equal(got, ["CapInh:", "0" * 16, "CapEff:", f"{1 << 5:016x}", "CapBnd:", f"{1 << 5:016x}", "NoNewPrivs:", "1", "50"])


@case("exec --detach --pid-file returns at once, the pid is the process's")
def exec_detach(box):
    c = box.container().running()
    file = c.bundle / "exec.pid"
    path = c.bundle / "process.json"
    path.write_text(json.dumps(process("sleep 1000")))
    c._start("exec", "--detach", "--pid-file", str(file), "--process", str(path)).ok()
    pid = int(file.read_text())
    expect(alive(pid), "no such process")
    equal(namespace(pid, "pid"), namespace(c.pid, "pid"))


@case("exec --cap adds capabilities")
def exec_cap(box):
    c = box.container().running()
    got = c.exec("grep CapEff /proc/self/status", "--cap", "CAP_SYS_ADMIN").ok().split()[1]
    expect(int(got, 16) >> 21 & 1, f"effective {got}")


@case("exec has no capabilities in its inheritable set (CVE-2022-29162)")
def cve_2022_29162_exec_inheritable(box):
    c = box.container().running()
    equal(c.exec("grep CapInh /proc/self/status").ok().split()[1], "0" * 16)


@case("exec's cwd below /proc/self/fd never leads to the host (CVE-2024-21626)")
def cve_2024_21626_exec_leaks(box):
    c = box.container().running()
    for descriptor in range(3, 12):
        done = c.exec("ls ../../../../../../usr/sbin/", "--cwd", f"/proc/self/fd/{descriptor}")
        expect("runc" not in done.out, f"descriptor {descriptor} leads out: {done.out}")


@case("exec leaves no descriptor open")
def exec_descriptors(box):
    c = box.container().running()
    equal(c.exec("for f in 3 4 5 6 7 8 9 10 11; do [ -e /proc/$$/fd/$f ] && readlink /proc/$$/fd/$f; done; true").ok(), "")


@case("exec keeps the seccomp profile")
def exec_seccomp(box):
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
    c = box.container(linux={"seccomp": profile}).running()
    expect("not permitted" in c.exec("mkdir /x").err, "mkdir was allowed")


@case("exec --tty with a console socket")
def exec_terminal(box):
    c = box.container().running()
    console = ConsoleSocket(box)
    path = c.bundle / "process.json"
    path.write_text(json.dumps(process("tty; stty size; echo done", terminal=True, consoleSize=SIZE)))
    done = c._start("exec", "--detach", "--console-socket", console.path, "--process", str(path))
    done.ok()
    console.receive()
    console.wait("done")
    expect("/dev/pts/" in console.text, console.text)


@case("a terminal: its descriptor comes by the console socket, of the size that was asked for")
def terminal(box):
    console = ConsoleSocket(box)
    c = box.container("tty; stty size; read line; echo got $line; ls -l /dev/console; sleep 1000", process={"terminal": True, "consoleSize": SIZE})
    c.created("--console-socket", console.path)
    descriptor = console.receive()
    c.start().ok()
    console.wait("37 93")
    os.write(descriptor, b"hello\n")
    console.wait("got hello")
    expect("/dev/pts/0" in console.text or "/dev/console" in console.text, console.text)


@case("a terminal belongs to the process's user, and /dev/console is it")
def terminal_owner(box):
    console = ConsoleSocket(box)
    c = box.container("echo hi >/dev/console; stat -c 'owner %u' /dev/pts/0; sleep 1000", process={"terminal": True, "user": {"uid": 1000, "gid": 1000}})
    c.running("--console-socket", console.path)
    console.receive()
    console.wait("hi")
    console.wait("owner 1000")


@case("create with a terminal but no console socket is refused")
def terminal_without_socket(box):
    box.refuses(process={"terminal": True})


@case("a console socket without a terminal is refused", crun="takes no notice")
def socket_without_terminal(box):
    console = ConsoleSocket(box)
    c = box.container()
    c.create("--console-socket", console.path).refused()


@case("ps -f json prints the container's processes by the host's numbers")
def ps_json(box):
    c = box.container("sleep 1000 & wait").running()
    until(lambda: len(c.call("ps", options=("--format", "json")).json()) == 2, "two processes")
    expect(c.pid in c.call("ps", options=("-f", "json")).json(), "the first process is not there")


@case("ps prints a table")
def ps_table(box):
    c = box.container().running()
    got = c.call("ps").ok().splitlines()
    expect("PID" in got[0] and len(got) >= 2, f"{got}")


@case("list: nothing of an empty root")
def list_empty(box):
    equal(box.call("list", "-q").ok(), "")
    expect(not box.call("list", "-f", "json").json(), "not empty")


@case("list -f json has id, pid, status, bundle, created and the owner")
def list_json(box):
    c = box.container(annotations={"a": "b"}).running()
    box.container().created()
    entries = {entry["id"]: entry for entry in box.call("list", "-f", "json").json()}
    equal(len(entries), 2)
    entry = entries[c.id]
    equal((entry["pid"], entry["status"], entry["bundle"], entry["owner"]), (c.pid, "running", str(c.bundle), "root"))
    expect(entry["created"][:2] == "20", entry["created"])


@case("list prints a table, list -q the IDs")
def list_table(box):
    c = box.container().running()
    lines = box.call("list").ok().splitlines()
    expect(lines[0].split()[:4] == ["ID", "PID", "STATUS", "BUNDLE"] or lines[0].split()[0] in ("ID", "NAME"), lines[0])
    expect(lines[1].split()[:3] == [c.id, str(c.pid), "running"], lines[1])
    equal(box.call("list", "-q").ok(), f"{c.id}\n")


@case("spec writes a config.json that runs, and never over one that is there")
def spec(box):
    c = box.container()
    (c.bundle / "config.json").unlink()
    box.call("spec", "--bundle", str(c.bundle)).ok()
    box.call("spec", "--bundle", str(c.bundle)).refused()
    c.spec = json.loads((c.bundle / "config.json").read_text())
    equal(c.spec["process"]["args"], ["sh"])
    c.spec["process"] |= {"terminal": False, "args": ["echo", "runs"]}
    c.spec["linux"]["cgroupsPath"] = c.group
    c.write()
    equal(c.run().ok(), "runs\n")


@case("spec --rootless has a user namespace")
def spec_rootless(box):
    c = box.container()
    (c.bundle / "config.json").unlink()
    box.call("spec", "--rootless", "--bundle", str(c.bundle)).ok()
    got = json.loads((c.bundle / "config.json").read_text())
    expect("user" in [entry["type"] for entry in got["linux"]["namespaces"]], "no user namespace")


@case("features prints what the runtime can")
def features(box):
    got = box.call("features").json()
    expect(got["ociVersionMin"] and got["ociVersionMax"].startswith("1."), "versions")
    expect({"createRuntime", "poststop", "prestart"} <= set(got["hooks"]), "hooks")
    expect({"ro", "rbind", "rro"} <= set(got["mountOptions"]), "mountOptions")
    linux = got["linux"]
    expect({"mount", "pid", "user"} <= set(linux["namespaces"]) and "CAP_KILL" in linux["capabilities"], "linux")
    expect(linux["cgroup"]["v2"] and linux["seccomp"]["enabled"] and "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"], "cgroup, seccomp")


@case("--version names the runtime and the specification")
def version(box):
    got = box.call("--version").ok()
    expect("version" in got.splitlines()[0] and "spec: 1." in got, got)


@case("--help, and of each command")
def usage(box):
    for command in ("create", "start", "state", "kill", "delete", "run", "exec", "ps", "list", "pause", "resume", "update", "spec"):
        expect(command in box.call("--help").ok(), f"--help does not name {command}")
        box.call(command, "--help").ok()


@case("an unknown command or option is refused")
def unknown_words(box):
    box.call("frobnicate").refused()
    box.call("list", "--frobnicate").refused()


@case("kill --all ends every process, also without a PID namespace")
def kill_all(box):
    kinds = [{"type": kind} for kind in ("mount", "uts", "ipc", "network")]
    c = box.container("sleep 1000 & sleep 1000 & wait", linux={"namespaces": kinds}).running()
    pids = until(lambda: (found := c.call("ps", options=("-f", "json")).json()) and len(found) == 3 and found, "three processes")
    box.call("kill", "--all", c.id, "KILL").ok()
    until(lambda: not any(alive(pid) for pid in pids), "the end of all processes")


@case("delete ends processes that are left in a container without a PID namespace", runc="1.1 leaves the cgroup")
def delete_left_over(box):
    kinds = [{"type": kind} for kind in ("mount", "uts", "ipc", "network")]
    c = box.container("sleep 1000 & echo $!", linux={"namespaces": kinds}).running()
    c.wait("stopped")
    left = [int(pid) for pid in (c.cgroup / "cgroup.procs").read_text().split()]
    c.delete("--force").ok()
    until(lambda: not any(alive(pid) for pid in left), "the end of all processes")
    expect(not c.cgroup.exists(), "the cgroup is left")


@case("--systemd-cgroup's path is taken where there is no systemd, or refused", runc="wants systemd", crun="wants systemd")
def systemd_cgroup(box):
    c = box.container("true", linux={"cgroupsPath": "machine.slice:conformance:unit"})
    box.call("--systemd-cgroup", "run", "--bundle", str(c.bundle), c.id).ok()
