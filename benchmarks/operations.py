"""Operations on a hundred thousand instances at once, against one UPDATE of the same rows."""

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psutil
from django.db import connection, transaction

from benchmarks import live, workers, world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from benchmarks.workers import BenchmarkError
from instances import operations
from instances.engine import generation
from instances.models import Instance, OperationRecord

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOURS = 100
MEBIBYTE = 2**20


def run(options: Options) -> Section:
    size = 5_000 if options.quick else 100_000
    make(size)
    figures = _rates(size, options.runs)
    memory = _memory(size)
    world.clear()
    figures += _engine_meanwhile(size, options.runs)
    world.clear()
    return Section(
        "operations",
        "Operations in bulk",
        f"`operations.run()` on all {size:,} instances that match a filter, from the call to the finished record: the set "
        "frozen in batches of 1,000, each changed under its locks with its history, its outcome and its image before and "
        "after, in the same transaction. Each instance has 2 upstream edges in the set. Raw: one UPDATE of the state and "
        "end of the same rows, same indexes, in one transaction that is rolled back.",
        figures,
        ["instances in one operation", "growth of the process"],
        memory,
    )


def make(size: int) -> None:
    """`size` instances of hourly tasks whose group is switched off, so that they stay where an operation puts them."""
    group = world.make_group(1)
    type(group).objects.filter(pk=group.pk).update(enabled=False)
    end = START + dt.timedelta(hours=HOURS)
    tasks = world.make_tasks(size // HOURS, group, START, until=end)
    world.depend(
        [
            (tasks[place], tasks[place - back], "CURRENT_HOUR")
            for place in range(2, len(tasks))
            for back in (1, 2)
        ]
    )
    world.schedule(tasks)
    made = generation.generate(end)
    if made.instances != size:
        raise BenchmarkError(f"{made.instances} instances were generated, not {size}")
    live.analyze()


# Each leaves the instances as the next one needs them: waiting, failed, successful, waiting.
_ROUND: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("terminate", "terminate", {}),
    ("mark as successful", "mark_success", {}),
    ("rerun, parents not checked", "rerun", {}),
    ("terminate what was rerun", "terminate", {}),
    ("rerun in the order of their dependencies", "rerun", {"check_parents": "selection"}),
)


def _rates(size: int, runs: int) -> list[Figure]:
    rates: dict[str, list[float]] = {name: [] for name, _, _ in _ROUND}
    raw: list[float] = []
    for place in range(runs + 1):
        raw.append(size / _update())
        for name, kind, chosen in _ROUND:
            took = _timed(partial(_apply, kind, chosen, size))
            rates[name].append(size / took)
            say(f"operations, {name}: {size / took:,.0f}/s")
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE) instances_instance, instances_edge, instances_execution")
        if place == 0:  # the first one warms up
            raw.clear()
            for found in rates.values():
                found.clear()
    return [Figure(name, "instances/s", found, "UPDATE", raw, "5,000/s") for name, found in rates.items()]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _apply(kind: str, chosen: dict[str, Any], size: int, rows: Any = None) -> OperationRecord:
    record = operations.run(
        kind,
        Instance.objects.all() if rows is None else rows,
        user=None,
        reason="benchmark",
        source="command",
        options=chosen,
    )
    while not operations.work(record.pk):
        pass
    record.refresh_from_db()
    if record.done != size:
        raise BenchmarkError(f"{kind}: {record.done} of {size} done, {record.refused} refused")
    return record


def _update() -> float:
    with transaction.atomic(), connection.cursor() as cursor:
        took = _timed(
            lambda: cursor.execute("UPDATE instances_instance SET state = 'failed', end_time = now()")
        )
        transaction.set_rollback(True)
    return took


def _memory(size: int) -> list[list[str]]:
    found = []
    for part in (size // 10, size):
        rows = Instance.objects.filter(pk__in=Instance.objects.order_by("id").values("pk")[:part])
        with _growth() as grown:
            _apply("terminate", {}, part, rows)
        _apply("rerun", {}, part, rows)
        found.append([f"{part:,}", f"{grown[0] / MEBIBYTE:.1f} MB"])
    return found


@contextmanager
def _growth() -> Iterator[list[int]]:
    """The most bytes that this process held inside the block beyond what it held before."""
    process = psutil.Process()
    before, most, over = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _engine_meanwhile(size: int, runs: int) -> list[Figure]:
    """No-op instances per second of one worker while an operation goes on, against the same worker undisturbed."""
    make(size)
    others = list(Instance.objects.values_list("task_id", flat=True).distinct())
    load = live.Load(1_000 if size < 100_000 else 10_000, 400)
    alone, meanwhile = [], []
    with live.serving(1):
        for place in range(runs + 1):
            quiet = load.size / load.run().running
            failures: list[BaseException] = []
            going, over = threading.Event(), threading.Event()
            operator = threading.Thread(target=_operate, args=(others, size, going, over, failures))
            operator.start()
            going.wait(workers.START_SECONDS)
            busy = load.size / load.run().running
            over.set()
            operator.join()
            if failures:
                raise failures[0]
            live.analyze()
            say(f"operations: no-op {quiet:,.0f}/s alone, {busy:,.0f}/s meanwhile")
            if place:
                alone.append(quiet)
                meanwhile.append(busy)
    return [Figure("no-op runs of 1 worker meanwhile", "runs/s", meanwhile, "undisturbed", alone)]


def _operate(
    tasks: list[int], size: int, going: threading.Event, over: threading.Event, failures: list[BaseException]
) -> None:
    """One operation after the other on the instances of `tasks`, until `over`."""
    rows = Instance.objects.filter(task__in=tasks)
    try:
        while not over.is_set():
            for kind in ("terminate", "rerun"):
                going.set()
                _apply(kind, {}, size, rows)
    except BaseException as error:
        failures.append(error)
    finally:
        going.set()
        connection.close()
