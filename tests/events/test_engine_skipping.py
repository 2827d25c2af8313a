"""Instances that listen to events and are skipped: nothing reaches them until they are decided again."""

import datetime as dt

import pytest
from django.db import transaction

from events import expiry
from events.models import Event, Wait
from instances.engine import generation, lifecycle, maintenance
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Result
from instances.engine.lives import Life
from instances.models import Execution, Instance, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, fresh, history, instances_of, settle, state
from tests.events import scene
from tests.events.scene import FIRST, HOUR, consumers, fire, listen, make_event, states

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class Fork:
    """A branch, and a child of it that listens; the branch has run and has not taken the child, unless `taken`."""

    def __init__(
        self, *events: Event, max_wait: int | None = None, taken: bool = False, skipped_first: bool = False
    ) -> None:
        [self.parent], self.child = harness.family(1)
        listen(self.child, *events, max_wait=max_wait)
        if skipped_first:
            # The parent is there, and ends before the child is generated.
            Task.objects.filter(pk=self.child.pk).update(next_due_at=None)
        generation.generate()
        [self.up] = instances_of(self.parent)
        if not skipped_first:
            [self.down] = instances_of(self.child)
        if not taken:
            self.branches(self.child)

    def branches(self, *not_taken: Task) -> None:
        dispatch(harness.groups(self.up))
        waiting = Execution.objects.filter(instance=self.up, state="dispatched")
        [one] = lifecycle.claim(list(waiting.values_list("pk", flat=True)), "w1")
        result = Result(one.execution_id, one.token, ok=True, not_taken=[task.pk for task in not_taken])
        settle(lifecycle.finish([result]))

    def thinks_again(self) -> None:
        """The branch is run again; until it ends, the child waits as before."""
        settle(lifecycle.rerun([self.up.pk])[1])


def assert_sound() -> None:
    scene.assert_sound()
    harness.assert_sound()


class TestSkippedWhileItWaited:
    def test_it_waits_for_the_event_again_when_it_is_decided_again(self) -> None:
        event = make_event()
        fork = Fork(event)
        assert (state(fork.down), history(fork.down)) == ("skipped", ["skip"])
        assert Wait.objects.get().withdrawn_at is not None
        assert_sound()
        fork.thinks_again()
        assert (state(fork.down), history(fork.down)) == ("wait_event", ["skip", "reconsider"])
        assert Wait.objects.get().withdrawn_at is None
        assert_sound()
        fire(event, FIRST)
        assert state(fork.down) == "wait_upstream"
        fork.branches()
        assert state(fork.down) == "wait_run"
        assert consumers(event) == [fork.down.pk]
        assert_sound()

    def test_an_event_that_fires_meanwhile_is_found_later_if_it_still_lives(self) -> None:
        for lives in (True, False):
            harness.wipe()
            event = make_event()
            fork = Fork(event)
            fire(event, FIRST)
            assert (state(fork.down), consumers(event)) == ("skipped", [])
            if not lives:
                scene.age_firings(event, dt.timedelta(days=30))
            fork.thinks_again()
            assert state(fork.down) == ("wait_upstream" if lives else "wait_event")
            assert consumers(event) == ([fork.down.pk] if lives else [])
            assert_sound()

    def test_decided_again_by_a_person_it_goes_on_with_its_event(self) -> None:
        for fired in (True, False):
            harness.wipe()
            event = make_event()
            fork = Fork(event)
            if fired:
                fire(event, FIRST)
            key = (fork.parent.pk, fork.up.data_time)
            settle(lifecycle.remove_edges([fork.down.pk], edges=[key], user_id=None, reason="Run it.")[1])
            assert state(fork.down) == ("wait_run" if fired else "wait_event")
            fire(event, FIRST)
            assert state(fork.down) == "wait_run"
            assert_sound()

    def test_a_single_event_goes_to_the_one_that_is_not_skipped(self) -> None:
        event = make_event(delivery="SINGLE")
        fork = Fork(event)
        later = make.make_task(fork.parent.workflow, effective_to=fork.child.effective_to)
        listen(later, event)
        make.submit(later, since=harness.JANUARY - dt.timedelta(microseconds=1))
        generation.generate()
        [other] = instances_of(later)
        fire(event, FIRST)
        assert (state(fork.down), state(other)) == ("skipped", "wait_run")
        assert (consumers(event), states(event)) == ([other.pk], ["consumed"])
        # It is gone: the skipped one waits for the next.
        fork.thinks_again()
        assert state(fork.down) == "wait_event"
        fire(event, FIRST)
        assert consumers(event) == sorted([other.pk, fork.down.pk])
        assert_sound()

    def test_the_limit_of_the_listener_does_not_touch_it_and_stands_still(self) -> None:
        event = make_event()
        fork = Fork(event, max_wait=2)
        scene.age_waits(fork.down)
        assert expiry.end_overdue() == 0
        with harness.captured_hints():
            maintenance.sweep()
        assert (state(fork.down), history(fork.down)) == ("skipped", ["skip"])
        assert_sound()

    def test_it_waits_on_as_long_as_it_still_had(self) -> None:
        event = make_event()
        fork = Fork(event, max_wait=2)
        # An hour had passed when it was skipped, and so it was for a day.
        Wait.objects.update(deadline=harness.JANUARY + HOUR, withdrawn_at=harness.JANUARY)
        fork.thinks_again()
        wait = Wait.objects.get()
        assert wait.deadline is not None
        left = wait.deadline - Instance.objects.values_list("created_at", flat=True)[0]
        assert HOUR <= left < HOUR + dt.timedelta(minutes=5)
        assert expiry.end_overdue() == 0
        scene.age_waits(fork.down)
        assert expiry.end_overdue() == 1
        assert fresh(fork.down).error_code == "EVENT_TIMEOUT"
        assert_sound()

    def test_what_it_had_consumed_before_stays_its_own(self) -> None:
        first, second = make_event(delivery="SINGLE"), make_event()
        fork = Fork(first, second, taken=True)
        fire(first, FIRST)
        fork.branches(fork.child)
        assert (state(fork.down), consumers(first)) == ("skipped", [fork.down.pk])
        fork.thinks_again()
        assert state(fork.down) == "wait_event"
        fire(second, FIRST)
        assert state(fork.down) == "wait_upstream"
        assert_sound()

    def test_skipped_after_its_event_came_it_does_not_wait_for_it_again(self) -> None:
        event = make_event()
        fork = Fork(event, taken=True)
        fire(event, FIRST)
        fork.branches(fork.child)
        fork.thinks_again()
        assert (state(fork.down), consumers(event)) == ("wait_upstream", [fork.down.pk])
        assert_sound()

    def test_a_firing_and_a_skip_at_once(self) -> None:
        """Whoever is first: the event is consumed by one that waits, or not at all."""
        for fires_first in (True, False):
            harness.wipe()
            event = make_event(delivery="SINGLE")
            fork = Fork(event, taken=True)
            doors = [
                lambda fork=fork: fork.branches(fork.child),
                lambda event=event: fire(event, FIRST),
            ]
            harness.race(*(reversed(doors) if fires_first else doors))
            assert state(fork.down) == "skipped"
            fork.thinks_again()
            assert (state(fork.down), consumers(event)) == ("wait_upstream", [fork.down.pk])
            assert_sound()


class TestSkippedAsItBegins:
    """What lives already is not taken by an instance that is skipped in the same moment."""

    def test_when_it_is_generated(self) -> None:
        event = make_event(delivery="SINGLE")
        fire(event, FIRST)
        fork = Fork(event, skipped_first=True)
        Task.objects.filter(pk=fork.child.pk).update(next_due_at=harness.JANUARY)
        generation.tick()
        [down] = instances_of(fork.child)
        assert (state(down), consumers(event), states(event)) == ("skipped", [], ["to_be_consumed"])
        assert_sound()
        fork.thinks_again()
        assert (state(down), consumers(event)) == ("wait_upstream", [down.pk])
        assert_sound()

    @pytest.mark.parametrize("policy", ["ALL_DONE", "ALL_SUCCESS"])
    def test_one_that_is_judged_and_goes_on_takes_it(self, policy: str) -> None:
        event = make_event(delivery="SINGLE")
        fire(event, FIRST)
        task = scene.listening(event, trigger_policy=policy, upstream_failure="fail")
        generation.tick()
        [down] = instances_of(task)
        assert (state(down), consumers(event)) == ("wait_run", [down.pk])
        assert_sound()

    def test_when_it_gets_a_new_life(self) -> None:
        event = make_event(delivery="SINGLE")
        fork = Fork(event, taken=True)
        lifecycle.terminate([fork.down.pk])
        fork.branches(fork.child)
        fire(event, FIRST)
        settle(lifecycle.rerun([fork.down.pk], None, Life(check_parents="all"))[1])
        assert (state(fork.down), consumers(event)) == ("skipped", [])
        assert_sound()
        settle(lifecycle.rerun([fork.up.pk])[1])
        assert (state(fork.down), consumers(event)) == ("wait_upstream", [fork.down.pk])
        assert_sound()

    def test_when_an_operation_makes_it(self) -> None:
        event = make_event(delivery="SINGLE")
        fire(event, FIRST)
        fork = Fork(event, skipped_first=True)
        wanted = generation.Wanted(fork.child.pk, fork.child.schedule(), harness.JANUARY, harness.JANUARY)
        with transaction.atomic():
            generation.lock()
            generation.create([wanted], lives_follow=True)
            touched = lifecycle.rerun([], None, Life(check_parents="all"), fresh=[wanted.instance_id])[1]
        settle(touched)
        [down] = instances_of(fork.child)
        assert (state(down), consumers(event)) == ("skipped", [])
        assert_sound()
