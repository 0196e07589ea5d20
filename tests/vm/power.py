"""Every way to end a machine."""

import contextlib

from machine import Machine
from report import Failed


def run(image, report):
    """One machine for each way."""
    for command, goal, end in [
        ("reboot", "reboot", "Restarting system|reboot: Restarting"),
        ("shutdown -r now", "reboot", "Restarting system"),
        ("shutdown now", "power off", "Power down"),
        ("poweroff -f", None, "Power down"),
    ]:
        name = command.replace(" ", "-")
        with report.case(name), booted(image, name) as vm:
            vm.console.type(f"{command}\n")
            if goal:
                vm.wait(rf"^coracle: going down: {goal}$")
            vm.wait(end)
            vm.wait_end()
    with report.case("power-button"), booted(image, "power-button") as vm:
        vm.monitor("system_powerdown")
        vm.wait(r"coracle: going down: power off$")
        vm.wait_end()
    with report.case("halt"), booted(image, "halt") as vm:
        vm.console.type("halt\n")
        vm.wait("System halted")
        if vm.process.poll() is not None:
            raise Failed("QEMU has ended, but a halted machine keeps its power")


@contextlib.contextmanager
def booted(image, name):
    """A machine with a prompt."""
    with Machine(image, name, "ip=off") as vm:
        vm.log_in()
        yield vm
