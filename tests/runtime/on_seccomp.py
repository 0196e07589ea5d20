"""config-linux.md, seccomp: actions, arguments, errors, the notify listener."""

import json
import os
import socket
import threading

from harness import TIMEOUT, case, equal, expect

DENY = "SCMP_ACT_ERRNO"


def profile(*rules, default="SCMP_ACT_ALLOW", **more):
    """A profile that allows what no rule names."""
    return {"seccomp": {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": list(rules), **more}}


def rule(*names, action=DENY, **more):
    """A rule for these system calls."""
    return {"names": list(names), "action": action, **more}


def argument(index, value, operator, second=None):
    """The condition of an argument."""
    return {"index": index, "value": value, "op": operator} | ({} if second is None else {"valueTwo": second})


@case("ERRNO is EPERM without errnoRet")
def errno_default(box):
    expect("not permitted" in box.container("mkdir /x", linux=profile(rule("mkdir", "mkdirat"))).run().err, "allowed")


@case("errnoRet is the error")
def errno_value(box):
    expect("No space" in box.container("mkdir /x", linux=profile(rule("mkdir", "mkdirat", errnoRet=28))).run().err, "another error")


@case("the rest is allowed by the default action")
def default_allow(box):
    equal(box.output("echo fine", linux=profile(rule("mkdir", "mkdirat"))), "fine")


@case("a default action that denies, with its errno")
def default_deny(box):
    c = box.container("true", linux={"seccomp": {"defaultAction": DENY, "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule("nothing_else", action="SCMP_ACT_ALLOW")]}})
    done = c.create()
    if done.status == 0:
        c.start()
        c.wait("stopped")
    equal(c.out, "")


@case("KILL_PROCESS ends the process by SIGSYS")
def kill_process(box):
    equal(box.output("sh -c 'mkdir /x'; echo $?", linux=profile(rule("mkdir", "mkdirat", action="SCMP_ACT_KILL_PROCESS"))).split()[-1], "159")


@case("TRAP sends SIGSYS")
def trap(box):
    equal(box.output("sh -c 'mkdir /x'; echo $?", linux=profile(rule("mkdir", "mkdirat", action="SCMP_ACT_TRAP"))).split()[-1], "159")


@case("LOG allows")
def log(box):
    equal(box.output("mkdir /x && echo made", linux=profile(rule("mkdir", "mkdirat", action="SCMP_ACT_LOG"))), "made")


@case("TRACE without a tracer is ENOSYS")
def trace(box):
    expect("not implemented" in box.container("mkdir /x", linux=profile(rule("mkdir", "mkdirat", action="SCMP_ACT_TRACE"))).run().err, "another error")


def denied_kills(box, *arguments):
    """Which of the signals 0, 10 and 12 to itself are denied under a rule with these conditions of kill's arguments."""
    script = "trap : USR1 USR2; for s in 0 10 12; do kill -$s $$ 2>/dev/null || echo $s; done; true"
    return box.output(script, linux=profile(rule("kill", args=list(arguments)))).split()


@case("arguments: EQ, NE, LT, LE, GT, GE")
def operators(box):
    wants = {"EQ": ["10"], "NE": ["0", "12"], "LT": ["0"], "LE": ["0", "10"], "GT": ["12"], "GE": ["10", "12"]}
    for operator, want in wants.items():
        equal(denied_kills(box, argument(1, 10, f"SCMP_CMP_{operator}")), want, operator)


@case("arguments: MASKED_EQ")
def masked_equal(box):
    equal(denied_kills(box, argument(1, 2, "SCMP_CMP_MASKED_EQ", 2)), ["10"])


@case("arguments: all conditions of different arguments must hold")
def conditions_together(box):
    equal(denied_kills(box, argument(1, 10, "SCMP_CMP_EQ"), argument(0, 99999, "SCMP_CMP_EQ")), [])


@case("an unknown action or operator is refused")
def unknown_words(box):
    box.refuses(linux=profile(rule("mkdir", action="SCMP_ACT_NONSENSE")))
    box.refuses(linux=profile(rule("mkdir", args=[argument(0, 1, "SCMP_CMP_NONSENSE")])))


@case("an unknown system call of a profile is ignored")
def unknown_syscall(box):
    equal(box.output("echo fine", linux=profile(rule("no_such_system_call"))), "fine")


@case("an unknown architecture is refused")
def unknown_architecture(box):
    linux = profile(rule("mkdir"))
    linux["seccomp"]["architectures"] = ["SCMP_ARCH_NONSENSE"]
    box.refuses(linux=linux)


@case("the profile is in force with and without noNewPrivileges")
def with_no_new_privileges(box):
    for value in (True, False):
        got = box.output("grep -E '^Seccomp:' /proc/self/status", process={"noNewPrivileges": value}, linux=profile(rule("mkdir"))).split()
        equal(got[1], "2", "the mode")


@case("a user that is not root, with a profile")
def as_user(box):
    c = box.container("mkdir /tmp/x", process={"user": {"uid": 1000, "gid": 1000}}, linux=profile(rule("mkdir", "mkdirat")))
    expect("not permitted" in c.run().err, "allowed")


@case("NOTIFY: the listener's descriptor arrives at listenerPath with the container's state")
def notify(box):
    path = str(box.scratch / "listener")
    received = {}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        server.settimeout(TIMEOUT)

        def serve():
            connection, _ = server.accept()
            data, descriptors, _, _ = socket.recv_fds(connection, 65536, 4)
            received["descriptors"] = [os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in descriptors]
            while more := connection.recv(65536):
                data += more
            received["state"] = json.loads(data)
            for descriptor in descriptors:
                os.close(descriptor)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        linux = profile(rule("mkdir", "mkdirat", action="SCMP_ACT_NOTIFY"), listenerPath=path, listenerMetadata="note")
        c = box.container(linux=linux).running()
        thread.join(TIMEOUT)
    expect("state" in received, "nothing arrived")
    state = received["state"]
    equal((state["fds"], state["metadata"], state["state"]["id"], state["pid"]), (["seccompFd"], "note", c.id, c.pid))
    expect("seccomp" in received["descriptors"][0], f"{received['descriptors']}")


@case("NOTIFY without listenerPath is refused", crun="takes it")
def notify_without_listener(box):
    box.refuses(linux=profile(rule("mkdir", action="SCMP_ACT_NOTIFY")))


@case("flags: LOG is taken, an unknown one is refused", runc="1.1 knows no flags")
def flags(box):
    equal(box.output("echo fine", linux=profile(rule("mkdir"), flags=["SECCOMP_FILTER_FLAG_LOG"])), "fine")
    box.refuses(linux=profile(rule("mkdir"), flags=["SECCOMP_FILTER_FLAG_NONSENSE"]))
