"""Events and the engine: generation, ends, freezing, lives, retention."""

import datetime as dt
from typing import Any

import pytest
from django.db import transaction

from events import firing, matching
from events.models import Consumption, EventInstance, Firing, Wait
from instances.engine import generation, lifecycle, maintenance
from instances.engine.lives import Life
from instances.models import Instance, StateChange
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    JANUARY,
    _django_db_helper,
    due,
    fresh,
    history,
    instances_of,
    state,
)
from tests.events import scene
from tests.events.scene import (
    FIRST,
    HOUR,
    assert_sound,
    consumers,
    fire,
    generated,
    listen,
    listening,
    make_event,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class TestGeneration:
    def test_instances_of_a_listening_task_begin_by_waiting(self) -> None:
        event = make_event()
        days = generated(event, days=3, max_wait=2)
        assert [day.state for day in days] == ["wait_event"] * 3
        assert [day.ready_since for day in days] == [None] * 3
        assert list(
            Wait.objects.order_by("instance_id").values_list("data_time", "planned_time", "max_wait")
        ) == [(f"2013010{n}", JANUARY + (n - 1) * DAY, 2 * HOUR) for n in (1, 2, 3)]
        fire(event, "20130102")
        assert [state(day) for day in days] == ["wait_event", "wait_run", "wait_event"]
        assert_sound()
        harness.assert_sound()

    def test_what_was_fired_before_matches_at_once(self) -> None:
        event = make_event(delivery="SINGLE")
        fire(event, FIRST)
        first, second = generated(event, days=2)
        assert (first.state, second.state) == ("wait_run", "wait_event")
        assert first.ready_since is not None
        assert history(first) == []
        assert_sound()

    def test_nobody_listens_and_nothing_is_asked(self) -> None:
        make_event()
        [day] = due()
        assert day.state == "wait_run"
        assert not Wait.objects.exists()

    def test_a_data_time_is_asked_for_on_the_clock_of_its_task(self) -> None:
        daily, hourly = make_event(), make_event(cycle="HOUR")
        start = dt.datetime(2012, 12, 31, 16, tzinfo=dt.UTC)
        task = make.make_task(timezone="Asia/Shanghai", effective_to=start + HOUR)
        listen(task, daily, hourly)
        make.submit(task, since=start - HOUR)
        generation.generate()
        assert set(Wait.objects.values_list("data_time", flat=True)) == {"20130101", "2013010100"}

    def test_events_come_before_upstream(self) -> None:
        event = make_event()
        [parent], child = harness.family(1)
        listen(child, event)
        generation.generate()
        [below] = instances_of(child)
        assert (below.state, below.pending_upstream) == ("wait_event", 1)
        fire(event, FIRST)
        assert state(below) == "wait_upstream"
        harness.run_all(parent, child)
        assert state(below) == "success"
        harness.assert_sound()

    def test_upstream_that_succeeds_meanwhile_counts(self) -> None:
        event = make_event()
        [parent], child = harness.family(1)
        listen(child, event)
        generation.generate()
        [below] = instances_of(child)
        harness.run_all(parent)
        assert (state(below), fresh(below).pending_upstream) == ("wait_event", 0)
        fire(event, FIRST)
        assert state(below) == "wait_run"
        harness.assert_sound()

    def test_listeners_of_later_change_nothing_for_those_that_exist(self) -> None:
        one, other = make_event(), make_event()
        [day] = generated(one)
        listen(day.task, other)
        one.listeners.all().delete()
        fire(one, FIRST)
        assert state(day) == "wait_run"

    def test_two_ticks_and_firings_at_once(self) -> None:
        event, single = make_event(cycle="DAY"), make_event(delivery="SINGLE")
        tasks = [listening(event, single, days=10) for _ in range(3)]
        texts = [f"201301{n:02}" for n in range(1, 11)]
        harness.race(
            generation.generate,
            generation.generate,
            lambda: fire(event, *texts),
            *[lambda: fire(single, *texts)] * 3,
        )
        assert {state(day) for task in tasks for day in instances_of(task)} == {"wait_run"}
        assert_sound()
        harness.assert_sound()


class TestEnds:
    @pytest.mark.parametrize(
        ("end", "left"), [(lifecycle.terminate, "failed"), (lifecycle.mark_success, "success")]
    )
    def test_ending_an_instance_withdraws_its_waits(self, end: Any, left: str) -> None:
        event = make_event(delivery="SINGLE")
        [day] = generated(event)
        end([day.pk])
        assert state(day) == left
        fire(event, FIRST)
        assert consumers(event) == []
        assert_sound()
        harness.assert_sound()

    def test_the_total_waiting_timeout_does_too(self) -> None:
        event = make_event()
        [day] = generated(event, wait_timeout=dt.timedelta(seconds=1))
        Instance.objects.update(wait_deadline=JANUARY)
        lifecycle.wait_timeouts()
        assert (state(day), fresh(day).error_code) == ("failed", "WAIT_TIMEOUT")
        assert_sound()

    def test_an_event_that_does_not_come_is_found_by_the_sweep(self) -> None:
        [day] = generated(make_event(), max_wait=2, retry_limit=3)
        maintenance.sweep()
        assert state(day) == "wait_event"
        scene.age_waits(day)
        maintenance.sweep()
        assert (state(day), fresh(day).error_code) == ("failed", "EVENT_TIMEOUT")
        harness.assert_sound()

    def test_the_sweep_settles_and_expires(self) -> None:
        event = make_event()
        [day] = generated(event)
        scene.unsettled(event, FIRST)
        fire(event, "20130102")
        maintenance.sweep()
        assert state(day) == "success" or state(day) == "wait_run"
        scene.age_firings(event, 30 * DAY)
        maintenance.sweep()
        assert scene.states(event) == ["consumed", "expired"]


class TestFreezing:
    def test_a_frozen_instance_gets_its_event_and_keeps_its_time(self) -> None:
        event, other = make_event(), make_event()
        [day] = generated(event, other, max_wait=2)
        lifecycle.freeze([day.pk])
        Instance.objects.update(frozen_at=fresh(day).created_at - 3 * HOUR)
        scene.age_waits(day, by=dt.timedelta(minutes=150))
        maintenance.sweep()
        assert state(day) == "wait_event"
        fire(event, FIRST)
        assert consumers(event) == [day.pk]
        lifecycle.thaw([day.pk])
        maintenance.sweep()
        assert state(day) == "wait_event"
        wait = Wait.objects.get(event=other)
        assert wait.deadline is not None
        assert wait.deadline <= fresh(day).created_at + 2 * HOUR + dt.timedelta(minutes=5)


class TestLives:
    def ended(self, *events: Any, **options: Any) -> Instance:
        [day] = generated(*events, **options)
        lifecycle.terminate([day.pk])
        return day

    def test_a_rerun_waits_again(self) -> None:
        event = make_event()
        day = self.ended(event, max_wait=2)
        changed, _ = lifecycle.rerun([day.pk])
        assert changed == {day.pk: "failed"}
        again = fresh(day)
        assert (again.state, again.life_round, again.ready_since) == ("wait_event", 1, None)
        fire(event, FIRST)
        assert state(day) == "wait_run"
        assert history(day) == ["terminate", "rerun", "events_met"]
        assert_sound()
        harness.assert_sound()

    def test_a_rerun_that_ignores_events(self) -> None:
        event = make_event()
        day = self.ended(event)
        lifecycle.rerun([day.pk], life=Life(ignore_events=True))
        assert state(day) == "wait_run"
        fire(event, FIRST)
        assert consumers(event) == []
        assert_sound()

    def test_a_rerun_finds_what_lives_and_what_it_consumed(self) -> None:
        event = make_event(delivery="SINGLE")
        day = self.ended(event)
        fire(event, FIRST)
        lifecycle.rerun([day.pk])
        assert (state(day), consumers(event)) == ("wait_run", [day.pk])
        lifecycle.terminate([day.pk])
        scene.age_firings(event, 30 * DAY)
        lifecycle.rerun([day.pk])
        assert state(day) == "wait_run"
        assert_sound()

    def test_a_refused_rerun_changes_no_wait(self) -> None:
        event = make_event()
        [day] = generated(event)
        changed, _ = lifecycle.rerun([day.pk], life=Life(ignore_events=True))
        assert changed == {}
        assert Wait.objects.get().withdrawn_at is None
        assert_sound()

    def test_a_rerun_meets_a_firing(self) -> None:
        for rerun_first in (True, False):
            harness.wipe()
            event = make_event()
            day = self.ended(event)
            doors = [lambda day=day: lifecycle.rerun([day.pk]), lambda event=event: fire(event, FIRST)]
            if rerun_first:
                harness.overtake(*doors)
            else:
                with transaction.atomic():
                    fired = scene.unsettled(event, FIRST)
                    harness.Racer(doors[0]).result()
                matching.settle(fired)
            assert state(day) == "wait_run"
            assert_sound()

    def test_what_an_operation_makes_takes_no_event_before_its_life_is_decided(self) -> None:
        event = make_event(delivery="SINGLE")
        fire(event, FIRST)
        for ignored in (True, False):
            task = make.make_task()
            listen(task, event)
            wanted = generation.Wanted(task.pk, task.schedule(), JANUARY, JANUARY)
            with transaction.atomic():
                generation.lock()
                generation.create([wanted], lives_follow=True)
                assert consumers(event) == []
                lifecycle.rerun([], None, Life(ignore_events=ignored), fresh=[wanted.instance_id])
            [made] = instances_of(task)
            assert (made.state, made.life_round) == ("wait_run", 0)
            assert consumers(event) == ([] if ignored else [made.pk])
            assert_sound()

    def test_one_that_is_made_and_finds_nothing_waits(self) -> None:
        event = make_event()
        task = make.make_task()
        listen(task, event)
        wanted = generation.Wanted(task.pk, task.schedule(), JANUARY, JANUARY)
        with transaction.atomic():
            generation.lock()
            generation.create([wanted], lives_follow=True)
            lifecycle.rerun([], None, Life(), fresh=[wanted.instance_id])
        [made] = instances_of(task)
        assert (made.state, made.life_round) == ("wait_event", 0)
        fire(event, FIRST)
        assert state(made) == "wait_run"


def test_retention_takes_waits_consumptions_and_firings() -> None:
    event = make_event()
    [day] = generated(event)
    fire(event, FIRST)
    lifecycle.mark_success([day.pk])
    scene.age_firings(event, 500 * DAY)
    maintenance.sweep()
    Instance.objects.update(created_at=JANUARY)
    Firing.objects.update(created_at=JANUARY)
    maintenance.hourly()
    for model in (Instance, StateChange, Wait, Consumption, EventInstance, Firing):
        assert not model._default_manager.exists(), model


def test_two_projects_may_have_events_of_one_name() -> None:
    event, other = make_event(name="ready"), make_event(name="ready")
    [day] = generated(event)
    fire(other, FIRST)
    assert state(day) == "wait_event"
    firing.fire(event.project, [("ready", FIRST)], source="api")
    assert state(day) == "wait_run"
