"""Two connections at once. First the interleavings that hurt, each forced by a lock; then many rounds of real threads."""

import datetime as dt
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from instances.engine import generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Result
from instances.models import Edge, Execution, Instance, Lease, StateChange, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    _django_db_helper,
    assert_sound,
    due,
    executions,
    family,
    fresh,
    good,
    history,
    ids,
    instances_of,
    make_due,
    overtake,
    race,
    settle,
    started,
    state,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class TestRelease:
    def test_the_second_of_two_parents_waits_for_the_first_and_releases(self) -> None:
        tasks, child = family(2)
        generation.generate()
        [waiting] = instances_of(child)
        first, second = started(*instances_of(tasks[0]))
        _, [touched] = overtake(
            lambda: lifecycle.finish([good(first)]), lambda: lifecycle.finish([good(second)])
        )
        assert state(waiting) == "wait_run"
        assert history(waiting) == ["upstream_met"]
        assert waiting.resource_group_id in touched.groups
        assert_sound()

    def test_parents_that_finish_at_once_release_each_child_once(self) -> None:
        tasks, child = family(2, days=100, group_slots=500)
        generation.generate()
        by_day: dict[dt.datetime, list[Result]] = {}
        for claimed in started(*instances_of(tasks[0])):
            by_day.setdefault(claimed.data_time, []).append(good(claimed))
        assert len(by_day) == 100

        # Both threads meet again at every day, so that each is a race of its own.
        meet = threading.Barrier(2)

        def parent(which: int) -> Callable[[], None]:
            def finish_all() -> None:
                for results in by_day.values():
                    meet.wait(harness.PATIENCE)
                    lifecycle.finish([results[which]])

            return finish_all

        race(parent(0), parent(1))
        released = StateChange.objects.filter(move="upstream_met").values_list("instance_id", flat=True)
        assert sorted(released) == sorted(ids(instances_of(child)))
        assert set(Instance.objects.filter(task=child).values_list("state", flat=True)) == {"wait_run"}
        assert_sound()

    def test_a_child_generated_while_its_parent_finishes(self) -> None:
        """The parent ended, but has not committed: generation must not take it for unfinished."""
        [parent], child = family(1)
        # Only the parent exists; the child's task falls due later.
        Task.objects.filter(pk=child.pk).update(status="paused")
        generation.generate()
        [claimed] = started(*instances_of(parent))
        Task.objects.filter(pk=child.pk).update(status="scheduling")
        overtake(lambda: lifecycle.finish([good(claimed)]), generation.generate)
        [waiting] = instances_of(child)
        assert (waiting.state, waiting.pending_upstream) == ("wait_run", 0)
        assert_sound()

    def test_a_parent_that_finishes_while_its_child_is_generated(self) -> None:
        [parent], child = family(1)
        Task.objects.filter(pk=child.pk).update(status="paused")
        generation.generate()
        [claimed] = started(*instances_of(parent))
        Task.objects.filter(pk=child.pk).update(status="scheduling")
        overtake(generation.generate, lambda: lifecycle.finish([good(claimed)]))
        [waiting] = instances_of(child)
        assert (waiting.state, waiting.pending_upstream) == ("wait_run", 0)
        assert history(waiting) == ["upstream_met"]
        assert_sound()

    def test_generation_and_finish_of_parents_in_threads(self) -> None:
        [parent], child = family(1, days=60, group_slots=500)
        Task.objects.filter(pk=child.pk).update(status="paused")
        generation.generate()
        claimed = started(*instances_of(parent))
        Task.objects.filter(pk=child.pk).update(status="scheduling")

        def finish_one_by_one() -> None:
            for one in claimed:
                lifecycle.finish([good(one)])

        race(finish_one_by_one, generation.generate)
        assert set(Instance.objects.filter(task=child).values_list("state", flat=True)) == {"wait_run"}
        assert_sound()

    def test_mark_success_of_one_parent_while_the_other_finishes(self) -> None:
        tasks, child = family(2)
        generation.generate()
        [waiting], [left] = instances_of(child), instances_of(tasks[0])
        first, second = started(*instances_of(tasks[0]))
        other = second if first.instance_id == left.pk else first
        overtake(lambda: lifecycle.finish([good(other)]), lambda: lifecycle.mark_success([left.pk]))
        assert state(waiting) == "wait_run"
        assert_sound()

    def test_a_parent_rerun_while_the_other_releases_the_child(self) -> None:
        """Whoever comes first wins: the child waits again, or has been released; never something between."""
        for rerun_first in (True, False):
            harness.wipe()
            tasks, child = family(2)
            generation.generate()
            [waiting] = instances_of(child)
            first, second = started(*instances_of(tasks[0]))
            lifecycle.finish([good(first)])

            def again(pk: int = first.instance_id) -> Any:
                return lifecycle.rerun([pk])

            def finish(result: Result) -> Any:
                return lifecycle.finish([result])

            doors = [again, partial(finish, good(second))]
            overtake(*(doors if rerun_first else reversed(doors)))
            assert state(waiting) == ("wait_upstream" if rerun_first else "wait_run")
            assert_sound()


class TestClaims:
    def test_the_second_claim_of_the_same_executions_gets_nothing(self) -> None:
        days = due(5)
        hints = [hint.execution_id for hint in dispatch(harness.groups(*days))]
        first, [second] = overtake(
            lambda: lifecycle.claim(hints, "w1"), lambda: lifecycle.claim(list(reversed(hints)), "w2")
        )
        assert len(first) == 5
        assert second == []
        assert set(Instance.objects.values_list("total_runs", flat=True)) == {1}
        assert_sound()

    def test_many_workers_share_what_there_is(self) -> None:
        days = due(60, group=make.make_group(60))
        hints = [hint.execution_id for hint in dispatch(harness.groups(*days))]
        shares = race(*[lambda worker=f"w{n}": lifecycle.claim(hints, worker) for n in range(4)])
        got = [claimed.execution_id for share in shares for claimed in share]
        assert sorted(got) == sorted(hints)
        assert_sound()

    def test_a_claim_that_waits_for_a_rerun_gets_nothing(self) -> None:
        """The instance is still waiting for execution afterwards, but the execution is of an older life."""
        [day] = due()
        [hint] = dispatch(harness.groups(day))
        (changed, _), [claimed] = overtake(
            lambda: lifecycle.rerun([day.pk]), lambda: lifecycle.claim([hint.execution_id], "w1")
        )
        assert changed == {day.pk: "wait_run"}
        assert claimed == []
        assert (fresh(day).state, fresh(day).life_round) == ("wait_run", 1)
        assert_sound()
        assert [c.life_round for c in started(day)] == [1]

    def test_a_claim_that_waits_for_a_terminate_gets_nothing(self) -> None:
        [day] = due()
        [hint] = dispatch(harness.groups(day))
        _, [claimed] = overtake(
            lambda: lifecycle.terminate([day.pk]), lambda: lifecycle.claim([hint.execution_id], "w1")
        )
        assert claimed == []
        assert state(day) == "failed"
        assert executions(day) == ["cancelled"]
        assert_sound()

    def test_a_terminate_that_waits_for_a_claim_stops_the_run(self) -> None:
        [day] = due()
        [hint] = dispatch(harness.groups(day))
        [claimed], [(changed, _)] = overtake(
            lambda: lifecycle.claim([hint.execution_id], "w1"), lambda: lifecycle.terminate([day.pk])
        )
        assert changed == {day.pk: "running"}
        assert state(day) == "terminating"
        assert lifecycle.renew("w1") == {claimed.execution_id: "terminate"}
        assert_sound()

    def test_a_rerun_that_waits_for_a_claim_is_refused(self) -> None:
        [day] = due()
        [hint] = dispatch(harness.groups(day))
        _, [(changed, _)] = overtake(
            lambda: lifecycle.claim([hint.execution_id], "w1"), lambda: lifecycle.rerun([day.pk])
        )
        assert changed == {}
        assert (fresh(day).state, fresh(day).life_round) == ("running", 0)
        assert_sound()

    def test_mark_success_and_claim_in_both_orders(self) -> None:
        for claim_first in (True, False):
            harness.wipe()
            [day] = due()
            [hint] = dispatch(harness.groups(day))

            def claim(pk: int = hint.execution_id) -> Any:
                return lifecycle.claim([pk], "w1")

            def mark(pk: int = day.pk) -> Any:
                return lifecycle.mark_success([pk])

            overtake(claim, mark) if claim_first else overtake(mark, claim)
            assert state(day) == "success"
            assert executions(day) == ["stopping" if claim_first else "cancelled"]
            assert_sound()


class TestTicks:
    def test_the_second_tick_waits_and_finds_nothing_left(self) -> None:
        task = make_due(50)
        first, [second] = overtake(generation.generate, generation.generate)
        assert (first.instances, second.instances) == (50, 0)
        assert Instance.objects.filter(task=task).count() == 50

    def test_many_ticks_generate_each_instance_once(self) -> None:
        workflow = make.make_workflow()
        tasks = [make_due(30, workflow=workflow) for _ in range(10)]
        made = race(*[generation.generate] * 4)
        assert sum(one.instances for one in made) == 300
        assert {len(instances_of(task)) for task in tasks} == {30}

    def test_edges_bind_though_child_and_parent_are_generated_by_two_ticks(self) -> None:
        family(3, days=20)
        race(*[generation.generate] * 3)
        assert Edge.objects.filter(upstream__isnull=True).count() == 0
        assert Edge.objects.count() == 60
        assert_sound()


class TestSlots:
    def test_dispatchers_never_give_more_than_there_is(self) -> None:
        days = due(50, group=make.make_group(3))
        given = race(*[lambda: dispatch(harness.groups(*days))] * 4)
        assert sum(len(hints) for hints in given) == 3
        assert_sound()

    def test_slots_hold_while_runs_end_and_start(self) -> None:
        days = due(80, group=make.make_group(3))

        def work(worker: str) -> Callable[[], int]:
            def run() -> int:
                most = 0
                claimed = lifecycle.claim([h.execution_id for h in dispatch(harness.groups(*days))], worker)
                while Instance.objects.exclude(state="success").exists():
                    most = max(most, Lease.objects.count())
                    hints = settle(lifecycle.finish([good(c) for c in claimed]))
                    claimed = lifecycle.claim([hint.execution_id for hint in hints], worker)
                    if not claimed:
                        hints = dispatch(harness.groups(*days))
                        claimed = lifecycle.claim([hint.execution_id for hint in hints], worker)
                return most

            return run

        most = race(work("w1"), work("w2"), work("w3"))
        assert max(most) <= 3
        assert set(Instance.objects.values_list("total_runs", flat=True)) == {1}
        assert_sound()

    def test_a_serial_task_never_runs_twice_at_once(self) -> None:
        days = due(25, self_dependency="serial", group=make.make_group(8))

        def work(worker: str) -> Callable[[], int]:
            def run() -> int:
                most = 0
                hints = dispatch(harness.groups(*days))
                while Instance.objects.exclude(state="success").exists():
                    claimed = lifecycle.claim([hint.execution_id for hint in hints], worker)
                    most = max(most, Execution.objects.filter(state="running").count())
                    hints = settle(lifecycle.finish([good(c) for c in claimed]))
                return most

            return run

        assert max(race(work("w1"), work("w2"), work("w3"))) == 1
        ran = Execution.objects.order_by("run_started_at").values_list("instance__data_time", flat=True)
        assert list(ran) == sorted(ran)
        assert_sound()

    def test_a_serial_task_over_two_groups_stays_serial(self) -> None:
        """The task moved to another group while it has instances in both: two group locks, one task."""
        days = due(2, self_dependency="serial")
        other = make.make_group()
        Instance.objects.filter(pk=days[1].pk).update(resource_group=other)
        given = race(lambda: dispatch([days[0].resource_group_id]), lambda: dispatch([other.pk]))
        assert sum(len(hints) for hints in given) == 1
        assert_sound()
