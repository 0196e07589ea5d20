"""Many containers: one after the other, until a leak of a single one would show, and all at once.

CORACLE_SOAK=N sets how many come and go; `make soak` says 10,000.
"""

import os
import time

from leaks import compare, counts, nft_root
from machine import READY, Machine, run_agent
from report import Failed, expect_equal

CYCLES = int(os.environ.get("CORACLE_SOAK", "300"))
# Counted in between, so that a long run shows where a leak begins.
BATCH = 1000
WORKERS = 8
CROWD = 500
# MiB, of the crowd's machine and of the other.
MEMORY, SOAK_MEMORY = 2048, 1024
IMAGE = "tar -C / -cf - usr etc bin sbin | ctr import -c sh - self"
# The kinds of containers that come and go: by each thing that a run makes beside the process.
KINDS = ["-m 64m self true", "-m 64m --network none self true", "-m 64m -p 80 -v /data self true"]


def run(image, report):
    """Two machines, one after the other."""
    soak(image, report)
    crowd(image, report)


def soak(image, report):
    """Containers that come and go leave nothing."""
    with Machine(image, "scale-soak", run_agent(), memory=SOAK_MEMORY) as vm, report.case("scale-soak"):
        begin(vm, image)
        # What is made once and stays: folders, caches, the log of events.
        cycle(vm, len(KINDS))
        before = counts(vm)
        done = 0
        while done < CYCLES:
            done += cycle(vm, min(BATCH, CYCLES - done))
            print(f"     scale-soak: {done} of {CYCLES} containers", flush=True)
        compare(f"{CYCLES} containers one after the other", vm, before, CYCLES)


def begin(vm, image):
    """Boot, with an image to run. What the kernel waits for when a network goes is most of the time that all this takes: not here."""
    nft_root(image.arch, vm.share)
    vm.wait(READY)
    vm.sh(f"echo 1 >/sys/kernel/rcu_expedited; {IMAGE}").check()


def cycle(vm, count):
    """Some at a time, each kind in turn: how many they were. Each must have run."""
    kinds = "".join(f"{number}) ctr run --rm {kind} ;; " for number, kind in enumerate(KINDS))
    script = f"""
	for worker in $(seq {WORKERS}); do
		for n in $(seq $worker {WORKERS} {count}); do case $((n % {len(KINDS)})) in {kinds}esac || echo "$n: exit $?"; done &
	done
	wait
	"""
    expect_equal("what the containers said", vm.sh(script, timeout=7200).output, "")
    return count


def crowd(image, report):
    """Hundreds at once, each with a network and a limit of its own."""
    with Machine(image, "scale-crowd", run_agent(), memory=MEMORY) as vm:
        with report.case("scale-crowd-starts"):
            begin(vm, image)
            cycle(vm, len(KINDS))
            before = counts(vm)
            costs = [start(vm, first, CROWD // 10) for first in range(1, CROWD, CROWD // 10)]
            print(f"     scale-crowd: seconds per start, by tenths: {' '.join(f'{cost:.2f}' for cost in costs)}", flush=True)
        with report.case("scale-crowd-is-listed"):
            expect_equal("running containers", vm.sh("ctr ps -q | wc -l").output.strip(), str(CROWD))
            addresses = "ctr inspect -f '{{.NetworkSettings.IPAddress}} {{.HostConfig.Memory}}' $(ctr ps -q) | sort -u | grep -c ' 16777216$'"
            expect_equal("addresses", vm.sh(addresses).output.strip(), str(CROWD))
            share_memory(vm, before)
        with report.case("scale-crowd-answers"):
            answers(vm)
        with report.case("scale-crowd-leaves-nothing"):
            vm.sh("ctr stop -t 0 $(ctr ps -q) >/tmp/stopped && ctr rm $(ctr ps -aq) >/tmp/stopped && rm /tmp/stopped", timeout=3600).check()
            compare(f"{CROWD} containers at once", vm, before, CROWD)


def start(vm, first, count):
    """Start some more: seconds for each."""
    started = time.monotonic()
    script = f"for n in $(seq {first} {first + count - 1}); do ctr run -d --name c$n -m 16m self sleep 100000 >/dev/null || exit; done"
    vm.sh(script, timeout=3600).check()
    return (time.monotonic() - started) / count


def share_memory(vm, before):
    """What each of them takes, of the machine's memory."""
    now = counts(vm)
    used = before["MemFree-KiB"] - now["MemFree-KiB"]
    print(f"     scale-crowd: {used // 1024} MiB in use by {CROWD} containers, {used // CROWD} KiB each", flush=True)
    if used > MEMORY * 1024 // 2:
        raise Failed(f"{CROWD} containers take {used} KiB")


def answers(vm):
    """Every fiftieth executes a command, and reaches its neighbour."""
    for number in range(1, CROWD, 50):
        ask = f"ctr exec c{number} sh -c 'echo here $(hostname)' && ctr exec c{number} ping -c 1 -W 20 $(ctr inspect -f '{{{{.NetworkSettings.IPAddress}}}}' c{number + 1})"
        result = vm.sh(ask)
        result.expect(r"^here [0-9a-f]{12}$", r"1 (packets )?received")
