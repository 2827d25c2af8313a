"""Dispatch: ready instances get a slot of their resource group, and an execution each.

The group's row is locked while slots are counted and given, so its limit holds under any race. A serial task has at
most one execution on (the database's own unique index refuses a second): the others are taken out of the ready queue
("gated") the first time they are met, and the next is let in when the one ends. So a dispatch costs what it gives.

Instances of a lane stand gated from the start, and are let in when the lane has a place (`lanes`). An execution takes a
free place 1..N of its lane, under the lane's lock, and the unique index refuses a second one there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from instances.engine import lanes, lifecycle
from instances.engine.hints import Hint
from instances.engine.lifecycle import Touched
from instances.engine.transactions import retried

# One whose own child of an earlier life still dies cannot use the turn; it is let in when that is dead.
_GATED = """FROM instances_instance g
    WHERE g.task_id = task.id AND g.state = 'wait_run' AND g.queue = 'gated' AND g.lane IS NULL AND NOT EXISTS (
        SELECT 1 FROM instances_execution e WHERE e.instance_id = g.id AND e.state IN ('stopping', 'delegated'))"""

_UNGATE = f"""
-- Chosen once, before anything is written: asked again, it would pass over what this statement has let in already.
WITH next AS MATERIALIZED (
    SELECT next.id FROM (SELECT id, self_dependency FROM instances_task WHERE id = ANY(%s)) task CROSS JOIN LATERAL (
        SELECT g.self_dependency {_GATED} ORDER BY g.priority DESC, g.planned_time, g.id LIMIT 1) first CROSS JOIN LATERAL (
        SELECT g.id {_GATED}
        ORDER BY g.priority DESC, g.planned_time, g.id
        -- All of a parallel task: it was serial before.
        LIMIT CASE coalesce(nullif(first.self_dependency, ''), task.self_dependency) WHEN 'parallel' THEN NULL ELSE 1 END
        FOR UPDATE SKIP LOCKED) next
)
UPDATE instances_instance i SET queue = 'ready' FROM next WHERE i.id = next.id RETURNING i.resource_group_id
"""  # noqa: S608 - constants

_LOCK_GROUP = """
SELECT g.slots FROM projects_resourcegroup g WHERE g.id = %s AND g.enabled FOR NO KEY UPDATE
"""

_TAKEN = """
SELECT count(*) FROM instances_execution
WHERE resource_group_id = %s AND state IN ('dispatched', 'running', 'stopping')
"""

_GIVE = f"""
WITH pick AS (
    SELECT {lanes.PICKED}
    FROM instances_instance i
    WHERE i.resource_group_id = %(group)s AND i.state = 'wait_run' AND i.queue = 'ready' AND i.frozen_at IS NULL
      AND i.not_before <= now()
    ORDER BY i.priority DESC, i.planned_time, i.id LIMIT %(free)s FOR UPDATE OF i SKIP LOCKED
), made AS (
    {lanes.MAKE.format(lane="NULL::bigint", place="NULL::smallint", picked="pick p", where="WHERE p.lane IS NULL")}
), placed AS (
    UPDATE instances_instance i
    SET queue = CASE WHEN made.id IS NULL THEN 'gated' ELSE 'taken' END, execution_id = coalesce(made.id, i.execution_id)
    FROM pick LEFT JOIN made ON made.instance_id = pick.id WHERE i.id = pick.id AND pick.lane IS NULL
)
SELECT pick.id, made.id, coalesce(made.dry_run, false) OR pick.task_type = 'VIRTUAL', pick.lane
FROM pick LEFT JOIN made ON made.instance_id = pick.id ORDER BY pick.priority DESC, pick.planned_time, pick.id
"""  # noqa: S608 - constants

# A pass meets each gated instance once; the bound keeps one transaction short.
_PASSES = 20
_MOST = 2000
# Transactions in which one caller judges children.
_MOST_RIPPLES = 100


@dataclass(slots=True)
class _Given:
    """`more`: there may be more to give. `groups`: where instances were let in."""

    hints: list[Hint] = field(default_factory=list)
    more: bool = False
    groups: set[int] = field(default_factory=set)


@retried
def _dispatch_group(group_id: int, freed: list[int]) -> _Given:
    given = _Given()
    with connection.cursor() as cursor:
        # Losing a dispatch in a crash of the server costs a moment, so it need not wait for the disk.
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(_LOCK_GROUP, [group_id])
        row = cursor.fetchone()
        if freed:
            cursor.execute(_UNGATE, [freed])
            given.groups = {row[0] for row in cursor.fetchall()}
        if row is None:
            return given
        cursor.execute(_TAKEN, [group_id])
        free = min(row[0] - cursor.fetchone()[0], _MOST)
        for _ in range(_PASSES):
            if free <= 0:
                given.more = len(given.hints) >= _MOST
                return given
            rows, in_lanes = _give(cursor, group_id, free)
            made = [Hint(execution_id, group_id, instant) for execution_id, instant in rows if execution_id]
            given.hints += made
            # Fewer than asked for: the queue is empty. As many as asked for, but some gated: look for others.
            if len(rows) < free:
                return given
            free -= len(made)
            # Lanes are locked in one order only if a transaction locks them once.
            if in_lanes:
                break
    given.more = free > 0 or len(given.hints) >= _MOST
    return given


def _give(cursor: Any, group_id: int, free: int) -> tuple[list[tuple[int | None, bool]], bool]:
    """(execution id or None if it was gated, instant) of each instance met, in order; whether any is of a lane."""
    cursor.execute(_GIVE, {"group": group_id, "free": free})
    rows: Sequence[tuple[int, int | None, bool, int | None]] = cursor.fetchall()
    of_lanes = {instance_id: lane for instance_id, _, _, lane in rows if lane is not None}
    if not of_lanes:
        return [(execution_id, instant) for _, execution_id, instant, _ in rows], False
    placed = lanes.place(cursor, group_id, of_lanes)
    return [
        placed.get(instance_id, (None, False)) if lane is not None else (execution_id, instant)
        for instance_id, execution_id, instant, lane in rows
    ], True


def dispatch(
    group_ids: Iterable[int], freed_serial_tasks: Iterable[int] = (), freed_lanes: Iterable[int] = ()
) -> list[Hint]:
    """Gives the groups' free slots to ready instances; the hints to send, in order of priority.

    `freed_serial_tasks`: ids of serial tasks whose execution has just ended, so that their next may run.
    `freed_lanes`: lanes that may have a free place, or new instances.
    """
    hints: list[Hint] = []
    freed = sorted(freed_serial_tasks)
    waiting = set(group_ids)
    if freed_lanes := sorted(freed_lanes):
        waiting |= lanes.let_in(freed_lanes)
    seen: set[int] = set()
    while waiting:
        group_id = min(waiting)
        given = _dispatch_group(group_id, freed)
        hints += given.hints
        seen.add(group_id)
        waiting = (waiting | given.groups) - seen
        while given.more:
            given = _dispatch_group(group_id, [])
            hints += given.hints
    return hints


def follow(touched: Touched) -> list[Hint]:
    """What every caller does after a change: judges children, and dispatches what may be ready; the hints to send.

    Adds to `touched` what judging has touched. A long cascade is left to the sweep.
    """
    for _ in range(_MOST_RIPPLES):
        if not touched.ripples:
            break
        touched.ripples = False
        touched.add(lifecycle.ripple())
    return dispatch(touched.groups, touched.serial_tasks, touched.lanes)
