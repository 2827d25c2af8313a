"""Trigger policies, branches, skipping and its way downstream, on real rows and by the doors that workers use."""

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest

from instances.engine import generation, lifecycle, logs, maintenance
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Claimed, Result, Touched
from instances.engine.lives import Life
from instances.models import Edge, Execution, Instance, Ripple, StateChange, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    JANUARY,
    _django_db_helper,
    assert_sound,
    bad,
    fresh,
    good,
    history,
    ids,
    instances_of,
    overtake,
    race,
    settle,
    started,
    state,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class Family:
    """Daily tasks `parents` and one that waits for all of them, generated."""

    def __init__(self, parents: int, days: int = 1, **child: Any) -> None:
        self.workflow = make.make_workflow()
        self.group = make.make_group(200)
        self.parents = [
            harness.make_due(days, workflow=self.workflow, group=self.group) for _ in range(parents)
        ]
        self.child = self.add(*self.parents, days=days, **child)
        generation.generate()
        self.up = [instances_of(task)[0] for task in self.parents]
        self.down = instances_of(self.child)[0]

    def add(self, *upstream: Task, days: int = 1, bad_parents: Any = (), **columns: Any) -> Task:
        """A task that waits for these, submitted and not generated."""
        task = make.make_task(
            self.workflow,
            **{
                "group": self.group,
                "effective_to": JANUARY + (days - 1) * harness.DAY + harness.HOUR,
                **columns,
            },
        )
        for one in upstream:
            dependency = make.depend(task, one)
            dependency.bad_parents = list(bad_parents)
            dependency.parent_timeout = 5 if "PARENT_TIMEOUT" in bad_parents else None
            dependency.save()
        make.submit(task, since=JANUARY - dt.timedelta(microseconds=1))
        return task

    def ends(self, *outcomes: bool) -> None:
        """Runs parents that wait: as many of them as there are outcomes, each good or bad."""
        claimed = {c.instance_id: c for c in claim(*self.up)}
        for parent, ok in zip(self.up, outcomes, strict=False):
            if parent.pk in claimed:
                one = claimed.pop(parent.pk)
                settle(lifecycle.finish([good(one) if ok else bad(one, "UNDEFINED_PARAMETER")]))
        # The others go back, so that they can be claimed again.
        for one in claimed.values():
            lifecycle.finish([Result(one.execution_id, one.token, ok=False, requeue=True)])


def claim(*instances: Instance) -> list[Claimed]:
    """Claims what is dispatched of them, by whomever."""
    dispatch(harness.groups(*instances))
    waiting = Execution.objects.filter(instance__in=instances, state="dispatched")
    return lifecycle.claim(list(waiting.values_list("pk", flat=True)), "w1")


def succeed(instance: Instance) -> None:
    [claimed] = claim(instance)
    settle(lifecycle.finish([good(claimed)]))


def branch(instance: Instance, *not_taken: Task) -> Touched:
    """The instance runs as a branch that succeeds and does not take these tasks."""
    [claimed] = claim(instance)
    result = Result(claimed.execution_id, claimed.token, ok=True, not_taken=[task.pk for task in not_taken])
    touched = lifecycle.finish([result])
    settle(touched)
    return touched


CASES = [
    ("ALL_SUCCESS", (True, False), "wait_upstream"),
    ("ALL_FAILED", (False, False), "wait_run"),
    ("ALL_FAILED", (True,), "skipped"),
    ("ALL_DONE", (True,), "wait_upstream"),
    ("ALL_DONE", (True, False), "wait_run"),
    ("ALL_DONE_AT_LEAST_ONE_SUCCESS", (False, False), "skipped"),
    ("ALL_SKIPPED", (True,), "skipped"),
    ("ONE_FAILED", (False,), "wait_run"),
    ("ONE_FAILED", (True, True), "skipped"),
    ("ONE_SUCCESS", (True,), "wait_run"),
    ("ONE_SUCCESS", (False, False), "skipped"),
    ("ONE_DONE", (False,), "wait_run"),
    ("NONE_FAILED", (False, True), "wait_upstream"),
    ("NONE_FAILED", (True, True), "wait_run"),
    ("ALL_DONE_NONE_FAILED_AT_LEAST_ONE_SUCCESS", (False,), "skipped"),
    ("NONE_SKIPPED", (True, False), "wait_run"),
    ("ALL_DONE_AT_LEAST_ONE_FAILED", (False,), "wait_upstream"),
    ("ALL_DONE_AT_LEAST_ONE_FAILED", (False, True), "wait_run"),
]


class TestPolicies:
    @pytest.mark.parametrize(("policy", "outcomes", "becomes"), CASES)
    def test_of_two_parents(self, policy: str, outcomes: tuple[bool, ...], becomes: str) -> None:
        family = Family(2, trigger_policy=policy)
        family.ends(*outcomes)
        assert state(family.down) == becomes
        assert Ripple.objects.count() == 0
        assert_sound()

    def test_a_child_that_is_told_to_fails_with_its_parents_when_all_have_ended(self) -> None:
        family = Family(2, upstream_failure="fail")
        family.ends(False)
        assert state(family.down) == "wait_upstream"
        family.ends(False, True)
        failed = fresh(family.down)
        assert (failed.state, failed.error_code) == ("failed", "UPSTREAM_FAILED")
        assert history(family.down) == ["upstream_failed"]
        # It failed for its parent: that the parent is successful after all does not rerun it.
        settle(lifecycle.mark_success([family.up[0].pk])[1])
        assert state(family.down) == "failed"
        assert_sound()

    def test_failing_goes_on_downstream(self) -> None:
        family = Family(1, upstream_failure="fail")
        last = family.add(family.child, upstream_failure="fail")
        cleaner = family.add(family.child, trigger_policy="ONE_FAILED")
        generation.generate()
        family.ends(False)
        assert state(instances_of(last)[0]) == "failed"
        assert state(instances_of(cleaner)[0]) == "wait_run"
        assert_sound()

    def test_a_child_generated_after_its_parents_ended_is_judged_at_once(self) -> None:
        family = Family(2)
        family.ends(False, False)
        late = {
            policy: family.add(*family.parents, trigger_policy=policy)
            for policy in ("ALL_FAILED", "ONE_SUCCESS", "ALL_DONE", "ALL_SUCCESS")
        }
        fails = family.add(*family.parents, upstream_failure="fail")
        generation.tick()
        assert {policy: state(instances_of(task)[0]) for policy, task in late.items()} == {
            "ALL_FAILED": "wait_run",
            "ONE_SUCCESS": "skipped",
            "ALL_DONE": "wait_run",
            "ALL_SUCCESS": "wait_upstream",
        }
        assert state(instances_of(fails)[0]) == "failed"
        assert_sound()

    def test_an_instance_keeps_the_policy_it_was_generated_with(self) -> None:
        family = Family(1, trigger_policy="ONE_FAILED")
        Task.objects.filter(pk=family.child.pk).update(trigger_policy="ALL_SUCCESS")
        family.ends(False)
        assert state(family.down) == "wait_run"

    def test_without_upstream_a_policy_says_nothing(self) -> None:
        [day] = harness.due(trigger_policy="ALL_FAILED")
        assert state(day) == "wait_run"
        assert_sound()

    def test_the_second_of_two_ripples_waits_for_the_first_and_decides(self) -> None:
        family = Family(2, trigger_policy="ALL_DONE_AT_LEAST_ONE_FAILED")
        first, second = started(*family.up)
        lifecycle.finish([bad(first)])

        def end_and_judge() -> None:
            lifecycle.finish([good(second)])
            lifecycle.ripple()

        overtake(lifecycle.ripple, end_and_judge)
        assert state(family.down) == "wait_run"
        assert history(family.down) == ["upstream_met"]
        assert_sound()

    def test_parents_that_end_at_once_decide_each_child_once(self) -> None:
        days = 40
        family = Family(2, days=days, trigger_policy="ALL_DONE_AT_LEAST_ONE_FAILED")
        by_day: dict[dt.datetime, list[Result]] = {}
        for number, claimed in enumerate(started(*family.up)):
            by_day.setdefault(claimed.data_time, []).append(good(claimed) if number % 3 else bad(claimed))
        meet = threading.Barrier(2)

        def parent(which: int) -> Callable[[], None]:
            def finish_all() -> None:
                for results in by_day.values():
                    meet.wait(harness.PATIENCE)
                    settle(lifecycle.finish([results[which]]))

            return finish_all

        race(parent(0), parent(1))
        with harness.captured_hints():
            maintenance.sweep()
        decided = StateChange.objects.filter(instance_id__in=ids(instances_of(family.child)))
        assert decided.filter(move__in=["upstream_met", "skip"]).count() == days
        assert not Instance.objects.filter(task=family.child, state="wait_upstream").exists()
        assert_sound()


class TestBranches:
    def test_what_a_branch_does_not_take_is_skipped_and_so_on(self) -> None:
        family = Family(1)
        left = family.add(family.parents[0])
        behind = family.add(left)
        merge = family.add(left, family.child, trigger_policy="ALL_DONE_NONE_FAILED_AT_LEAST_ONE_SUCCESS")
        generation.generate()
        branch(family.up[0], left)
        assert state(family.down) == "wait_run"
        assert [state(instances_of(task)[0]) for task in (left, behind, merge)] == [
            "skipped",
            "skipped",
            "wait_upstream",
        ]
        skipped = instances_of(behind)[0]
        assert history(skipped) == ["skip"]
        assert fresh(skipped).end_time is not None
        succeed(family.down)
        assert state(instances_of(merge)[0]) == "wait_run"
        assert_sound()

    def test_a_child_that_is_generated_later_is_skipped_too(self) -> None:
        family = Family(1)
        late = family.add(family.parents[0])
        branch(family.up[0], late)
        generation.tick()
        assert state(instances_of(late)[0]) == "skipped"
        assert_sound()

    def test_a_rerun_of_the_branch_may_choose_otherwise(self) -> None:
        family = Family(1)
        behind = family.add(family.child)
        generation.generate()
        branch(family.up[0], family.child)
        assert state(instances_of(behind)[0]) == "skipped"
        settle(lifecycle.rerun([family.up[0].pk])[1])
        assert (state(family.down), state(instances_of(behind)[0])) == ("wait_upstream", "wait_upstream")
        assert history(family.down) == ["skip", "reconsider"]
        assert fresh(family.down).end_time is None
        assert_sound()
        branch(family.up[0])
        assert state(family.down) == "wait_run"
        succeed(family.down)
        assert state(instances_of(behind)[0]) == "wait_run"
        assert_sound()

    def test_nobody_reruns_a_skipped_instance_and_removing_the_edge_lets_it_run(self) -> None:
        family = Family(1)
        branch(family.up[0], family.child)
        assert lifecycle.rerun([family.down.pk])[0] == {}
        assert lifecycle.mark_success([family.down.pk])[0] == {}
        key = (family.parents[0].pk, family.up[0].data_time)
        settle(lifecycle.remove_edges([family.down.pk], edges=[key], user_id=None, reason="Run it.")[1])
        assert history(family.down) == ["skip", "remove_dependency", "reconsider"]
        assert state(family.down) == "wait_run"
        assert_sound()

    def test_a_new_life_of_a_child_asks_the_branch_again(self) -> None:
        family = Family(1)
        branch(family.up[0])
        succeed(family.down)
        settle(lifecycle.rerun([family.up[0].pk])[1])
        branch(family.up[0], family.child)
        assert state(family.down) == "success"
        settle(lifecycle.rerun([family.down.pk], None, Life(check_parents="all"))[1])
        assert state(family.down) == "skipped"
        assert_sound()

    def test_undoing_a_rerun_of_a_branch_skips_again(self) -> None:
        family = Family(1)
        branch(family.up[0], family.child)
        before = lifecycle.images([family.up[0].pk])
        changed, touched = lifecycle.rerun([family.up[0].pk], 11)
        settle(touched)
        assert state(family.down) == "wait_upstream"
        after = lifecycle.images(sorted(changed))
        _, touched, reasons = lifecycle.restore(before, after, 12, "rerun")
        settle(touched)
        assert reasons == {}
        assert state(family.down) == "skipped"
        assert_sound()

    def test_marked_as_successful_by_hand_a_branch_takes_all(self) -> None:
        family = Family(1)
        branch(family.up[0], family.child)
        settle(lifecycle.rerun([family.up[0].pk])[1])
        settle(lifecycle.mark_success([family.up[0].pk])[1])
        assert state(family.down) == "wait_run"
        assert fresh(family.up[0]).not_taken is None
        assert_sound()


class TestSelfDependency:
    def test_a_skipped_period_hands_the_order_on(self) -> None:
        family = Family(1, days=3, self_dependency="orderly")
        ups, downs = instances_of(family.parents[0]), instances_of(family.child)
        claimed = {c.instance_id: c for c in started(*ups)}
        for number, not_taken in ((1, [family.child.pk]), (2, [])):
            one = claimed[ups[number].pk]
            settle(lifecycle.finish([Result(one.execution_id, one.token, ok=True, not_taken=not_taken)]))
        # The second day is skipped at once, and the third waits for the first all the same.
        assert [state(day) for day in downs] == ["wait_upstream", "skipped", "wait_upstream"]
        settle(lifecycle.finish([good(claimed[ups[0].pk])]))
        assert [state(day) for day in downs] == ["wait_run", "skipped", "wait_upstream"]
        succeed(downs[0])
        assert [state(day) for day in downs] == ["success", "skipped", "wait_run"]
        edge = Edge.objects.get(instance=downs[2], is_self=True)
        assert edge.excused == "PREVIOUS_SKIPPED"
        assert_sound()


class TestCascades:
    def test_a_long_chain_and_a_wide_fan_are_skipped_in_batches(self, monkeypatch: Any) -> None:
        family = Family(1)
        above = family.child
        chain = [above := family.add(above) for _ in range(12)]
        fan = [family.add(above) for _ in range(15)]
        generation.generate()
        monkeypatch.setattr("instances.engine.lifecycle.verdicts.CHILDREN", 4)
        branch(family.up[0], family.child)
        assert {state(instances_of(task)[0]) for task in (*chain, *fan)} == {"skipped"}
        moves = StateChange.objects.filter(move="skip").values_list("instance_id", flat=True)
        assert len(moves) == len(set(moves)) == 28
        assert_sound()

    def test_what_a_dead_caller_left_is_done_by_the_sweep(self) -> None:
        family = Family(1)
        behind = family.add(family.child)
        generation.generate()
        [claimed] = started(family.up[0])
        lifecycle.finish([Result(claimed.execution_id, claimed.token, ok=True, not_taken=[family.child.pk])])
        assert state(family.down) == "wait_upstream"
        with harness.captured_hints():
            maintenance.sweep()
        assert (state(family.down), state(instances_of(behind)[0])) == ("skipped", "skipped")
        assert Ripple.objects.count() == 0
        assert_sound()


class TestBadParents:
    def test_a_failed_parent_is_excused(self) -> None:
        family = Family(2, bad_parents=["PARENT_EXPIRED"])
        family.ends(False)
        edge = Edge.objects.get(instance=family.down, upstream=family.up[0])
        assert (edge.excused, edge.satisfied_at is not None) == ("PARENT_EXPIRED", True)
        assert state(family.down) == "wait_upstream"
        # The parent gets another chance, which the child waits for.
        settle(lifecycle.rerun([family.up[0].pk])[1])
        assert fresh(family.down).pending_upstream == 2
        assert_sound()
        family.ends(False, True)
        assert state(family.down) == "wait_run"
        assert_sound()

    def test_undoing_what_made_the_parent_fail(self) -> None:
        family = Family(2, bad_parents=["PARENT_EXPIRED"])
        before = lifecycle.images([family.up[0].pk])
        changed, touched = lifecycle.terminate([family.up[0].pk], 11)
        settle(touched)
        assert fresh(family.down).pending_upstream == 1
        after = lifecycle.images(sorted(changed))
        settle(lifecycle.restore(before, after, 12, "terminate")[1])
        assert fresh(family.down).pending_upstream == 2
        assert_sound()

    def test_a_parent_that_takes_too_long_is_excused_by_the_clock(self) -> None:
        family = Family(1, bad_parents=["PARENT_TIMEOUT"])
        assert lifecycle.parent_timeouts().instances == 0
        edges = Edge.objects.filter(instance=family.down)
        edges.update(timeout_at=JANUARY)
        with harness.captured_hints():
            maintenance.sweep()
        assert edges.get().excused == "PARENT_TIMEOUT"
        assert history(family.down) == ["upstream_met"]
        assert_sound()
        # A new life has the whole time again, if it asks for its parents.
        lifecycle.mark_success([family.down.pk])
        settle(lifecycle.rerun([family.down.pk], None, Life(check_parents="all"))[1])
        assert state(family.down) == "wait_upstream"
        waits = edges.get()
        assert (waits.excused, waits.satisfied_at) == ("", None)
        assert waits.timeout_at is not None
        assert waits.timeout_at > JANUARY
        assert_sound()

    def test_the_clock_stands_still_while_the_child_is_frozen(self) -> None:
        family = Family(1, bad_parents=["PARENT_TIMEOUT"])
        lifecycle.freeze([family.down.pk])
        Edge.objects.filter(instance=family.down).update(timeout_at=JANUARY + harness.HOUR)
        assert lifecycle.parent_timeouts().instances == 0
        Instance.objects.filter(pk=family.down.pk).update(frozen_at=JANUARY)
        settle(lifecycle.thaw([family.down.pk])[1])
        assert lifecycle.parent_timeouts().instances == 0
        assert state(family.down) == "wait_upstream"

    @pytest.mark.parametrize("chosen", [["NOT_EXIST"], []])
    def test_a_parent_outside_its_schedule(self, chosen: list[str]) -> None:
        workflow = make.make_workflow()
        parent = harness.make_due(1, workflow=workflow)
        child = make.make_task(workflow, effective_to=parent.effective_to)
        # The day before the parent's effective period begins.
        Task.objects.filter(pk=parent.pk).update(effective_from=JANUARY)
        dependency = make.depend(child, parent, "LIST_DAY", "-1,0")
        dependency.bad_parents = chosen
        dependency.save()
        make.submit(child, since=JANUARY - dt.timedelta(microseconds=1))
        generation.generate()
        [down] = instances_of(child)
        found = {edge.upstream_data_time: edge for edge in Edge.objects.filter(instance=down)}
        never, comes = (found[JANUARY - harness.DAY], found[JANUARY])
        assert (never.never_comes, comes.never_comes) == (True, False)
        assert never.excused == ("NOT_EXIST" if chosen else "")
        settle(lifecycle.mark_success(ids(instances_of(parent)))[1])
        assert state(down) == ("wait_run" if chosen else "wait_upstream")
        assert_sound()


class TestTheLogSaysHowItsUpstreamWas:
    """Of a run that did not need the success of its upstream: never that it succeeded, nor that it is waited for."""

    def test_a_parent_that_is_not_waited_for(self) -> None:
        family = Family(1)
        excused = family.add(*family.parents, bad_parents=["PARENT_EXPIRED"])
        generation.generate()
        [child] = instances_of(excused)
        family.ends(False)
        [claimed] = claim(child)
        text = logs.heads([claimed.execution_id])[claimed.execution_id]
        name = family.parents[0].name
        assert f"upstream {name} 2013-01-01 00:00:00 (UTC) is not waited for: it has failed" in text
        assert "succeeded" not in text

    def test_a_policy_that_does_not_need_success(self) -> None:
        family = Family(2, trigger_policy="ONE_FAILED")
        family.ends(False)
        [claimed] = claim(family.down)
        text = logs.heads([claimed.execution_id])[claimed.execution_id]
        for parent in family.parents:
            assert f"goes on without the success of upstream {parent.name} " in text
        assert text.count("its policy is ONE_FAILED") == 2
        assert "waits for upstream" not in text

    def test_one_that_ended_without_running(self) -> None:
        family = Family(1, upstream_failure="fail")
        family.ends(False)
        execution = Execution.objects.get(instance=family.down)
        text = logs.read(execution, 0).text
        assert f"upstream {family.parents[0].name} 2013-01-01 00:00:00 (UTC) had not succeeded" in text
        assert "waits for upstream" not in text
