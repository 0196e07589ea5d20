"""Black-box conformance suite for OCI runtimes, from the text of the runtime specification.

    python3 tests/runtime [-k PATTERN] [-j JOBS] [NAME=]PATH...

Runs every case on each runtime and prints a table, case by runtime. A runtime's NAME (by default its file's name) is what cases know
differences by. Needs root, cgroup v2 with its controllers and a root with busybox (ROOTFS, by default /rootfs). The last line is
`N passed, N failed, N skipped`, a case of a runtime each; a known difference counts as skipped, and as failed when it has gone.
"""

import argparse
import re
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True

from harness import CASES, CGROUP, Box, Failed  # noqa: E402

for module in sorted(Path(__file__).resolve().parent.glob("on_*.py")):
    __import__(module.stem)


def run(name, label, runtime):
    """One case on one runtime: its letter, and what to say."""
    description, function, known = CASES[name]
    reason = known.get(label)
    box = Box(runtime)
    started = time.monotonic()
    try:
        function(box)
    except Failed as why:
        failure = str(why)
    except Exception:
        failure = traceback.format_exc(limit=-3)
    else:
        failure = None
    finally:
        box.finish()
    took = time.monotonic() - started
    if reason:
        return ("known", f"{reason}", took) if failure else ("FAIL", f"this difference has gone: {reason}", took)
    return ("FAIL", f"{description}\n     {failure}", took) if failure else ("ok", "", took)


def main():
    """Run the cases, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runtimes", nargs="+", metavar="[NAME=]PATH")
    parser.add_argument("-k", default="", metavar="PATTERN", help="only cases in whose name this regular expression is found")
    parser.add_argument("-j", type=int, default=4, metavar="JOBS", help="as many cases at once")
    options = parser.parse_args()
    runtimes = {}
    for runtime in options.runtimes:
        label, _, path = runtime.rpartition("=")
        runtimes[label or Path(path).name] = path
    names = [name for name in CASES if re.search(options.k, name)]
    controllers = "".join(f" +{controller}" for controller in (CGROUP / "cgroup.controllers").read_text().split())
    (CGROUP / "conformance").mkdir(exist_ok=True)
    (CGROUP / "conformance/cgroup.subtree_control").write_text(controllers)
    with ThreadPoolExecutor(options.j) as pool:
        pending = {(name, label): pool.submit(run, name, label, path) for name in names for label, path in runtimes.items()}
        width = max(len(name) for name in names)
        print(f"{'':{width}}  " + "  ".join(f"{label:8}" for label in runtimes))
        counts = {"ok": 0, "FAIL": 0, "known": 0}
        said = []
        for name in names:
            results = {label: pending[name, label].result() for label in runtimes}
            cells = [f"{result} {took:.1f}" for result, _, took in results.values()]
            print(f"{name:{width}}  " + "  ".join(f"{cell:8}" for cell in cells), flush=True)
            for label, (result, text, _) in results.items():
                counts[result] += 1
                if text:
                    said.append(f"{'SKIP' if result == 'known' else 'FAIL'} {label}: {name}: {text}")
    print("\n".join(said))
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['known']} skipped")
    sys.exit(counts["FAIL"] != 0)


main()
