"""A virtual machine: QEMU with the image, its console, and a channel on which it runs scripts.

QEMU emulates (TCG): the suite must not depend on hardware virtualisation, nor on how long anything takes.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from console import Console
from report import Failed, expect

HERE = Path(__file__).resolve().parent
READY = r"^coracle: ready in [0-9]+ ms"
# At the start of a line: the editor draws the one that is typed again and again.
PROMPT = r"^(?:\^C)?root@[a-z0-9-]+:[^ \n]*[#$] $"

# For each architecture: QEMU, the serial console, machine types (the first for most cases), firmware (code and variables).
ARCHES = {
    "x86_64": (
        "qemu-system-x86_64",
        "ttyS0",
        ["q35", "microvm"],
        [
            ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ],
    ),
    "arm64": (
        "qemu-system-aarch64",
        "ttyAMA0",
        ["virt"],
        [("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd")],
    ),
}
MACHINES = {
    "q35": ["-M", "q35", "-cpu", "max"],
    "microvm": ["-M", "microvm,rtc=on", "-cpu", "max", "-no-user-config"],
    "virt": ["-M", "virt", "-cpu", "max,pauth-impdef=on"],
}
# On a busy host QEMU's timers are so uneven that the kernel sometimes takes them for broken, or hangs in calibrating its clock.
MACHINE_APPEND = {"q35": "no_timer_check ", "microvm": "no_timer_check tsc_early_khz=2000000 "}
# Processes that must not outlive the suite.
CHILDREN = set()


def end_children(*_):
    """On SIGTERM: end what was started, then this."""
    for child in CHILDREN.copy():
        os.kill(child, signal.SIGKILL)
    os._exit(128 + signal.SIGTERM)


class Result:
    """What a script printed, and its exit status."""

    def __init__(self, output, status):
        self.output, self.status = output, status

    def expect(self, *patterns):
        """Every regular expression matches some line of the output."""
        expect(self.output, *patterns)

    def check(self):
        """The script succeeded: its output."""
        if self.status != 0:
            raise Failed(f"status {self.status}:\n{self.output}")
        return self.output


class Image:
    """The built image of one architecture, and where logs and disks go."""

    def __init__(self, arch, out, logs):
        self.arch, self.out, self.logs = arch, out, logs
        self.qemu, self.console, self.machines, self.firmware = ARCHES[arch]
        logs.mkdir(parents=True, exist_ok=True)

    def disk(self, name, size):
        """A new disk of this size with the image on it."""
        path = self.logs / f"{name}.qcow2"
        path.unlink(missing_ok=True)
        base = (self.out / "coracle.qcow2").resolve()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path, size], check=True)
        return path


class Machine:
    """A running machine. Use it in a `with`: at its end QEMU is ended, whatever has happened.

    append     kernel arguments; the kernel and initramfs are booted directly. None: the firmware boots the disk
    disk       path of a qcow2 disk
    ports      ports of the machine to reach from the host, where `ports` has their numbers. Not None: there is a network card
    reboots    stay when the machine reboots; otherwise QEMU ends
    """

    def __init__(self, image, name, append=None, *, machine=None, memory=256, disk=None, ports=None, reboots=False):
        self.image, self.name = image, name
        self.scratch = Path(tempfile.mkdtemp(prefix="coracle-vm-"))
        self.share = self.scratch / "share"
        self.share.mkdir()
        shutil.copy(HERE / "agent.sh", self.share)
        self.ports = {port: free_port() for port in ports or []}
        self.scripts = 0
        self.agent = None
        command = self._command(append, machine or image.machines[0], memory, disk, ports is not None, reboots)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        CHILDREN.add(self.process.pid)
        self.console = Console(self.process.stdout.fileno(), self.process.stdin.fileno(), image.logs / f"{name}.log")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        CHILDREN.discard(self.process.pid)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _command(self, append, machine, memory, disk, network, reboots):
        command = [self.image.qemu, *MACHINES[machine], "-m", str(memory), "-nodefaults", "-display", "none", "-serial", "stdio"]
        if machine != "microvm":
            command += ["-monitor", f"unix:{self.scratch}/monitor,server=on,wait=off"]
            command += ["-fsdev", f"local,id=share,path={self.share},security_model=none"]
            command += ["-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]
            command += ["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent"]
            command += ["-chardev", f"socket,id=agent,path={self.scratch}/agent,server=on,wait=off"]
        if not reboots:
            command += ["-no-reboot"]
        if append is None:
            command += self._firmware()
        else:
            line = f"console={self.image.console} {MACHINE_APPEND.get(machine, '')}{append}"
            command += ["-kernel", str(self.image.out / "vmlinuz"), "-append", line]
            command += ["-initrd", str(self.image.out / "initramfs.cpio.zst")]
        if disk:
            command += ["-drive", f"if=none,id=disk,format=qcow2,file={disk}", "-device", "virtio-blk-pci,drive=disk,bootindex=1"]
        if network:
            forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in self.ports.items())
            command += ["-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="]
        return command

    def _firmware(self):
        for code, variables in self.image.firmware:
            if Path(code).exists():
                own = self.scratch / "variables"
                shutil.copy(variables, own)
                return ["-drive", f"if=pflash,format=raw,readonly=on,file={code}", "-drive", f"if=pflash,format=raw,file={own}"]
        raise Failed(f"no firmware: none of {[code for code, _ in self.image.firmware]}")

    def wait(self, pattern, timeout=300):
        """Wait until the console says this. A machine that does not is ended, so that later cases need not wait as long."""
        try:
            return self.console.wait(pattern, timeout)
        except Failed:
            self.process.kill()
            raise

    def command(self, keys, enter="\n"):
        """Type a command at the console's prompt, and wait for the next one: what was on the screen."""
        start = self.console.seen
        self.console.type(keys + enter)
        end = self.wait(PROMPT).start()
        return self.console.text()[start:end]

    def log_in(self):
        """Wait until the machine is ready and its console has a prompt."""
        self.wait(READY)
        self.wait(PROMPT)

    def start_agent(self):
        """At the console's prompt: mount the share and start what `sh` talks to."""
        self.command("mkdir -p /mnt/share && mount -t 9p -o trans=virtio,version=9p2000.L share /mnt/share")
        self.command("sh /mnt/share/agent.sh &")
        self._connect()

    def _connect(self):
        if self.agent:
            self.agent.close()
        self.agent = socket.socket(socket.AF_UNIX)
        self.agent.connect(str(self.scratch / "agent"))

    def sh(self, script, timeout=300):
        """Run a script by the machine's `sh`: its output and status. The limit is for a hang; no case is about time."""
        name = self._send(script)
        self.agent.settimeout(timeout)
        answer = b""
        try:
            while not answer.endswith(b"\n"):
                data = self.agent.recv(64)
                if not data:
                    raise Failed(f"the machine is gone; its console's end:\n{self.console.tail()}")
                answer += data
        except TimeoutError:
            self.process.kill()
            raise Failed(f"no answer within {timeout} s to:\n{script}\nthe console's end:\n{self.console.tail()}") from None
        output = (self.share / f"{name}.out").read_text(errors="replace")
        return Result(output, int(answer.split()[1]))

    def until(self, script, *patterns, timeout=120):
        """Run a script again and again, until every regular expression matches some line of its output."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.sh(script).expect(*patterns)
            except Failed:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def end_by(self, command):
        """Run a command that ends the machine, and wait until QEMU has ended by itself."""
        self._send(command)
        self.wait_end()

    def _send(self, script):
        self.scripts += 1
        name = f"script-{self.scripts}"
        (self.share / name).write_text(script)
        if self.agent is None:
            self._connect()
        self.agent.sendall(f"{name}\n".encode())
        return name

    def monitor(self, command):
        """A command of QEMU's monitor, until it has been carried out: what hangs up too early is not listened to."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(60)
            monitor.connect(str(self.scratch / "monitor"))
            read_until(monitor, b"(qemu) ")
            monitor.sendall(f"{command}\n".encode())
            read_until(monitor, b"(qemu) ")

    def wait_end(self, timeout=300):
        """Wait until QEMU has ended by itself."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"the machine still runs after {timeout} s; its console's end:\n{self.console.tail()}") from None
        if status != 0:
            raise Failed(f"QEMU ended with status {status}:\n{self.console.tail()}")


def read_until(connection, end):
    """Read from a socket until it has sent this, or hangs up."""
    said = b""
    while not said.endswith(end) and (data := connection.recv(4096)):
        said += data


def run_agent():
    """Kernel arguments that start the agent instead of a console shell."""
    return 'coracle.mount=share:/mnt/share coracle.run="sh /mnt/share/agent.sh"'


def free_port():
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
