"""One task that prints 200,000 lines a second, and what that does to the other tasks of its worker."""

import contextlib
import datetime as dt
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from django.db import connection

from benchmarks import live, workers, world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from instances.engine import generation, hints
from instances.engine.dispatch import dispatch

SLOTS = 16
LINES = 200_000
# 40 bytes a line, so 8 MB a second. It keeps the pace by the clock, and says at its end which pace that was.
PRINTER = """
import os, sys, time
out, folder, rate = sys.stdout.buffer, sys.argv[1], int(sys.argv[2])
line = b"x" * 39 + b"\\n"
began, printed = time.monotonic(), 0
while not os.path.exists(folder + "/stop"):
    due = int((time.monotonic() - began) * rate) - printed
    if due > 0:
        out.write(line * min(due, 20_000))
        printed += min(due, 20_000)
    else:
        time.sleep(0.01)
open(folder + "/rate", "w").write(str(printed / (time.monotonic() - began)))
"""


def run(options: Options) -> Section:
    size = 50 if options.quick else 500
    load = live.Load(size, SLOTS, code="true")
    rates: dict[str, list[float]] = {"silent": [], "chatty": []}
    pace: list[float] = []
    with live.serving(1):
        load.run()  # warms up
        for _ in range(options.runs):
            for kind, found in rates.items():
                with _printing(kind == "chatty", pace):
                    found.append(size / load.run().running)
                say(f"chatty: {found[-1]:,.0f} runs/s beside a {kind} task")
    world.clear()
    return Section(
        "chatty",
        "A task that prints 200,000 lines a second",
        f"{size:,} Shell tasks with the code `true` on 1 worker of 8 threads, while one more task of that worker prints "
        f"{LINES:,} lines of 40 bytes a second. Raw: the same while it prints them to /dev/null, so that it takes the same of "
        "the machine, and nothing of the worker. The printer's own pace stands in the second line.",
        [
            Figure(
                "other tasks beside it",
                "runs/s",
                rates["chatty"],
                "printing to /dev/null",
                rates["silent"],
                "ratio 0.8 or more",
            ),
            Figure("lines it printed", "lines/s", pace, target=f"{LINES:,}"),
        ],
    )


@contextlib.contextmanager
def _printing(chatty: bool, pace: list[float]) -> Iterator[None]:
    """One execution that prints, from when it runs until after the block."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "printer.py"
        program.write_text(PRINTER)
        target = "" if chatty else " > /dev/null"
        code = f"exec {sys.executable} -I {program} {folder} {LINES}{target}"
        since = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=90)
        group = world.make_group(1)
        until = since + dt.timedelta(hours=1)
        world.schedule(world.make_tasks(1, group, since, until=until, code=code))
        made = generation.generate(until)
        hints.send(dispatch(made.groups))
        workers.wait_until(lambda: _state(group.pk) == "running", 60, "the printer does not run")
        try:
            yield
        finally:
            (Path(folder) / "stop").touch()
            workers.wait_until(lambda: _state(group.pk) == "success", 60, "the printer does not end")
        if chatty:
            pace.append(float((Path(folder) / "rate").read_text()))


def _state(group_id: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM instances_instance WHERE resource_group_id = %s", [group_id])
        row = cursor.fetchone()
        return str(row[0]) if row else ""
