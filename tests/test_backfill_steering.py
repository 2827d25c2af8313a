"""Backfill plans on their way: failures, what people do meanwhile, pausing and stopping, crashes, races, hints."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from instances import operations
from instances.engine import generation, hints, lifecycle, plan_start, plans
from instances.engine.lifecycle import Claimed, Result
from instances.models import (
    BackfillPlan,
    Edge,
    Execution,
    Instance,
    OperationItem,
)
from instances.models.backfill import PlanState
from instances.operations import backfill
from tests import backfilling
from tests import factories as make
from tests.backfilling import (
    Worker,
    assert_counted,
    begin,
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

        def dead(plan_ids: Sequence[int]) -> None:
            asked.extend(plan_ids)
            raise ConnectionError("no broker")

        before = hints.plans.register(dead)
        try:
            hints.plans.send([1])
            hints.plans.send([2, 3])
        finally:
            hints.plans.register(before)
        assert asked == [1]

    def test_plans_that_are_over_need_nobody(self) -> None:
        plan = begin(ready_task())
        assert plans.unfinished() == [plan.pk]
        drive(plan)
        assert plans.unfinished() == []
        assert not plans.advance(plan.pk)
