"""Frozen instances are not dispatched; all else goes on, and the waiting timeout stands still."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from instances.engine import generation, lifecycle, maintenance
from instances.engine.dispatch import dispatch
from instances.engine.lives import Life
from instances.engine.states import OPERATIONS, Operation
from instances.models import Execution, Instance, StateChange, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    HOUR,
    JANUARY,
    _django_db_helper,
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


def shift(instance: Instance, **back: dt.timedelta) -> None:
    """As if these times of the instance had come so much earlier."""
    row = fresh(instance)
    Instance.objects.filter(pk=row.pk).update(
        **{name: getattr(row, name) - interval for name, interval in back.items()}
    )


class TestHeld:
    def test_it_is_not_dispatched_until_it_is_thawed(self) -> None:
        [day] = due()
        changed, _ = lifecycle.freeze([day.pk])
        assert changed == {day.pk: "wait_run"}
        assert dispatch(harness.groups(day)) == []
        with harness.captured_hints() as sent:
            maintenance.sweep()
        assert sent == []
        changed, touched = lifecycle.thaw([day.pk])
        assert changed == {day.pk: "wait_run"}
        assert len(settle(touched)) == 1
        assert history(day) == ["freeze", "thaw"]
        assert_sound()

    def test_a_dispatch_that_nobody_claimed_is_taken_back(self) -> None:
        days = due(2, group=make.make_group(1))
        [hint] = dispatch(harness.groups(*days))
        _, touched = lifecycle.freeze([days[0].pk])
        assert lifecycle.claim([hint.execution_id], "w1") == []
        assert executions(days[0]) == ["requeued"]
        # Its slot is free for the other.
        assert len(settle(touched)) == 1
        assert fresh(days[1]).queue == "taken"
        lifecycle.mark_success([days[1].pk])
        [claimed] = lifecycle.claim([h.execution_id for h in settle(lifecycle.thaw([days[0].pk])[1])], "w1")
        assert (claimed.instance_id, claimed.life_round, claimed.try_number) == (days[0].pk, 0, 0)
        assert_sound()

    def test_what_is_taken_back_keeps_its_parameters(self) -> None:
        [day] = due(code="true", parameters={"word": "one"})
        dispatch(harness.groups(day))
        lifecycle.freeze([day.pk])
        Task.objects.update(parameters={"word": "two"})
        make.submit(Task.objects.get())
        [claimed] = lifecycle.claim([h.execution_id for h in settle(lifecycle.thaw([day.pk])[1])], "w1")
        assert claimed.parameters == {"word": "one"}

    def test_the_turn_of_a_serial_task_goes_to_the_next(self) -> None:
        days = due(3, self_dependency="serial")
        dispatch(harness.groups(*days))
        settle(lifecycle.freeze([days[0].pk])[1])
        assert fresh(days[1]).queue == "taken"
        # A gated one is held, too, and passed over.
        lifecycle.freeze([days[2].pk])
        [claimed] = lifecycle.claim(
            list(Execution.objects.filter(state="dispatched").values_list("id", flat=True)), "w1"
        )
        assert settle(lifecycle.finish([good(claimed)])) == []
        assert len(settle(lifecycle.thaw(ids(days))[1])) == 1
        assert_sound()

    def test_a_frozen_one_does_not_keep_the_turn_of_a_lane(self) -> None:
        days = due(3)
        _, touched = lifecycle.rerun(ids(days), None, Life(parallelism=1, lane=-1))
        settle(touched)
        lifecycle.freeze(ids(days[1:2]))
        settle(lifecycle.freeze(ids(days[:1]))[1])
        assert [fresh(day).queue for day in days] == ["ready", "ready", "taken"]
        settle(lifecycle.mark_success([days[2].pk])[1])
        assert not Execution.objects.filter(state="dispatched").exists()
        settle(lifecycle.thaw(ids(days))[1])
        assert [fresh(day).queue for day in days[:2]] == ["taken", "gated"]
        assert_sound()

    def test_a_retry_of_a_frozen_one_does_not_keep_it_either(self) -> None:
        days = due(2, retry_limit=1)
        _, touched = lifecycle.rerun(ids(days), None, Life(parallelism=1, lane=-1))
        [claimed] = lifecycle.claim([hint.execution_id for hint in settle(touched)], "w1")
        lifecycle.finish([bad(claimed)])
        lifecycle.freeze([days[0].pk])
        settle(lifecycle.retry_due())
        assert [fresh(day).queue for day in days] == ["ready", "taken"]
        assert_sound()

    def test_edges_are_satisfied_while_it_is_frozen(self) -> None:
        [parent], child = family(1)
        generation.generate()
        [up], [down] = instances_of(parent), instances_of(child)
        changed, _ = lifecycle.freeze([down.pk])
        assert changed == {down.pk: "wait_upstream"}
        assert settle(lifecycle.mark_success([up.pk])[1]) == []
        assert state(down) == "wait_run"
        assert len(settle(lifecycle.thaw([down.pk])[1])) == 1
        assert_sound()

    def test_a_retry_becomes_due_and_is_not_started(self) -> None:
        [day] = due(retry_limit=2)
        lifecycle.finish([bad(started(day)[0])])
        assert lifecycle.freeze([day.pk])[0] == {day.pk: "failed_retry"}
        assert settle(lifecycle.retry_due()) == []
        assert (state(day), fresh(day).tries) == ("wait_run", 1)
        assert len(settle(lifecycle.thaw([day.pk])[1])) == 1
        assert_sound()

    @pytest.mark.parametrize("operation", [lifecycle.terminate, lifecycle.mark_success, lifecycle.rerun])
    def test_people_may_operate_on_it(self, operation: Callable[..., Any]) -> None:
        [day] = due()
        lifecycle.freeze([day.pk])
        changed, touched = operation([day.pk])
        assert changed == {day.pk: "wait_run"}
        assert settle(touched) == []
        assert fresh(day).frozen_at is not None, "it stays frozen in its next life"
        lifecycle.rerun([day.pk])
        assert dispatch(harness.groups(day)) == []
        assert len(settle(lifecycle.thaw([day.pk])[1])) == 1
        assert_sound()


class TestWho:
    @pytest.mark.parametrize("end", ["running", "terminating", "failed", "success"])
    def test_what_runs_or_has_ended_cannot_be_frozen(self, end: str) -> None:
        [day] = due()
        [claimed] = started(day)
        if end == "terminating":
            lifecycle.terminate([day.pk])
        elif end != "running":
            lifecycle.finish([good(claimed) if end == "success" else bad(claimed)])
        assert state(day) == end
        assert end not in OPERATIONS[Operation.FREEZE].sources
        assert lifecycle.freeze([day.pk])[0] == {}
        assert fresh(day).frozen_at is None
        assert_sound()

    def test_only_what_is_frozen_can_be_thawed(self) -> None:
        days = due(2)
        lifecycle.freeze([days[0].pk])
        lifecycle.terminate(ids(days))
        assert lifecycle.thaw(ids(days))[0] == {days[0].pk: "failed"}
        assert lifecycle.thaw(ids(days))[0] == {}

    def test_the_history_names_the_operation_and_no_state_changes(self) -> None:
        [day] = due()
        lifecycle.freeze([day.pk], 5)
        lifecycle.thaw([day.pk], 6)
        rows = StateChange.objects.values_list("move", "from_state", "to_state", "operation_id")
        assert list(rows) == [("freeze", "wait_run", "wait_run", 5), ("thaw", "wait_run", "wait_run", 6)]


class TestThawTime:
    def test_it_thaws_by_itself(self) -> None:
        [soon], [late], [never] = due(), due(), due()
        now = timezone.now()
        for day, time in ((soon, now + HOUR), (late, now + DAY), (never, None)):
            lifecycle.freeze([day.pk], None, time)
        assert lifecycle.thaw_due().instances == 0
        Instance.objects.filter(pk=soon.pk).update(thaw_at=now)
        with harness.captured_hints() as sent:
            maintenance.sweep()
        assert len(sent) == 1
        assert [fresh(day).frozen_at is None for day in (soon, late, never)] == [True, False, False]
        assert (fresh(soon).thaw_at, history(soon)) == (None, ["freeze", "thaw"])
        assert_sound()

    def test_freezing_again_moves_it(self) -> None:
        [day] = due()
        later = timezone.now() + DAY
        lifecycle.freeze([day.pk], None, later - HOUR)
        frozen = fresh(day).frozen_at
        assert lifecycle.freeze([day.pk], None, later)[0] == {day.pk: "wait_run"}
        assert (fresh(day).frozen_at, fresh(day).thaw_at) == (frozen, later)
        lifecycle.freeze([day.pk])
        assert fresh(day).thaw_at is None

    def test_two_sweepers_thaw_each_once(self) -> None:
        days = due(40, group=make.make_group(5))
        lifecycle.freeze(ids(days), None, timezone.now())
        done = race(lifecycle.thaw_due, lifecycle.thaw_due, lifecycle.thaw_due)
        assert sum(touched.instances for touched in done) == 40
        assert StateChange.objects.filter(move="thaw").count() == 40


class TestWaitingTimeout:
    def test_it_stands_still(self) -> None:
        [day] = due(wait_timeout=DAY)
        lifecycle.freeze([day.pk])
        # An hour was left when it was frozen, two days ago.
        shift(day, frozen_at=2 * DAY, wait_since=3 * DAY - HOUR, wait_deadline=3 * DAY - HOUR)
        assert lifecycle.wait_timeouts().instances == 0
        lifecycle.thaw([day.pk])
        assert abs(harness.waiting_left(day) - HOUR) < dt.timedelta(minutes=1)
        assert lifecycle.wait_timeouts().instances == 0
        assert_sound()

    def test_a_wait_that_began_while_it_was_frozen_gets_no_more_than_its_own(self) -> None:
        [day] = due(wait_timeout=DAY)
        lifecycle.freeze([day.pk])
        shift(day, frozen_at=5 * DAY)
        lifecycle.rerun([day.pk])
        lifecycle.thaw([day.pk])
        assert DAY - dt.timedelta(minutes=1) < harness.waiting_left(day) <= DAY

    def test_none_stays_none(self) -> None:
        [day] = due()
        lifecycle.freeze([day.pk])
        lifecycle.thaw([day.pk])
        assert fresh(day).wait_deadline is None
        # Nor does a task that has no timeout any more take the rest of one away.
        [timed] = due(wait_timeout=DAY)
        lifecycle.freeze([timed.pk])
        Task.objects.update(wait_timeout=None)
        lifecycle.thaw([timed.pk])
        assert fresh(timed).wait_deadline is not None

    def test_thawed_it_counts_again(self) -> None:
        [day] = due(wait_timeout=DAY)
        lifecycle.freeze([day.pk])
        lifecycle.thaw([day.pk])
        Instance.objects.update(wait_deadline=JANUARY)
        assert lifecycle.wait_timeouts().instances == 1
        assert fresh(day).error_code == "WAIT_TIMEOUT"


class TestRaces:
    def test_a_claim_waits_for_freeze(self) -> None:
        [day] = due()
        [hint] = dispatch(harness.groups(day))
        _, [claimed] = overtake(
            lambda: lifecycle.freeze([day.pk]), lambda: lifecycle.claim([hint.execution_id], "w1")
        )
        assert claimed == []
        assert (state(day), executions(day)) == ("wait_run", ["requeued"])
        assert_sound()

    def test_freeze_waits_for_a_claim(self) -> None:
        [day] = due()
        [hint] = dispatch(harness.groups(day))
        claimed, [(changed, _)] = overtake(
            lambda: lifecycle.claim([hint.execution_id], "w1"), lambda: lifecycle.freeze([day.pk])
        )
        assert (len(claimed), changed) == (1, {})
        assert (state(day), fresh(day).frozen_at) == ("running", None)
        assert_sound()

    def test_freeze_waits_for_a_dispatch(self) -> None:
        [day] = due()
        hints, [(changed, _)] = overtake(
            lambda: dispatch(harness.groups(day)), lambda: lifecycle.freeze([day.pk])
        )
        assert (len(hints), changed) == (1, {day.pk: "wait_run"})
        assert lifecycle.claim([hints[0].execution_id], "w1") == []
        assert_sound()

    def test_a_dispatch_passes_by_what_is_being_frozen(self) -> None:
        [day] = due()
        with harness.transaction.atomic():
            lifecycle.freeze([day.pk])
            assert harness.Racer(lambda: dispatch(harness.groups(day))).result() == []
        assert dispatch(harness.groups(day)) == []
        assert_sound()

    @pytest.mark.parametrize("thaw_first", [True, False])
    def test_thaw_and_freeze(self, thaw_first: bool) -> None:
        [day] = due()
        lifecycle.freeze([day.pk])
        doors = [lambda: lifecycle.thaw([day.pk]), lambda: lifecycle.freeze([day.pk])]
        overtake(*(doors if thaw_first else reversed(doors)))
        assert (fresh(day).frozen_at is not None) == thaw_first
        assert len(dispatch(harness.groups(day))) == (0 if thaw_first else 1)
        assert_sound()

    def test_thaw_by_hand_meets_thaw_by_time(self) -> None:
        [day] = due()
        lifecycle.freeze([day.pk], None, timezone.now())
        with harness.transaction.atomic():
            lifecycle.thaw([day.pk])
            assert harness.Racer(lifecycle.thaw_due).result().instances == 0
        assert history(day) == ["freeze", "thaw"]

    def test_freezing_and_thawing_under_work(self) -> None:
        days = due(60, group=make.make_group(6), self_dependency="parallel")
        group = days[0].resource_group_id

        def work(worker: str) -> Callable[[], None]:
            def run() -> None:
                for _ in range(20):
                    claimed = lifecycle.claim([h.execution_id for h in dispatch([group])], worker)
                    settle(lifecycle.finish([good(c) for c in claimed]))

            return run

        def hold() -> None:
            for number in range(20):
                some = ids(days[number % 4 :: 4])
                settle((lifecycle.freeze, lifecycle.thaw)[number % 2](some)[1])

        race(work("w1"), work("w2"), hold)
        assert_sound()
        lifecycle.thaw(ids(days))
        harness.run_out()
        assert set(Instance.objects.values_list("state", flat=True)) == {"success"}
        runs = Execution.objects.filter(state="success").values_list("instance_id", flat=True)
        assert sorted(runs) == ids(days), "each ran once"


def test_frozen_ones_stand_in_no_index_of_the_queue() -> None:
    """However many are frozen, a dispatch and the sweeper pass them by without looking at them."""
    days = due(4, self_dependency="serial")
    dispatch(harness.groups(*days))
    lifecycle.freeze(ids(days))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE queue = 'ready' AND frozen_at IS NULL), count(*) FILTER (WHERE queue = 'gated') "
            "FROM instances_instance WHERE state = 'wait_run'"
        )
        assert cursor.fetchone() == (0, 0)
