"""Black-box tests of a built image: boots out/ARCH under QEMU (software emulation) and drives it.

    python3 tests/vm ARCH [GROUP...]     ARCH: x86_64 | arm64; without groups, all of them

A group is a file with a function `run`: mostly one machine for many cases. As many groups run at once as there are processors.
Consoles are logged in out/test-logs/vm-ARCH. The last line is `N passed, N failed, N skipped`.
"""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True

import boot  # noqa: E402
import disk  # noqa: E402
import hostile  # noqa: E402
import images  # noqa: E402
import launcher  # noqa: E402
import limits  # noqa: E402
import live  # noqa: E402
import power  # noqa: E402
import redis  # noqa: E402
import scale  # noqa: E402
import terminal  # noqa: E402
from machine import ARCHES, Image, end_children  # noqa: E402
from report import Report  # noqa: E402

# The longest first, so that they do not end last.
GROUPS = {
    "scale": scale.run,
    "disk": disk.run,
    "run": launcher.run,
    "hostile": hostile.run,
    "images": images.run,
    "redis": redis.run,
    "live": live.run,
    "boot": boot.run,
    "limits": limits.run,
    "terminal": terminal.run,
    "power": power.run,
}


def run_group(name, image, report):
    """An exception outside a group's cases is a case that failed; the other groups go on."""
    try:
        GROUPS[name](image, report)
    except Exception as why:
        with report.case(name):
            raise why


def main():
    """Run the groups, and say what became of their cases."""
    if len(sys.argv) < 2 or sys.argv[1] not in ARCHES or not set(sys.argv[2:]) <= set(GROUPS):
        sys.exit(f"usage: tests/vm {'|'.join(ARCHES)} [{'|'.join(GROUPS)}]...")
    arch, names = sys.argv[1], sys.argv[2:] or list(GROUPS)
    os.chdir(Path(__file__).resolve().parents[2])
    logs = Path("out/test-logs") / f"vm-{arch}"
    image = Image(arch, Path(os.environ.get("CORACLE_OUT", "out")) / arch, logs)
    report = Report()
    signal.signal(signal.SIGTERM, end_children)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in names:
            pool.submit(run_group, name, image, report)
    print(report.summary())
    sys.exit(report.failed != 0)


main()
