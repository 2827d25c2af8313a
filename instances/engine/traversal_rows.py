"""The rows of For-each runs, as sets: which traversals are over, which come next, what is under way. Under the run's row lock."""

from collections.abc import Sequence
from typing import Any

from django.db import connection

from instances.engine import lifecycle
from instances.engine.backlog import array
from instances.engine.lifecycle import Touched
from instances.engine.states import FINAL, ON, Operation, sources
from instances.models import ForEachRun, Instance
from instances.models.traversal import TraversalState

# Inner instances that one step begins or ends: bounds of a transaction.
BATCH = 1000
NAMED = 10

_OVER = """
-- Traversals under way none of whose instances moves by itself any more.
SELECT t.number, coalesce(bool_or(c.state = 'failed'), false),
       coalesce(array_agg(c.id ORDER BY c.id) FILTER (WHERE c.state = 'wait_upstream'), '{}')
FROM instances_traversal t
LEFT JOIN instances_instance c ON c.for_each_id = t.for_each_id AND c.traversal = t.number::text
    AND c.task_id = ANY(%(tasks)s::bigint[])
WHERE t.for_each_id = %(run)s AND t.state = 'active' AND (%(numbers)s::int[] IS NULL OR t.number = ANY(%(numbers)s))
  -- Somebody is still to be judged by what became of another.
  AND NOT EXISTS (SELECT 1 FROM instances_ripple r JOIN instances_instance x ON x.id = r.instance_id
                  WHERE x.for_each_id = t.for_each_id AND x.traversal = t.number::text)
GROUP BY t.number
HAVING bool_or(c.state IN ('wait_event', 'wait_run', 'running', 'terminating', 'failed_retry')) IS NOT TRUE
   -- What waits waits for one that has failed; or else its turn to be released or skipped is still to come.
   AND (bool_or(c.state = 'failed') OR bool_or(c.state = 'wait_upstream') IS NOT TRUE)
ORDER BY t.number LIMIT %(limit)s
"""

_LOCK = """
SELECT id FROM instances_instance WHERE for_each_id = %(run)s AND traversal = ANY(%(numbers)s::int[]::text[])
  AND task_id = ANY(%(tasks)s::bigint[]) ORDER BY id FOR UPDATE
"""

_NOTE = """
UPDATE instances_traversal t SET state = n.state, ended_at = now()
FROM unnest(%(numbers)s::int[], %(states)s::text[]) AS n(number, state)
WHERE t.for_each_id = %(run)s AND t.number = n.number AND t.state = 'active'
"""


def tasks(run: ForEachRun) -> list[int]:
    """The inner tasks of the run's DAG, each after those that it follows."""
    return [task for task, _ in run.dag]


def note_over(run: ForEachRun, lines: list[str]) -> Touched:
    """Notes the traversals that are over; what still waits in one of them has waited in vain."""
    limit = max(1, BATCH // max(1, len(run.dag)))
    values: dict[str, Any] = {"run": run.pk, "tasks": array(tasks(run)), "numbers": None, "limit": limit}
    touched = Touched()
    with connection.cursor() as cursor:
        cursor.execute(_OVER, values)
        over = cursor.fetchall()
        if any(waiting for _, _, waiting in over):
            # Somebody may be giving one of them another life: asked again when they stand still.
            values["numbers"] = [number for number, _, _ in over]
            cursor.execute(_LOCK, values)
            cursor.execute(_OVER, values)
            over = cursor.fetchall()
            waiting = sorted(pk for _, _, ids in over for pk in ids)
            if waiting:
                touched = lifecycle.end_waiting_in_vain(waiting)[1]
        failed = [number for number, has_failed, _ in over if has_failed]
        ended = [number for number, _, _ in over]
        if ended:
            states = ["failed" if has_failed else "success" for _, has_failed, _ in over]
            cursor.execute(_NOTE, {"run": run.pk, "numbers": ended, "states": states})
    run.active -= len(ended)
    run.failed += len(failed)
    run.success += len(ended) - len(failed)
    if ended:
        lines.append(
            _ended(ended, failed) + f" ({run.success + run.failed + run.stopped} of {run.total} are over)"
        )
    return touched


def _ended(ended: Sequence[int], failed: Sequence[int]) -> str:
    if len(ended) == 1:
        return f"traversal {ended[0]} has {'failed' if failed else 'succeeded'}"
    if not failed:
        return f"{len(ended)} traversals have succeeded: {_named(ended)}"
    return f"{len(ended)} traversals have ended, {len(failed)} of them failed: {_named(failed)}"


def _named(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return ", ".join(map(str, numbers[:NAMED])) + more


_NEXT = """
SELECT number FROM instances_traversal WHERE for_each_id = %(run)s AND state = 'pending' AND execution_id = %(execution)s
ORDER BY number LIMIT %(limit)s
"""

_EXISTING = """
SELECT id, task_id, traversal::int, state FROM instances_instance
WHERE for_each_id = %(run)s AND traversal = ANY(%(numbers)s::int[]::text[]) ORDER BY id FOR UPDATE
"""


def start(run: ForEachRun, parent: Instance, room: int, lines: list[str]) -> Touched:
    """Starts the next traversals, at most `room`. Of one that somebody still runs again by hand, that is ended first."""
    limit = min(room, max(1, BATCH // max(1, len(run.dag))))
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"run": run.pk, "execution": run.execution_id, "limit": limit}
        cursor.execute(_NEXT, values)
        numbers = [row[0] for row in cursor.fetchall()]
        cursor.execute(_EXISTING, {**values, "numbers": numbers})
        existing = cursor.fetchall()
    busy = {pk: number for pk, _, number, state in existing if state not in FINAL}
    touched = Touched()
    if busy:
        touched = lifecycle.terminate(sorted(busy))[1]
    ready = [number for number in numbers if number not in busy.values()]
    if not ready:
        return touched
    wanted = tasks(run)
    known = {(task, number): pk for pk, task, number, _ in existing if number in set(ready)}
    fresh = [(task, number) for task in wanted for number in ready if (task, number) not in known]
    again = sorted(pk for (task, _), pk in known.items() if task in set(wanted))
    touched.add(lifecycle.begin_children(run.pk, parent.run_type, fresh, again, run.dag))
    _move(run, ready, TraversalState.ACTIVE)
    run.pending -= len(ready)
    run.active += len(ready)
    which = "traversal" if len(ready) == 1 else "traversals"
    lines.append(f"started {which} {_named(ready)} ({run.active} under way, {run.pending} to come)")
    return touched


def _move(run: ForEachRun, numbers: Sequence[int], state: TraversalState) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE instances_traversal SET state = %s, started_at = now(), ended_at = NULL "
            "WHERE for_each_id = %s AND number = ANY(%s::int[])",
            [state.value, run.pk, array(numbers)],
        )


def stop_pending(run: ForEachRun) -> None:
    """None of those that are left is started any more."""
    if run.pending:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE instances_traversal SET state = 'stopped' WHERE for_each_id = %s AND state = 'pending'",
                [run.pk],
            )
            run.stopped += cursor.rowcount
        run.pending = 0


def unfinished(run: ForEachRun) -> list[tuple[int, str]]:
    """(id, state) of some of the run's instances that can still be ended, in order."""
    rows = Instance.objects.filter(for_each_id=run.pk, state__in=sources(Operation.TERMINATE)).order_by("pk")
    return list(rows.values_list("pk", "state")[:BATCH])


_ALIVE = """
SELECT EXISTS (SELECT 1 FROM instances_instance c JOIN instances_execution e ON e.instance_id = c.id
               WHERE c.for_each_id = %s AND e.state = ANY(%s))
    OR EXISTS (SELECT 1 FROM instances_instance c WHERE c.for_each_id = %s AND c.state <> ALL(%s))
"""


def is_anything_alive(run: ForEachRun) -> bool:
    """Whether an instance of the run has not ended, or has a process that may not be dead yet."""
    with connection.cursor() as cursor:
        on, final = [state.value for state in ON], [state.value for state in FINAL]
        cursor.execute(_ALIVE, [run.pk, on, run.pk, final])
        return bool(cursor.fetchone()[0])


def operation_of(parent: Instance) -> int | None:
    """The operation that brought the instance into its state, if one did: it is on record for its children, too."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT operation_id FROM instances_statechange WHERE instance_id = %s AND from_state <> to_state "
            "ORDER BY id DESC LIMIT 1",
            [parent.pk],
        )
        row = cursor.fetchone()
        return row[0] if row else None
