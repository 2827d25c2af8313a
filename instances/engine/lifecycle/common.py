"""What the changes share: what they have touched, locks, and the release of children."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instances.engine.lifecycle import common_statements as statements
from instances.engine.lifecycle import verdicts_statements


@dataclass(slots=True)
class Touched:
    """What a change may have made ready: groups to dispatch for, serial tasks whose turn is free, lanes that may have
    a place, retries due now, backfill plans whose instances have ended, events to fire, instances of For-each tasks one of
    whose traversals may be over; `ripples`: children are to be judged (`lifecycle.ripple`)."""

    groups: set[int] = field(default_factory=set)
    serial_tasks: set[int] = field(default_factory=set)
    lanes: set[int] = field(default_factory=set)
    plans: set[int] = field(default_factory=set)
    for_each: set[int] = field(default_factory=set)
    retry_now: bool = False
    fires: bool = False
    ripples: bool = False
    instances: int = 0

    def add(self, other: "Touched") -> None:
        self.groups |= other.groups
        self.serial_tasks |= other.serial_tasks
        self.lanes |= other.lanes
        self.plans |= other.plans
        self.for_each |= other.for_each
        self.retry_now |= other.retry_now
        self.fires |= other.fires
        self.ripples |= other.ripples
        self.instances += other.instances

    def freed(self, group_id: int | None, serial_task_id: int | None, lane: int | None) -> None:
        """Notes a slot, a turn and a place that are free now; None: there is none."""
        if group_id is not None:
            self.groups.add(group_id)
        if serial_task_id is not None:
            self.serial_tasks.add(serial_task_id)
        if lane is not None:
            self.lanes.add(lane)


# {instance id: the state it had} of those that a change has changed, and what that touched.
Change = tuple[dict[int, str], Touched]


def lock(cursor: Any, ids: Sequence[int]) -> None:
    """Locks the rows in order, so that the statements that follow see them as they stay."""
    cursor.execute(statements.LOCK, {"ids": list(ids)})


def lock_with_parents(cursor: Any, ids: Sequence[int]) -> None:
    """Locks what the instances wait for, so that it does not end meanwhile, then the instances."""
    cursor.execute(statements.LOCK_PARENTS, {"ids": list(ids)})
    lock(cursor, ids)


def release(
    cursor: Any,
    succeeded: Sequence[int],
    touched: Touched,
    not_taken: Mapping[int, Collection[int]] | None = None,
) -> None:
    """Releases the children of instances that succeeded. Must follow the statement that locked them.

    `not_taken`: {branch: tasks whose edges to it stay open, since it did not take them}.
    """
    if not succeeded:
        return
    values: dict[str, Any] = {"ids": list(succeeded)}
    if not_taken:
        pairs = [(branch, task) for branch, tasks in not_taken.items() for task in tasks]
        values |= {"branches": [pair[0] for pair in pairs], "tasks": [pair[1] for pair in pairs]}
    cursor.execute(statements.RELEASE_TAKEN if not_taken else statements.RELEASE, values)
    judged = []
    for group_id, lane, child in cursor.fetchall():
        if child is None:
            touched.freed(group_id, None, lane)
        else:
            judged.append(child)
    if judged:
        cursor.execute(verdicts_statements.NOTE_PARENTS, {"children": judged, "ids": list(succeeded)})
        touched.ripples = True
    if not_taken:
        ripple_from(cursor, list(not_taken), touched)


def ripple_from(cursor: Any, ids: Sequence[int], touched: Touched, *, failed: bool = False) -> None:
    """The instances, which are locked, are not what they were: their children are to be judged, if any may care.

    `failed`: all of them have failed, so that plain children do not care.
    """
    if not ids:
        return
    note = verdicts_statements.NOTE_JUDGED if failed else verdicts_statements.NOTE_ALL
    cursor.execute(note, {"ids": list(ids)})
    touched.ripples |= bool(cursor.rowcount)


def cancel_dispatched(cursor: Any, ids: Sequence[int], code: str, message: str, touched: Touched) -> None:
    """Ends executions that were dispatched and not claimed: what they were for is over."""
    cursor.execute(
        statements.END_DISPATCHED, {"ids": list(ids), "state": "cancelled", "code": code, "message": message}
    )
    for row in cursor.fetchall():
        touched.freed(*row)


def take_back(cursor: Any, ids: Sequence[int], message: str, touched: Touched) -> None:
    """Takes executions back that no worker has claimed: the same try may be dispatched again."""
    cursor.execute(
        statements.END_DISPATCHED, {"ids": list(ids), "state": "requeued", "code": "", "message": message}
    )
    for row in cursor.fetchall():
        touched.freed(*row)
