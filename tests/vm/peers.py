"""Real peers: Debian's redis-server as an image, and Debian's docker-registry to serve it on loopback."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

from machine import CHILDREN, free_port
from report import Failed, Skipped

SCRIPTS = Path(__file__).resolve().parents[1] / "peers"
DEBIAN_ARCH = {"x86_64": "amd64", "arm64": "arm64"}
making = threading.Lock()


def redis_layout(arch):
    """The OCI layout of the redis image, made once for each version of the script that makes it."""
    script = SCRIPTS / "redis-image.sh"
    cache = os.environ.get("CORACLE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coracle"
    key = hashlib.sha256(script.read_bytes()).hexdigest()[:16]
    layout = Path(cache) / "peers" / f"redis-{DEBIAN_ARCH[arch]}-{key}"
    with making:
        if not layout.exists():
            if not shutil.which("umoci"):
                raise Skipped("umoci is not installed; `make test` installs it")
            if os.geteuid() != 0:
                raise Skipped("the image's files have owners: needs root")
            part = layout.with_name(f"{layout.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.parent.mkdir(parents=True, exist_ok=True)
            made = subprocess.run([script, DEBIAN_ARCH[arch], part], capture_output=True, text=True, check=False)
            if made.returncode != 0:
                raise Failed(f"{script.name} failed:\n{made.stdout}{made.stderr}")
            part.rename(layout)
    return layout


@contextlib.contextmanager
def registry(scratch):
    """A registry on loopback: its port. It ends with the block."""
    if not shutil.which("docker-registry"):
        raise Skipped("docker-registry is not installed; `make test` installs it")
    port = free_port()
    started = subprocess.run([SCRIPTS / "registry.sh", str(port), scratch], capture_output=True, text=True, check=False)
    if started.returncode != 0:
        raise Failed(f"registry.sh: {started.stderr}")
    pid = int(started.stdout)
    CHILDREN.add(pid)
    try:
        yield port
    finally:
        CHILDREN.discard(pid)
        os.kill(pid, signal.SIGTERM)


def push(layout, port):
    """Put the layout's image `redis` into the registry."""
    target = f"docker://127.0.0.1:{port}/redis:latest"
    copied = subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", f"oci:{layout}:redis", target],
        capture_output=True,
        text=True,
        check=False,
    )
    if copied.returncode != 0:
        raise Failed(f"skopeo: {copied.stderr}")


def ask_redis(port, request):
    """One inline command to a redis server on loopback: the first line of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"{request}\r\n".encode())
        return connection.makefile().readline().strip()
