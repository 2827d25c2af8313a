"""Backfill plans over tasks with trigger policies, excuses and branches."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instances.engine import generation, lifecycle, maintenance, plans
from instances.engine.lifecycle import Claimed, Result
from instances.models import BackfillPlan, Dependency, Edge, Instance, Task
from instances.models.backfill import PlanState
from tests import backfilling
from tests import factories as make
from tests.backfilling import FIRST, Worker, begin, counts, drive, existing, ready_task, runs, states, turn
from tests.engine import harness
from tests.engine.harness import (
    JANUARY,
    _django_db_helper,
    assert_sound,
    bad,
    fresh,
    good,
    history,
    instances_of,
    settle,
    state,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def below(*upstream: Task, bad_parents: Any = (), timeout: int | None = None, **columns: Any) -> Task:
    """A submitted task that waits for these, without instances."""
    task = make.make_task(upstream[0].workflow, **columns)
    for one in upstream:
        excuse(make.depend(task, one), bad_parents, timeout)
    make.submit(task)
    return task


def excuse(dependency: Dependency, bad_parents: Any, timeout: int | None = None) -> None:
    dependency.bad_parents, dependency.parent_timeout = list(bad_parents), timeout
    dependency.save()


def ends(*failing: Task, not_taken: Any = None) -> Callable[[Claimed], Result]:
    """How a worker ends what it claimed: some tasks fail, some (`{branch: tasks}`) do not take all of theirs."""

    def end(one: Claimed) -> Result:
        if one.task_id in {task.pk for task in failing}:
            return bad(one, "UNDEFINED_PARAMETER")
        left = (not_taken or {}).get(one.task_id, ())
        return Result(one.execution_id, one.token, ok=True, not_taken=[task.pk for task in left])

    return end


def carried_out(*tasks: Task, end: Callable[[Claimed], Result] = good, **given: Any) -> BackfillPlan:
    return drive(begin(*tasks, **given), Worker(end=end))


class TestEdgesOfOldInstances:
    """Instances that are older than the dependency: the plan adds the edges."""

    def family(self, *bad_parents: str, timeout: int | None = None, **columns: Any) -> tuple[Task, Task]:
        parent, child = harness.make_due(1), harness.make_due(1, **columns)
        generation.generate()
        existing(parent, 1)
        existing(child, 1)
        excuse(make.depend(child, parent), bad_parents, timeout)
        return parent, child

    def test_a_parent_that_fails_is_excused_if_the_dependency_says_so(self) -> None:
        parent, child = self.family("PARENT_EXPIRED")
        plan = carried_out(parent, child, end=ends(parent), last=FIRST)
        assert (plan.state, counts(plan)) == (PlanState.PARTLY, {"failed": 1, "success": 1})
        edge = Edge.objects.get()
        assert (edge.excused, edge.waived) == ("PARENT_EXPIRED", False)
        assert_sound()

    def test_without_the_rule_the_child_is_blocked(self) -> None:
        parent, child = self.family()
        plan = carried_out(parent, child, end=ends(parent), last=FIRST)
        assert counts(plan) == {"failed": 1, "blocked": 1}
        assert_sound()

    def test_a_parent_that_takes_too_long_is_excused_by_the_clock(self) -> None:
        parent, child = self.family("PARENT_TIMEOUT", timeout=5)
        plan = begin(parent, child, last=FIRST)
        [down] = instances_of(child)
        edge = Edge.objects.get()
        assert edge.timeout_minutes == 5
        assert edge.timeout_at is not None
        # The parent fails, and the clock runs on: the child is not blocked.
        turn(end=ends(parent))
        plans.work(plan.pk)
        assert backfilling.states(plan, child) == ["active"]
        Edge.objects.update(timeout_at=JANUARY)
        maintenance.sweep()
        assert (state(down), Edge.objects.get().excused) == ("wait_run", "PARENT_TIMEOUT")
        assert counts(drive(plan)) == {"failed": 1, "success": 1}
        assert_sound()

    def test_two_dependencies_on_one_task_excuse_alike(self) -> None:
        parent, child = self.family("PARENT_EXPIRED")
        excuse(make.depend(child, parent, "CURRENT_DAY"), ["NOT_EXIST", "PARENT_TIMEOUT"], 7)
        plan = begin(parent, child, last=FIRST)
        edge = Edge.objects.get()
        assert (edge.rules & 7, edge.timeout_minutes) == (7, 7)
        assert drive(plan).success == 2

    def test_the_policy_stays_that_of_the_instance(self) -> None:
        parent, child = self.family(trigger_policy="ONE_FAILED")
        Task.objects.filter(pk=child.pk).update(trigger_policy="ALL_SUCCESS")
        plan = carried_out(parent, child, end=ends(parent), last=FIRST)
        assert counts(plan) == {"failed": 1, "success": 1}
        assert_sound()

    def test_a_parent_outside_its_schedule(self) -> None:
        """The plan fills in the parent of a day that its schedule has not: it exists now, and is waited for."""
        parent, child = self.family("NOT_EXIST")
        Instance.objects.filter(task=parent).delete()
        later = JANUARY + 90 * harness.DAY
        Task.objects.filter(pk=parent.pk).update(effective_from=later, effective_to=later + harness.DAY)
        plan = begin(parent, child, last=FIRST)
        [down] = instances_of(child)
        assert state(down) == "wait_upstream"
        assert drive(plan).success == 2
        assert Edge.objects.get().excused == ""
        assert_sound()


class TestParentsOutsideThePlan:
    @pytest.mark.parametrize("policy", ["ALL_FAILED", "ONE_SUCCESS", "NONE_SKIPPED"])
    def test_they_are_waived_and_the_policy_has_nothing_to_look_at(self, policy: str) -> None:
        parent = ready_task()
        child = below(parent, trigger_policy=policy)
        for _ in range(2):
            plan = carried_out(child)
            assert states(plan) == ["success"] * 3
        assert set(Edge.objects.values_list("waived", flat=True)) == {True}
        assert_sound()

    @pytest.mark.parametrize("chosen", [["NOT_EXIST"], []])
    def test_one_that_neither_its_schedule_nor_the_plan_has(self, chosen: list[str]) -> None:
        parent = ready_task(effective_from=JANUARY + harness.DAY)
        child = make.make_task(parent.workflow)
        excuse(make.depend(child, parent, "LIST_DAY", "-1,0"), chosen)
        make.submit(child)
        plan = begin(parent, child, first="2013-01-02", last="2013-01-02", check_parents=True)
        turn()
        [down] = instances_of(child)
        never, comes = Edge.objects.filter(instance=down).order_by("upstream_data_time")
        assert (never.never_comes, comes.never_comes) == (True, False)
        assert (never.excused, comes.excused) == ("NOT_EXIST" if chosen else "", "")
        assert state(down) == ("wait_run" if chosen else "wait_upstream")
        if chosen:
            assert drive(plan).success == 2
        assert_sound()

    def test_asked_for_they_are_judged(self) -> None:
        parent = harness.make_due(1)
        generation.generate()
        existing(parent, 1, state="failed")
        child = below(parent, trigger_policy="ONE_SUCCESS")
        excused = below(parent, bad_parents=["PARENT_EXPIRED"])
        plan = carried_out(child, excused, check_parents=True, last=FIRST)
        assert plan.state == PlanState.SUCCESS
        assert [state(instances_of(task)[0]) for task in (child, excused)] == ["skipped", "success"]
        assert_sound()


class TestSkippedRuns:
    @pytest.mark.parametrize("order", ["NORMAL", "ORDER", "REVERSE"])
    @pytest.mark.parametrize("old", [False, True])
    def test_they_are_over_and_the_plan_goes_on(self, order: str, old: bool) -> None:
        group = make.make_group(4)
        branch = harness.make_due(4, group=group) if old else ready_task(group=group)
        left = below(branch, group=group)
        last = below(left, group=group)
        if old:
            generation.generate()
            existing(branch, 1, 2, 3, 4)
        plan = begin(branch, left, last, order=order, parallelism=2, last="2013-01-04")
        plan = drive(plan, Worker(2, end=ends(not_taken={branch.pk: [left]})))
        assert (plan.state, plan.percent_complete, plan.percent_successful) == (
            PlanState.SUCCESS,
            100.0,
            100.0,
        )
        assert counts(plan) == {"success": 12}
        assert {state(row) for task in (left, last) for row in instances_of(task)} == {"skipped"}
        assert {run.message for run in runs(plan, last)} == {"Skipped, by how its upstream ended."}
        assert {run.message for run in runs(plan, branch)} == {""}
        assert_sound()

    def test_the_order_of_a_self_dependency_goes_on_behind_them(self) -> None:
        branch = ready_task()
        left = below(branch, self_dependency="orderly")
        skips = {JANUARY + harness.DAY}

        def end(one: Claimed) -> Result:
            away = [left.pk] if one.task_id == branch.pk and one.data_time in skips else []
            return Result(one.execution_id, one.token, ok=True, not_taken=away)

        plan = carried_out(branch, left, end=end, self_dependency="orderly")
        assert counts(plan) == {"success": 6}
        assert [state(row) for row in instances_of(left)] == ["success", "skipped", "success"]
        assert_sound()

    def test_one_that_was_skipped_before_is_decided_again_with_its_branch(self) -> None:
        branch = harness.make_due(1)
        left = below(branch)
        last = below(left)
        first = carried_out(branch, left, last, end=ends(not_taken={branch.pk: [left]}), last=FIRST)
        assert first.success == 3
        plan = begin(branch, left, last, parameters={"region": "south"}, last=FIRST)
        assert states(plan) == ["active"] * 3
        assert [state(instances_of(task)[0]) for task in (left, last)] == ["wait_upstream"] * 2
        plan = drive(plan)
        assert (plan.state, counts(plan)) == (PlanState.SUCCESS, {"success": 3})
        for task in (left, last):
            [row] = instances_of(task)
            assert (row.state, row.life_round, row.plan_id, row.overrides) == (
                "success", 0, plan.pk, {"region": "south"},
            )  # fmt: skip
            assert history(row)[:2] == ["skip", "reconsider"]
        spans = backfilling.claims(plan)
        order = [spans[instances_of(task)[0].pk] for task in (branch, left, last)]
        assert order[0][1] < order[1][0] < order[1][1] < order[2][0]
        assert_sound()

    def test_one_whose_branch_is_not_in_the_plan_stays_skipped_and_is_over(self) -> None:
        branch = harness.make_due(1)
        left = below(branch, rerun_allowed="NONE")
        carried_out(branch, left, end=ends(not_taken={branch.pk: [left]}), last=FIRST)
        plan = carried_out(left, last=FIRST)
        assert (plan.state, counts(plan)) == (PlanState.SUCCESS, {"success": 1})
        assert history(instances_of(left)[0]) == ["skip"]
        assert_sound()

    def test_a_verdict_that_is_outstanding_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever began the branch's new life died before its children were judged."""
        branch = harness.make_due(1)
        left = below(branch)
        carried_out(branch, left, end=ends(not_taken={branch.pk: [left]}), last=FIRST)
        with monkeypatch.context() as patch:
            patch.setattr(plans, "follow", lambda _touched: [])
            plan = begin(branch, left, last=FIRST)
            assert state(instances_of(left)[0]) == "skipped"
            assert states(plan) == ["active", "active"]
        maintenance.sweep()
        assert drive(plan).success == 2
        assert state(instances_of(left)[0]) == "success"
        assert_sound()


class TestFailures:
    def test_a_policy_that_asks_for_a_failure_gets_it(self) -> None:
        parents = [ready_task() for _ in range(2)]
        cleaner = below(*parents, trigger_policy="ONE_FAILED")
        after = below(*parents, trigger_policy="ALL_DONE")
        plan = carried_out(*parents, cleaner, after, end=ends(parents[0]))
        assert counts(plan) == {"failed": 3, "success": 9}
        assert plan.state == PlanState.PARTLY
        assert_sound()

    def test_one_that_waits_for_others_too_is_not_blocked_yet(self) -> None:
        failing, slow = ready_task(), ready_task()
        after = below(failing, slow, trigger_policy="ALL_DONE")
        plan = begin(failing, slow, after, last=FIRST)
        turn(end=ends(failing), chosen=lambda held: [one for one in held if one.task_id == failing.pk])
        plans.work(plan.pk)
        assert states(plan, after) == ["active"]
        settle(lifecycle.mark_success([instances_of(slow)[0].pk])[1])
        assert counts(drive(plan)) == {"failed": 1, "success": 2}
        assert_sound()

    def test_a_policy_that_no_one_can_meet_any_more_is_blocked_and_so_on(self) -> None:
        failing, fine = ready_task(), ready_task()
        waits = below(failing, fine, trigger_policy="NONE_FAILED")
        behind = below(waits, trigger_policy="ALL_DONE")
        plan = carried_out(failing, fine, waits, behind, end=ends(failing), last=FIRST)
        assert counts(plan) == {"failed": 1, "success": 1, "blocked": 2}
        assert "which has failed." in runs(plan, waits)[0].message
        assert "which is blocked itself." in runs(plan, behind)[0].message
        assert_sound()

    def test_failing_with_the_upstream_is_a_failure_of_the_plan(self) -> None:
        parent = ready_task()
        child = below(parent, upstream_failure="fail")
        plan = carried_out(parent, child, end=ends(parent), last=FIRST)
        assert (plan.state, counts(plan)) == (PlanState.FAILED, {"failed": 2})
        assert "UPSTREAM_FAILED" in runs(plan, child)[0].message
        assert fresh(instances_of(child)[0]).error_code == "UPSTREAM_FAILED"
        assert_sound()
