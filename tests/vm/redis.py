"""A real program from a real registry: pulled, limited, published, starved, and none the worse for its neighbours."""

import time

from machine import READY, Machine, run_agent
from peers import ask_redis, push, redis_layout, registry
from report import Failed, expect_equal

IN_CGROUP_OF = "enter() { cd /sys/fs/cgroup/coracle/containers/$(ctr inspect $1 | grep -m1 '\"Id\"' | cut -d'\"' -f4); }; enter"
RUN = "ctr run -d --name cache --memory 64m --cpus 0.5 --pids-limit 64 -p 6379:6379"
# Anonymous memory, filled: its process is killed when it is too much, and gives it all back.
HOG = "dd if=/dev/zero of=/dev/null bs=100M count=1"


def run(image, report):
    """One machine, and a registry that it reaches at 10.0.2.2."""
    with report.case("redis-image"):
        layout = redis_layout(image.arch)
        with Machine(image, "redis", run_agent(), memory=768, ports=[6379]) as vm, registry(vm.scratch / "registry") as port:
            push(layout, port)
            vm.wait(READY)
            cases(vm, report, f"10.0.2.2:{port}/redis")


def cases(vm, report, name):
    """What the acceptance list asks of it, in its order."""
    with report.case("redis-pull"):
        result = vm.sh(f"ctr pull --tls-verify=false {name} && ctr images")
        result.expect(r"10\.0\.2\.2:[0-9]+/redis")
        expect_equal("exit status", result.status, 0)
    with report.case("redis-answers-the-host"):
        expect_equal("exit status", vm.sh(f"{RUN} {name}").status, 0)
        expect_equal("answer", until_answer(vm.ports[6379]), "+PONG")
    with report.case("redis-limits"):
        limits = vm.sh(f"{IN_CGROUP_OF} cache && cat memory.max cpu.max pids.max").output
        expect_equal("memory.max, cpu.max, pids.max", limits, "67108864\n50000 100000\n64\n")
    with report.case("redis-survives-a-hog"):
        # What only redis knows: that it is the same process as before.
        expect_equal("answer", ask_redis(vm.ports[6379], "SET before hog"), "+OK")
        result = vm.sh(f"ctr exec cache {HOG}")
        expect_equal("the hog's exit status", result.status, 137)
        expect_equal("answer", ask_redis(vm.ports[6379], "PING"), "+PONG")
        expect_equal("answer", ask_redis(vm.ports[6379], "EXISTS before"), ":1")
        vm.sh("ctr ps").expect(r" Up .* cache$")
    with report.case("redis-hog-is-reported"):
        expect_equal("exit status", vm.sh(f"ctr run --name hog --memory 32m --network none {name} {HOG}").status, 137)
        vm.sh("ctr ps -a").expect(r"Exited \(137, OOMKilled\).* hog$", r" Up .* cache$")
        vm.sh("ctr inspect hog").expect(r'"OOMKilled": true', r'"ExitCode": 137')
        expect_equal("answer", ask_redis(vm.ports[6379], "PING"), "+PONG")
    with report.case("redis-fork-bomb"):
        fork_bomb(vm, name)
    with report.case("redis-read-only"):
        result = vm.sh(f"ctr run --rm --read-only --network none {name} sh -c 'id -u; echo x >/file; echo status=$?'")
        result.expect(r"^0$", r"/file: Read-only file system", r"^status=1$")
    with report.case("redis-stops"):
        vm.sh("ctr stop cache && ctr ps -a").expect(r"Exited \(0, OOMKilled\).* cache$")
        vm.sh("ctr logs cache").expect(r"Received SIGTERM scheduling shutdown")
        expect_equal("what rm leaves", vm.sh("ctr rm cache hog >/dev/null; ctr ps -aq").output, "")


def fork_bomb(vm, name):
    """It fills its own limit, and nothing else."""
    program = "bomb() { bomb | bomb & }; bomb; while :; do :; done"
    vm.sh(f"ctr run -d --name bomb --pids-limit 50 --memory 64m --network none {name} sh -c '{program}'")
    counters = f"{IN_CGROUP_OF} bomb && cat pids.peak pids.events"
    deadline = time.monotonic() + 120
    while not int((result := vm.sh(counters)).output.split()[2]):
        if time.monotonic() > deadline:
            raise Failed(f"the bomb never reached its limit: {result.output}")
    expect_equal("pids.peak", result.output.split()[0], "50")
    expect_equal("redis' answer", ask_redis(vm.ports[6379], "PING"), "+PONG")
    expect_equal("exit status", vm.sh("ctr kill bomb && ctr wait bomb && ctr rm bomb").status, 0)
    if "bomb() {" in (processes := vm.sh("ps").output):
        raise Failed(f"some of the bomb is left:\n{processes}")


def until_answer(port):
    """The answer to PING, once redis has started; QEMU takes the connection before the machine does, so it may be empty."""
    deadline = time.monotonic() + 120
    while True:
        try:
            answer = ask_redis(port, "PING")
        except OSError as why:
            answer = f"({why})"
        if answer.startswith("+") or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)
