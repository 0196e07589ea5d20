"""config.md, process: arguments, environment, working directory, users, limits, capabilities and the like."""

import os
import subprocess

from harness import CAPABILITIES, PATH, case, equal, expect, read

CAP_BITS = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}


def mask(*names):
    """A capability set as /proc/PID/status prints it."""
    return f"{sum(1 << CAP_BITS[name] for name in names):016x}"


def sets(text):
    """The Cap lines of a status."""
    return {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.startswith("Cap")}


@case("args arrive as they are")
def arguments(box):
    equal(box.output(["printf", "%s|", "a b", "", "*", "$HOME", "ü"]), "a b||*|$HOME|ü|")


@case("env is set, and nothing else is")
def environment(box):
    got = box.output(["env"], process={"env": [PATH, "A=1", "EMPTY=", "EQ=a=b"]}).splitlines()
    names = {line.split("=")[0] for line in got}
    expect({"A=1", "EMPTY=", "EQ=a=b", PATH} <= set(got), f"{got}")
    expect(names <= {"A", "EMPTY", "EQ", "PATH", "HOME"}, f"more than was asked for: {names}")


@case("PATH of env finds the program")
def path_search(box):
    c = box.container(["tool"], process={"env": ["PATH=/nowhere:/opt/tools:/bin"]})
    c.make("/opt/tools/tool", "#!/bin/sh\necho found\n", 0o755)
    equal(c.run().ok(), "found\n")


@case("of a variable that is given twice the last one holds")
def environment_twice(box):
    equal(box.output('echo "$A"', process={"env": [PATH, "A=1", "A=2"]}), "2")


@case("HOME is the user's of /etc/passwd if env has none")
def home(box):
    equal(box.output('echo "$HOME"'), "/root")


@case("cwd is the working directory")
def working_directory(box):
    equal(box.output("pwd", process={"cwd": "/etc"}), "/etc")


@case("a cwd that does not exist is made")
def working_directory_is_made(box):
    equal(box.output("pwd", process={"cwd": "/some/where"}), "/some/where")


@case("a cwd that is not absolute is refused", crun="takes it as relative to the root")
def working_directory_relative(box):
    box.refuses(process={"cwd": "etc"})


@case("cwd below /proc/self/fd never leads to the host (CVE-2024-21626)")
def cve_2024_21626_working_directory_leaks(box):
    for descriptor in range(3, 12):
        c = box.container("ls ../../../../../../usr/sbin/runc; cat ../../../../../../etc/debian_version", process={"cwd": f"/proc/self/fd/{descriptor}"})
        done = c.run()
        expect("runc" not in c.out.replace("No such", "") and "13." not in c.out, f"descriptor {descriptor} leads out: {done.out}")


@case("no descriptor but 0, 1 and 2 is open")
def descriptors(box):
    got = box.output("ls /proc/self/fd").split()
    expect(set(got) <= {"0", "1", "2", "3"}, f"{got}")  # ls has opened the folder itself.
    leaked = box.output('for f in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$f ] && readlink /proc/$$/fd/$f; done; true')
    equal(leaked, "", "descriptors of the container")


@case("--preserve-fds passes that many descriptors from 3 on")
def preserve_descriptors(box):
    c = box.container("cat <&3; readlink /proc/$$/fd/4; true")
    (box.scratch / "gift").write_text("gift\n")
    file = os.open(box.scratch / "gift", os.O_RDONLY)
    try:
        def place():
            os.dup2(file, 3)

        done = c.run("--preserve-fds", "1", close_fds=False, preexec_fn=place)
    finally:
        os.close(file)
    equal(done.ok().splitlines()[:1], ["gift"])


@case("LISTEN_FDS are passed on with LISTEN_PID 1", crun="passes on no LISTEN_PID")
def listen_descriptors(box):
    c = box.container('cat <&3; echo "$LISTEN_FDS $LISTEN_PID"')
    (box.scratch / "gift").write_text("gift\n")
    # LISTEN_PID is the number of whom the descriptors are meant for.
    script = f'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<{box.scratch}/gift'
    done = subprocess.run(["sh", "-c", script, "sh", *box.command, "run", "--bundle", str(c.bundle), c.id], capture_output=True, text=True, check=False)
    equal((done.stdout, done.stderr), ("gift\n1 1\n", ""))


@case("user: uid, gid and additional groups")
def user(box):
    got = box.output("id -u; id -g; id -G", process={"user": {"uid": 1000, "gid": 1001, "additionalGids": [5, 2000]}}).split("\n")
    equal(got[:2], ["1000", "1001"])
    equal(set(got[2].split()), {"1001", "5", "2000"})


@case("root has no groups but those that were asked for")
def groups_of_root(box):
    equal(box.output("grep Groups /proc/self/status").split(), ["Groups:"] + box.output("id -G").split()[1:])


@case("a user that is not root has no effective capabilities unless they are ambient")
def user_capabilities(box):
    got = sets(box.output("cat /proc/self/status", process={"user": {"uid": 1000, "gid": 1000}}))
    equal(got["CapEff"], "0" * 16)


@case("umask")
def umask(box):
    equal(box.output("umask", process={"user": {"uid": 0, "gid": 0, "umask": 0o027}}), "0027")
    equal(box.output("umask"), "0022")


@case("standard streams may be opened again by their names")
def streams_by_name(box):
    equal(box.output("echo again >/dev/stdout"), "again")


@case("rlimits: soft and hard")
def rlimits(box):
    limits = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 1024}]
    got = box.output("cat /proc/self/limits", process={"rlimits": limits})
    lines = {line[:26].strip(): line[26:].split()[:2] for line in got.splitlines()}
    equal(lines["Max open files"], ["100", "200"])
    equal(lines["Max core file size"], ["0", "1024"])


@case("an unknown rlimit is refused")
def rlimit_unknown(box):
    box.refuses(process={"rlimits": [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]})


@case("a soft limit above the hard one is refused")
def rlimit_soft_above_hard(box):
    box.refuses(process={"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]})


@case("the same rlimit twice is refused", runc="takes the last one", crun="takes the last one")
def rlimit_twice(box):
    box.refuses(process={"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 100}] * 2})


@case("capabilities: each set is what it says")
def capabilities(box):
    both = ["CAP_CHOWN", "CAP_KILL"]
    want = {"bounding": [*both, "CAP_NET_RAW"], "permitted": both, "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    got = sets(box.output(["cat", "/proc/self/status"], process={"capabilities": want, "user": {"uid": 1000, "gid": 1000}}))
    equal(got["CapBnd"], mask(*both, "CAP_NET_RAW"), "bounding")
    equal(got["CapInh"], mask("CAP_KILL"), "inheritable")
    equal(got["CapAmb"], mask("CAP_KILL"), "ambient")
    equal(got["CapPrm"], mask("CAP_KILL"), "permitted after exec")
    equal(got["CapEff"], mask("CAP_KILL"), "effective after exec")


@case("root's capabilities are those of the bounding set")
def capabilities_of_root(box):
    got = sets(box.output("cat /proc/self/status", process={"capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}}))
    equal((got["CapBnd"], got["CapEff"], got["CapPrm"], got["CapInh"]), (mask("CAP_KILL"), mask("CAP_KILL"), mask("CAP_KILL"), mask()))


@case("without capabilities there are none")
def capabilities_none(box):
    got = sets(box.output("cat /proc/self/status", process={"capabilities": None}))
    equal((got["CapEff"], got["CapInh"]), (mask(), mask()))


@case("with empty sets there are no capabilities")
def capabilities_empty(box):
    got = sets(box.output("cat /proc/self/status", process={"capabilities": {kind: [] for kind in ("bounding", "effective", "permitted")}}))
    equal((got["CapBnd"], got["CapEff"]), (mask(), mask()))


@case("an unknown capability does not end in a container that has more than it should")
def capability_unknown(box):
    c = box.container("cat /proc/self/status", process={"capabilities": {"bounding": ["CAP_KILL", "CAP_NONSENSE"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}})
    if c.run().status == 0:
        equal(sets(c.out)["CapBnd"], mask("CAP_KILL"))


@case("noNewPrivileges")
def no_new_privileges(box):
    equal(box.output("grep NoNewPrivs /proc/self/status", process={"noNewPrivileges": True}).split()[1], "1")
    equal(box.output("grep NoNewPrivs /proc/self/status", process={"noNewPrivileges": False}).split()[1], "0")


@case("oomScoreAdj")
def oom_score(box):
    equal(box.output("cat /proc/self/oom_score_adj", process={"oomScoreAdj": 321}), "321")


@case("ioPriority", runc="1.1 does not have it")
def io_priority(box):
    equal(box.output("ionice -p $$", process={"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}}), "best-effort: prio 6")


@case("scheduler: policy and nice value", runc="1.1 does not have it")
def scheduler(box):
    got = box.output("cat /proc/self/stat", process={"scheduler": {"policy": "SCHED_BATCH", "nice": 5}}).rpartition(")")[2].split()
    equal((got[16], got[38]), ("5", "3"), "nice and policy")


@case("scheduler: an unknown policy is refused", runc="1.1 does not have it")
def scheduler_unknown(box):
    box.refuses(process={"scheduler": {"policy": "SCHED_NONSENSE"}})


@case("personality LINUX32 shows a 32-bit machine", runc="1.1 does not have it")
def personality(box):
    expect(box.output("uname -m", linux={"personality": {"domain": "LINUX32"}}) in ("i686", "armv8l"), "not 32 bits")


@case("hostname")
def hostname(box):
    equal(box.output("hostname", hostname="mrs-dalloway"), "mrs-dalloway")


@case("domainname", runc="1.1 does not have it")
def domainname(box):
    equal(box.output("cat /proc/sys/kernel/domainname", domainname="example.org"), "example.org")


@case("hostname without a UTS namespace is refused")
def hostname_without_namespace(box):
    before = read("/proc/sys/kernel/hostname")
    box.refuses(hostname="escaped", linux={"namespaces": [{"type": "mount"}, {"type": "pid"}]})
    equal(read("/proc/sys/kernel/hostname"), before, "the host's name")


@case("the process is the first in its PID namespace, and leads a session")
def first_process(box):
    equal(box.output("echo $$"), "1")


@case("the process's name is the program's, not the runtime's")
def process_name(box):
    equal(box.output(["cat", "/proc/self/comm"]), "cat")


@case("no signal is blocked or ignored that was not")
def signal_dispositions(box):
    got = box.output(["cat", "/proc/self/status"])
    lines = dict(line.split(":\t") for line in got.splitlines() if line.startswith("Sig"))
    equal((lines["SigBlk"], lines["SigIgn"]), ("0" * 16, "0" * 16), "blocked and ignored")


@case("the default capabilities of the suite are those that the process has")
def capabilities_list(box):
    got = int(sets(box.output("cat /proc/self/status"))["CapBnd"], 16)
    equal(bin(got).count("1"), len(CAPABILITIES))
