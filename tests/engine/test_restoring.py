"""Undo: an operation's instances go back to what they were, unless something irreversible has come of it."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from instances.engine import generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.models import Execution, Instance, StateChange
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    HOUR,
    _django_db_helper,
    assert_sound,
    bad,
    due,
    executions,
    family,
    fresh,
    good,
    ids,
    instances_of,
    overtake,
    race,
    run_out,
    settle,
    started,
    state,
)
from tests.engine.scenes import UNDO, Done, brought_to, claims_of, edges_of, row_of

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

ALLOWED = [
    *[("terminate", now) for now in ("wait_run", "dispatched", "rerun", "wait_upstream", "failed_retry")],
    *[("mark_success", now) for now in ("wait_run", "dispatched", "rerun", "wait_upstream", "failed")],
    *[("rerun", now) for now in ("wait_run", "dispatched", "rerun", "failed", "success", "failed_retry")],
]


class TestBack:
    @pytest.mark.parametrize(("kind", "now"), ALLOWED)
    def test_it_is_what_it_was(self, kind: str, now: str) -> None:
        day = brought_to(now)
        before, edges = row_of(day), edges_of(day)
        done = Done(kind, day)
        left = state(day)
        settle(done.touched)
        changed, touched, reasons = done.undo()
        assert (changed, reasons) == ({day.pk: left}, {})
        assert row_of(day) == before
        assert edges_of(day) == edges
        # Its place in the queue is asked for anew: nothing is dispatched any more.
        assert not Execution.objects.filter(instance=day, state="dispatched").exists()
        move = StateChange.objects.filter(instance_id=day.pk).latest("id")
        assert (move.move, move.from_state, move.to_state, move.operation_id) == (
            "undo", left, before["state"], UNDO,
        )  # fmt: skip
        assert_sound()
        if before["state"] == "wait_run":
            assert len(settle(touched)) == 1
            [claimed] = claims_of()
            assert (claimed.life_round, claimed.try_number) == (before["life_round"], before["tries"])
            assert_sound()

    @pytest.mark.parametrize(("kind", "now"), ALLOWED)
    def test_and_it_can_be_done_again(self, kind: str, now: str) -> None:
        """No trace of the undone life or end is in the way of the next."""
        day = brought_to(now)
        for _ in range(2):
            done = Done(kind, day)
            settle(done.touched)
            done.undo()
            assert_sound()
        done = Done(kind, day)
        settle(done.touched)
        if kind == "rerun":
            [claimed] = claims_of()
            assert claimed.life_round == done.before[day.pk]["life_round"] + 1
        assert_sound()

    def test_the_waiting_timeout_stood_still(self) -> None:
        [day] = due(wait_timeout=DAY)
        done = Done("terminate", day)
        # An hour of its waiting was left, and it was terminated for a week.
        ended = timezone.now() - 7 * DAY
        done.before[day.pk]["wait_deadline"] = (ended + HOUR).isoformat()
        Instance.objects.filter(pk=day.pk).update(end_time=ended)
        done.undo()
        assert abs(harness.waiting_left(day) - HOUR) < dt.timedelta(minutes=1)
        assert lifecycle.wait_timeouts().instances == 0

    def test_thousands_in_one_call(self) -> None:
        days = due(1000, since=harness.JANUARY - 2000 * DAY)
        done = Done("terminate", *days)
        changed, touched, reasons = done.undo()
        assert (len(changed), touched.instances, reasons) == (1000, 1000, {})
        assert set(Instance.objects.values_list("state", flat=True)) == {"wait_run"}
        assert_sound()


class TestRefused:
    def _refused(self, done: Done, day: Instance, why: str) -> None:
        before = row_of(day)
        changed, touched, reasons = done.undo()
        assert changed == {}
        assert list(reasons) == [day.pk]
        assert why in reasons[day.pk], reasons
        assert row_of(day) == before
        assert touched.instances == 0
        assert_sound()

    @pytest.mark.parametrize("kind", ["terminate", "mark_success"])
    @pytest.mark.parametrize("dead", [True, False])
    def test_a_child_was_killed(self, kind: str, dead: bool) -> None:
        [day] = due()
        [claimed] = started(day)
        done = Done(kind, day)
        if dead:
            lifecycle.finish([bad(claimed, "TERMINATED")])
        self._refused(done, day, f"The process of {day} was killed; that cannot be undone.")

    @pytest.mark.parametrize("end", [None, good, bad])
    def test_the_new_life_was_claimed(self, end: Callable[..., Any] | None) -> None:
        [day] = due(retry_limit=1)
        lifecycle.mark_success([day.pk])
        done = Done("rerun", day)
        [claimed] = started(day)
        if end:
            lifecycle.finish([end(claimed)])
            lifecycle.retry_due()
        self._refused(done, day, f"A worker has claimed {day} since.")

    @pytest.mark.parametrize("kind", ["terminate", "mark_success", "rerun"])
    def test_another_life_has_begun(self, kind: str) -> None:
        [day] = due()
        done = Done(kind, day)
        lifecycle.rerun([day.pk])
        self._refused(done, day, f"{day} has begun another life since.")

    def test_another_operation_came_after(self) -> None:
        days = due(3)
        terminated, marked, rerun = (
            Done("terminate", days[0]),
            Done("mark_success", days[1]),
            Done("rerun", days[2]),
        )
        lifecycle.mark_success(ids(days[:1]))
        lifecycle.terminate(ids(days[2:]))
        self._refused(terminated, days[0], f"{days[0]} is Success, not Failed as the operation left it.")
        self._refused(
            rerun, days[2], f"{days[2]} is Failed, not Waiting for execution as the operation left it."
        )
        assert marked.undo()[2] == {}

    def test_it_is_gone(self) -> None:
        [day] = due()
        done = Done("terminate", day)
        Execution.objects.all().delete()
        with transaction.atomic(), harness.connection.cursor() as cursor:
            cursor.execute(
                "SET LOCAL weops.retention = 'on'; DELETE FROM instances_statechange; DELETE FROM instances_instance"
            )
        assert done.undo()[2] == {day.pk: "There is no such instance any more."}

    def test_the_others_go_back(self) -> None:
        days = due(3, group=make.make_group(1))
        lifecycle.mark_success(ids(days))
        done = Done("rerun", *days)
        started(*days)
        changed, _, reasons = done.undo()
        assert (set(changed), set(reasons)) == ({days[1].pk, days[2].pk}, {days[0].pk})
        assert [state(day) for day in days] == ["running", "success", "success"]
        assert_sound()

    def test_a_kind_that_has_no_way_back(self) -> None:
        with pytest.raises(ValueError, match="remove_dependency cannot be undone"):
            lifecycle.restore({}, {}, UNDO, "remove_dependency")


class TestHolds:
    def test_freeze_is_undone_by_thawing(self) -> None:
        [day] = due()
        done = Done("freeze", day)
        changed, touched, reasons = done.undo()
        assert (changed, reasons) == ({day.pk: "wait_run"}, {})
        assert len(settle(touched)) == 1
        assert_sound()

    def test_whatever_its_state_is_by_then(self) -> None:
        day = brought_to("wait_upstream")
        done = Done("freeze", day)
        lifecycle.terminate([day.pk])
        assert done.undo()[0] == {day.pk: "failed"}
        assert fresh(day).frozen_at is None

    def test_a_time_to_thaw_comes_back(self) -> None:
        [day] = due()
        time = timezone.now().replace(microsecond=120000) + DAY
        lifecycle.freeze([day.pk], None, time)
        done = Done("freeze", day)
        assert fresh(day).thaw_at is None
        done.undo()
        assert (fresh(day).frozen_at is None, fresh(day).thaw_at) == (False, time)
        assert_sound()

    def test_what_has_ended_cannot_be_frozen_again(self) -> None:
        """It was frozen, and was frozen once more, for good; that would give it its time to thaw back."""
        [day] = due()
        lifecycle.freeze([day.pk], None, timezone.now() + DAY)
        done = Done("freeze", day)
        lifecycle.terminate([day.pk])
        assert done.undo()[2] == {day.pk: f"{day} is Failed, and cannot be frozen again."}

    def test_what_was_frozen_otherwise_since_is_left(self) -> None:
        [day], [thawed] = due(), due()
        done = Done("freeze", day, thawed)
        lifecycle.freeze([day.pk], None, harness.JANUARY + 10000 * DAY)
        lifecycle.thaw([thawed.pk])
        changed, _, reasons = done.undo()
        assert changed == {}
        assert set(reasons.values()) == {
            f"{one} is no longer frozen as the operation left it." for one in (day, thawed)
        }

    def test_thaw_is_undone_by_freezing(self) -> None:
        days = due(2, group=make.make_group(1))
        lifecycle.freeze(ids(days))
        done = Done("thaw", *days)
        settle(done.touched)
        [claimed] = claims_of()
        assert claimed.instance_id == days[0].pk
        changed, _, reasons = done.undo()
        assert changed == {days[1].pk: "wait_run"}
        assert reasons == {days[0].pk: f"{days[0]} is Running, and cannot be frozen again."}
        lifecycle.freeze(ids(days[1:]))
        assert done.undo()[2][days[1].pk] == f"{days[1]} is no longer thawed as the operation left it."
        assert fresh(days[1]).frozen_at is not None
        assert_sound()

    def test_an_end_that_is_undone_leaves_a_later_freeze(self) -> None:
        [day] = due()
        done = Done("rerun", day)
        lifecycle.freeze([day.pk])
        done.undo()
        assert (state(day), fresh(day).life_round, fresh(day).frozen_at is None) == ("wait_run", 0, False)
        assert_sound()


class TestRaces:
    def _rerun(self) -> tuple[Instance, Done, int]:
        [day] = due()
        lifecycle.mark_success([day.pk])
        done = Done("rerun", day)
        [hint] = settle(done.touched)
        return day, done, hint.execution_id

    def test_a_claim_waits_for_undo(self) -> None:
        day, done, execution = self._rerun()
        _, [claimed] = overtake(done.undo, lambda: lifecycle.claim([execution], "w1"))
        assert claimed == []
        assert (state(day), executions(day)) == ("success", ["cancelled", "requeued"])
        assert_sound()

    def test_undo_waits_for_a_claim(self) -> None:
        day, done, execution = self._rerun()
        claimed, [(changed, _, reasons)] = overtake(lambda: lifecycle.claim([execution], "w1"), done.undo)
        assert (len(claimed), changed) == (1, {})
        assert reasons == {day.pk: f"A worker has claimed {day} since."}
        assert state(day) == "running"
        assert_sound()

    @pytest.mark.parametrize("undo_first", [True, False])
    def test_a_released_child_is_claimed_or_goes_back(self, undo_first: bool) -> None:
        tasks, child = family(1)
        generation.generate()
        [up], [down] = instances_of(tasks[0]), instances_of(child)
        done = Done("mark_success", up)
        [hint] = settle(done.touched)
        doors: list[Callable[[], Any]] = [done.undo, lambda: lifecycle.claim([hint.execution_id], "w1")]
        overtake(*(doors if undo_first else reversed(doors)))
        expected = ("wait_run", "wait_upstream") if undo_first else ("success", "running")
        assert (state(up), state(down)) == expected
        assert_sound()

    @pytest.mark.parametrize("undo_first", [True, False])
    def test_another_parent_ends_meanwhile(self, undo_first: bool) -> None:
        tasks, child = family(2)
        generation.generate()
        [one], [other], [down] = (instances_of(task) for task in (*tasks, child))
        claimed = {c.instance_id: c for c in started(other)}
        lifecycle.finish([bad(claimed[one.pk])])
        done = Done("mark_success", one)
        assert fresh(down).pending_upstream == 1
        doors: list[Callable[[], Any]] = [done.undo, lambda: lifecycle.finish([good(claimed[other.pk])])]
        overtake(*(doors if undo_first else reversed(doors)))
        assert (state(one), state(down), fresh(down).pending_upstream) == ("failed", "wait_upstream", 1)
        assert_sound()

    @pytest.mark.parametrize("undo_first", [True, False])
    def test_a_parent_of_what_goes_back_ends_meanwhile(self, undo_first: bool) -> None:
        tasks, child = family(1)
        generation.generate()
        [up], [down] = instances_of(tasks[0]), instances_of(child)
        done = Done("terminate", down)
        [claimed] = started(up)
        doors: list[Callable[[], Any]] = [done.undo, lambda: lifecycle.finish([good(claimed)])]
        overtake(*(doors if undo_first else reversed(doors)))
        assert (state(down), fresh(down).pending_upstream) == ("wait_run", 0)
        assert_sound()

    @pytest.mark.parametrize("undo_first", [True, False])
    def test_a_parent_that_has_begun_again_ends_meanwhile(self, undo_first: bool) -> None:
        """Its edge was satisfied and is opened by the undo: whoever is second must see what the first did."""
        tasks, child = family(2)
        generation.generate()
        [one], [_], [down] = (instances_of(task) for task in (*tasks, child))
        lifecycle.mark_success([one.pk])
        done = Done("terminate", down)
        lifecycle.rerun([one.pk])
        claimed = {c.instance_id: c for c in started(one)}
        doors: list[Callable[[], Any]] = [done.undo, lambda: lifecycle.finish([good(claimed[one.pk])])]
        overtake(*(doors if undo_first else reversed(doors)))
        assert (state(one), state(down), fresh(down).pending_upstream) == ("success", "wait_upstream", 1)
        assert_sound()

    def test_two_people_undo_the_same(self) -> None:
        day, done, _ = self._rerun()
        first, [second] = overtake(done.undo, done.undo)
        assert list(first[0]) == [day.pk]
        assert second[2] == {day.pk: f"{day} has begun another life since."}
        assert fresh(day).life_round == 0
        assert_sound()

    def test_undo_under_work(self) -> None:
        """Operations are done and undone while two workers run everything: nothing is lost and nothing runs twice."""
        tasks, child = family(2, days=15, group_slots=6)
        generation.generate()
        everything = [row for task in (*tasks, child) for row in instances_of(task)]
        group = child.resource_group_id

        def work(worker: str) -> Callable[[], None]:
            def run() -> None:
                for _ in range(30):
                    claimed = lifecycle.claim([h.execution_id for h in dispatch([group])], worker)
                    settle(lifecycle.finish([good(c) for c in claimed]))

            return run

        def meddle() -> None:
            for number in range(20):
                kind = ("terminate", "mark_success", "rerun", "freeze")[number % 4]
                chosen = sorted(ids(everything[number % 9 :: 9]))
                with transaction.atomic():
                    before = lifecycle.images(chosen)
                    changed, touched = getattr(lifecycle, kind)(chosen)
                    after = lifecycle.images(sorted(changed))
                settle(touched)
                settle(lifecycle.restore({pk: before[pk] for pk in changed}, after, None, kind)[1])

        race(work("w1"), work("w2"), meddle)
        assert_sound()
        lifecycle.thaw(ids(everything))
        lifecycle.rerun(list(Instance.objects.filter(state="failed").values_list("id", flat=True)))
        run_out()
        assert set(Instance.objects.values_list("state", flat=True)) == {"success"}
        assert_sound()
