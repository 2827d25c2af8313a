"""Edges resolved and written per second, for instances that wait for 24 others each, against COPY of the same rows."""

import datetime as dt
import time
from collections.abc import Callable

from django.db import connection

from benchmarks import world
from benchmarks.generation import copy_since, last_id
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from benchmarks.workers import BenchmarkError
from instances.engine import generation
from instances.engine.schedule import Cycle
from instances.models import Task

DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
UPSTREAM = 24
CYCLES = 10


def run(options: Options) -> Section:
    tasks = 500 if options.quick else 10_000
    figures = [
        _shape("24 upstream tasks, the same hour of each", tasks, _of_24_tasks, HOUR, options),
        _shape("24 hours of one upstream task", tasks, _of_24_hours, DAY, options),
    ]
    return Section(
        "edges",
        "Edges",
        f"`generation.generate()` from due tasks to committed rows, {tasks * CYCLES:,} instances a run with "
        f"{UPSTREAM} edges each, to instances that were generated before: {tasks * CYCLES * UPSTREAM:,} edges. Raw: COPY of "
        "those instances and edges, with other ids and data times, into the same tables in one transaction: same "
        "indexes, same constraints.",
        figures,
    )


def _shape(
    name: str, count: int, prepare: Callable[[int], None], cycle: dt.timedelta, options: Options
) -> Figure:
    """`CYCLES` instances of each of `count` tasks a run, all of them due at once."""
    ours, raw = [], []
    for place in range(options.runs + 1):
        prepare(count)
        first_id = last_id() + 1
        began = time.perf_counter()
        found = generation.generate(NOW + CYCLES * cycle)
        took = time.perf_counter() - began
        edges = count * CYCLES * UPSTREAM
        if (found.instances, found.edges) != (count * CYCLES, edges):
            raise BenchmarkError(f"not what was due: {found}")
        copied = copy_since(first_id, place)
        say(f"edges, {name}: {edges / took:,.0f}/s, COPY {edges / copied:,.0f}/s")
        if place:  # the first one warms up
            ours.append(edges / took)
            raw.append(edges / copied)
        world.clear()
    return Figure(name, "edges/s", ours, "COPY", raw, "50,000/s")


def _of_24_tasks(count: int) -> None:
    group = world.make_group(1)
    parents = world.make_tasks(UPSTREAM, group, NOW)
    world.schedule(parents)
    generation.generate(NOW + CYCLES * HOUR)
    children = world.make_tasks(count, group, NOW)
    world.depend([(child, parent, "CURRENT_HOUR") for child in children for parent in parents])
    _due(children)


def _of_24_hours(count: int) -> None:
    group = world.make_group(1)
    parents = world.make_tasks(max(1, count // 100), group, NOW - DAY)
    world.schedule(parents)
    generation.generate(NOW + CYCLES * DAY)
    children = world.make_tasks(count, group, NOW, cycle=Cycle.DAY)
    world.depend([(child, parents[place % len(parents)], "") for place, child in enumerate(children)])
    _due(children)


def _due(children: list[Task]) -> None:
    world.schedule(children)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) instances_instance, instances_edge")
