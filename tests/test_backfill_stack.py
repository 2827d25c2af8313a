"""Backfill plans with real workers: one data time follows the other by hints alone, and whoever dies is followed."""

from pathlib import Path
from typing import Any

import pytest
from django.db.models import Max

from instances.engine import hints
from instances.models import BackfillPlan, Execution, Instance
from instances.models.backfill import PlanState
from tests import factories as make
from tests.backfilling import assert_counted, begin, counts, most_at_once, ready_task
from tests.engine.harness import _django_db_helper, assert_sound
from tests.stack import until, world

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def over(plan: BackfillPlan) -> bool:
    return not BackfillPlan.objects.get(pk=plan.pk).unfinished


def chain(count: int, **columns: Any) -> list[Any]:
    """Tasks each of which waits for the one before it."""
    workflow, group = make.make_workflow(), make.make_group(8)
    tasks: list[Any] = []
    for _ in range(count):
        task = make.make_task(workflow, group=group, **columns)
        if tasks:
            make.depend(task, tasks[-1])
        make.submit(task)
        tasks.append(task)
    return tasks


def test_hints_alone_carry_a_plan_to_its_end(tmp_path: Path, settings: Any) -> None:
    """No beat, so no tick: each data time begins because the report of the one before it said so."""
    with world(tmp_path, settings) as stack:
        plan = begin(*chain(2), last="2013-01-20", parallelism=1)
        stack.until_ready(stack.worker("worker"))
        stack.control()
        until(lambda: over(plan), "the end of the plan", 60)
    plan.refresh_from_db()
    assert (plan.state, plan.success) == (PlanState.SUCCESS, 40)
    assert most_at_once(plan) == 1
    assert_counted(plan)
    assert_sound()


def test_whoever_dies_is_followed(tmp_path: Path, settings: Any) -> None:
    """The control worker and a worker are killed in the middle; no run is lost, none begins twice in a life."""
    with world(tmp_path, settings) as stack:
        task = ready_task(code="sleep 0.1", retry_limit=3, group=make.make_group(4))
        plan = begin(task, last="2013-01-31", parallelism=4)
        workers = [stack.worker(name) for name in ("first", "second")]
        stack.until_ready(*workers)
        control = stack.control()
        stack.beat()
        until(lambda: counts(plan).get("success", 0) >= 5, "some runs", 60)
        control.kill()
        workers[0].kill()
        stack.control("another")
        until(lambda: over(plan), "the end of the plan", 90)
    plan.refresh_from_db()
    assert (plan.state, plan.success) == (PlanState.SUCCESS, 31)
    assert most_at_once(plan) <= 4
    assert Instance.objects.aggregate(most=Max("life_round"))["most"] == 0
    assert Execution.objects.filter(state="success").count() == 31
    assert_counted(plan)
    assert_sound()


def test_a_plan_whose_hint_was_lost_is_found_by_the_tick(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instances.operations.backfill.SMALL", 0)
    monkeypatch.setattr(hints, "plans", hints.Outlet("nobody"))
    with world(tmp_path, settings) as stack:
        plan = begin(ready_task())
        assert plan.state == PlanState.PREPARING
        stack.until_ready(stack.worker("worker"))
        stack.control()
        stack.beat()
        until(lambda: over(plan), "the end of the plan", 60)
    assert counts(plan) == {"success": 3}
