"""What cases are written with: a bundle per container, the runtime's commands, and expectations.

A case gets a `Box`: one runtime, a folder of its own, and whatever it has started, which is removed at the case's end.
"""

import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

CGROUP = Path(os.environ.get("CGROUP", "/sys/fs/cgroup"))
# A root with a static busybox and its links in /bin: the lower layer of each container's root.
ROOTFS = os.environ.get("ROOTFS", "/rootfs")
PATH = "PATH=/bin"
NAMESPACES = ["mount", "pid", "uts", "ipc", "network", "cgroup"]
# Of a command: for a hang only; no case is about time.
TIMEOUT = 120

MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
]
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD"]
CAPABILITIES += ["CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT", "CAP_SETPCAP", "CAP_FSETID", "CAP_NET_RAW"]


class Failed(Exception):
    """What was looked at is not as it must be."""


def specification(command, group):
    """A plain config.json. `command` is a script of sh, or a list of arguments."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", command] if isinstance(command, str) else command,
            "env": [PATH],
            "cwd": "/",
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": copy.deepcopy(MOUNTS),
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "cgroupsPath": group,
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


def merge(into, changes):
    """Merge objects deeply; anything else is replaced, and None removes."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value


class Done:
    """What a command has printed, and its status: negative for a signal."""

    def __init__(self, what, status, out, err):
        self.what, self.status, self.out, self.err = what, status, out, err

    def ok(self):
        """It succeeded: what it printed."""
        if self.status != 0:
            raise Failed(f"{self.what}: status {self.status}: {self.err.strip()[-600:]}")
        return self.out

    def json(self):
        """It succeeded and printed JSON."""
        try:
            return json.loads(self.ok())
        except ValueError as why:
            raise Failed(f"{self.what} printed no JSON ({why}): {self.out[:200]!r}") from None

    def refused(self, *words):
        """It failed by an error message, not by a signal. Every word occurs in it, whatever its case."""
        if self.status == 0:
            raise Failed(f"{self.what}: succeeded, and must be refused")
        if self.status < 0 or "panicked" in self.err:
            raise Failed(f"{self.what}: died (status {self.status}): {self.err[-600:]}")
        if not self.err.strip():
            raise Failed(f"{self.what}: status {self.status} without a message")
        for word in words:
            expect(word.lower() in self.err.lower(), f"{self.what}: the message does not name {word!r}: {self.err.strip()[-300:]}")


def expect(holds, otherwise):
    """A condition, and what is the matter if it does not hold."""
    if not holds:
        raise Failed(otherwise)


def equal(got, want, what="value"):
    """A value is what it must be."""
    if got != want:
        raise Failed(f"{what} is {got!r}, not {want!r}")


def until(condition, what, seconds=60):
    """Wait until a condition gives something true: that."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)
    return value


def read(path):
    """A file's text without the last newline."""
    return Path(path).read_text().rstrip("\n")


class Container:
    """A bundle, and the runtime's commands on the container that is made of it."""

    def __init__(self, box, name, command, changes):
        self.box, self.id = box, name
        self.bundle = box.scratch / name
        self.rootfs = self.bundle / "rootfs"
        self.group = f"/conformance/{name}"
        self.cgroup = CGROUP / "conformance" / name
        self.out_path, self.err_path = self.bundle / "out", self.bundle / "err"
        self.spec = specification(command, self.group)
        self.spec["mounts"] += changes.pop("mounts", [])
        merge(self.spec, changes)
        for part in ("upper", "work", "rootfs"):
            (self.bundle / part).mkdir(parents=True)
        layers = f"lowerdir={ROOTFS},upperdir={self.bundle}/upper,workdir={self.bundle}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", self.rootfs], check=True)
        self.write()

    def write(self):
        """Write config.json anew, after a change of `spec`."""
        (self.bundle / "config.json").write_text(json.dumps(self.spec, indent=1))

    def make(self, path, text="", mode=0o644):
        """A file in the container's root; a path that ends in / is a folder."""
        full = self.rootfs / path.lstrip("/")
        if path.endswith("/"):
            full.mkdir(parents=True, exist_ok=True)
        else:
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_text(text)
            full.chmod(mode)
        return full

    def _start(self, command, *options, **more):
        """A command whose streams the container inherits: they are files, which nobody waits for."""
        with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err:
            before = err.tell()
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
            arguments = [*self.box.command, command, *options, self.id]
            try:
                status = subprocess.run(arguments, **(streams | more), timeout=TIMEOUT, check=False).returncode
            except subprocess.TimeoutExpired:
                raise Failed(f"{command} hangs") from None
            return Done(command, status, self.out, self.err_path.read_bytes()[before:].decode(errors="replace"))

    @property
    def out(self):
        """What the container has printed so far."""
        return self.out_path.read_text(errors="replace") if self.out_path.exists() else ""

    def create(self, *options, **more):
        """`create`."""
        return self._start("create", "--bundle", str(self.bundle), *options, **more)

    def run(self, *options, **more):
        """`run`: until the container has ended, or with -d until it runs."""
        return self._start("run", "--bundle", str(self.bundle), *options, **more)

    def running(self, *options):
        """Run it in the background: this."""
        self.run("-d", *options).ok()
        return self

    def created(self, *options):
        """Create it: this."""
        self.create(*options).ok()
        return self

    def call(self, command, *arguments, options=(), stdin=None):
        """A command about this container: COMMAND OPTIONS ID ARGUMENTS."""
        return self.box.call(command, *options, self.id, *arguments, stdin=stdin)

    def start(self):
        """`start`."""
        return self.call("start")

    def kill(self, *arguments):
        """`kill`."""
        return self.call("kill", *arguments)

    def delete(self, *options):
        """`delete`."""
        return self.call("delete", options=options)

    def exec(self, command, *options):
        """`exec`: a script of sh, or a list of arguments."""
        return self.box.call("exec", *options, self.id, *(["sh", "-c", command] if isinstance(command, str) else command))

    def state(self):
        """What `state` prints."""
        return self.call("state").json()

    @property
    def pid(self):
        """The container's first process, in the host's numbers."""
        return self.state()["pid"]

    def status(self):
        """The `status` of its state."""
        return self.state()["status"]

    def wait(self, status):
        """Wait until it has this status. For the end we look at the process, as asking the runtime again and again is dear."""
        if status == "stopped" and (pid := self.state().get("pid")):
            until(lambda: not alive(pid), f"the end of process {pid}")
        until(lambda: self.status() == status, f"status {status}; it is {self.status()}")

    def printed(self, text):
        """Wait until the container has printed this."""
        until(lambda: text in self.out, f"{text!r} in the container's output {self.out!r}")

    def finish(self):
        """Remove whatever there is."""
        self.delete("--force")
        subprocess.run(["umount", "-l", self.rootfs], stderr=subprocess.DEVNULL, check=False)


class Box:
    """What one case has on one runtime."""

    def __init__(self, label, runtime):
        self.label, self.runtime = label, runtime
        self.scratch = Path(tempfile.mkdtemp(prefix="conformance-", dir=os.environ.get("SCRATCH", "/tmp")))
        self.scratch.chmod(0o755)
        self.root = self.scratch / "root"
        self.command = [runtime, "--root", str(self.root)]
        self.containers, self.processes = [], []

    def container(self, command="sleep 1000", /, **changes):
        """A container that has not been created: its command, and what differs from the plain config.json."""
        name = f"{self.scratch.name}-{len(self.containers)}"
        made = Container(self, name, command, changes)
        self.containers.append(made)
        return made

    def output(self, command, /, **changes):
        """What a container prints that runs this and succeeds."""
        return self.container(command, **changes).run().ok().rstrip("\n")

    def refuses(self, *words, **changes):
        """A container with these changes is not created, by an error that has these words; and nothing is left of it."""
        container = self.container("true", **changes)
        container.create().refused(*words)
        container.call("state").refused()
        if self.label != "crun":  # It leaves that.
            until(lambda: not container.cgroup.exists(), "the end of the cgroup of a container that was refused", 5)

    def call(self, *arguments, stdin=None, timeout=TIMEOUT):
        """The runtime with these arguments."""
        what = " ".join(str(argument) for argument in arguments)[:120]
        # Files, not pipes: a process that is left behind, or frozen, must not keep us waiting for a pipe's end.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write((stdin or "").encode())
            given.seek(0)
            streams = {"stdin": subprocess.DEVNULL if stdin is None else given, "stdout": out, "stderr": err}
            try:
                status = subprocess.run([*self.command, *arguments], **streams, timeout=timeout, check=False).returncode
            except subprocess.TimeoutExpired:
                raise Failed(f"{what}: hangs") from None
            out.seek(0), err.seek(0)
            return Done(what, status, out.read().decode(errors="replace"), err.read().decode(errors="replace"))

    def spawn(self, *arguments, **more):
        """A process of the host's that lives until the case's end."""
        process = subprocess.Popen(arguments, **more)
        self.processes.append(process)
        return process

    def finish(self):
        """Remove whatever the case has made."""
        for container in reversed(self.containers):
            container.finish()
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)


class ConsoleSocket:
    """What `--console-socket` names: the descriptor of a terminal arrives there."""

    def __init__(self, box):
        self.path = str(box.scratch / "console.sock")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(1)
        self.socket.settimeout(TIMEOUT)
        self.terminal, self.text = None, ""

    def receive(self):
        """Wait for the descriptor, and read from it from then on."""
        connection, _ = self.socket.accept()
        connection.settimeout(TIMEOUT)
        _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        expect(len(descriptors) == 1, f"{len(descriptors)} descriptors arrived at the console socket")
        self.terminal = descriptors[0]
        threading.Thread(target=self._read, daemon=True).start()
        return self.terminal

    def _read(self):
        while True:
            try:
                data = os.read(self.terminal, 4096)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace")

    def wait(self, text):
        """Wait until this was printed."""
        until(lambda: text in self.text, f"{text!r} on the terminal, which has {self.text!r}")


CASES = {}


def case(description, **known):
    """Declare a case. `known`: for a runtime, the reason why it is known to fail here, which must then be so."""

    def declare(function):
        name = f"{function.__module__.removeprefix('on_')}.{function.__name__}"
        assert name not in CASES, name
        CASES[name] = (description, function, known)
        return function

    return declare


def sleeper(seconds="1000"):
    """Arguments of a process that does nothing."""
    return ["sleep", seconds]


def alive(pid):
    """There is a process with this number, and it is no zombie."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def namespace(pid, kind):
    """The identity of a process's namespace."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")


SIGNALS = {name: int(getattr(signal, f"SIG{name}")) for name in ("TERM", "KILL", "USR1", "HUP")}
