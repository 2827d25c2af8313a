"""Undo: images of instances before and after an operation, and the way back. The rules: docs/adr/0008-operations.md, 8.

What an operation did is taken back only as long as nothing irreversible has come of it. Everything is judged and changed
under the locks of the instances, of what they wait for and of what they released.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from events import matching
from instances.engine.lifecycle import undoing_statements as statements
from instances.engine.lifecycle import verdicts_statements
from instances.engine.lifecycle.common import (
    Change,
    Touched,
    lock,
    lock_with_parents,
    release,
    take_back,
)
from instances.engine.lifecycle.holds import freeze, thaw
from instances.engine.lifecycle.verdicts import weigh
from instances.engine.states import LABELS, OPERATIONS, WAITING, Operation, SelfDependency, State
from instances.engine.transactions import retried

Image = dict[str, Any]
Images = Mapping[int, Image]
# What undo answers: {instance id: state before the undo} of those that went back, what that touched, why others did not.
Undone = tuple[dict[int, str], Touched, dict[int, str]]

_WAITS = (State.WAIT_EVENT, State.WAIT_UPSTREAM)
# Arrays of a statement, and the columns of an image that fill them.
_TRIES = {"lives": "life_round", "tries": "tries"}
# Undo takes back what these did; freezing and thawing undo each other.
_ENDS = (Operation.TERMINATE, Operation.MARK_SUCCESS)
KINDS = (*_ENDS, Operation.RERUN, Operation.FREEZE, Operation.THAW)


# Reads (id, image) of the instances `%(ids)s`, for statements that put many images on record at once; see `images`.
IMAGE = statements.IMAGE


@retried
def hold(ids: Sequence[int], *, parents: bool = False) -> None:
    """Locks the instances in order, to the end of the caller's transaction; with `parents` what they wait for before."""
    if parents:
        matching.lock_awaited(ids)
    with connection.cursor() as cursor:
        (lock_with_parents if parents else lock)(cursor, ids)


@retried
def images(ids: Sequence[int], *, parents: bool = False) -> dict[int, Image]:
    """Locks the instances in order; each one's columns that an operation may change, JSON-safe, times as ISO texts.

    `at` is the time of the transaction: what an operation satisfies in it bears that time, so take the image of after
    in the same transaction as the change. `open` and `waived` list the edges, as [upstream task, upstream data time],
    that are not satisfied, and those that do not count. `parents`: what the instances wait for is locked before them,
    as reruns and removals of dependencies do.
    """
    hold(ids, parents=parents)
    with connection.cursor() as cursor:
        cursor.execute(statements.IMAGES, {"ids": list(ids)})
        return {instance_id: json.loads(image) for instance_id, image in cursor.fetchall()}


@retried
def restore(before: Images, after: Images, operation: int | None, undone_kind: str) -> Undone:
    """Takes back what an operation of `undone_kind` did to instances; `before` and `after` are its images of them.

    Raises ValueError for a kind that cannot be undone.
    """
    if undone_kind not in KINDS:
        raise ValueError(f"{undone_kind} cannot be undone")
    ids = sorted(before)
    with connection.cursor() as cursor:
        listens = matching.lock_awaited(ids)
        lock_with_parents(cursor, ids)
        if undone_kind == Operation.MARK_SUCCESS:
            cursor.execute(statements.LOCK_CHILDREN, {"ids": ids})
        now = _present(cursor, ids)
        reasons = {
            pk: why for pk in ids if (why := _objection(undone_kind, before[pk], after[pk], now.get(pk)))
        }
        if undone_kind == Operation.MARK_SUCCESS:
            reasons |= _consequences(cursor, [pk for pk in ids if pk not in reasons], after)
        able = {pk: now[pk] for pk in ids if pk not in reasons}
        if listens:
            before = _events_back(list(able), before, undone_kind)
        changed, touched = (
            _back(cursor, able, before, after, operation, undone_kind) if able else ({}, Touched())
        )
    return changed, touched, reasons


def _present(cursor: Any, ids: Sequence[int]) -> dict[int, Image]:
    cursor.execute(statements.PRESENT, {"ids": list(ids)})
    columns = [column.name for column in cursor.description]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in cursor.fetchall()}


def _objection(kind: str, before: Image, after: Image, now: Image | None) -> str:
    """Why what was done to one instance cannot be taken back; '' if it can."""
    if now is None:
        return "There is no such instance any more."
    name = now["name"]
    if kind in (Operation.FREEZE, Operation.THAW):
        if any(now[column] != _time(after[column]) for column in ("frozen_at", "thaw_at")):
            left = "frozen" if after["frozen_at"] else "thawed"
            return f"{name} is no longer {left} as the operation left it."
        # What was frozen before is frozen again; any state may be thawed.
        able = not before["frozen_at"] or now["state"] in OPERATIONS[Operation.FREEZE].sources
        return "" if able else f"{name} is {LABELS[State(now['state'])]}, and cannot be frozen again."
    if before["state"] == State.RUNNING:
        return f"The process of {name} was killed; that cannot be undone."
    if now["life_round"] != after["life_round"]:
        return f"{name} has begun another life since."
    if now["total_runs"] != after["total_runs"]:
        return f"A worker has claimed {name} since."
    # A new life that nobody has claimed may have come from waiting for upstream to waiting for execution.
    same = (
        now["state"] in WAITING and after["state"] in WAITING
        if kind == Operation.RERUN
        else now["state"] == after["state"]
    )
    if not same:
        left = LABELS[State(after["state"])]
        return f"{name} is {LABELS[State(now['state'])]}, not {left} as the operation left it."
    return ""


def _time(text: str | None) -> dt.datetime | None:
    """A time of an image."""
    return None if text is None else dt.datetime.fromisoformat(text)


def _consequences(cursor: Any, ids: Sequence[int], after: Images) -> dict[int, str]:
    """Of instances that were marked as successful: those whose children have been claimed, or that fired events."""
    cursor.execute(statements.STARTED_CHILDREN, {"ids": list(ids), "since": [after[pk]["at"] for pk in ids]})
    found = {pk: f"{child}, which it released, has been started since." for pk, child in cursor.fetchall()}
    cursor.execute(statements.EMITTERS, {"ids": list(ids)})
    return {
        pk: f"The success of {name} has fired events; that cannot be undone."
        for pk, name in cursor.fetchall()
    } | found


def _events_back(ids: Sequence[int], before: Images, kind: str) -> Images:
    """What the instances waited for they wait for again; the images with which they go back.

    Events are locked. One whose last event has come meanwhile goes on to what follows.
    """
    if kind == Operation.RERUN:
        matching.withdraw(ids)
        return before
    if kind not in _ENDS:
        return before
    waited = [pk for pk in ids if before[pk]["state"] == State.WAIT_EVENT]
    met = set(waited) - matching.reopen(waited)
    return {
        pk: image | {"state": State.WAIT_UPSTREAM.value} if pk in met else image
        for pk, image in before.items()
    }


def _back(
    cursor: Any,
    now: Images,
    before: Images,
    after: Images,
    operation: int | None,
    kind: str,
) -> Change:
    """Takes instances back, all of which may be: those of `now`, as they are."""
    ids = sorted(now)
    if kind in (Operation.FREEZE, Operation.THAW):
        return _hold_as(ids, before, operation)
    touched = Touched()
    take_back(cursor, ids, "Taken back: what had queued it was undone.", touched)
    values: dict[str, Any] = {
        "ids": ids,
        "before": [json.dumps(before[pk]) for pk in ids],
        "since": [after[pk]["at"] for pk in ids],
        "successes": [pk for pk in ids if before[pk]["state"] == State.SUCCESS],
        "operation": operation,
    }
    if kind == Operation.MARK_SUCCESS:
        _children_back(cursor, values, touched)
    if kind == Operation.RERUN:
        cursor.execute(statements.EDGES_OF_LIFE, values | _edges_before(now, before))
    else:
        waiting = [pk for pk in ids if before[pk]["state"] in _WAITS]
        cursor.execute(statements.EDGES_OF_WAITING, values | {"waiting": waiting})
    queued = [pk for pk in ids if before[pk]["state"] in WAITING]
    tries = {name: [before[pk][column] for pk in queued] for name, column in _TRIES.items()}
    cursor.execute(statements.TRY_AGAIN, {"queued": queued, **tries})
    cursor.execute(statements.LIFE_BACK if kind == Operation.RERUN else statements.END_BACK, values)
    changed = {}
    for instance_id, old, group_id, lane, old_lane in cursor.fetchall():
        changed[instance_id] = old
        touched.freed(group_id, None, lane)
        touched.freed(None, None, old_lane)
    touched.instances = len(changed)
    cursor.execute(statements.BRANCHES, {"ids": values["successes"]})
    release(cursor, values["successes"], touched, dict(cursor.fetchall()))
    cursor.execute(verdicts_statements.REOPEN_BEHIND, {"ids": ids})
    weigh(cursor, [pk for pk in ids if before[pk]["state"] in _WAITS], touched)
    cursor.execute(verdicts_statements.NOTE_CARING, {"ids": ids})
    touched.ripples |= bool(cursor.rowcount)
    return changed, touched


def _edges_before(now: Images, before: Images) -> dict[str, Any]:
    """The edges that did not count, or were open, in the lives before; and which of those lives were orderly."""
    columns: dict[str, Any] = {
        "orderly": [
            pk
            for pk, row in now.items()
            if (before[pk]["self_dependency"] or row["self_dependency"]) == SelfDependency.ORDERLY
        ]
    }
    for name in ("waived", "open", "excused"):
        # Images of before there were excuses have none.
        edges = [(pk, *edge) for pk in now for edge in before[pk].get(name, ())]
        columns[f"{name}_ids"] = [edge[0] for edge in edges]
        columns[f"{name}_tasks"] = [edge[1] for edge in edges]
        columns[f"{name}_times"] = [edge[2] for edge in edges]
    return columns


def _children_back(cursor: Any, values: dict[str, Any], touched: Touched) -> None:
    """What marking as successful satisfied is open again; children that were released and not claimed wait again."""
    cursor.execute(statements.CLOSE_EDGES, values)
    children = sorted({row[0] for row in cursor.fetchall()} - set(values["ids"]))
    if not children:
        return
    cursor.execute(statements.CHILDREN_BACK, {"ids": children, "operation": values["operation"]})
    back = cursor.fetchall()
    for _, lane in back:
        touched.freed(None, None, lane)
    take_back(cursor, [row[0] for row in back], "Taken back: its parent is no longer successful.", touched)


def _hold_as(ids: Sequence[int], before: Images, operation: int | None) -> Change:
    """Thaws those that were free in `before`, and freezes the others, each until the time that stands there."""
    changed, touched = thaw([pk for pk in ids if before[pk]["frozen_at"] is None], operation)
    until: dict[str | None, list[int]] = {}
    for pk in ids:
        if before[pk]["frozen_at"] is not None:
            until.setdefault(before[pk]["thaw_at"], []).append(pk)
    for time, some in until.items():
        frozen, more = freeze(some, operation, _time(time))
        changed |= frozen
        touched.add(more)
    return changed, touched
