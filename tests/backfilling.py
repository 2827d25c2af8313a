"""What tests of backfills share: plans, a worker that takes turns with them, and what must hold whatever happens."""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User

from instances.engine import lifecycle, plans
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Claimed, Result
from instances.models import (
    BackfillPlan,
    BackfillRun,
    Execution,
    Instance,
    OperationRecord,
    StateChange,
    Task,
)
from instances.models.backfill import RunState
from instances.operations import backfill
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import good, settle

FIRST, LAST = "2013-01-01", "2013-01-03"


def ready_task(workflow: Any = None, **columns: Any) -> Task:
    """A submitted task that has no instances."""
    task = make.make_task(workflow, **columns)
    make.submit(task)
    return task


def existing(task: Task, *days: int, state: str = "success") -> list[Instance]:
    """Instances of a daily task at these days of January 2013, in `state`: success, failed, wait_run, running."""
    made = [
        Instance.objects.get(task=task, data_time=harness.JANUARY + (day - 1) * harness.DAY) for day in days
    ]
    if state == "wait_run":
        return made
    dispatch(harness.groups(*made))
    executions = Execution.objects.filter(instance__in=made, state="dispatched")
    claimed = lifecycle.claim(list(executions.values_list("id", flat=True)), "w1")
    if state != "running":
        settle(lifecycle.finish([good(one) if state == "success" else harness.bad(one) for one in claimed]))
    return made


def options(*tasks: Task, first: str = FIRST, last: str = LAST, **given: Any) -> dict[str, Any]:
    return {"tasks": [task.pk for task in tasks], "ranges": [{"first": first, "last": last}], **given}


def begin(*tasks: Task, user: User | None = None, reason: str = "", **given: Any) -> BackfillPlan:
    """A plan of the first three days of 2013, or as `given` says."""
    return backfill.create(options(*tasks, **given), user=user, source="api", reason=reason)


def turn(
    end: Callable[[Claimed], Result] = good, chosen: Callable[[list[Claimed]], list[Claimed]] = list
) -> list[Claimed]:
    """One turn of a worker: claims all that is dispatched, and ends those that are `chosen` of what it holds."""
    dispatched = Execution.objects.filter(state="dispatched").order_by("id").values_list("id", flat=True)
    claimed = lifecycle.claim(list(dispatched), "w1")
    settle(lifecycle.finish([end(one) for one in chosen(claimed)]))
    return claimed


class Worker:
    """Claims what is dispatched and ends some of what it holds, by chance; a turn at a time."""

    def __init__(self, seed: int = 0, end: Callable[[Claimed], Result] = good) -> None:
        self._chance = random.Random(seed)
        self._end = end
        self._held: list[Claimed] = []

    def turn(self) -> None:
        dispatched = Execution.objects.filter(state="dispatched").order_by("id").values_list("id", flat=True)
        self._held += lifecycle.claim(list(dispatched), "w1")
        self._chance.shuffle(self._held)
        count = self._chance.randint(1, max(1, len(self._held)))
        ended, self._held = self._held[:count], self._held[count:]
        settle(lifecycle.finish([self._end(one) for one in ended]))


def drive(
    plan: BackfillPlan, worker: Worker | None = None, seconds: float = harness.PATIENCE
) -> BackfillPlan:
    """Lets the plan and a worker take turns until the plan is over."""
    worker = worker or Worker()
    deadline = time.monotonic() + seconds
    while True:
        assert time.monotonic() < deadline, f"the plan does not come to an end: {counts(plan)}"
        plans.work(plan.pk)
        assert_counted(plan)
        plan.refresh_from_db()
        if not plan.unfinished:
            return plan
        worker.turn()


def counts(plan: BackfillPlan) -> dict[str, int]:
    """{state: number of runs}, as the rows are."""
    return dict(Counter(BackfillRun.objects.filter(plan=plan).values_list("state", flat=True)))


def assert_counted(plan: BackfillPlan) -> None:
    """What the plan's row says is what its runs are."""
    plan = BackfillPlan.objects.get(pk=plan.pk)
    assert counts(plan) == {state: number for state in RunState.values if (number := getattr(plan, state))}


def runs(plan: BackfillPlan, task: Task | None = None) -> list[BackfillRun]:
    rows = BackfillRun.objects.filter(plan=plan).order_by("data_time", "task")
    return list(rows.filter(task=task) if task else rows)


def states(plan: BackfillPlan, task: Task | None = None) -> list[str]:
    """Of its runs, by data time."""
    return [run.state for run in runs(plan, task)]


def stop_record(plan: BackfillPlan) -> OperationRecord:
    assert plan.stop_operation_id is not None
    return OperationRecord.objects.get(pk=plan.stop_operation_id)


def record(plan: BackfillPlan) -> OperationRecord:
    assert plan.operation_id is not None
    return OperationRecord.objects.get(pk=plan.operation_id)


# From history


def claims(plan: BackfillPlan) -> dict[int, tuple[int, int]]:
    """{instance id: (place of its first claim, place of its last end)} in the history since the plan began."""
    rows = BackfillRun.objects.filter(plan=plan, instance_id__isnull=False)
    mine = [pk for pk in rows.values_list("instance_id", flat=True) if pk]
    before = (
        StateChange.objects.filter(at__lt=plan.created_at).order_by("-id").values_list("id", flat=True)[:1]
    )
    since = before[0] if before else 0
    found: dict[int, tuple[int, int]] = {}
    for change in StateChange.objects.filter(id__gt=since, instance_id__in=mine).order_by("id"):
        if change.move == "claim":
            first, last = found.get(change.instance_id, (change.pk, 0))
            found[change.instance_id] = (first, last)
        elif change.move in ("succeed", "fail", "confirm_dead"):
            found[change.instance_id] = (found[change.instance_id][0], change.pk)
    return found


def most_at_once(plan: BackfillPlan) -> int:
    """The greatest number of data times that were running at the same moment, as history has it."""
    times = dict(
        BackfillRun.objects.filter(plan=plan, instance_id__isnull=False).values_list(
            "instance_id", "data_time"
        )
    )
    moves = [
        (place, sign, times[pk])
        for pk, span in claims(plan).items()
        for place, sign in zip(span, (1, -1), strict=True)
    ]
    on: Counter[Any] = Counter()
    most = 0
    for _, sign, data_time in sorted(moves):
        on[data_time] += sign
        most = max(most, sum(1 for running in on.values() if running))
    return most
