"""Backfill plans carried out: what is started when, who is left out, limits and order."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from instances.engine import generation, lifecycle, plan_start, plans
from instances.models import (
    Dependency,
    Edge,
    Execution,
    Instance,
    OperationItem,
    Task,
)
from instances.models.backfill import PlanState
from instances.operations import backfill
from tests import backfilling
from tests import factories as make
from tests.backfilling import (
    Worker,
    begin,
    claims,
    counts,
    drive,
    existing,
    most_at_once,
    ready_task,
    runs,
    states,
    turn,
)
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    JANUARY,
    _django_db_helper,
    assert_sound,
    fresh,
    instances_of,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


class TestStarting:
    def test_what_is_missing_is_made_as_supplementary(self) -> None:
        task = ready_task(priority=3)
        plan = drive(begin(task))
        assert (plan.state, plan.success, plan.percent_complete) == (PlanState.SUCCESS, 3, 100.0)
        made = instances_of(task)
        assert [row.data_time for row in made] == [JANUARY + n * DAY for n in range(3)]
        for row in made:
            assert (row.instance_type, row.run_type, row.life_round, row.total_runs) == (
                "supplementary", "ADDITION", 0, 1,
            )  # fmt: skip
            assert (row.priority, row.plan_id, row.state) == (3 - 10, plan.pk, "success")
        assert all(run.made and run.life_round == 0 for run in runs(plan))
        assert_sound()

    def test_what_exists_gets_a_new_life(self) -> None:
        task = harness.make_due(3)
        generation.generate()
        existing(task, 1, 2, 3)
        plan = drive(begin(task))
        for row in instances_of(task):
            assert (row.instance_type, row.run_type, row.life_round, row.total_runs) == (
                "periodic", "ADDITION", 1, 2,
            )  # fmt: skip
        assert all(run.life_round == 1 and not run.made for run in runs(plan))
        assert_sound()

    def test_options_of_the_plan_are_those_of_its_lives_old_and_new(self) -> None:
        task = harness.make_due(2, parameters={"region": "north", "size": "1"})
        generation.generate()
        group = make.make_group()
        plan = begin(task, resource_group=group.pk, parameters={"region": "south"}, parallelism=5)
        claimed = turn()
        assert len(claimed) == 3
        for one in claimed:
            assert one.parameters == {"region": "south", "size": "1"}
            assert one.group_id == group.pk
        plan = drive(plan)
        assert set(Instance.objects.values_list("resource_group", "plan_id")) == {(group.pk, plan.pk)}

    def test_a_data_time_before_the_effective_period_keeps_its_dependencies(self) -> None:
        """The parent's schedule knows no such day, the plan does; so the child waits for it."""
        late = JANUARY + 100 * DAY
        parent = ready_task(effective_from=late)
        child = make.make_task(parent.workflow, effective_from=late)
        make.depend(child, parent)
        make.submit(child)
        plan = begin(parent, child)
        assert Edge.objects.filter(waived=False, upstream__isnull=False).count() == 1
        assert set(Instance.objects.filter(task=child).values_list("state", flat=True)) == {"wait_upstream"}
        assert drive(plan).state == PlanState.SUCCESS
        assert_sound()

    def test_parents_outside_the_plan_count_only_if_asked_for(self) -> None:
        parent = ready_task()
        child = make.make_task(parent.workflow)
        make.depend(child, parent)
        make.submit(child)
        assert drive(begin(child)).state == PlanState.SUCCESS
        plan = begin(child, check_parents=True, first="2013-02-01", last="2013-02-01")
        plans.work(plan.pk)
        assert turn() == []
        assert Instance.objects.get(plan_id=plan.pk).state == "wait_upstream"
        drive(begin(parent, first="2013-02-01", last="2013-02-01"))
        assert drive(plan).state == PlanState.SUCCESS
        assert_sound()

    def test_an_hour_of_the_day_on_which_clocks_change(self) -> None:
        task = ready_task(cycle_type="HOUR", timezone="Europe/Berlin")
        plan = begin(task, first="2013-03-31", last="2013-03-31", parallelism=30)
        assert drive(plan).success == 23
        night = [row.data_time.astimezone(dt.UTC).hour for row in instances_of(task)][:3]
        assert night == [23, 0, 1]

    def test_an_instance_that_the_schedule_makes_at_the_same_moment_is_taken_as_it_is(self) -> None:
        task = harness.make_due(3)
        with_plan = backfilling.options(task)
        _, [plan] = harness.overtake(
            generation.generate, lambda: backfill.create(with_plan, user=None, source="api")
        )
        drive(plan)
        assert set(Instance.objects.values_list("instance_type", "life_round")) == {("periodic", 1)}
        assert counts(plan) == {"success": 3}
        assert_sound()


class TestWhoIsLeftOut:
    def test_the_reprocess_policies(self) -> None:
        task = harness.make_due(3)
        generation.generate()
        existing(task, 1)
        existing(task, 2, state="failed")
        existing(task, 3, state="success")
        expected = {
            "missing": ["skipped", "skipped", "skipped", "success"],
            "failed": ["skipped", "success", "skipped", "success"],
            "all": ["success", "success", "success", "success"],
        }
        for policy, found in expected.items():
            # The fourth day is missing each time.
            Instance.objects.filter(task=task, data_time=JANUARY + 3 * DAY).delete()
            lives = {row.pk: row.life_round for row in instances_of(task)}
            plan = drive(begin(task, last="2013-01-04", reprocess=policy))
            assert states(plan) == found, policy
            assert plan.total == found.count("success")
            assert plan.percent_successful == 100.0
            for run in runs(plan):
                if run.state == "skipped":
                    assert run.message
                    assert run.instance_id is not None
                    assert fresh(Instance(pk=run.instance_id)).life_round == lives[run.instance_id]

    def test_the_rerun_permission_of_the_task_is_about_what_exists(self) -> None:
        for allowed, found in (
            ("NONE", ["refused", "refused", "success"]),
            ("FAILURE", ["refused", "success", "success"]),
        ):
            harness.wipe()
            task = harness.make_due(2, rerun_allowed=allowed)
            generation.generate()
            existing(task, 1)
            existing(task, 2, state="failed")
            plan = drive(begin(task))
            assert states(plan) == found, allowed
            assert "rerun" in runs(plan)[0].message
            assert plan.state == PlanState.PARTLY

    def test_an_instance_that_runs_is_refused_and_the_others_go_on(self) -> None:
        task = harness.make_due(3)
        generation.generate()
        [running] = existing(task, 1, state="running")
        plan = drive(begin(task))
        assert states(plan) == ["refused", "success", "success"]
        assert "is in state Running: rerun is allowed only from" in runs(plan)[0].message
        item = OperationItem.objects.get(operation=plan.operation_id, instance_id=running.pk)
        assert (item.outcome, item.from_state) == ("refused", "running")
        assert fresh(running).life_round == 0

    def test_a_task_that_is_taken_offline_meanwhile_is_refused(self) -> None:
        task, other = ready_task(), ready_task()
        plan = begin(task, other)
        Task.objects.filter(pk=task.pk).update(status="offline")
        plan = drive(plan)
        assert states(plan, task) == ["success", "refused", "refused"]
        assert states(plan, other) == ["success"] * 3
        assert "offline" in runs(plan, task)[2].message

    def test_what_the_creator_may_is_asked_for_each_batch(self) -> None:
        mine, theirs = ready_task(), ready_task()
        omar = make.make_user(make.OMAR, project=mine.workflow.project)
        make.make_user(make.OMAR, project=theirs.workflow.project)
        plan = begin(mine, theirs, user=omar)
        theirs.workflow.project.members.all().delete()
        plan = drive(plan)
        assert states(plan, mine) == ["success"] * 3
        assert states(plan, theirs) == ["success", "refused", "refused"]
        assert "omar does not have the right to operate in project" in runs(plan, theirs)[1].message

    def test_a_closed_account_starts_nothing_more(self) -> None:
        task = ready_task()
        omar = make.make_user(make.OMAR, project=task.workflow.project)
        plan = begin(task, user=omar)
        omar.delete()
        plan = drive(plan)
        assert states(plan) == ["success", "refused", "refused"]
        assert runs(plan)[1].message == "The account omar is closed."

    def test_a_run_that_cannot_be_started_fails_alone(self) -> None:
        parent, task = ready_task(), make.make_task()
        Dependency.objects.create(task=task, upstream=parent)
        make.submit(task)
        other = ready_task()
        plan = begin(task, other, parallelism=2)
        Dependency.objects.update(scope="NONSENSE")
        plan = drive(plan)
        assert states(plan, task) == ["success", "success", "failed"]
        assert "could not be started" in runs(plan, task)[2].message
        assert states(plan, other) == ["success"] * 3
        assert backfilling.record(plan).failed == 1

    def test_a_plan_that_became_impossible_ends_and_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backfill, "SMALL", 0)
        parent, task = ready_task(), make.make_task()
        Dependency.objects.create(task=task, upstream=parent)
        make.submit(task)
        plan = begin(parent, task)
        assert plan.state == PlanState.PREPARING
        Dependency.objects.update(scope="NONSENSE")
        plans.work(plan.pk)
        plan.refresh_from_db()
        assert (plan.state, plan.total) == (PlanState.FAILED, 0)
        assert "NONSENSE" in plan.message
        assert backfilling.record(plan).state == "FAIL"


class TestLimitsAndOrder:
    @pytest.mark.parametrize("number", [1, 2, 4])
    def test_so_many_data_times_at_once(self, number: int) -> None:
        workflow, group = make.make_workflow(), make.make_group(50)
        first, second = (ready_task(workflow, group=group) for _ in range(2))
        child = make.make_task(workflow, group=group)
        make.depend(child, first)
        make.submit(child)
        plan = drive(begin(first, second, child, last="2013-01-10", parallelism=number), Worker(seed=number))
        assert plan.success == 30
        assert most_at_once(plan) == number
        assert_sound()

    def test_a_number_replaces_the_tasks_own_self_dependency(self) -> None:
        task = ready_task(self_dependency="orderly")
        plan = begin(task, parallelism=3)
        assert len(turn(chosen=lambda _: [])) == 3
        assert plan.active == 3

    @pytest.mark.parametrize("order", ["ORDER", "REVERSE"])
    @pytest.mark.parametrize("slots", [1, 2])
    def test_data_times_begin_in_order_though_slots_are_few(self, order: str, slots: int) -> None:
        task = ready_task(group=make.make_group(slots))
        plan = drive(begin(task, last="2013-01-08", order=order, parallelism=3), Worker(seed=slots))
        ran = Execution.objects.order_by("id").values_list("instance__data_time", flat=True)
        assert list(ran) == sorted(ran, reverse=order == "REVERSE")
        assert plan.success == 8

    def test_a_frozen_instance_does_not_hold_up_the_order(self) -> None:
        task = ready_task(group=make.make_group(1))
        busy = existing(harness.make_due(1, group=task.resource_group), state="wait_run")
        assert busy == []
        plan = begin(task, order="ORDER", parallelism=2)
        [waiting] = Instance.objects.filter(task=task)
        lifecycle.freeze([waiting.pk])
        plans.work(plan.pk)
        assert Instance.objects.filter(task=task).count() == 2

    @pytest.mark.parametrize("seed", range(3))
    def test_a_day_runs_after_all_of_its_hours_whether_they_are_new_or_old(self, seed: int) -> None:
        """One data time at once, and a parent in other data times: neither a deadlock nor a child too early."""
        workflow, group = make.make_workflow(), make.make_group(50)
        since = JANUARY - dt.timedelta(microseconds=1)
        until = JANUARY + DAY - dt.timedelta(hours=1)
        hours = make.make_task(workflow, group=group, cycle_type="HOUR", step=6, effective_to=until)
        make.submit(hours, since=since)
        days = make.make_task(workflow, group=group, effective_to=until)
        make.depend(days, hours, "CURRENT_DAY")
        make.submit(days, since=since)
        # Of the first day everything is there and has succeeded, of the second nothing.
        generation.generate()
        harness.run_all(hours, days)
        plan = drive(begin(hours, days, last="2013-01-02", parallelism=1 + seed), Worker(seed))
        assert plan.success == 10
        assert most_at_once(plan) <= 1 + seed
        spans = claims(plan)
        for day in runs(plan, days):
            parents = [run for run in runs(plan, hours) if run.data_time.date() == day.data_time.date()]
            assert len(parents) == 4
            for parent in parents:
                assert spans[parent.instance_id or 0][1] < spans[day.instance_id or 0][0]
        assert_sound()

    def test_a_self_dependency_in_place_of_a_number(self) -> None:
        task = ready_task(self_dependency="parallel")
        drive(begin(task, self_dependency="orderly", last="2013-01-05"))
        ran = Execution.objects.order_by("run_started_at").values_list("instance__data_time", flat=True)
        assert list(ran) == sorted(ran)
        harness.wipe()
        task = ready_task(self_dependency="serial")
        begin(task, self_dependency="parallel", last="2013-01-05")
        assert len(turn(chosen=lambda _: [])) == 5

    def test_an_unlimited_plan_is_not_in_everybodys_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan_start, "MOST_ACTIVE", 4)
        task = ready_task(group=make.make_group(50))
        plan = begin(task, self_dependency="parallel", last="2013-01-10")
        assert counts(plan) == {"active": 4, "pending": 6}
        assert drive(plan).success == 10
