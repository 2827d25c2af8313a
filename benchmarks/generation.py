"""Instances generated per second, against COPY of the very same rows into the very same tables."""

import datetime as dt
import io
import time
from typing import Any

from django.db import connection, transaction

from benchmarks import world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from benchmarks.workers import BenchmarkError
from instances.engine import generation
from instances.models import Task

HOUR = dt.timedelta(hours=1)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
# What must not be mistaken for a row of a run: copies lie this far beside the originals.
COPY_IDS = 10**13
COPY_TIME = dt.timedelta(days=36_500)

COLUMNS = """task_id, planned_time, traversal, instance_type, cycle_type, task_type, project_id, workflow_id, folder_id,
owner_id, resource_group_id, priority, state, run_type, life_round, tries, total_runs, pending_upstream, queue, not_before,
wait_deadline, wait_since, ready_since, execution_id, version_id, overrides, start_time, end_time, error_code,
error_message, created_at"""


def run(options: Options) -> Section:
    tasks = 1_000 if options.quick else 10_000
    figures = [
        *_shape("every task one hour, empty table", tasks, 1, 0, options),
        *_shape("catching up 20 hours of fewer tasks", tasks // 20, 20, 0, options),
        # Last: what follows the removal of so many rows pays for the writing behind.
        *_shape(
            f"every task one hour, {options.rows:,} instances in the table", tasks, 1, options.rows, options
        ),
    ]
    return Section(
        "generation",
        "Generation",
        f"`generation.generate()` from due tasks to committed rows, {tasks:,} instances a run with 2 edges each, to "
        "instances of the same hour: most of them generated in the same transaction, a quarter in an earlier one. "
        "Raw: COPY of those instances and edges, with other ids and data times, into the same tables in one "
        "transaction: same indexes, same constraints.",
        figures,
    )


def _shape(name: str, tasks: int, hours: int, rows: int, options: Options) -> list[Figure]:
    """`hours` instances of each task a run, with `rows` instances there before."""
    made = _make_tasks(tasks)
    if rows:
        _seed(made, rows)
    now = NOW
    ours, raw = [], []
    for place in range(options.runs + 1):
        first_id = last_id() + 1
        now += hours * HOUR
        began = time.perf_counter()
        found = generation.generate(now)
        took = time.perf_counter() - began
        if (found.instances, found.edges) != (tasks * hours, (2 * tasks - 3) * hours):
            raise BenchmarkError(f"not what was due: {found}")
        copied = copy_since(first_id, place)
        say(f"generation, {name}: {found.instances / took:,.0f}/s, COPY {found.instances / copied:,.0f}/s")
        if place:  # the first one warms up
            ours.append(found.instances / took)
            raw.append(found.instances / copied)
    world.clear()
    return [Figure(name, "instances/s", ours, "COPY", raw, "20,000/s, with 10 million too")]


def _make_tasks(count: int) -> list[Task]:
    tasks = world.make_tasks(count, world.make_group(1), NOW)
    half = count // 2
    near = [(task, upstream, "CURRENT_HOUR") for task, upstream in zip(tasks[1:], tasks, strict=False)]
    far = [
        (tasks[place], tasks[place - (half if place >= half else 2)], "CURRENT_HOUR")
        for place in range(2, count)
    ]
    world.depend(near + far)
    world.schedule(tasks)
    return tasks


def last_id() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM instances_instance WHERE id < %s", [COPY_IDS])
        last: int = cursor.fetchone()[0]
    return last


def copy_since(first_id: int, place: int) -> float:
    """Seconds of a COPY of all instances from `first_id` on, and of their edges; `place` tells copies apart."""
    values = {"first": first_id, "ids": COPY_IDS * (place + 1), "end": COPY_IDS, "time": COPY_TIME}
    instance_columns = f"id, data_time, {COLUMNS}"
    edge_columns = "instance_id, upstream_task_id, upstream_data_time, upstream_id, is_self, satisfied_at"
    instances = _dump(
        f"COPY (SELECT id + %(ids)s, data_time + %(time)s, {COLUMNS} FROM instances_instance "
        "WHERE id >= %(first)s AND id < %(end)s ORDER BY id) TO STDOUT",
        values,
    )
    edges = _dump(
        "COPY (SELECT instance_id + %(ids)s, upstream_task_id, upstream_data_time + %(time)s, upstream_id + %(ids)s, "
        "is_self, satisfied_at FROM instances_edge WHERE instance_id >= %(first)s AND instance_id < %(end)s "
        "ORDER BY instance_id) TO STDOUT",
        values,
    )
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        for statement, data in (
            (f"COPY instances_instance ({instance_columns}) FROM STDIN", instances),
            (f"COPY instances_edge ({edge_columns}) FROM STDIN", edges),
        ):
            with cursor.copy(statement) as copy:
                copy.write(data)
    return time.perf_counter() - began


def _dump(statement: str, values: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(statement, values) as copy:
        for piece in copy:
            data.write(piece)
    return data.getvalue()


_SEED_INSTANCES = """
INSERT INTO instances_instance (id, task_id, data_time, planned_time, instance_type, cycle_type, task_type, project_id,
    workflow_id, resource_group_id, priority, state, not_before, wait_since, ready_since, start_time, end_time, total_runs)
SELECT g, t.id, h.hour, h.hour, 'periodic', 'HOUR', 'VIRTUAL', w.project_id, w.id, t.resource_group_id, t.priority,
    'success', h.hour, h.hour, h.hour, h.hour, h.hour, 1
FROM generate_series(%(from)s::bigint, %(to)s::bigint) g
CROSS JOIN LATERAL (SELECT %(now)s::timestamptz - ((%(rows)s - g) / %(tasks)s) * interval '1 hour' AS hour) h
JOIN instances_task t ON t.id = %(first)s + (g - 1) %% %(tasks)s JOIN instances_workflow w ON w.id = t.workflow_id
ORDER BY g
"""
_SEED_EDGES = """
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, satisfied_at)
SELECT i.id, i.task_id - back, i.data_time, i.id - back, i.end_time
FROM instances_instance i CROSS JOIN generate_series(1, 2) back
WHERE i.id BETWEEN %(from)s AND %(to)s AND i.task_id >= %(first)s + back ORDER BY i.id
"""
_SEED_BATCH = 500_000


def _seed(tasks: list[Task], rows: int) -> None:
    """`rows` finished instances of earlier hours, with 2 satisfied edges each."""
    rows -= rows % len(tasks)  # a whole number of hours; the last is NOW
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for start in range(1, rows + 1, _SEED_BATCH):
            values: dict[str, Any] = {
                "from": start,
                "to": min(start + _SEED_BATCH - 1, rows),
                "rows": rows,
                "tasks": len(tasks),
                "first": tasks[0].pk,
                "now": NOW,
            }
            cursor.execute(_SEED_INSTANCES, values)
            cursor.execute(_SEED_EDGES, values)
            say(f"generation: {values['to']:,} of {rows:,} old instances are in the table")
        cursor.execute("SELECT setval(pg_get_serial_sequence('instances_instance', 'id'), %s)", [rows])
        cursor.execute("VACUUM (ANALYZE) instances_instance, instances_edge")
        cursor.execute("RESET statement_timeout")
