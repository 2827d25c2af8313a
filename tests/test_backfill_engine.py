"""Backfill plans carried out: what is started when, what follows from failures and from what people do meanwhile."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from instances import operations
from instances.engine import generation, lifecycle, plan_start, plans
from instances.engine.lifecycle import Claimed, Result
from instances.models import (
    BackfillPlan,
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
    assert_counted,
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
    bad,
    fresh,
    good,
    instances_of,
    settle,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def fails_on(*days: int) -> Any:
    """Ends of executions: bad for those of these days of January."""

    def end(claimed: Claimed) -> Result:
        return bad(claimed) if claimed.data_time.day in days else good(claimed)

    return end


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


class TestFailures:
    def test_the_others_go_on_and_what_waits_for_the_failure_is_blocked(self) -> None:
        workflow = make.make_workflow()
        parent = ready_task(workflow)
        child, grandchild = make.make_task(workflow), make.make_task(workflow)
        make.depend(child, parent)
        make.depend(grandchild, child)
        make.submit(child)
        make.submit(grandchild)
        plan = drive(begin(parent, child, grandchild), Worker(end=fails_on(2)))
        assert states(plan, parent) == ["success", "failed", "success"]
        assert states(plan, child) == states(plan, grandchild) == ["success", "blocked", "success"]
        assert plan.state == PlanState.PARTLY
        assert (plan.percent_complete, plan.percent_successful) == (100.0, 66.6)
        assert runs(plan, parent)[1].message == "EXIT_NONZERO: It ended with 1."
        assert runs(plan, child)[1].message == (
            f"Waits for {parent.name} 2013-01-02 00:00 UTC, which has failed."
        )
        assert runs(plan, grandchild)[1].message.endswith("which is blocked itself.")
        assert_sound()

    def test_a_retry_is_no_failure(self) -> None:
        task = ready_task(retry_limit=1)
        tried: set[int] = set()

        def once(claimed: Claimed) -> Result:
            if claimed.instance_id in tried:
                return good(claimed)
            tried.add(claimed.instance_id)
            return bad(claimed)

        plan = begin(task, on_failure="stop")
        for _ in range(8):
            turn(once)
            lifecycle.retry_due()
            harness.dispatch(harness.groups(*instances_of(task)))
            plans.work(plan.pk)
        plan.refresh_from_db()
        assert (plan.state, plan.success) == (PlanState.SUCCESS, 3)

    def test_a_plan_that_stops_at_a_failure_says_so(self) -> None:
        workflow = make.make_workflow()
        parent = ready_task(workflow)
        child = make.make_task(workflow)
        make.depend(child, parent)
        make.submit(child)
        plan = drive(begin(parent, child, on_failure="stop"), Worker(end=fails_on(2)))
        assert states(plan, parent) == ["success", "failed", "stopped"]
        assert states(plan, child) == ["success", "stopped", "stopped"]
        assert plan.state == PlanState.STOPPED
        assert plan.message == (
            f"{parent.name} of 2013-01-02 00:00 UTC has failed, and the plan stops at a failure."
        )
        stopped = backfilling.stop_record(plan)
        assert (stopped.kind, stopped.source, stopped.operator_name) == ("stop_backfill", "system", "")
        assert (stopped.reason, stopped.state, stopped.done) == (plan.message, "SUCCESS", 1)
        assert not Instance.objects.filter(state__startswith="wait").exists()
        assert_sound()

    def test_a_child_whose_parent_failed_before_it_was_started_is_blocked_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan_start, "BATCH", 1)
        workflow = make.make_workflow()
        parent = ready_task(workflow)
        child = make.make_task(workflow)
        make.depend(child, parent)
        make.submit(child)
        plan = begin(parent, child)
        assert states(plan, parent)[0] == "active"
        assert states(plan, child)[0] == "pending"
        turn(fails_on(1))
        plans.work(plan.pk)
        assert states(plan, child)[0] == "blocked"
        assert states(drive(plan), child) == ["blocked", "success", "success"]

    def test_a_blocked_run_goes_on_when_the_failure_is_mended(self) -> None:
        workflow = make.make_workflow()
        parent = ready_task(workflow)
        child = make.make_task(workflow)
        make.depend(child, parent)
        make.submit(child)
        plan = begin(parent, child)
        turn(fails_on(1))
        plans.work(plan.pk)
        assert states(plan, child)[0] == "blocked"
        [failed] = Instance.objects.filter(task=parent, state="failed")
        operations.run("mark_success", [failed.pk], user=None, reason="looked at it", source="api")
        plan = drive(plan)
        assert states(plan, child) == ["success"] * 3
        assert states(plan, parent) == ["failed", "success", "success"]


class TestPeople:
    def test_terminating_what_a_plan_started_fails_that_run_only(self) -> None:
        task = ready_task()
        plan = begin(task)
        [first] = instances_of(task)
        operations.run("terminate", [first.pk], user=None, reason="no", source="api")
        plan = drive(plan)
        assert states(plan) == ["failed", "success", "success"]
        assert runs(plan)[0].message.startswith("TERMINATED")

    def test_a_rerun_by_hand_is_followed_to_its_end(self) -> None:
        task = ready_task()
        plan = begin(task)
        [first] = instances_of(task)
        lifecycle.terminate([first.pk])
        settle(lifecycle.rerun([first.pk])[1])
        plan = drive(plan)
        assert states(plan) == ["success"] * 3
        assert runs(plan)[0].message == "(In a life that was begun by hand.)"
        assert fresh(first).plan_id is None

    def test_a_child_of_a_later_data_time_waits_for_a_parent_that_was_rerun_by_hand(self) -> None:
        workflow = make.make_workflow()
        hours = ready_task(workflow, cycle_type="HOUR", step=12)
        days = make.make_task(workflow)
        make.depend(days, hours, "CURRENT_DAY")
        make.submit(days)
        plan = begin(hours, days, last="2013-01-01")
        [first] = instances_of(hours)
        turn(fails_on(1))
        plans.work(plan.pk)
        settle(lifecycle.rerun([first.pk])[1])
        assert fresh(first).plan_id is None
        turn(chosen=lambda held: [one for one in held if one.instance_id != first.pk])
        plans.work(plan.pk)
        # Both hours are over for the plan, but the first one runs again.
        [day] = instances_of(days)
        assert (day.state, day.pending_upstream) == ("wait_upstream", 1)
        assert_sound()

    def test_an_old_child_gets_the_edge_that_its_task_has_today(self) -> None:
        """The dependency was added after the instances were generated; one that somebody removed stays removed."""
        parent, child = harness.make_due(3), harness.make_due(3)
        generation.generate()
        harness.run_all(parent, child)
        make.depend(child, parent)
        first = existing(child, 1, state="wait_run")[0]
        Edge.objects.create(
            instance=first, upstream_task=parent, upstream_data_time=JANUARY, removed_at=JANUARY,
            upstream=Instance.objects.get(task=parent, data_time=JANUARY),
        )  # fmt: skip
        begin(parent, child, parallelism=3)
        assert [row.state for row in instances_of(child)] == ["wait_run", "wait_upstream", "wait_upstream"]
        assert Edge.objects.count() == 3
        assert_sound()

    def test_a_removed_instance_does_not_wedge_the_plan(self) -> None:
        task = ready_task()
        plan = begin(task)
        Instance.objects.filter(task=task).delete()
        plan = drive(plan)
        assert states(plan) == ["failed", "success", "success"]
        assert runs(plan)[0].message == "Its instance was removed."

    def test_another_plan_may_take_the_same_instances(self) -> None:
        task = ready_task(group=make.make_group(1))
        first, second = begin(task), begin(task)
        assert drive(second).success == 3
        assert drive(first).success == 3
        assert_sound()


class TestSteering:
    def test_a_paused_plan_starts_nothing_and_goes_on_with_what_is_under_way(self) -> None:
        task = ready_task()
        plan = begin(task)
        assert backfill.pause(plan, user=None, source="api")
        assert not backfill.pause(plan, user=None, source="api")
        turn()
        plans.work(plan.pk)
        plan.refresh_from_db()
        assert (plan.state, plan.success, plan.active, plan.pending) == (PlanState.PAUSED, 1, 0, 2)
        assert backfill.resume(plan, user=None, source="api")
        assert not backfill.resume(plan, user=None, source="api")
        assert drive(plan).success == 3

    def test_a_plan_paused_while_it_is_prepared_goes_on_after_that(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backfill, "SMALL", 0)
        plan = begin(ready_task())
        backfill.pause(plan, user=None, source="api")
        plans.work(plan.pk)
        plan.refresh_from_db()
        assert (plan.state, plan.pending, plan.active) == (PlanState.PAUSED, 3, 0)
        backfill.resume(plan, user=None, source="api")
        assert drive(plan).success == 3

    @pytest.mark.parametrize("running", [False, True])
    def test_stopping_ends_what_waits_and_leaves_what_runs_unless_told(self, running: bool) -> None:
        task = ready_task(group=make.make_group(1))
        plan = begin(task, parallelism=2, last="2013-01-05")
        turn(chosen=lambda _: [])
        assert backfill.stop(plan, user=None, source="api", running=running)
        assert not backfill.stop(plan, user=None, source="api")
        first, second = instances_of(task)
        assert (first.state, second.state) == ("terminating" if running else "running", "failed")
        assert counts(plan) == {"active": 1, "stopped": 4}
        held = Execution.objects.get(state="running")
        lifecycle.finish([Result(held.pk, held.lease.token, ok=True)])
        plans.work(plan.pk)
        plan.refresh_from_db()
        assert plan.state == PlanState.STOPPED
        assert states(plan) == ["stopped" if running else "success", *["stopped"] * 4]
        stopped = backfilling.stop_record(plan)
        assert (stopped.state, stopped.total, stopped.done) == ("SUCCESS", 1 + running, 1 + running)
        begun = backfilling.record(plan)
        assert (begun.state, begun.total, begun.done, begun.cancelled) == ("PART_SUCCESS", 5, 2, 3)
        assert_counted(plan)
        assert_sound()

    def test_stopping_leaves_a_life_that_somebody_began_by_hand(self) -> None:
        task = ready_task()
        plan = begin(task)
        [first] = instances_of(task)
        lifecycle.terminate([first.pk])
        lifecycle.rerun([first.pk])
        backfill.stop(plan, user=None, source="api")
        plan.refresh_from_db()
        assert plan.state == PlanState.STOPPED
        assert fresh(first).state == "wait_run"
        assert runs(plan)[0].message == "Its instance has a life that was begun by hand, and goes on."

    def test_a_large_plan_is_stopped_in_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("instances.engine.plan_rows.STOP_BATCH", 3)
        monkeypatch.setattr("instances.engine.plan_rows.CROSS_OUT_BATCH", 4)
        task = ready_task(group=make.make_group(1))
        plan = begin(task, parallelism=10, last="2013-01-31")
        backfill.stop(plan, user=None, source="api")
        plans.work(plan.pk)
        plan.refresh_from_db()
        assert (plan.state, counts(plan)) == (PlanState.STOPPED, {"stopped": 31})
        assert_sound()

    def test_a_plan_that_is_stopped_before_it_was_prepared_is_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backfill, "SMALL", 0)
        plan = begin(ready_task())
        backfill.stop(plan, user=None, source="api")
        plan.refresh_from_db()
        assert (plan.state, plan.total, plan.percent_complete) == (PlanState.STOPPED, 0, 0.0)
        assert not plans.advance(plan.pk)


class TestCrashesAndRaces:
    def test_a_crash_between_batches_loses_and_repeats_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan_start, "BATCH", 4)
        task = harness.make_due(6, group=make.make_group(100))
        generation.generate()
        existing(task, 1, 2, 3, 4, 5, 6)
        plan = begin(task, self_dependency="parallel", last="2013-01-12")
        plain = plan_start._write
        calls = []

        def crash(*given: Any) -> None:
            plain(*given)
            calls.append(1)
            raise RuntimeError("the process dies here")

        monkeypatch.setattr(plan_start, "_write", crash)
        with pytest.raises(RuntimeError):
            plans.work(plan.pk)
        assert_counted(plan)
        before = counts(plan)
        assert before == {"active": 4, "pending": 8}
        monkeypatch.setattr(plan_start, "_write", plain)
        plan = drive(plan)
        assert plan.success == 12
        assert {row.life_round for row in instances_of(task)[:6]} == {1}
        assert {row.life_round for row in instances_of(task)[6:]} == {0}
        assert OperationItem.objects.filter(operation=plan.operation_id, outcome="done").count() == 12
        assert_sound()

    def test_a_crash_while_it_is_prepared_leaves_nothing_behind(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backfill, "SMALL", 0)
        monkeypatch.setattr("instances.engine.plan_prepare.CHUNK", 2)
        plan = begin(ready_task(), last="2013-01-07")

        def crash(*_: Any, **__: Any) -> None:
            raise RuntimeError("the process dies here")

        monkeypatch.setattr(BackfillPlan, "save", crash)
        with pytest.raises(RuntimeError):
            plans.advance(plan.pk)
        assert counts(plan) == {}
        monkeypatch.undo()
        assert drive(plan).success == 7

    def test_two_advancers_at_once_start_each_run_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan_start, "BATCH", 7)
        monkeypatch.setattr(backfill, "SMALL", 0)
        group = make.make_group(200)
        task = harness.make_due(15, group=group)
        generation.generate()
        existing(task, *range(1, 16))
        plan = begin(task, ready_task(group=group), self_dependency="parallel", last="2013-01-31")
        harness.race(*[lambda: plans.work(plan.pk)] * 3)
        assert_counted(plan)
        assert counts(plan) == {"active": 62}
        assert {row.life_round for row in instances_of(task)[:15]} == {1}
        assert drive(plan).success == 62
        assert OperationItem.objects.filter(operation=plan.operation_id).count() == 62
        assert_sound()

    def test_two_advancers_keep_to_the_number_of_data_times(self) -> None:
        group = make.make_group(200)
        plan = begin(ready_task(group=group), ready_task(group=group), last="2013-01-20", parallelism=3)

        def advance() -> None:
            while BackfillPlan.objects.get(pk=plan.pk).unfinished:
                plans.work(plan.pk)

        def work() -> None:
            while BackfillPlan.objects.get(pk=plan.pk).unfinished:
                turn()

        harness.race(advance, advance, work)
        plan.refresh_from_db()
        assert plan.success == 40
        assert most_at_once(plan) <= 3
        assert_sound()

    def test_stopping_while_it_is_advanced(self) -> None:
        group = make.make_group(200)
        plan = begin(ready_task(group=group), last="2013-01-31", parallelism=5)

        def work() -> None:
            while BackfillPlan.objects.get(pk=plan.pk).unfinished:
                turn()
                plans.work(plan.pk)

        harness.race(work, lambda: backfill.stop(plan, user=None, source="api"))
        plan.refresh_from_db()
        assert plan.state in (PlanState.STOPPED, PlanState.SUCCESS)
        assert_counted(plan)
        assert_sound()


class TestHints:
    def test_the_report_of_an_instance_names_its_plan(self) -> None:
        plan = begin(ready_task())
        other = harness.due(1)
        [of_plan, of_none] = sorted(
            lifecycle.claim(
                [*Execution.objects.filter(state="dispatched").values_list("id", flat=True),
                 *[hint.execution_id for hint in harness.dispatch(harness.groups(*other))]], "w1"
            ),
            key=lambda one: one.data_time != JANUARY or one.instance_id in {row.pk for row in other},
        )  # fmt: skip
        assert lifecycle.finish([good(of_none)]).plans == set()
        assert lifecycle.finish([good(of_plan)]).plans == {plan.pk}

    def test_a_retry_is_no_end(self) -> None:
        begin(ready_task(retry_limit=3))
        [claimed] = turn(chosen=lambda _: [])
        assert lifecycle.finish([bad(claimed)]).plans == set()

    def test_a_publisher_that_fails_is_left_alone_for_a_while(self) -> None:
        asked: list[int] = []

        def dead(plan_id: int) -> None:
            asked.append(plan_id)
            raise ConnectionError("no broker")

        before = plans.register(dead)
        try:
            plans.hint([1, 2])
            plans.hint([3])
        finally:
            plans.register(before)
            plans._quiet_until = 0.0
        assert asked == [1]

    def test_plans_that_are_over_need_nobody(self) -> None:
        plan = begin(ready_task())
        assert plans.unfinished() == [plan.pk]
        drive(plan)
        assert plans.unfinished() == []
        assert not plans.advance(plan.pk)
