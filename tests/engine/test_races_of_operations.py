"""Ends, operations, sweepers and dispatch that meet on the same instances; forced interleavings, then threads."""

from collections.abc import Callable
from typing import Any

import pytest

from instances import operations
from instances.engine import generation, lifecycle, states
from instances.engine.dispatch import dispatch
from instances.models import Instance
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    _django_db_helper,
    age_leases,
    assert_sound,
    bad,
    due,
    executions,
    family,
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


class TestEndings:
    """Whoever gets the instance's lock first has the say; the other finds the lease or the state gone."""

    def test_terminate_waits_for_finish(self) -> None:
        [day] = due()
        [claimed] = started(day)
        _, [(changed, _)] = overtake(
            lambda: lifecycle.finish([good(claimed)]), lambda: lifecycle.terminate([day.pk])
        )
        assert changed == {}
        assert state(day) == "success"
        assert_sound()

    def test_finish_waits_for_terminate(self) -> None:
        [day] = due()
        [claimed] = started(day)
        overtake(lambda: lifecycle.terminate([day.pk]), lambda: lifecycle.finish([good(claimed)]))
        assert (fresh(day).state, fresh(day).error_code) == ("failed", "TERMINATED")
        assert executions(day) == ["cancelled"]
        assert_sound()

    def test_mark_success_waits_for_a_failing_finish(self) -> None:
        [day] = due()
        [claimed] = started(day)
        _, [(changed, _)] = overtake(
            lambda: lifecycle.finish([bad(claimed)]), lambda: lifecycle.mark_success([day.pk])
        )
        assert changed == {day.pk: "failed"}
        assert state(day) == "success"
        assert_sound()

    def test_a_failing_finish_waits_for_mark_success(self) -> None:
        [day] = due()
        [claimed] = started(day)
        overtake(lambda: lifecycle.mark_success([day.pk]), lambda: lifecycle.finish([bad(claimed)]))
        assert (fresh(day).state, fresh(day).error_code) == ("success", "")
        assert executions(day) == ["cancelled"]
        assert_sound()

    def test_the_same_result_twice_at_once_counts_once(self) -> None:
        [day] = due(retry_limit=3)
        [claimed] = started(day)
        first, [second] = overtake(
            lambda: lifecycle.finish([bad(claimed)]), lambda: lifecycle.finish([bad(claimed)])
        )
        assert (first.instances, second.instances) == (1, 0)
        assert state(day) == "failed_retry"
        assert history(day) == ["claim", "fail_for_retry"]
        assert_sound()

    def test_a_renewal_that_comes_first_saves_the_lease(self) -> None:
        [day] = due()
        [claimed] = started(day)
        age_leases(claimed.execution_id)
        _, [touched] = overtake(
            lambda: lifecycle.renew("w1"), lambda: lifecycle.expire(harness.lease_seconds())
        )
        assert touched.instances == 0
        assert state(day) == "running"
        assert_sound()

    def test_a_renewal_that_comes_second_learns_that_it_lost(self) -> None:
        [day] = due()
        [claimed] = started(day)
        age_leases(claimed.execution_id)
        # The renewal skips rows that somebody works on, so it does not wait, and brings no news of this one.
        with harness.transaction.atomic():
            assert lifecycle.expire(harness.lease_seconds()).instances == 1
            assert harness.Racer(lambda: lifecycle.renew("w1")).result() == {}
        assert (fresh(day).state, fresh(day).error_code) == ("failed", "LOST")
        lifecycle.finish([good(claimed)])
        assert (fresh(day).state, fresh(day).error_code) == ("failed", "LOST")
        assert_sound()

    def test_two_sweepers_find_the_same_lost_run(self) -> None:
        [day] = due(retry_limit=5)
        [claimed] = started(day)
        age_leases(claimed.execution_id)
        first, [second] = overtake(
            lambda: lifecycle.expire(harness.lease_seconds()),
            lambda: lifecycle.expire(harness.lease_seconds()),
        )
        assert (first.instances, second.instances) == (1, 0)
        assert history(day) == ["claim", "fail_for_retry"]
        assert_sound()

    def test_two_ticks_retry_once(self) -> None:
        [day] = due(retry_limit=5)
        lifecycle.finish([bad(started(day)[0])])
        race(lifecycle.retry_due, lifecycle.retry_due, lifecycle.retry_due)
        assert (fresh(day).state, fresh(day).tries) == ("wait_run", 1)
        assert history(day) == ["claim", "fail_for_retry", "retry_due"]
        assert_sound()


class TestOperationsMeet:
    @pytest.mark.parametrize("first", ["terminate", "rerun", "mark_success"])
    @pytest.mark.parametrize("second", ["terminate", "rerun", "mark_success"])
    def test_one_after_the_other_in_every_pair(self, first: str, second: str) -> None:
        [day] = due()
        [claimed] = started(day)
        lifecycle.finish([bad(claimed)])
        lifecycle.rerun([day.pk])
        [hint] = dispatch(harness.groups(day))

        def operate(kind: str) -> Callable[[], Any]:
            return lambda: getattr(lifecycle, kind)([day.pk])

        (changed_first, _), [(changed_second, _)] = overtake(operate(first), operate(second))
        assert changed_first == {day.pk: "wait_run"}
        then = {"terminate": "failed", "rerun": "wait_run", "mark_success": "success"}
        if then[first] not in states.sources(states.Operation(second)):
            assert changed_second == {}
            assert state(day) == then[first]
        else:
            assert changed_second == {day.pk: then[first]}
            assert state(day) == then[second]
        # The hint of before is worth nothing now.
        assert lifecycle.claim([hint.execution_id], "w1") == []
        assert_sound()

    def test_two_people_terminate_a_hundred(self) -> None:
        days = due(100, group=make.make_group(3))
        started(days[0])

        def terminate() -> Any:
            return operations.run("terminate", ids(days), user=None, reason="race", source="admin")

        one, two = race(terminate, terminate)
        assert one.done + two.done == 100
        assert one.refused + two.refused == 100
        assert one.failed + two.failed == 0
        assert set(Instance.objects.values_list("state", flat=True)) == {"terminating", "failed"}
        assert_sound()

    def test_rerun_meets_dispatch(self) -> None:
        days = due(40, group=make.make_group(40))

        def rerun_all() -> Any:
            return [settle(lifecycle.rerun([day.pk])[1]) for day in days]

        def run_some() -> Any:
            for _ in range(40):
                lifecycle.claim([hint.execution_id for hint in dispatch(harness.groups(*days))], "w1")

        race(rerun_all, run_some)
        assert_sound()
        assert set(Instance.objects.values_list("state", flat=True)) <= {"wait_run", "running"}
        dispatch(harness.groups(*days))
        assert not Instance.objects.filter(state="wait_run").exclude(queue="taken").exists()

    def test_everything_at_once(self) -> None:
        """No interleaving of everything that touches the same forty instances breaks an invariant."""
        tasks, child = family(1, days=20, group_slots=8)
        generation.generate()
        everything = ids(instances_of(tasks[0]) + instances_of(child))
        group = tasks[0].resource_group_id

        def work(worker: str) -> Callable[[], None]:
            def run() -> None:
                for _ in range(25):
                    claimed = lifecycle.claim([h.execution_id for h in dispatch([group])], worker)
                    results = [good(c) if c.execution_id % 3 else bad(c) for c in claimed]
                    settle(lifecycle.finish(results))

            return run

        def meddle() -> None:
            for number in range(25):
                chosen = everything[number % 5 :: 5]
                operation = (lifecycle.rerun, lifecycle.terminate, lifecycle.mark_success)[number % 3]
                settle(operation(chosen)[1])
                settle(lifecycle.retry_due())

        race(work("w1"), work("w2"), meddle)
        assert_sound()
