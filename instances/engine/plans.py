"""Backfill plans: one function, `advance`, notes what has ended, starts what may start, and ends the plan.

Each step is one short transaction under the lock of the plan's row. It reads what is true of the instances and trusts no
message, so it may be repeated, be late, or run anywhere, twice at once. The sweep calls it for every plan that is not
finished; whoever ends an instance of a plan hints at it (`hints`), which only saves the time until then.
"""

import datetime as dt
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError
from django.db.models.functions import Now

from instances.engine import hints, plan_rows
from instances.engine.dispatch import follow
from instances.engine.lifecycle import Touched
from instances.engine.plan_prepare import prepare
from instances.engine.plan_spec import OnFailure, PlanSpec
from instances.engine.plan_start import start_next
from instances.engine.transactions import retried
from instances.models import BackfillPlan, BackfillRun, OperationRecord
from instances.models.backfill import UNFINISHED_PLANS, PlanState, RunState
from instances.models.operation import OperationState

log = logging.getLogger(__name__)

# What a step, or one who stops a plan, may change.
KEPT = (
    *RunState.values,
    "state",
    "message",
    "stop_operation_id",
    "stop_running",
    "data_times",
    "waves",
    "prepared_at",
    "moved_at",
    "finished_at",
)


@dataclass(slots=True)
class _Step:
    """`went_on`: something was done, so there may be more; `ended`: the plan is finished."""

    went_on: bool = False
    ended: bool = False
    touched: Touched = field(default_factory=Touched)


def advance(plan_id: int) -> bool:
    """One step. True: something was done, so there may be more to do."""
    step = _advance(plan_id)
    if step.touched.instances:
        try:
            hints.send(follow(step.touched))
        except DatabaseError:
            # What was started stands; the next sweep dispatches.
            log.exception("what plan %d made ready is not dispatched yet", plan_id)
    return step.went_on and not step.ended


def work(plan_id: int, seconds: float | None = None) -> bool:
    """Advances until there is nothing to do for now, or for about `seconds`; True: nothing is left to do for now."""
    end = None if seconds is None else time.monotonic() + seconds
    while advance(plan_id):
        if end is not None and time.monotonic() >= end:
            return False
    return True


def unfinished() -> list[int]:
    """Plans that somebody should look after, the oldest first."""
    rows = BackfillPlan.objects.filter(state__in=UNFINISHED_PLANS).order_by("id")
    return list(rows.values_list("id", flat=True))


def locked(plan_id: int) -> BackfillPlan | None:
    """The plan, whose row the caller's transaction now holds; whoever else is at work on it has finished his step."""
    rows = BackfillPlan.objects.select_for_update(of=("self",), no_key=True)
    return rows.filter(pk=plan_id).first()


@retried
def _advance(plan_id: int) -> _Step:
    plan = locked(plan_id)
    if plan is None or not plan.unfinished:
        return _Step(ended=True)
    spec = PlanSpec.from_json(plan.options)
    if plan.prepared_at is None and plan.state in (PlanState.PREPARING, PlanState.PAUSED):
        return _prepared(plan, spec)
    step = _Step()
    before = _counts(plan)
    failed = plan_rows.note_ended(plan)
    plan_rows.block_behind(plan, failed)
    if plan.failed and spec.on_failure is OnFailure.STOP and plan.state != PlanState.STOPPING:
        why = plan_rows.why_stopped(plan)
        stop(plan, message=why, reason=why, source="system")
    if plan.state == PlanState.STOPPING:
        step.touched = plan_rows.stop_some(plan)
    elif plan.state == PlanState.RUNNING:
        started = start_next(plan, spec)
        plan_rows.count_started(plan, started.runs)
        plan_rows.block_among(plan, [run.instance_id for run in started.active if run.instance_id])
        step.touched = started.touched
    plan_rows.block_judged(plan)
    step.went_on = before != _counts(plan)
    if not plan.pending and not plan.active:
        _end(plan)
        step.ended = True
    if step.went_on:
        plan.moved_at = Now()
    if step.went_on or step.ended:
        plan.save(update_fields=KEPT)
    return step


def _counts(plan: BackfillPlan) -> dict[str, int]:
    return {state: getattr(plan, state) for state in RunState.values}


def _prepared(plan: BackfillPlan, spec: PlanSpec) -> _Step:
    """Writes the plan's runs; a definition that became impossible meanwhile ends it."""
    try:
        prepare(plan, spec)
    except ValueError as error:
        plan.message = f"{error}"[:2000]
        _end(plan, PlanState.FAILED)
    else:
        plan.prepared_at = Now()
        if plan.state == PlanState.PREPARING:
            plan.state = PlanState.RUNNING
    plan.save(update_fields=KEPT)
    return _Step(went_on=True, ended=not plan.unfinished)


def stop(plan: BackfillPlan, *, running: bool = False, message: str = "", **record: Any) -> OperationRecord:
    """Begins to stop a plan whose row is locked; the caller saves it. `record`: who asks, as columns of the operation."""
    plan.state = PlanState.STOPPING
    plan.stop_running = running
    plan.message = message
    operation = OperationRecord.objects.create(
        kind="stop_backfill",
        options={"plan": plan.pk, "name": plan.name, "running": running},
        project_ids=plan.project_ids,
        total=plan_rows.stoppable(plan),
        state=OperationState.RUNNING,
        started_at=Now(),
        **record,
    )
    plan.stop_operation_id = operation.pk
    return operation


def _end(plan: BackfillPlan, state: PlanState | None = None) -> None:
    """Ends the plan, and its operations on record."""
    plan.state = state or _end_state(plan)
    plan.finished_at = Now()
    plan_rows.finish_records(plan)


def _end_state(plan: BackfillPlan) -> PlanState:
    if plan.stop_operation_id is not None:
        return PlanState.STOPPED
    if plan.success == plan.total:
        return PlanState.SUCCESS
    return PlanState.PARTLY if plan.success else PlanState.FAILED


@retried
def remove_old(before: dt.datetime, limit: int = 5000) -> int:
    """Removes runs of the oldest plan that ended before `before`, and at last the plan; rows removed.

    What was done stays on record as long as its operations do.
    """
    old = BackfillPlan.objects.filter(finished_at__lt=before).order_by("id")
    plan_id = old.select_for_update(of=("self",), skip_locked=True).values_list("id", flat=True).first()
    if plan_id is None:
        return 0
    runs = BackfillRun.objects.filter(plan=plan_id).values_list("id", flat=True)[:limit]
    removed, _ = BackfillRun.objects.filter(pk__in=list(runs)).delete()
    return removed or BackfillPlan.objects.filter(pk=plan_id).delete()[0]
