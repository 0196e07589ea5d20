"""A machine as a function: direct boot on every machine type, the named phases, `coracle.run=`, the network, a small memory."""

from machine import Machine
from report import expect

PHASES = ["mounts", "devices", "state", "root", "config", "network", "units", "ready"]


def run(image, report):
    """One boot for each case."""
    for machine in image.machines:
        with report.case(f"kernel-{machine}"):
            said = function(image, f"kernel-{machine}", "uname -m; exit 7", machine=machine)
            expect(said, *(rf"^coracle: \[{phase}\] [0-9]+ ms$" for phase in PHASES), r"^coracle: ready in [0-9]+ ms$")
            expect(said, r"^(x86_64|aarch64)$", r"^coracle\.run: exit 7$", r"Power down")
    with report.case("small-memory"):
        said = function(image, "small-memory", "free -m; echo small", memory=96, machine=image.machines[-1])
        expect(said, r"^small$", r"^coracle\.run: exit 0$")
    with report.case("dhcp"):
        said = function(image, "dhcp", "ip addr show dev eth0; ip route; cat /etc/resolv.conf", ports=[])
        expect(said, r"inet 10\.0\.2\.15/24", r"^default via 10\.0\.2\.2", r"^nameserver 10\.0\.2\.3$")
    with report.case("ip-argument"):
        address = "ip=10.0.2.77::10.0.2.2:255.255.255.0:named:eth0:off:10.0.2.3 "
        ask = "ip addr show dev eth0; ip route; hostname; cat /etc/resolv.conf"
        said = function(image, "ip-argument", ask, append=address, ports=[])
        expect(said, r"inet 10\.0\.2\.77/24", r"^default via 10\.0\.2\.2", r"^named$", r"^nameserver 10\.0\.2\.3$")


def function(image, name, command, append="", **options):
    """Run one command in a machine of its own, to its end: what the console said."""
    with Machine(image, name, f'{append}coracle.run="{command}"', **options) as vm:
        vm.wait_end()
        return vm.console.text()
