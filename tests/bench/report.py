"""The table of budgets from the raw samples of one run: report.py RAW JSON.

A value is the median of its samples. A ratio is between medians of the same run. Rows without a budget are there to be read.
"""
import json
import statistics
import sys

MIB, KIB = 1 << 20, 1 << 10


def read(path):
    """Samples by key; a key's lines are added up, in their order."""
    samples = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            key, *values = line.split()
            samples.setdefault(key, []).extend(values)
    return samples


class Run:
    """One run's samples, and the rows made of them."""

    def __init__(self, samples):
        self.samples = samples
        self.rows = []

    def median(self, *keys, scale=1.0):
        """The sum of the keys' medians, or None if one was not measured."""
        values = [[float(value) for value in self.samples.get(key, [])] for key in keys]
        return sum(statistics.median(each) for each in values) / scale if all(values) else None

    def row(self, name, value, unit, peer=None, peer_value=None, most=None, ratio=None):
        """Add one: `most` is the budget of the value, `ratio` the budget of value / peer value."""
        measured = value / peer_value if value is not None and peer_value else None
        limit, compared = (most, value) if ratio is None else (ratio, measured)
        met = None if limit is None or compared is None else compared <= limit
        budget = "" if limit is None else f"<= {limit:g} {unit}" if ratio is None else f"<= {ratio:g}x"
        self.rows.append(
            {"row": name, "value": value, "unit": unit, "peer": peer, "peer_value": peer_value}
            | {"ratio": measured, "budget": budget, "met": met}
        )

    def sizes(self):
        for arch in ("x86_64", "arm64"):
            if f"size.uki.{arch}" in self.samples:
                self.row(f"OS image, UKI {arch}", self.median(f"size.uki.{arch}", scale=MIB), "MiB", most=24)
                self.row(f"stripped binary {arch}", self.median(f"size.binary.{arch}", scale=MIB), "MiB", most=24)

    def memory(self):
        total, available = self.median("idle.MemTotal", scale=KIB), self.median("idle.MemAvailable", scale=KIB)
        used = total - available if total and available else None
        self.row("idle memory used, booted and networked", used, "MiB", most=48)
        ran = self.median("small.ran")
        self.row("boots and runs a container in", 96 if ran else None, "MiB", most=96)
        if "small.tried" in self.samples and not ran:
            self.rows[-1]["met"] = False

    def init(self):
        for variant, text, limit in (("", "init: /init to ready", 1.5), ("-dhcp", "the same, with a lease by DHCP", None)):
            ours, theirs = (self.median(f"init{variant}.{who}_us", scale=1000) for who in ("coracle", "busybox"))
            self.row(text, ours, "ms", "busybox init", theirs, ratio=limit)

    def containers(self):
        what = "container create+start+exit, "
        budgets = {"crun": 0.7, "runc": 0.3, "bare": 1.3}
        names = {"bare": "bare clone3+exec", "crun-plain": "crun, no seccomp"}
        for kind, scale, unit, text in (
            ("cpu", 1000, "ms", "CPU"),
            ("wall", 1000, "ms", "wall"),
            ("peak", KIB, "MiB", "peak memory"),
        ):
            for peer in ("crun", "crun-plain", "runc", "bare"):
                ours, theirs = (self.median(f"container.{who}.{kind}", scale=scale) for who in ("ctr", peer))
                self.row(what + text, ours, unit, names.get(peer, peer), theirs, ratio=budgets.get(peer) if kind == "cpu" else None)
        for peer in ("crun", "runc"):
            ours, theirs = (self.median(f"steps.{who}.cpu", scale=1000) for who in ("ctr", peer))
            self.row("create, start, delete as three commands, CPU", ours, "ms", peer, theirs)
        ours, theirs = self.median("monitor.ctr.private"), self.median("monitor.conmon.private")
        self.row("private memory per running container", ours, "KiB", "conmon", theirs, most=300)

    def pulls(self):
        for kind, limit, text in (("wall", 0.5, "wall"), ("cpu", None, "CPU")):
            ours = self.median(f"pull.coracle.{kind}", scale=1000)
            theirs = self.median(f"pull.skopeo.{kind}", f"pull.umoci.{kind}", scale=1000)
            self.row(f"pull + unpack from a local registry, {text}", ours, "ms", "skopeo+umoci", theirs, ratio=limit)

    def applets(self):
        """On a host that is itself virtual, busybox's glibc pays there for each CPUID that traps; in the VM of this run it does not."""
        for where, prefix in (("host", "host.applet"), ("VM", "applet")):
            for applet, text in (("true", "true"), ("ls", "ls /")):
                for kind in ("cpu", "wall"):
                    ours, theirs = (self.median(f"{prefix}.{applet}.{who}.{kind}") for who in ("coracle", "busybox"))
                    limit = 1.2 if kind == "cpu" else None
                    name = f"applet start, `{text}`, {kind.replace('cpu', 'CPU')}, {where}"
                    if ours is not None:
                        self.row(name, ours, "us", "busybox", theirs, ratio=limit)


def show(run):
    """The table as text."""

    def number(value, unit=""):
        return "not measured" if value is None else f"{value:.{0 if value >= 100 or unit == 'KiB' else 1}f} {unit}".strip()

    header = ["what", "measured", "peer", "peer's value", "ratio", "budget", ""]
    lines = [header]
    for row in run.rows:
        verdict = "" if not row["budget"] else {True: "met", False: "MISSED", None: "not measured"}[row["met"]]
        lines.append(
            [row["row"], number(row["value"], row["unit"]), row["peer"] or ""]
            + [number(row["peer_value"], row["unit"]) if row["peer"] else ""]
            + ["" if row["ratio"] is None else f"{row['ratio']:.2f}x", row["budget"], verdict]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def main():
    raw, target = sys.argv[1:3]
    samples = read(raw)
    run = Run(samples)
    for part in (run.sizes, run.memory, run.init, run.containers, run.pulls, run.applets):
        part()
    meta = {key.removeprefix("meta."): values[0] for key, values in samples.items() if key.startswith("meta.")}
    clocks = {
        "kvm": "KVM",
        "icount": "emulated; the guest's clock counts instructions, one a nanosecond",
        "tcg": "emulated in real time",
    }
    print(f"coracle {meta['version']} for {meta['arch']}; virtual machines: {clocks[meta['accelerator']]}")
    show(run)
    print("Not in the table: cgroup accounting of 1,000 cgroups against systemd-cgtop; `cgtop` is not built yet.")
    with open(target, "w", encoding="utf-8") as file:
        json.dump({"meta": meta, "rows": run.rows, "samples": samples}, file, indent=1)
    missed = [row for row in run.rows if row["met"] is False]
    unmeasured = [row for row in run.rows if row["budget"] and row["met"] is None]
    print(f"{sum(row['met'] is True for row in run.rows)} met, {len(missed)} missed, {len(unmeasured)} not measured")


main()
