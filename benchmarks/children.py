"""Memory of one worker that has 64 children at once, over ten thousand runs."""

import os

import psutil
from django.db import connection

from benchmarks import live, world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from weops.projects.models import ResourceGroup

CHILDREN = 64
BLOCKS = 10
MB = 2**20
# Long enough that all slots are taken all the time, however slowly children are started.
CODE = "echo begun; sleep 0.5; echo ended"


def run(options: Options) -> Section:
    size = 100 if options.quick else 1_000
    load = live.Load(size, CHILDREN, code=CODE)
    rows: list[list[str]] = []
    rss: list[float] = []
    with live.serving(1, slots=CHILDREN) as [running]:
        worker = psutil.Process(running.pid)
        load.run()  # warms up
        for block in range(BLOCKS):
            rate = size / load.run().running
            live.analyze()
            mine, others = _memory(worker)
            rss.append(mine)
            rows.append(
                [
                    f"{(block + 1) * size:,}",
                    f"{mine:.1f}",
                    f"{others:.1f}",
                    str(worker.num_fds()),
                    f"{rate:.0f}",
                ]
            )
            say(f"children: {rows[-1][0]} runs, worker {mine:.1f} MB, {rate:.0f} runs/s")
    slots = ResourceGroup.objects.get(pk=load.group.pk).slots
    connection.close()
    world.clear()
    return Section(
        "children",
        "A worker with 64 children",
        f"1 worker of {CHILDREN} threads in a group of {slots} slots, {BLOCKS * size:,} Shell runs of half a second each after "
        f"{size:,} to warm up; RSS of the worker and of its guardian after each block. Flat means that the last block adds "
        "nothing to the first.",
        [
            Figure("RSS of the worker", "MB", rss),
            Figure(
                f"growth from {size:,} to {BLOCKS * size:,} runs", "MB", [rss[-1] - rss[0]], target="flat"
            ),
        ],
        ["runs", "worker, MB", "guardian, MB", "open files of the worker", "runs/s"],
        rows,
    )


def _memory(worker: psutil.Process) -> tuple[float, float]:
    """MB of the worker, and of what lives beside it between two runs: its guardian."""
    children = [child for child in worker.children() if child.pid != os.getpid()]
    return worker.memory_info().rss / MB, sum(child.memory_info().rss for child in children) / MB
