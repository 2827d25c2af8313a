"""The runs of a backfill plan while it is on: what has ended, what is blocked, what is stopped. Each changes rows and the
counts on `plan`, whose row the caller has locked and saves."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.db.models.functions import Now

from instances.engine import lifecycle
from instances.engine.backlog import array
from instances.engine.lifecycle import Touched
from instances.engine.plan_start import Run
from instances.engine.trigger_policies import EXPIRED
from instances.models import BackfillPlan, OperationRecord
from instances.models.backfill import RunState
from instances.models.operation import OperationState

# Instances that are terminated, and runs that are crossed out, in one transaction.
STOP_BATCH, CROSS_OUT_BATCH = 1000, 10_000

_NOTE = """
WITH ended AS (
    SELECT r.id, r.state AS old, r.instance_id,
        CASE WHEN i.id IS NULL THEN 'failed'
             WHEN i.state IN ('success', 'skipped') THEN 'success'
             WHEN i.state = 'failed' THEN CASE WHEN %(stopping)s AND i.error_code = 'TERMINATED' THEN 'stopped' ELSE 'failed' END
             -- Its parent has come to a good end after all.
             ELSE 'active' END AS new,
        CASE WHEN i.id IS NULL THEN 'Its instance was removed.'
             WHEN i.state = 'failed' THEN concat_ws(': ', nullif(i.error_code, ''), nullif(i.error_message, ''))
             WHEN i.state = 'skipped' THEN 'Skipped, by how its upstream ended.'
             ELSE '' END
        || CASE WHEN i.life_round > r.life_round THEN ' (In a life that was begun by hand.)' ELSE '' END AS message,
        i.end_time
    FROM instances_backfillrun r LEFT JOIN instances_instance i ON i.id = r.instance_id
    WHERE r.plan_id = %(plan)s AND r.state IN ('active', 'blocked')
      AND (i.id IS NULL OR i.state IN ('success', 'skipped', 'failed')
           OR r.state = 'blocked' AND i.state NOT IN ('wait_event', 'wait_upstream'))
      -- What the plan has just changed may decide again about those that were skipped.
      AND NOT (i.state IS NOT DISTINCT FROM 'skipped' AND EXISTS (
          SELECT 1 FROM instances_ripple w JOIN instances_instance c ON c.id = w.instance_id WHERE c.plan_id = %(plan)s))
)
UPDATE instances_backfillrun r SET state = ended.new, message = trim(ended.message),
    ended_at = CASE WHEN ended.new <> 'active' THEN coalesce(ended.end_time, now()) END
FROM ended WHERE r.id = ended.id AND r.plan_id = %(plan)s
RETURNING ended.old, ended.new, ended.instance_id
"""


def note_ended(plan: BackfillPlan) -> list[int]:
    """Writes how runs have ended whose instance has; the instances of those that failed."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, {"plan": plan.pk, "stopping": plan.stop_operation_id is not None})
        rows = cursor.fetchall()
    for old, new, _ in rows:
        _count(plan, old, new)
    return [instance_id for _, new, instance_id in rows if new == RunState.FAILED]


def _count(plan: BackfillPlan, old: str, new: str, runs: int = 1) -> None:
    setattr(plan, old, getattr(plan, old) - runs)
    setattr(plan, new, getattr(plan, new) + runs)


def count_started(plan: BackfillPlan, runs: Iterable[Run]) -> None:
    """Runs that were pending and have been decided about."""
    for run in runs:
        _count(plan, RunState.PENDING, run.state)


# A run of the plan has failed or is blocked, and neither an excuse nor the clock will free its child of it.
_DEAD = """({p}.state IN ('failed', 'blocked') AND {u}.state IN ('failed', 'wait_event', 'wait_upstream')
    AND {e}.timeout_at IS NULL AND NOT ({u}.state = 'failed' AND {e}.rules & {expired} <> 0))"""
_DEAD_PARENT = _DEAD.format(e="e", p="p", u="u", expired=EXPIRED)
_DEAD_OTHER = _DEAD.format(e="o", p="op", u="ou", expired=EXPIRED)

_BLOCK = f"""
-- One dead parent is enough, unless a trigger policy looks at all of them: then none may be left that could still decide,
-- and no verdict outstanding.
WITH child AS (
    SELECT DISTINCT ON (r.id) r.id, r.instance_id,
           'Waits for ' || t.name || ' ' || to_char(e.upstream_data_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC, '
           || CASE u.state WHEN 'failed' THEN 'which has failed.' ELSE 'which is blocked itself.' END AS message
    FROM instances_edge e
    JOIN instances_backfillrun r ON r.plan_id = %(plan)s AND r.instance_id = e.instance_id AND r.state = 'active'
    JOIN instances_instance i ON i.id = r.instance_id AND i.state IN ('wait_event', 'wait_upstream')
    JOIN instances_backfillrun p ON p.plan_id = r.plan_id AND p.data_time = e.upstream_data_time
      AND p.task_id = e.upstream_task_id
    JOIN instances_instance u ON u.id = p.instance_id
    JOIN instances_task t ON t.id = e.upstream_task_id
    WHERE {{edges}} AND e.satisfied_at IS NULL AND e.removed_at IS NULL AND NOT e.waived AND {_DEAD_PARENT}
      AND (i.trigger_policy = '' OR NOT EXISTS (
          SELECT 1 FROM instances_edge o LEFT JOIN instances_instance ou ON ou.id = o.upstream_id
          LEFT JOIN instances_backfillrun op ON op.plan_id = r.plan_id AND op.data_time = o.upstream_data_time
            AND op.task_id = o.upstream_task_id
          WHERE o.instance_id = i.id AND o.removed_at IS NULL AND NOT o.waived
            AND (o.satisfied_at IS NULL AND {_DEAD_OTHER} IS NOT TRUE
                 OR EXISTS (SELECT 1 FROM instances_ripple w WHERE w.instance_id = o.upstream_id))))
    ORDER BY r.id, e.upstream_data_time
)
UPDATE instances_backfillrun r SET state = 'blocked', message = child.message FROM child
WHERE r.id = child.id AND r.plan_id = %(plan)s RETURNING r.instance_id
"""  # noqa: S608 - constants


def block_behind(plan: BackfillPlan, failed: Sequence[int]) -> None:
    """Runs that wait for an instance of `failed`, and those that wait for them, are blocked."""
    while failed:
        failed = _block(plan, "e.upstream_id = ANY(%(ids)s::bigint[])", failed)


def block_among(plan: BackfillPlan, started: Sequence[int]) -> None:
    """Of the instances that were just started, those that wait for a run that has failed before are blocked."""
    if started and (plan.failed or plan.blocked):
        block_behind(plan, _block(plan, "e.instance_id = ANY(%(ids)s::bigint[])", started))


def block_judged(plan: BackfillPlan) -> None:
    """Runs whose trigger policy waits for nothing any more that could still happen are blocked, and those behind them."""
    while plan.active and (plan.failed or plan.blocked):
        stuck = _block(plan, "i.trigger_policy <> ''", ())
        if not stuck:
            return
        block_behind(plan, stuck)


def _block(plan: BackfillPlan, edges: str, ids: Sequence[int]) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_BLOCK.format(edges=edges), {"plan": plan.pk, "ids": array(ids)})
        blocked = [row[0] for row in cursor.fetchall()]
    _count(plan, RunState.ACTIVE, RunState.BLOCKED, len(blocked))
    return blocked


# Stopping

_CROSS_OUT = """
UPDATE instances_backfillrun r SET state = 'stopped', ended_at = now()
FROM (SELECT id FROM instances_backfillrun WHERE plan_id = %(plan)s AND state = 'pending' ORDER BY wave, id LIMIT %(limit)s) next
WHERE r.id = next.id AND r.plan_id = %(plan)s
"""

_STOPPABLE = """
FROM instances_backfillrun r JOIN instances_instance i ON i.id = r.instance_id
WHERE r.plan_id = %(plan)s AND r.state IN ('active', 'blocked') AND i.plan_id = %(plan)s AND i.life_round = r.life_round
  AND (i.state IN ('wait_event', 'wait_upstream', 'wait_run', 'failed_retry') OR %(running)s AND i.state = 'running')
"""
_COUNT = f"SELECT count(*) {_STOPPABLE}"
# Whoever runs now is left to end, unless the plan says otherwise: so the rows are locked before they are terminated.
_LOCK = f"SELECT i.id {_STOPPABLE} ORDER BY i.id LIMIT %(limit)s FOR UPDATE OF i"

_LET_GO = """
UPDATE instances_backfillrun r SET state = 'stopped', ended_at = now(),
    message = 'Its instance has a life that was begun by hand, and goes on.'
FROM (SELECT r.id, r.state FROM instances_backfillrun r JOIN instances_instance i ON i.id = r.instance_id
      WHERE r.plan_id = %(plan)s AND r.state IN ('active', 'blocked') AND i.plan_id IS DISTINCT FROM %(plan)s) own
WHERE r.id = own.id AND r.plan_id = %(plan)s RETURNING own.state
"""

_TERMINATED = """
WITH stopped AS (
    UPDATE instances_backfillrun r SET state = 'stopped', ended_at = now(), message = 'Terminated while it waited.'
    FROM instances_backfillrun old
    WHERE old.id = r.id AND old.plan_id = %(plan)s AND old.instance_id = ANY(%(ended)s::bigint[])
      AND old.state IN ('active', 'blocked') RETURNING old.state
)
SELECT state, count(*) FROM stopped GROUP BY state
"""

_RECORD = """
INSERT INTO instances_operationitem (operation_id, instance_id, from_state, to_state, outcome, message)
SELECT %s, id, old, new, 'done', '' FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS w(id, old, new)
"""


def stoppable(plan: BackfillPlan) -> int:
    """How many instances stopping the plan would terminate now."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"plan": plan.pk, "running": plan.stop_running})
        return int(cursor.fetchone()[0])


def stop_some(plan: BackfillPlan) -> Touched:
    """Crosses out runs that have not started, and terminates instances of the plan that wait; a batch of each."""
    with connection.cursor() as cursor:
        cursor.execute(_CROSS_OUT, {"plan": plan.pk, "limit": CROSS_OUT_BATCH})
        _count(plan, RunState.PENDING, RunState.STOPPED, cursor.rowcount)
        cursor.execute(_LET_GO, {"plan": plan.pk})
        for (old,) in cursor.fetchall():
            _count(plan, old, RunState.STOPPED)
        cursor.execute(_LOCK, {"plan": plan.pk, "running": plan.stop_running, "limit": STOP_BATCH})
        ids = [pk for (pk,) in cursor.fetchall()]
        if not ids:
            return Touched()
        changed, touched = lifecycle.terminate(ids, plan.stop_operation_id)
        # A running one ends when its processes are dead.
        ended = [pk for pk, old in changed.items() if old != "running"]
        new = ["terminating" if old == "running" else "failed" for old in changed.values()]
        cursor.execute(_RECORD, [plan.stop_operation_id, list(changed), list(changed.values()), new])
        cursor.execute(_TERMINATED, {"plan": plan.pk, "ended": array(ended)})
        for old, count in cursor.fetchall():
            _count(plan, old, RunState.STOPPED, count)
    return touched


def why_stopped(plan: BackfillPlan) -> str:
    """The sentence for a plan that stops at its first failure."""
    failed = plan.runs.filter(state=RunState.FAILED).select_related("task").order_by("ended_at", "id")[0]
    return f"{failed.task.name} of {failed.data_time:%Y-%m-%d %H:%M} UTC has failed, and the plan stops at a failure."


# On record

_OUTCOMES = "SELECT outcome, count(*) FROM instances_operationitem WHERE operation_id = %s GROUP BY outcome"


def finish_records(plan: BackfillPlan) -> None:
    """Ends the plan's own operation, of which what was started is done, and the one that stopped it, if one did."""
    never = plan.runs.filter(instance_id=None)
    done = _done(plan.operation_id)
    state = OperationState.SUCCESS
    if done < plan.total or (plan.prepared_at is None and plan.stop_operation_id is None):
        state = OperationState.PART_SUCCESS if done else OperationState.FAIL
    _finish(
        plan.operation_id,
        state=state,
        done=done,
        refused=plan.refused,
        failed=never.filter(state=RunState.FAILED).count(),
        cancelled=never.filter(state=RunState.STOPPED).count(),
    )
    _finish(plan.stop_operation_id, state=OperationState.SUCCESS, done=_done(plan.stop_operation_id))


def _done(operation_id: int | None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_OUTCOMES, [operation_id])
        return int(dict(cursor.fetchall()).get("done", 0))


def _finish(operation_id: int | None, **columns: Any) -> None:
    if operation_id is None:
        return
    OperationRecord.objects.filter(pk=operation_id, finished_at=None).update(finished_at=Now(), **columns)
