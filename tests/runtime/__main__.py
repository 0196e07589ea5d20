"""Black-box conformance suite for OCI runtimes, from the text of the runtime specification.

    python3 tests/runtime [-k PATTERN] [-j JOBS] [--results FILE] [NAME=]PATH...

Runs every case on each runtime and prints a table, case by runtime. A runtime's NAME (by default its file's name) is what cases know
differences by. A runtime whose results FILE has is not run again; FILE gets the results of all that had no failure. Needs root, cgroup v2 with its controllers and a root with busybox (ROOTFS, by default /rootfs). The last line is
`N passed, N failed, N skipped`, a case of a runtime each; a known difference counts as skipped, and as failed when it has gone.
"""

import argparse
import json
import os
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
    """One case on one runtime: what became of it, what to say, how many seconds it took. What must be said is said at once."""
    result = outcome, text, _ = judge(name, label, runtime)
    if text:
        print(f"{'SKIP' if outcome == 'known' else 'FAIL'} {label}: {name}: {text}", flush=True)
    return result


def judge(name, label, runtime):
    """Run the case, and compare with what is known."""
    description, function, known = CASES[name]
    reason = known.get(label)
    box = Box(label, runtime)
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


def remembered(path, names):
    """The results of earlier runs that are complete, by runtime and case."""
    if not path or not path.exists():
        return {}
    return {label: results for label, results in json.loads(path.read_text()).items() if set(names) <= set(results)}


def prepare_cgroup():
    """Containers' cgroups are below one that hands all controllers on."""
    controllers = "".join(f" +{controller}" for controller in (CGROUP / "cgroup.controllers").read_text().split())
    (CGROUP / "conformance").mkdir(exist_ok=True)
    (CGROUP / "conformance/cgroup.subtree_control").write_text(controllers)


def table(names, results):
    """Print what became of each case on each runtime, and how many seconds it took."""
    width = max(len(name) for name in names)
    print(f"{'':{width}}  " + "  ".join(f"{label:10}" for label in results))
    for name in names:
        cells = [f"{outcome} {took:.1f}" for outcome, _, took in (cases[name] for cases in results.values())]
        print(f"{name:{width}}  " + "  ".join(f"{cell:10}" for cell in cells))


def main():
    """Run the cases, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runtimes", nargs="+", metavar="[NAME=]PATH")
    parser.add_argument("-k", default="", metavar="PATTERN", help="only cases in whose name this regular expression is found")
    parser.add_argument("-j", type=int, default=2 * os.cpu_count(), metavar="JOBS", help="as many cases at once")
    parser.add_argument("--results", type=Path, metavar="FILE", help="results of earlier runs")
    options = parser.parse_args()
    runtimes = {}
    for runtime in options.runtimes:
        label, _, path = runtime.rpartition("=")
        runtimes[label or Path(path).name] = path
    names = [name for name in CASES if re.search(options.k, name)]
    known = remembered(options.results, names)
    prepare_cgroup()
    with ThreadPoolExecutor(options.j) as pool:
        pending = {
            label: known.get(label) or {name: pool.submit(run, name, label, path) for name in names} for label, path in runtimes.items()
        }
        results = {
            label: {name: case if label in known else case.result() for name, case in cases.items()} for label, cases in pending.items()
        }
    table(names, results)
    counts = {"ok": 0, "FAIL": 0, "known": 0}
    for label in results.keys() - known.keys():
        for outcome, _, _ in results[label].values():
            counts[outcome] += 1
    if options.results:
        good = {label: cases for label, cases in results.items() if all(outcome != "FAIL" for outcome, _, _ in cases.values())}
        options.results.write_text(json.dumps(known | good))
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['known']} skipped")
    sys.exit(counts["FAIL"] != 0)


main()
