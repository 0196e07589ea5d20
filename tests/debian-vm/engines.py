"""Debian's engines with our runtime: podman, containerd's ctr, buildah."""

from pathlib import Path

from report import expect_equal

HERE = Path(__file__).resolve().parent
OURS = "/usr/local/bin/coracle-runc"
PODMAN = f"podman --runtime {OURS}"
# A container that nothing but what is asked for is done with.
RUN = f"{PODMAN} run --rm --network none"
CTR = f"ctr run --runc-binary {OURS} --rm"
IMAGE = "localhost/busybox:latest"


class Engines:
    """The machine, and what one does with engines in it."""

    def __init__(self, machine, report):
        self.machine, self.report = machine, report
        (machine.share / "terminal.py").write_bytes((HERE / "terminal.py").read_bytes())

    def case(self, name):
        """One case."""
        return self.report.case(name)

    def says(self, script, want):
        """The script succeeds and prints this, from standard output and error."""
        expect_equal(script, self.machine.sh(script).check().strip(), want)

    def ends(self, script, status, *patterns):
        """The script ends with this status and prints lines like these."""
        result = self.machine.sh(script)
        expect_equal(f"status of {script} ({result.output.strip()[-300:]})", result.status, status)
        result.expect(*patterns)


def run(machine, report):
    """All engines, one after the other."""
    engines = Engines(machine, report)
    with report.case("podman-import"):
        machine.sh(f"tar -C /rootfs -c . | podman import -q - {IMAGE}").check()
    podman_runs(engines)
    podman_lives(engines)
    podman_pods(engines)
    podman_rootless(engines)
    buildah(engines)
    containerd(engines)


def podman_runs(engines):
    """What one `podman run` can ask for."""
    says, ends, case = engines.says, engines.ends, engines.case
    with case("podman-run"):
        says(f"{RUN} {IMAGE} echo hello", "hello")
    with case("podman-run-status"):
        ends(f"{RUN} {IMAGE} sh -c 'exit 7'", 7)
        ends(f"{RUN} {IMAGE} not-there", 127)
        ends(f"{RUN} {IMAGE} /etc/passwd", 126)
    with case("podman-run-stdin"):
        says(f"echo text | {RUN} -i {IMAGE} cat", "text")
    with case("podman-run-terminal"):
        ends(f"python3 /mnt/share/terminal.py 'tty; exit 5' {RUN} -it {IMAGE} sh", 5, r"^/dev/(pts/0|console)")
    with case("podman-run-limits"):
        options = "--memory 64m --pids-limit 20 --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --memory-reservation 32m"
        files = "memory.max pids.max cpu.max cpuset.cpus memory.low"
        says(
            f"{RUN} {options} {IMAGE} sh -c 'cd /sys/fs/cgroup; cat {files}'",
            "67108864\n20\n50000 100000\n0\n33554432",
        )
    with case("podman-run-user"):
        says(f"{RUN} --user 1000:2000 {IMAGE} sh -c 'id -u; id -g'", "1000\n2000")
    with case("podman-run-userns"):
        says(f"{RUN} --uidmap 0:100000:65536 --gidmap 0:100000:65536 {IMAGE} sh -c 'id -u; cat /proc/self/uid_map' | tr -s ' '", "0\n 0 100000 65536")
    with case("podman-run-volumes"):
        script = "mkdir -p /tmp/v; echo x >/tmp/v/f; "
        says(f"{script}{RUN} -v /tmp/v:/v -v /tmp/v:/ro:ro --tmpfs /t {IMAGE} sh -c 'cat /v/f; touch /v/new /t/new; touch /ro/x || echo ro' 2>/dev/null", "x\nro")
    with case("podman-run-readonly"):
        says(f"{RUN} --read-only {IMAGE} sh -c 'touch /x 2>/dev/null || echo refused; touch /tmp/x && echo tmp'", "refused\ntmp")
    with case("podman-run-capabilities"):
        says(f"{RUN} --cap-drop all --cap-add kill {IMAGE} grep CapEff /proc/self/status | cut -f2", f"{1 << 5:016x}")
    with case("podman-run-privileged"):
        says(f"{RUN} --privileged {IMAGE} sh -c 'mkdir /m && mount -t tmpfs x /m && echo mounted'", "mounted")
    with case("podman-run-seccomp"):
        says(f"{RUN} {IMAGE} grep ^Seccomp: /proc/self/status | cut -f2", "2")
    with case("podman-run-device"):
        says(f"{RUN} --device /dev/vda:/dev/disk:r {IMAGE} sh -c 'head -c 4 /dev/disk | wc -c; : >>/dev/disk' 2>/dev/null; true", "4")
    with case("podman-run-others"):
        says(f"{RUN} --ulimit nofile=50:60 --sysctl net.ipv4.ip_forward=1 --hostname h {IMAGE} sh -c 'ulimit -n; cat /proc/sys/net/ipv4/ip_forward; hostname'", "50\n1\nh")
    with case("podman-run-host-namespaces"):
        says(f"{PODMAN} run --rm --network host --pid host --ipc host --uts host {IMAGE} sh -c 'hostname; cat /proc/2/comm'", "debian\nkthreadd")
    with case("podman-run-network"):
        engines.machine.sh(f"{PODMAN} run --rm {IMAGE} ip addr show eth0").expect(r"inet 10\.88\.")


def podman_lives(engines):
    """A container in the background."""
    says, ends, case, sh = engines.says, engines.ends, engines.case, engines.machine.sh
    with case("podman-run-detached"):
        sh(f"{PODMAN} run -d --name one --network none {IMAGE} sh -c 'trap \"exit 9\" TERM; echo started; while :; do sleep 0.1; done'").check()
        says("sleep 1; podman logs one", "started")
        says("podman inspect -f '{{.State.Status}} {{.OCIRuntime}}' one", f"running {OURS}")
    with case("podman-exec"):
        says(f"{PODMAN} exec one hostname | wc -c", "13")
        says(f"{PODMAN} exec -u 1000 -w /etc -e A=b one sh -c 'id -u; pwd; echo $A'", "1000\n/etc\nb")
        ends(f"{PODMAN} exec one sh -c 'exit 8'", 8)
        ends(f"{PODMAN} exec one not-there", 127)
        says(f"echo in | {PODMAN} exec -i one cat", "in")
    with case("podman-exec-terminal"):
        ends(f"python3 /mnt/share/terminal.py 'tty; exit 6' {PODMAN} exec -it one sh", 6, r"^/dev/pts/")
    with case("podman-exec-detached"):
        says(f"{PODMAN} exec -d one touch /detached >/dev/null; sleep 2; {PODMAN} exec one ls /detached", "/detached")
    with case("podman-top"):
        sh(f"{PODMAN} top one pid args").check()
    with case("podman-pause"):
        says(f"{PODMAN} pause one; podman inspect -f '{{{{.State.Status}}}}' one; {PODMAN} unpause one; podman inspect -f '{{{{.State.Status}}}}' one", "one\npaused\none\nrunning")
    with case("podman-update"):
        sh(f"{PODMAN} update --memory 100m --pids-limit 33 one").check()
        says(f"{PODMAN} exec one cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max", "104857600\n33")
    with case("podman-stats"):
        sh("podman stats --no-stream one").expect(r"\bone\b")
    with case("podman-stop"):
        says(f"{PODMAN} stop one; podman inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' one", "one\nexited 9")
    with case("podman-start-again"):
        says(f"{PODMAN} start one; sleep 1; podman logs one", "one\nstarted\nstarted")
    with case("podman-kill-wait"):
        says(f"{PODMAN} kill -s KILL one; podman wait one", "one\n137")
    with case("podman-rm"):
        says(f"{PODMAN} rm one; {PODMAN} run -d --name two --network none {IMAGE} sleep 1000 >/dev/null; {PODMAN} rm -f -t 0 two; podman ps -aq", "one\ntwo")
    with case("podman-leaves-nothing"):
        says("find /sys/fs/cgroup -path '*libpod*' -type d | grep -vE 'libpod_parent(/conmon)?$'; ls /run/coracle-runc /run/runc 2>/dev/null | grep -v '^/run'; ps ax | grep -c '[c]onmon'; true", "0")


def podman_pods(engines):
    """Containers that share namespaces."""
    case, sh, says = engines.case, engines.machine.sh, engines.says
    with case("podman-pod"):
        sh(f"{PODMAN} pod create --name pod --network none --infra-image {IMAGE} --infra-command 'sleep 1000'").check()
        sh(f"{PODMAN} run -d --pod pod --name a {IMAGE} sleep 1000; {PODMAN} run -d --pod pod --name b {IMAGE} sleep 1000").check()
        script = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done"
        got = sh(f"for c in a b; do {PODMAN} exec $c sh -c '{script}'; done").check().split()
        expect_equal("shared namespaces", got[0:3], got[4:7])
        expect_equal("own PID namespaces", got[3] != got[7], True)
    with case("podman-pod-pause"):
        sh(f"{PODMAN} pod pause pod && {PODMAN} pod unpause pod").check()
    with case("podman-pod-stop-rm"):
        sh(f"{PODMAN} pod stop -t 0 pod && {PODMAN} pod rm pod").check()
        says("podman ps -aq; podman pod ps -q", "")


def podman_rootless(engines):
    """podman of an ordinary user, who has the ids of /etc/subuid and no cgroup."""
    case, sh = engines.case, engines.machine.sh
    user = "/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups env HOME=/home/user USER=user XDG_RUNTIME_DIR=/run/user/1000"
    run = f"{PODMAN} run --rm --network none"

    def says(script, want, status=0):
        (engines.machine.share / "rootless.sh").write_text(f"cd\n{script}\n")
        engines.says(f"{user} sh /mnt/share/rootless.sh; [ $? = {status} ]", want)

    with case("rootless-import"):
        store = "/home/user/.local/share/containers"
        sh(f"mkdir -p /run/user/1000 {store}; mount -t tmpfs tmpfs {store}; chown -R user:user /run/user/1000 /home/user").check()
        says(f"tar -C /rootfs -c . | podman import -q - {IMAGE} >/dev/null", "")
    with case("rootless-run"):
        says(f"{run} {IMAGE} sh -c 'id -u; touch /new && head -c 2 /dev/zero | wc -c'", "0\n2")
        says(f"{run} {IMAGE} sh -c 'exit 7'", "", status=7)
    with case("rootless-user"):
        says(f"{run} --user 33:44 {IMAGE} sh -c 'id -u; id -g'", "33\n44")
    with case("rootless-privileged"):
        says(f"{run} --privileged {IMAGE} sh -c 'ls /dev/null && mount -t tmpfs x /tmp && echo mounted'", "/dev/null\nmounted")
    with case("rootless-keep-id"):
        says(f"{run} --userns keep-id {IMAGE} sh -c 'id -u; cat /proc/self/uid_map | tr -s \" \"'", "1000\n 0 1 1000\n 1000 0 1\n 1001 1001 64536")
    with case("rootless-volume"):
        says(f"mkdir -p v; {run} -v ./v:/v {IMAGE} touch /v/new; stat -c %u v/new", "1000")
    with case("rootless-lives"):
        loop = 'trap "exit 9" TERM; echo started; while :; do sleep 0.1; done'
        says(f"{PODMAN} run -d --name mine --network none {IMAGE} sh -c '{loop}' >/dev/null; sleep 1; podman logs mine", "started")
        says(f"{PODMAN} exec mine id -u; {PODMAN} exec -u 1000 mine sh -c 'id -u; exit 8'", "0\n1000", status=8)
        says(f"{PODMAN} stop mine; podman inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' mine", "mine\nexited 9")
        says(f"{PODMAN} start mine; {PODMAN} kill mine; podman wait mine; {PODMAN} rm mine; podman ps -aq", "mine\nmine\n137\nmine")


def buildah(engines):
    """buildah calls the runtime itself, without conmon."""
    case, sh, says = engines.case, engines.machine.sh, engines.says
    with case("buildah-run"):
        sh(f"buildah from --name work {IMAGE}").check()
        says(f"buildah run --runtime {OURS} --isolation oci --network none work -- sh -c 'echo x >/made; cat /made'", "x")
        engines.ends(f"buildah run --runtime {OURS} --isolation oci --network none work -- sh -c 'exit 3'", 3)
    with case("buildah-build"):
        sh(f"mkdir -p /tmp/b; printf 'FROM {IMAGE}\\nRUN echo built >/file\\nUSER 1000\\nRUN id -u >/tmp/id\\n' >/tmp/b/Containerfile").check()
        sh(f"buildah build --runtime {OURS} --isolation oci --network none -t built /tmp/b").check()
        says(f"{RUN} localhost/built cat /file /tmp/id", "built\n1000")


def containerd(engines):
    """containerd's ctr, through the shim io.containerd.runc.v2."""
    case, sh, says, ends = engines.case, engines.machine.sh, engines.says, engines.ends
    with case("containerd-start"):
        sh("containerd >/tmp/containerd.log 2>&1 & for i in $(seq 100); do ctr version >/dev/null 2>&1 && exit 0; sleep 0.3; done; exit 1").check()
        sh(f"podman save -q -o /tmp/image.tar {IMAGE} && ctr images import /tmp/image.tar").check()
    with case("containerd-run"):
        says(f"{CTR} {IMAGE} c1 echo hello", "hello")
        ends(f"{CTR} {IMAGE} c2 sh -c 'exit 7'", 7)
        ends(f"{CTR} {IMAGE} c3 not-there", 1, r"not-there.*(not found|no such file)")
    with case("containerd-run-terminal"):
        ends(f"python3 /mnt/share/terminal.py 'tty; exit 5' {CTR} -t {IMAGE} c4 sh", 5, r"^/dev/pts/0")
    with case("containerd-run-limits"):
        sh(f"ctr run -d --runc-binary {OURS} --memory-limit 67108864 --cpus 0.5 {IMAGE} c5 sleep 1000").check()
        says("cd /sys/fs/cgroup/default/c5 && cat memory.max cpu.max", "67108864\n50000 100000")
        sh("ctr task rm -f c5; ctr container rm c5").check()
    with case("containerd-detached"):
        sh(f"ctr run -d --runc-binary {OURS} {IMAGE} life sleep 1000").check()
        sh("ctr task ls").expect(r"^life +[0-9]+ +RUNNING")
    with case("containerd-exec"):
        says("ctr task exec --exec-id e1 life hostname | wc -l", "1")
        ends("ctr task exec --exec-id e2 life sh -c 'exit 4'", 4)
        ends("python3 /mnt/share/terminal.py 'tty; exit 6' ctr task exec -t --exec-id e3 life sh", 6, r"^/dev/pts/")
    with case("containerd-ps-metrics"):
        sh("ctr task ps life").expect(r"^[0-9]+")
        sh("ctr task metrics life").expect(r"memory")
    with case("containerd-pause"):
        sh("ctr task pause life; ctr task ls; ctr task resume life; ctr task ls").expect(r"^life.*PAUSED", r"^life.*RUNNING")
    with case("containerd-kill"):
        sh("ctr task kill -s KILL life; for i in $(seq 50); do ctr task ls | grep -q STOPPED && break; sleep 0.2; done; ctr task ls").expect(r"^life.*STOPPED")
        sh("ctr task rm life; ctr container rm life").check()
        says("ctr container ls -q; find /sys/fs/cgroup/default -mindepth 1 -type d 2>/dev/null", "")
