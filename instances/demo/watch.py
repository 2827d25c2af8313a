"""Watching the demo's instances until they are final: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from django.db.models import Count, Max, Min, Sum

from instances.engine.states import FINAL, LABELS, State
from instances.models import Instance
from weops.projects.models import Project

_POLL_SECONDS = 0.25
_LINE_SECONDS = 5.0
# Waiting instances that stay while nothing is active wait for a parent that failed.
_STUCK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Instances by state, and how many there will be."""

    total: int
    states: Counter[str] = field(default_factory=Counter)

    @property
    def generated(self) -> int:
        return self.states.total()

    @property
    def final(self) -> int:
        return sum(self.states[state] for state in FINAL)

    @property
    def done(self) -> bool:
        return self.generated >= self.total and self.final >= self.generated

    def short(self) -> str:
        """What fits beside a bar on a narrow terminal."""
        active = self.states[State.RUNNING] + self.states[State.TERMINATING]
        failed = self.states[State.FAILED] + self.states[State.FAILED_RETRY]
        waiting = self.generated - self.final - active - self.states[State.FAILED_RETRY]
        return f"{active} running, {waiting} waiting" + (f", {failed} failed" if failed else "")

    def __str__(self) -> str:
        states = ", ".join(
            f"{self.states[state]} {LABELS[state].lower()}" for state in State if self.states[state]
        )
        return f"{self.final}/{self.total} final" + (f": {states}" if states else "")


def progress(project: Project, total: int) -> Progress:
    rows = Instance.objects.filter(project=project).values_list("state").annotate(Count("id")).order_by()
    return Progress(total, Counter(dict(rows)))


def watch(
    project: Project, total: int, *, seconds: float, check: Callable[[], None], output: TextIO = sys.stdout
) -> Progress:
    """Returns when all of `total` instances are final, when nothing moves any more, or after `seconds`.

    `check` is called again and again, and raises to end the watch.
    """
    deadline = time.monotonic() + seconds
    moved = time.monotonic()
    last = Progress(total)
    with _shown(total, output) as show:
        while True:
            check()
            now = progress(project, total)
            if now != last:
                last, moved = now, time.monotonic()
            show(now)
            stuck = now.final and time.monotonic() - moved > _STUCK_SECONDS and not _active(now)
            if now.done or stuck or time.monotonic() > deadline:
                return now
            time.sleep(_POLL_SECONDS)


def _active(now: Progress) -> int:
    return sum(
        now.states[state] for state in State if state not in (*FINAL, State.WAIT_UPSTREAM, State.WAIT_EVENT)
    )


@contextmanager
def _shown(total: int, output: TextIO) -> Iterator[Callable[[Progress], None]]:
    if not output.isatty():
        yield _lines(output)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield _lines(output)
        return
    columns = (BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(file=output)) as bar:
        task = bar.add_task("waiting for the first tick", total=total)

        def show(now: Progress) -> None:
            if now.generated:
                bar.update(task, completed=now.final, description=now.short())

        yield show


def _lines(output: TextIO) -> Callable[[Progress], None]:
    """A line when something changed, but not too often."""
    began = time.monotonic()
    last: tuple[float, Progress | None] = (0.0, None)

    def show(now: Progress) -> None:
        nonlocal last
        moment = time.monotonic()
        if now.done or (now != last[1] and moment - last[0] >= _LINE_SECONDS):
            last = (moment, now)
            print(f"{moment - began:6.1f} s  {now}", file=output, flush=True)

    return show


@dataclass(frozen=True, slots=True)
class Speed:
    """Runs of the project, and the seconds from the first start to the last end."""

    runs: int
    seconds: float

    def __str__(self) -> str:
        rate = f"{self.runs / self.seconds:.1f} runs a second" if self.seconds else "no time passed"
        return f"{self.runs} runs in {self.seconds:.1f} s from the first start to the last end: {rate}"


def speed(project: Project) -> Speed:
    found = Instance.objects.filter(project=project).aggregate(
        runs=Sum("total_runs"), first=Min("start_time"), last=Max("end_time")
    )
    seconds = (found["last"] - found["first"]).total_seconds() if found["first"] and found["last"] else 0.0
    return Speed(found["runs"] or 0, seconds)


def failures(project: Project, limit: int = 10) -> list[str]:
    """The first instances that did not succeed, one line each, with what is wrong."""
    rows = (
        Instance.objects.filter(project=project)
        .exclude(state=State.SUCCESS)
        .select_related("task")
        .order_by("state", "data_time", "id")[:limit]
    )
    return [
        f"{row}: {LABELS[State(row.state)]}"
        + (f", {row.error_code}: {row.error_message}" if row.error_code else "")
        for row in rows
    ]
