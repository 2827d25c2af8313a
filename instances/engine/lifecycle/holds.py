"""Freezing: an instance that is held is not dispatched, whatever its state says; all else goes on."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db import connection

from events import matching
from instances.engine.lifecycle import holds_statements as statements
from instances.engine.lifecycle.common import Change, Touched, lock, take_back
from instances.engine.states import OPERATIONS, Operation, State
from instances.engine.transactions import retried


@retried
def freeze(ids: Sequence[int], operation: int | None = None, thaw_at: dt.datetime | None = None) -> Change:
    """Holds instances, until `thaw_at` if it is given. A dispatch that no worker has claimed is taken back.

    One that is frozen already gets the new time to thaw. {instance id: state} of those it changed.
    """
    with connection.cursor() as cursor:
        lock(cursor, ids)
        cursor.execute(
            statements.FREEZE,
            {
                "ids": list(ids),
                "sources": list(OPERATIONS[Operation.FREEZE].sources),
                "thaw_at": thaw_at,
                "operation": operation,
            },
        )
        rows = cursor.fetchall()
        touched = Touched(instances=len(rows))
        for _, _, lane in rows:
            touched.freed(None, None, lane)
        frozen = {row[0]: row[1] for row in rows}
        take_back(cursor, list(frozen), "Taken back: the instance was frozen.", touched)
    return frozen, touched


@retried
def thaw(ids: Sequence[int], operation: int | None = None) -> Change:
    """Lets frozen instances go on. {instance id: state} of those that were frozen."""
    with connection.cursor() as cursor:
        lock(cursor, ids)
        return _thaw(cursor, ids, operation)


@retried
def thaw_due(limit: int = 1000) -> Touched:
    """Thaws what was frozen until now."""
    with connection.cursor() as cursor:
        cursor.execute(statements.THAW_DUE, {"limit": limit})
        ids = [row[0] for row in cursor.fetchall()]
        return _thaw(cursor, ids, None)[1] if ids else Touched()


def _thaw(cursor: Any, ids: Sequence[int], operation: int | None) -> Change:
    cursor.execute(statements.THAW, {"ids": list(ids), "operation": operation})
    thawed: dict[int, str] = {}
    held: dict[int, dt.timedelta] = {}
    all_held: list[dt.timedelta] = []
    touched = Touched()
    for instance_id, state, group_id, lane, how_long in cursor.fetchall():
        thawed[instance_id] = state
        all_held.append(how_long)
        touched.freed(group_id, None, lane)
        if state == State.WAIT_EVENT:
            held[instance_id] = how_long
    if held:
        matching.postpone(held)
    if thawed:
        cursor.execute(statements.POSTPONE_PARENTS, {"ids": list(thawed), "held": list(all_held)})
    touched.instances = len(thawed)
    return thawed, touched
