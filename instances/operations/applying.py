"""Applies a frozen set batch by batch: each in one transaction, exactly once, by whichever process comes to it.

A batch's transaction locks the record, then the instances in order of id, changes them through the lifecycle, writes each
one's outcome with its images before and after, counts, and marks the batch as applied. A crash loses the batch that was on
and repeats none; two processes at once take turns.

An error that is not the database's own trouble rolls the whole batch back. Then its halves are tried one after the other,
down to single instances, so that one that cannot be changed is `failed` with a message and the others proceed.
"""

import enum
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils import translation
from django.utils.translation import gettext_noop

from instances.engine import hints
from instances.engine.dispatch import follow
from instances.engine.lifecycle import Touched
from instances.engine.transactions import retried
from instances.models import FrozenBatch, OperationRecord
from instances.models.operation import ItemOutcome, OperationState
from instances.operations import outcomes
from instances.operations.batch import Batch, passing
from instances.operations.outcomes import Outcomes
from instances.operations.records import UNFINISHED

log = logging.getLogger(__name__)


class Progress(enum.Enum):
    FINISHED = "finished"
    MORE = "more"
    ELSEWHERE = "elsewhere"  # another process holds its record: a batch is being applied


class Care(enum.Enum):
    """How a batch is tried; each follows the one before it if that met an error."""

    WHOLE = "whole"
    APART = "apart"  # in halves, each in a savepoint
    NOT_AT_ALL = "not at all"  # nothing is changed, all of it is `failed`


@dataclass(frozen=True, slots=True)
class _Step:
    progress: Progress
    touched: Touched = field(default_factory=Touched)


def work(record_id: int, seconds: float | None = None) -> bool:
    """Applies batches until the operation is finished, or for about `seconds` (at least one); True: it is finished.

    Any number of processes may do this at once, at any time. Raises OperationalError or InterfaceError when the database
    is away or too busy: what was applied stands, and anybody can go on later.
    """
    return advance(record_id, seconds, wait=True) is Progress.FINISHED


def advance(
    record_id: int,
    seconds: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
    *,
    wait: bool = False,
) -> Progress:
    """The same as `work`, until `stopped` says so. Without `wait` it keeps off what another process is at work on."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        step = _step(record_id, wait)
        out_of_time = end is not None and time.monotonic() >= end
        if step.progress is not Progress.MORE or out_of_time or stopped():
            return step.progress
        # Whoever asks to cancel stands in line for the record, too, and is no other worker.
        wait = True


def _step(record_id: int, wait: bool) -> _Step:
    """Applies one batch and dispatches what that made ready."""
    for care in Care:
        try:
            # What is put on record is English, whoever asked.
            with translation.override("en"):
                step = _apply_next(record_id, wait, care)
        except Exception as error:
            if passing(error) or care is Care.NOT_AT_ALL:
                raise
            log.exception("a batch of operation %d failed as tried: %s", record_id, care.value)
        else:
            _dispatch(record_id, step.touched)
            return step
    raise AssertionError("unreachable")


@retried
def _apply_next(record_id: int, wait: bool, care: Care) -> _Step:
    rows = OperationRecord.objects.select_for_update(of=("self",), no_key=True, skip_locked=not wait)
    record = rows.filter(pk=record_id).first()
    if record is None:
        return _Step(Progress.ELSEWHERE)
    if record.state not in UNFINISHED:
        return _Step(Progress.FINISHED)
    # One more than what is applied, to know the last one in the same transaction.
    following = FrozenBatch.objects.filter(frozen_set=record.frozen_set_id, applied_at=None).order_by("seq")
    left = list(following.only("id", "seq", "instance_ids")[:1])
    if not left:
        _count(record, Counter(), last=True)
        return _Step(Progress.FINISHED)
    found = _outcomes(record, left[0], care)
    outcomes.write(record.pk, found)
    FrozenBatch.objects.filter(pk=left[0].pk).update(applied_at=Now())
    last = not following.exists()
    _count(record, found.counts(), last)
    return _Step(Progress.FINISHED if last else Progress.MORE, found.touched)


def _outcomes(record: OperationRecord, frozen: FrozenBatch, care: Care) -> Outcomes:
    """What becomes of each instance of the batch."""
    ids = frozen.instance_ids
    if record.cancel_requested_at is not None:
        return outcomes.alike(ids, ItemOutcome.CANCELLED, gettext_noop("Cancelled before its turn came."))
    if care is Care.NOT_AT_ALL:
        return outcomes.alike(ids, ItemOutcome.FAILED, outcomes.INTERNAL_ERROR)
    return Batch(record, ids).apply(apart=care is Care.APART)


def _count(record: OperationRecord, more: Counter[str], last: bool) -> None:
    """Adds to the record's counts; the last batch ends it."""
    columns: dict[str, Any] = {name: F(name) + count for name, count in more.items()}
    state = OperationState.RUNNING
    if last:
        state = _end_state(record.total, record.done + more[ItemOutcome.DONE])
        columns["finished_at"] = Now()
    OperationRecord.objects.filter(pk=record.pk).update(
        state=state, started_at=Coalesce("started_at", Now()), moved_at=Now(), **columns
    )


def _end_state(total: int, done: int) -> OperationState:
    if done == total:
        return OperationState.SUCCESS
    return OperationState.PART_SUCCESS if done else OperationState.FAIL


def _dispatch(record_id: int, touched: Touched) -> None:
    hints.plans.send(touched.plans)
    hints.traversals.send(touched.for_each)
    try:
        hints.send(follow(touched))
    except DatabaseError:
        # The change stands; the next sweep dispatches.
        log.exception("what operation %d made ready is not dispatched yet", record_id)
