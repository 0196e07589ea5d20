"""What `make run` ends in: image/run.sh on a terminal, from the banner to the end, and a second time with the same disk."""

import os
import pty
import subprocess
import tempfile
from pathlib import Path

from console import Console
from machine import CHILDREN, PROMPT, READY, free_port
from report import Failed, expect

SCRIPT = Path(__file__).resolve().parents[2] / "image/run.sh"


def run(image, report):
    """The image is linked into a folder of the test's own, so that the disk that people run is not touched."""
    with tempfile.TemporaryDirectory(prefix="coracle-run-") as scratch:
        out = Path(scratch) / image.arch
        out.mkdir()
        for file in ["coracle.qcow2", "vmlinuz", "initramfs.cpio.zst"]:
            (out / file).symlink_to((image.out / file).resolve())
        with report.case("run-first-time"):
            expect(session(image, scratch, "first", "ctr version; touch /root/here"), r"[Vv]ersion")
        with report.case("run-second-time"):
            expect(session(image, scratch, "second", "ls -l /root/here"), r"root +0 .* /root/here$")


def session(image, out, name, command):
    """Log in, run a command, power off: what the command printed."""
    host, terminal = pty.openpty()
    environment = {**os.environ, "CORACLE_OUT": out, "CORACLE_PORTS": f"{free_port()}:8080", "MEMORY": "512", "CPUS": "1"}
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen([SCRIPT, image.arch], **streams, env=environment, start_new_session=True)
    CHILDREN.add(process.pid)
    os.close(terminal)
    console = Console(host, host, image.logs / f"run-{name}.log")
    try:
        console.wait(READY)
        console.wait(PROMPT)
        start = console.seen
        console.type(f"{command}\n")
        end = console.wait(PROMPT).start()
        console.type("poweroff\n")
        if status := process.wait(300):
            raise Failed(f"run.sh ended with status {status}:\n{console.tail()}")
        return console.text()[start:end]
    finally:
        CHILDREN.discard(process.pid)
        process.kill()
        process.wait()
