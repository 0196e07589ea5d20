"""What a person at the serial line sees: a prompt, answers, editing, and the end."""

from machine import Machine
from report import expect


def run(image, report):
    """One machine; the last case ends it."""
    with Machine(image, "terminal", "ip=off") as vm:
        with report.case("terminal-prompt"):
            vm.log_in()
        with report.case("terminal-answers"):
            expect(vm.command("echo $((6*7))"), r"^42$")
            expect(vm.command("id -u; tty; echo $TERM"), r"^0$", rf"^/dev/{image.console}$", r"^vt220$")
        with report.case("terminal-edits"):
            # Backspace; cursor to the left; to the beginning of the line; the line before once more.
            expect(vm.command("echo onr\x7fe"), r"^one$")
            expect(vm.command("echo to\x1b[Dw"), r"^two$")
            expect(vm.command("three\x01echo "), r"^three$")
            expect(vm.command("\x1b[A"), r"^three$")
        with report.case("terminal-interrupts"):
            vm.console.type("sh -c 'echo started; exec sleep 1000'\n")
            vm.wait(r"^started$")
            vm.command("\x03", enter="")
            expect(vm.command("echo status=$?"), r"^status=130$")
        with report.case("terminal-new-shell"):
            vm.command("exit")
            expect(vm.command("echo again $((6*7))"), r"^again 42$")
        with report.case("terminal-poweroff"):
            vm.console.type("poweroff\n")
            vm.wait(r"coracle: power off$")
            vm.wait_end()
