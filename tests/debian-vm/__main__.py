"""Our OCI runtime on a machine with Debian's userland and cgroup v2: the conformance suite beside runc and crun, and real engines.

    python3 tests/debian-vm [conformance|engines]... [-k PATTERN]     without groups, both; PATTERN chooses cases of the former

Uses out/x86_64/coracle. What runc and crun do is asked once for each version of the suite, the machine and the kernel, and kept in the
cache. Consoles are logged in out/test-logs/debian-vm. The last line is `N passed, N failed, N skipped`.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
SUITE = HERE.parent / "runtime"
sys.path.insert(1, str(HERE.parent / "vm"))

import engines  # noqa: E402
from debian import Debian, cache, kernel, root  # noqa: E402
from machine import end_children  # noqa: E402
from report import Report  # noqa: E402

OURS = "coracle=/usr/local/bin/coracle-runc"
PEERS = ["runc", "crun"]


def conformance(machine, report, pattern):
    """The suite in the machine; its counts are added to the report's."""
    files = sorted(SUITE.glob("*.py"))
    key = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    key.update(f"{machine.root.name} {machine.image.out.name}".encode())
    remembered = cache() / "debian-vm" / f"peers-{key.hexdigest()[:16]}.json"
    results = machine.share / "results.json"
    if remembered.exists():
        shutil.copy(remembered, results)
    shutil.copytree(SUITE, machine.share / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    command = f"python3 /run/suite --results /mnt/share/results.json -k {shlex.quote(pattern)} {' '.join(PEERS)} {OURS}"
    done = machine.sh(f"cp -r /mnt/share/runtime /run/suite; {command}", timeout=3000)
    *lines, counts = done.output.splitlines() or [""]
    print("\n".join(lines), flush=True)
    found = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", counts)
    with report.case("conformance"):
        assert found, f"the suite has died:\n{done.output[-2000:]}"
    if found:
        for what, count in zip(("passed", "failed", "skipped"), found.groups(), strict=True):
            setattr(report, what, getattr(report, what) + int(count))
    if not pattern and results.exists():
        kept = {label: cases for label, cases in json.loads(results.read_text()).items() if label in PEERS}
        for old in remembered.parent.glob("peers-*.json"):
            old.unlink()
        remembered.write_text(json.dumps(kept))


def run_group(name, logs, report, pattern):
    """A machine of its own for each group. An exception outside of its cases is a case that failed."""
    try:
        with Debian("out/x86_64/coracle", logs, name) as machine:
            if name == "engines":
                engines.run(machine, report)
            else:
                conformance(machine, report, pattern)
    except Exception as why:
        with report.case(name):
            raise why


def main():
    """Run the groups, and say what became of their cases."""
    arguments = sys.argv[1:]
    pattern = ""
    if "-k" in arguments:
        at = arguments.index("-k")
        pattern = arguments[at + 1]
        del arguments[at : at + 2]
    groups = arguments or ["conformance", "engines"]
    os.chdir(HERE.parents[1])
    logs = Path("out/test-logs/debian-vm")
    report = Report()
    signal.signal(signal.SIGTERM, end_children)
    # Made once, before two machines want them.
    kernel(), root()
    with ThreadPoolExecutor(2) as pool:
        for name in groups:
            pool.submit(run_group, name, logs, report, pattern)
    print(report.summary())
    sys.exit(report.failed != 0)


main()
