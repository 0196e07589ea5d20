"""Images on a booted machine and a real registry: there and back again, saved, signed by nobody, measured and pruned."""

import subprocess

from machine import READY, Machine, run_agent
from peers import push, redis_layout, registry
from report import expect_equal

POLICY = "/etc/containers/policy.json"
REJECT = '{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"10.0.2.2:%d/redis":[{"type":"reject"}]}}}'


def run(image, report):
    """One machine, and a registry that it reaches at 10.0.2.2."""
    with report.case("images-image"):
        layout = redis_layout(image.arch)
        with Machine(image, "images", run_agent(), memory=1024, ports=[]) as vm, registry(vm.scratch / "registry") as port:
            push(layout, port)
            vm.wait(READY)
            cases(vm, report, port)


def cases(vm, report, port):
    """In the order in which they need each other."""
    host = f"10.0.2.2:{port}"
    ctr = "ctr pull -q --tls-verify=false"
    with report.case("images-policy-rejects"):
        good(vm, f"cp {POLICY} /tmp/policy && echo '{REJECT % port}' >{POLICY}")
        result = vm.sh(f"{ctr} {host}/redis")
        result.expect(r"Source image rejected: it is rejected by policy")
        expect_equal("exit status", result.status, 1)
        expect_equal("images", vm.sh("ctr images -q").output, "")
        good(vm, f"cp /tmp/policy {POLICY}")
    with report.case("images-pull"):
        expect_equal("name", good(vm, f"{ctr} {host}/redis"), f"{host}/redis:latest\n")
        vm.sh("ctr images --digests").expect(rf"^{host}/redis +latest +sha256:[0-9a-f]{{64}}")
        vm.sh(f"ctr history {host}/redis").expect(r"^IMAGE +CREATED +CREATED BY +SIZE +COMMENT$")
    with report.case("images-push-keeps-the-digest"):
        good(vm, f"ctr tag {host}/redis {host}/copy:1 && ctr push --tls-verify=false {host}/copy:1 >/tmp/push")
        vm.sh("cat /tmp/push").expect(r": Mounted from redis$", r"^1: digest: sha256:[0-9a-f]{64} size: [0-9]+$")
        expect_equal("digest of the copy", remote(port, "copy:1"), remote(port, "redis:latest"))
    with report.case("images-save-and-load"):
        before = good(vm, "ctr images -q --no-trunc | sort -u")
        good(vm, f"ctr save -o /tmp/saved.tar {host}/redis && ctr rmi $(ctr images -q | sort -u) -f")
        expect_equal("images", vm.sh("ctr images -q").output, "")
        vm.sh("ctr load -i /tmp/saved.tar").expect(rf"^Loaded image: {host}/redis:latest$")
        expect_equal("id", good(vm, "ctr images -q --no-trunc"), before)
    with report.case("images-commit-and-push"):
        good(vm, f"ctr run --name writer --network none {host}/redis sh -c 'echo kept >/note; rm -rf /usr/share'")
        good(vm, f"ctr commit -m note writer {host}/own:2 && ctr push -q --tls-verify=false {host}/own:2")
        good(vm, f"ctr rm writer && ctr rmi {host}/own:2 && {ctr} {host}/own:2")
        show = "cat /note; ls /usr/share 2>&1"
        vm.sh(f"ctr run --rm --network none {host}/own:2 sh -c '{show}'").expect(r"^kept$", r"No such file")
    with report.case("images-prune-leaves-nothing"):
        vm.sh("ctr system df").expect(r"^Images +2 +0 ")
        vm.sh("ctr image prune -a -f").expect(r"^Total reclaimed space: [1-9]")
        left = "cd /var/lib/coracle/images && find blobs layers names staging partial -mindepth 1"
        expect_equal("what is left in the store", vm.sh(left).output, "")


def good(vm, script):
    """It must succeed: what it printed."""
    result = vm.sh(script)
    expect_equal(f"exit status of {script}\n{result.output}", result.status, 0)
    return result.output


def remote(port, name):
    """The digest that the registry has under a name."""
    command = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://127.0.0.1:{port}/{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
