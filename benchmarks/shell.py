"""Shell tasks per second through real workers, against bare spawns of the same command."""

import statistics
import subprocess
import sys

from benchmarks import live, world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section

SLOTS = 64
# What a spawner does: `count` times, one after the other.
SPAWNER = """
import subprocess, sys, time
began = time.perf_counter()
for _ in range(int(sys.argv[1])):
    subprocess.run(["bash", "-c", "true"], check=True, stdin=subprocess.DEVNULL)
print(time.perf_counter() - began)
"""


def run(options: Options) -> Section:
    size = 100 if options.quick else 1_000
    figures = []
    for count in (1, 2):
        raw = _raw(count, size, options.runs)
        ours = _ours(count, size, options.runs)
        figures.append(
            Figure(
                f"{count} worker{'s' if count > 1 else ''}",
                "runs/s",
                ours,
                f"bash -c true from {count} process{'es' if count > 1 else ''}",
                raw,
                "200/s",
            )
        )
    return Section(
        "shell",
        "Shell tasks",
        f"{size:,} instances of SHELL tasks with the code `true`, from the first dispatch to the last end: a bash process in "
        "a session and working directory of its own each, its log, and all that a no-op writes. Raw: the same number of "
        "`bash -c true`, spawned and waited for one after the other.",
        figures,
    )


def _ours(count: int, size: int, runs: int) -> list[float]:
    load = live.Load(size, SLOTS, code="true")
    with live.serving(count):
        rates = []
        for place in range(runs + 1):
            rate = size / load.run().running
            live.analyze()
            say(f"shell, {count} workers: {rate:,.0f}/s")
            rates += [rate] if place else []  # the first one warms up
    world.clear()
    return rates


def _raw(processes: int, size: int, runs: int) -> list[float]:
    rates = []
    for _ in range(runs):
        spawners = [
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", SPAWNER, str(size // processes)], stdout=subprocess.PIPE
            )
            for _ in range(processes)
        ]
        seconds = [float(spawner.communicate()[0]) for spawner in spawners]
        rates.append(size / statistics.mean(seconds))
        say(f"shell, bare spawns from {processes} processes: {rates[-1]:,.0f}/s")
    return rates
