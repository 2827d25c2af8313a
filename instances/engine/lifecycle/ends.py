"""Ends that people set: terminate and mark as successful; and waiting that took too long."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from events import matching
from instances.engine import errors, event_waits
from instances.engine.event_waits import Success
from instances.engine.lifecycle import ends_statements as statements
from instances.engine.lifecycle.common import (
    Change,
    Touched,
    cancel_dispatched,
    lock,
    release,
    ripple_from,
)
from instances.engine.states import OPERATIONS, WAITING, Move, Operation, State
from instances.engine.transactions import retried


def end(
    cursor: Any,
    ids: Sequence[int],
    sources: Iterable[str],
    new: str,
    move: str,
    code: str,
    message: str,
    operation: int | None,
) -> Change:
    """Ends instances that no worker holds."""
    values = {
        "ids": list(ids),
        "sources": list(sources),
        "new": new,
        "move": move,
        "code": code,
        "message": message,
        "operation": operation,
    }
    cursor.execute(statements.END_WAITING, values)
    rows = cursor.fetchall()
    touched = Touched(instances=len(rows))
    for instance_id, _, group_id, lane, for_each_id in rows:
        touched.freed(group_id, None, lane)
        touched.for_each |= {for_each_id} - {None, instance_id}
    ended = {row[0]: row[1] for row in rows}
    if ended:
        cancel_dispatched(cursor, list(ended), code, message, touched)
        values["ids"] = [instance_id for instance_id, old in ended.items() if old in WAITING]
        cursor.execute(statements.RECORD_WAITING_LIFE, values)
        waited = [instance_id for instance_id, old in ended.items() if old == State.WAIT_EVENT]
        if waited:
            matching.withdraw(waited)
        if new == State.FAILED:
            ripple_from(cursor, list(ended), touched, failed=True)
    return ended, touched


@retried
def wait_timeouts(limit: int = 1000) -> Touched:
    """Fails instances that have waited longer than their total waiting timeout; it stands still while they are frozen."""
    with connection.cursor() as cursor:
        cursor.execute(statements.OVERDUE, {"limit": limit})
        ids = [row[0] for row in cursor.fetchall()]
        if not ids:
            return Touched()
        return end(
            cursor,
            ids,
            WAITING,
            State.FAILED,
            Move.WAIT_TIMEOUT,
            "WAIT_TIMEOUT",
            errors.CATALOGUE["WAIT_TIMEOUT"].title,
            None,
        )[1]


def _stop_running(cursor: Any, ids: Sequence[int], new: str, cancel: str, operation: int | None) -> Change:
    cursor.execute(
        statements.STOP_RUNNING, {"ids": list(ids), "new": new, "cancel": cancel, "operation": operation}
    )
    rows = cursor.fetchall()
    # Of a For-each instance, the traversals must hear of it.
    touched = Touched(for_each={for_each for row in rows for for_each in row[1:] if for_each is not None})
    return {row[0]: State.RUNNING.value for row in rows}, touched


@retried
def terminate(ids: Sequence[int], operation: int | None = None) -> Change:
    """Stops instances: running ones become terminating until their processes are dead, all others fail at once.

    Gives {instance id: old state} of those it changed; the rest were in no state that allows it.
    """
    idle = [state for state in OPERATIONS[Operation.TERMINATE].sources if state != State.RUNNING]
    with connection.cursor() as cursor:
        lock(cursor, ids)
        stopped, told = _stop_running(cursor, ids, State.TERMINATING, "terminate", operation)
        ended, touched = end(
            cursor, ids, idle, State.FAILED, Operation.TERMINATE, "TERMINATED", "Terminated.", operation
        )
        touched.add(told)
    return stopped | ended, touched


@retried
def mark_success(ids: Sequence[int], operation: int | None = None) -> Change:
    """Makes instances successful at once and releases their children; a running child is killed by its worker."""
    idle = [state for state in OPERATIONS[Operation.MARK_SUCCESS].sources if state != State.RUNNING]
    with connection.cursor() as cursor:
        lock(cursor, ids)
        stopped, told = _stop_running(cursor, ids, State.SUCCESS, "mark_success", operation)
        ended, touched = end(cursor, ids, idle, State.SUCCESS, Operation.MARK_SUCCESS, "", "", operation)
        touched.add(told)
        changed = stopped | ended
        release(cursor, list(changed), touched)
        if changed:
            touched.fires = event_waits.write_down(Success(instance_id) for instance_id in changed)
    return changed, touched
