"""Dispatch: ready instances get a slot of their resource group, and an execution each.

The group's row is locked while slots are counted and given, so its limit holds under any race. A serial task has at
most one execution on (the database's own unique index refuses a second): the others are taken out of the ready queue
("gated") the first time they are met, and the next is let in when the one ends. So a dispatch costs what it gives.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from instances.engine.hints import Hint
from instances.engine.transactions import retried

_UNGATE = """
UPDATE instances_instance i SET queue = 'ready'
FROM (SELECT id, self_dependency FROM instances_task WHERE id = ANY(%s)) task CROSS JOIN LATERAL (
    SELECT g.id FROM instances_instance g WHERE g.task_id = task.id AND g.state = 'wait_run' AND g.queue = 'gated'
    -- All of a parallel task: it was serial before, or lives after a marked one wait for its child to be dead.
    ORDER BY g.priority DESC, g.planned_time, g.id
    LIMIT CASE task.self_dependency WHEN 'parallel' THEN NULL ELSE 1 END FOR UPDATE SKIP LOCKED) next
WHERE i.id = next.id
"""

_LOCK_GROUP = """
SELECT g.slots FROM projects_resourcegroup g WHERE g.id = %s AND g.enabled FOR NO KEY UPDATE
"""

_TAKEN = """
SELECT count(*) FROM instances_execution
WHERE resource_group_id = %s AND state IN ('dispatched', 'running', 'stopping')
"""

_GIVE = """
WITH pick AS (
    SELECT i.id, i.task_id, i.life_round, i.tries, i.run_type, i.version_id, i.execution_id, i.overrides,
           i.wait_since, i.ready_since, i.task_type, i.priority, i.planned_time
    FROM instances_instance i
    WHERE i.resource_group_id = %(group)s AND i.state = 'wait_run' AND i.queue = 'ready' AND i.frozen_at IS NULL
      AND i.not_before <= now()
    ORDER BY i.priority DESC, i.planned_time, i.id LIMIT %(free)s FOR UPDATE OF i SKIP LOCKED
), made AS (
    -- A retry keeps the snapshot of its life's first try; a first try takes the definition as it is now.
    INSERT INTO instances_execution (instance_id, life_round, try_number, run_type, dry_run, state, resource_group_id,
        serial_task_id, version_id, parameters, wait_started_at, queue_started_at, hinted_at)
    SELECT p.id, p.life_round, p.tries, p.run_type, t.dry_run, 'dispatched', %(group)s,
           CASE WHEN t.self_dependency <> 'parallel' THEN t.id END,
           coalesce(last.version_id, p.version_id, t.current_version_id),
           coalesce(last.parameters, project.parameters || w.parameters || v.parameters || p.overrides),
           p.wait_since, p.ready_since, now()
    FROM pick p JOIN instances_task t ON t.id = p.task_id JOIN instances_workflow w ON w.id = t.workflow_id
    JOIN projects_project project ON project.id = w.project_id
    JOIN instances_taskversion v ON v.id = coalesce(p.version_id, t.current_version_id)
    LEFT JOIN instances_execution last ON last.id = p.execution_id AND last.life_round = p.life_round
    -- In order, so that of several instances of a serial task the first wins.
    ORDER BY p.priority DESC, p.planned_time, p.id
    ON CONFLICT DO NOTHING
    RETURNING id, instance_id, dry_run
), placed AS (
    UPDATE instances_instance i
    SET queue = CASE WHEN made.id IS NULL THEN 'gated' ELSE 'taken' END, execution_id = coalesce(made.id, i.execution_id)
    FROM pick LEFT JOIN made ON made.instance_id = pick.id WHERE i.id = pick.id
)
SELECT pick.id, made.id, coalesce(made.dry_run, false) OR pick.task_type = 'VIRTUAL'
FROM pick LEFT JOIN made ON made.instance_id = pick.id ORDER BY pick.priority DESC, pick.planned_time, pick.id
"""

# A pass meets each gated instance once; the bound keeps one transaction short.
_PASSES = 20
_MOST = 2000


@dataclass(slots=True)
class _Given:
    hints: list[Hint]
    more: bool


@retried
def _dispatch_group(group_id: int, freed: list[int]) -> _Given:
    hints: list[Hint] = []
    with connection.cursor() as cursor:
        # Losing a dispatch in a crash of the server costs a moment, so it need not wait for the disk.
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(_LOCK_GROUP, [group_id])
        row = cursor.fetchone()
        if freed:
            cursor.execute(_UNGATE, [freed])
        if row is None:
            return _Given(hints, more=False)
        cursor.execute(_TAKEN, [group_id])
        free = min(row[0] - cursor.fetchone()[0], _MOST)
        for _ in range(_PASSES):
            if free <= 0:
                return _Given(hints, more=len(hints) >= _MOST)
            cursor.execute(_GIVE, {"group": group_id, "free": free})
            rows = cursor.fetchall()
            given = [
                Hint(execution_id, group_id, instant) for _, execution_id, instant in rows if execution_id
            ]
            hints += given
            # Fewer than asked for: the queue is empty. As many as asked for, but some gated: look for others.
            if len(rows) < free:
                return _Given(hints, more=False)
            free -= len(given)
    return _Given(hints, more=True)


def dispatch(group_ids: Iterable[int], freed_serial_tasks: Iterable[int] = ()) -> list[Hint]:
    """Gives the groups' free slots to ready instances; the hints to send, in order of priority.

    `freed_serial_tasks`: ids of serial tasks whose execution has just ended, so that their next may run.
    """
    hints: list[Hint] = []
    freed = sorted(freed_serial_tasks)
    for group_id in sorted(group_ids):
        given = _dispatch_group(group_id, freed)
        hints += given.hints
        while given.more:
            given = _dispatch_group(group_id, [])
            hints += given.hints
    return hints
