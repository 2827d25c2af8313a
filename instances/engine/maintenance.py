"""Maintenance: run-once functions with a batch limit that find what was lost, is overdue or too old.

Beat calls `sweep` with every tick. Each is safe to run twice at once.
"""

import datetime as dt
import logging
import time

from django.conf import settings
from django.db import connection
from django.utils import timezone

from events import matching
from instances.engine import event_handler, hints, lanes, lifecycle, logs, plans
from instances.engine.dispatch import follow
from instances.engine.hints import Hint
from instances.engine.lifecycle import Touched
from instances.engine.transactions import retried
from instances.models import Execution, WorkerProcess

log = logging.getLogger(__name__)


@retried
def lost_hints(older_than: float, limit: int = 1000) -> list[Hint]:
    """Dispatched executions that nobody claimed for `older_than` seconds; marks them as hinted now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH lost AS MATERIALIZED (SELECT e.id, i.task_type FROM instances_execution e "
            "JOIN instances_instance i ON i.id = e.instance_id "
            "WHERE e.state = 'dispatched' AND e.hinted_at < now() - %s * interval '1 second' "
            "ORDER BY e.id LIMIT %s FOR UPDATE OF e SKIP LOCKED) "
            "UPDATE instances_execution e SET hinted_at = now() FROM lost WHERE e.id = lost.id "
            "RETURNING e.id, e.resource_group_id, e.dry_run OR lost.task_type = 'VIRTUAL'",
            [older_than, limit],
        )
        return [Hint(*row) for row in cursor.fetchall()]


def _ready_groups() -> set[int]:
    """Groups that have anything ready: one index probe a group."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT g.id FROM projects_resourcegroup g WHERE g.enabled AND EXISTS (SELECT 1 FROM instances_instance i "
            "WHERE i.resource_group_id = g.id AND i.state = 'wait_run' AND i.queue = 'ready' "
            "AND i.frozen_at IS NULL)"
        )
        return {row[0] for row in cursor.fetchall()}


_IDLE_SERIAL_TASKS = """
-- From one task with gated instances to the next in the index: costs the tasks, however many instances each holds back.
WITH RECURSIVE gated AS (
    SELECT min(task_id) AS task_id FROM instances_instance WHERE state = 'wait_run' AND queue = 'gated' AND lane IS NULL
    UNION ALL
    SELECT (SELECT min(i.task_id) FROM instances_instance i
            WHERE i.state = 'wait_run' AND i.queue = 'gated' AND i.lane IS NULL AND i.task_id > gated.task_id)
    FROM gated WHERE gated.task_id IS NOT NULL
)
SELECT task_id FROM gated WHERE task_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM instances_execution e WHERE e.serial_task_id = gated.task_id
    AND e.state IN ('dispatched', 'running', 'stopping', 'delegated'))
LIMIT %s
"""


def _idle_serial_tasks(limit: int = 1000) -> set[int]:
    """Serial tasks with a gated instance and nothing on: their turn got lost, if that can be."""
    with connection.cursor() as cursor:
        cursor.execute(_IDLE_SERIAL_TASKS, [limit])
        return {row[0] for row in cursor.fetchall()}


def _groups_of_gated(tasks: set[int]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT resource_group_id FROM instances_instance WHERE task_id = ANY(%s) AND state = 'wait_run' "
            "AND queue = 'gated' AND lane IS NULL",
            [list(tasks)],
        )
        return {row[0] for row in cursor.fetchall()}


_LEFT_LOGS = """
-- From one log to the next in the index: costs the logs that are in chunks, however many chunks they have.
WITH RECURSIVE stored AS (
    SELECT min(execution_id) AS id FROM instances_logchunk WHERE execution_id > %(after)s
    UNION ALL
    SELECT (SELECT min(c.execution_id) FROM instances_logchunk c WHERE c.execution_id > stored.id)
    FROM stored WHERE stored.id IS NOT NULL
)
SELECT e.id FROM stored JOIN instances_execution e ON e.id = stored.id
WHERE e.ended_at < now() - %(settled)s * interval '1 second' ORDER BY e.id LIMIT %(limit)s
"""


def _left_logs(after: int, limit: int) -> list[int]:
    """Ended executions whose logs are still in chunks though nobody writes them any more, from the one after `after` on."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT_LOGS, {"after": after, "settled": logs.SETTLED.total_seconds(), "limit": limit})
        return [row[0] for row in cursor.fetchall()]


def seal_left_logs(limit: int = 100, seconds: float | None = None) -> int:
    """Seals logs of ended executions that their worker left unsealed, in batches, for about `seconds`; how many. One that no
    storage takes stays in its chunks and does not hold up the others. No transaction is open meanwhile."""
    until = None if seconds is None else time.monotonic() + seconds
    sealed, last = 0, 0
    while ids := _left_logs(last, limit):
        for execution_id in ids:
            if until is not None and time.monotonic() > until:
                return sealed
            try:
                logs.seal(execution_id)
                sealed += 1
            except Exception as error:  # storages raise errors of their own
                log.warning("log of execution %d is not sealed yet: %s", execution_id, error)
        last = ids[-1]
    return sealed


def sweep() -> Touched:
    """Everything that time may have changed: leases, retries, waiting timeouts, thawing, lost turns, lost hints, events, and
    children whose parents take too long or have changed without anybody's judging them."""
    touched = lifecycle.expire(settings.WEOPS_LEASE_SECONDS)
    touched.add(lifecycle.retry_due())
    touched.add(lifecycle.wait_timeouts())
    touched.add(lifecycle.thaw_due())
    touched.add(lifecycle.parent_timeouts())
    touched.add(lifecycle.ripple())
    touched.lanes |= lanes.with_room()
    idle = _idle_serial_tasks()
    if idle:
        touched.serial_tasks |= idle
        touched.groups |= _groups_of_gated(idle)
    touched.groups |= _ready_groups()
    ready = follow(touched)
    hints.send(ready + lost_hints(settings.WEOPS_HINT_SECONDS))
    event_handler.sweep()
    return touched


def hourly(now: dt.datetime | None = None) -> None:
    """Slow housekeeping: old instances, firings and backfill plans, left logs, workers that are long gone."""
    now = now or timezone.now()
    while remove_old(now - dt.timedelta(days=settings.WEOPS_RETENTION_DAYS)):
        pass
    event_handler.remove_old(now - dt.timedelta(days=settings.WEOPS_RETENTION_DAYS))
    while plans.remove_old(now - dt.timedelta(days=settings.WEOPS_RETENTION_DAYS)):
        pass
    seal_left_logs()
    WorkerProcess.objects.filter(seen_at__lt=now - dt.timedelta(days=1)).delete()


_OLD = """
SELECT i.id FROM instances_instance i
WHERE i.created_at < %s AND i.state IN ('success', 'failed', 'skipped') -- Test runs name themselves.
  AND (i.for_each_id IS NULL OR i.for_each_id = i.id)
ORDER BY i.id LIMIT %s
"""

_OLD_INNER = """
-- Inner instances go before theirs, when that is old, however young they are; none of a run that is not over.
SELECT c.id FROM instances_foreachrun r JOIN instances_instance i ON i.id = r.instance_id
JOIN instances_instance c ON c.for_each_id = i.id
WHERE i.created_at < %s AND i.state IN ('success', 'failed', 'skipped') AND NOT r.is_open
  AND c.state IN ('success', 'failed', 'skipped')
ORDER BY c.id LIMIT %s
"""


def remove_old(before: dt.datetime, limit: int = 2000) -> int:
    """Removes a batch of final instances generated before `before`, their executions, history and logs; inner instances of
    For-each tasks with theirs."""
    ids: list[int] = []
    with connection.cursor() as cursor:
        for statement in (_OLD_INNER, _OLD):
            if not ids:
                cursor.execute(statement, [before, limit])
                ids = [row[0] for row in cursor.fetchall()]
    if not ids:
        return 0
    files = Execution.objects.filter(instance__in=ids).exclude(log_file="").values_list("log_file", flat=True)
    logs.remove(list(files))
    return _remove_rows(ids)


@retried
def _remove_rows(ids: list[int]) -> int:
    """Removes those of the instances that are still final; how many they were."""
    executions = "SELECT id FROM instances_execution WHERE instance_id = ANY(%s)"
    with connection.cursor() as cursor:
        cursor.execute(
            # What still has inner instances (one of them is being rerun by hand) stays until they are gone.
            "SELECT id FROM instances_instance i WHERE id = ANY(%s) AND state IN ('success', 'failed', 'skipped') "
            "AND NOT EXISTS (SELECT 1 FROM instances_instance c WHERE c.for_each_id = i.id AND c.id <> i.id) "
            "ORDER BY id FOR UPDATE",
            [ids],
        )
        ids = [row[0] for row in cursor.fetchall()]
        # The database lets nobody else delete history (migration 0006).
        cursor.execute("SET LOCAL weops.retention = 'on'")
        for statement in (
            f"DELETE FROM instances_logchunk WHERE execution_id IN ({executions})",  # noqa: S608
            f"DELETE FROM instances_lease WHERE execution_id IN ({executions})",  # noqa: S608
            f"DELETE FROM instances_secretuse WHERE execution_id IN ({executions})",  # noqa: S608
            "DELETE FROM instances_execution WHERE instance_id = ANY(%s)",
            "DELETE FROM instances_statechange WHERE instance_id = ANY(%s)",
            "DELETE FROM instances_edge WHERE instance_id = ANY(%s)",
            "DELETE FROM instances_traversal WHERE for_each_id = ANY(%s)",
            "DELETE FROM instances_foreachrun WHERE instance_id = ANY(%s)",
            "UPDATE instances_edge SET upstream_id = NULL WHERE upstream_id = ANY(%s)",
            # Code as it was edited, of a test run alone.
            "DELETE FROM instances_taskversion v USING instances_instance i WHERE i.id = ANY(%s) AND v.id = i.version_id "
            "AND v.number IS NULL",
            "DELETE FROM instances_instance WHERE id = ANY(%s)",
        ):
            cursor.execute(statement, [ids])
        matching.forget(ids)
    return len(ids)
