"""Who matches whom, in both orders, for both kinds, and over lives."""

import datetime as dt
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from events import firing, matching
from events.models import Consumption, EventInstance, Wait
from instances.engine import lifecycle
from instances.models import Instance
from tests import factories as make
from tests.engine.harness import _django_db_helper, fresh, history, ids, state
from tests.events import scene
from tests.events.scene import HOUR, START, TODAY, assert_sound, consumers, fire, make_event, states, waiting

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

EACH = pytest.mark.parametrize("delivery", ["BROADCAST", "SINGLE"])


@EACH
def test_the_instance_comes_first(delivery: str) -> None:
    event = make_event(delivery=delivery)
    instance = waiting(event)
    assert state(instance) == "wait_event"
    fire(event)
    assert state(instance) == "wait_run"
    assert history(instance) == ["events_met"]
    assert fresh(instance).ready_since is not None
    assert states(event) == ["consuming" if delivery == "BROADCAST" else "consumed"]
    assert_sound()


@EACH
def test_the_firing_comes_first(delivery: str) -> None:
    event = make_event(delivery=delivery)
    fire(event)
    assert states(event) == ["to_be_consumed"]
    instance = waiting(event)
    assert state(instance) == "wait_run"
    assert history(instance) == []
    assert states(event) == ["consuming" if delivery == "BROADCAST" else "consumed"]
    row = EventInstance.objects.get()
    assert (row.consumers, row.consumed_at is not None) == (1, True)
    assert_sound()


def test_another_data_time_serves_nobody() -> None:
    event = make_event()
    instance = waiting(event)
    fire(event, "20260324", "20260326")
    assert state(instance) == "wait_event"
    assert states(event) == ["to_be_consumed", "to_be_consumed"]


@pytest.mark.parametrize(
    ("cycle", "asked"),
    [("DAY", "20260325"), ("HOUR", "2026032508"), ("MIN", "202603250830"), ("SECOND", "20260325083000")],
)
def test_every_cycle_asks_in_its_format(cycle: str, asked: str) -> None:
    event = make_event(cycle=cycle)
    instance = waiting(event, data_time=START + dt.timedelta(hours=8, minutes=30))
    assert Wait.objects.get().data_time == asked
    fire(event, asked)
    assert state(instance) == "wait_run"


def test_a_day_serves_all_hours_by_broadcast_and_one_by_single() -> None:
    workflow, group = make.make_workflow(), make.make_group()
    for delivery, released in (("BROADCAST", 24), ("SINGLE", 1)):
        event = make_event(delivery=delivery)
        task = make.make_task(workflow, group=group, cycle_type="HOUR")
        hours = [waiting(event, task=task, data_time=START + n * HOUR) for n in range(24)]
        tomorrow = waiting(event, task=task, data_time=START + 24 * HOUR)
        fire(event)
        assert len(consumers(event)) == released
        assert [state(hour) for hour in hours].count("wait_run") == released
        assert state(tomorrow) == "wait_event"
    assert_sound()


def test_single_goes_to_the_instance_planned_first() -> None:
    event = make_event(delivery="SINGLE")
    late = waiting(event, planned=START + 3 * HOUR)
    early = waiting(event, planned=START + HOUR)
    also_early = waiting(event, planned=START + HOUR)
    fire(event)
    assert consumers(event) == [early.pk]
    fire(event, TODAY)
    assert consumers(event) == [early.pk, also_early.pk]
    fire(event)
    assert state(late) == "wait_run"
    assert states(event) == ["consumed"] * 3
    assert_sound()


def test_the_first_firing_is_taken_first() -> None:
    event = make_event(delivery="SINGLE")
    first, second = fire(event).event_instances + fire(event).event_instances
    one, other = waiting(event), waiting(event)
    taken = dict(Consumption.objects.values_list("instance_id", "event_instance_id"))
    assert taken == {one.pk: first, other.pk: second}
    third = waiting(event)
    assert state(third) == "wait_event"


def test_a_broadcast_serves_those_that_come_while_it_lives() -> None:
    event = make_event()
    waiting(event)
    fire(event)
    consumed_at = EventInstance.objects.get().consumed_at
    assert state(waiting(event)) == "wait_run"
    row = EventInstance.objects.get()
    assert (row.state, row.consumers, row.consumed_at) == ("consuming", 2, consumed_at)
    scene.age_firings(event, dt.timedelta(days=8))
    # Its time is over, whether or not the clock has been read.
    assert state(waiting(event)) == "wait_event"


def test_firing_again_makes_another_event_instance_and_touches_nobody_finished() -> None:
    event = make_event()
    instance = waiting(event)
    fire(event)
    lifecycle.mark_success([instance.pk])
    before = fresh(instance)
    fire(event)
    assert states(event) == ["consuming", "to_be_consumed"]
    assert Instance.objects.filter(pk=instance.pk).values().get() == {
        name: value for name, value in before.__dict__.items() if name != "_state"
    }
    assert_sound()


class TestSeveralEvents:
    def test_all_must_match(self) -> None:
        first, second, third = make_event(), make_event(cycle="HOUR"), make_event(delivery="SINGLE")
        instance = waiting(first, second, third)
        fire(first)
        fire(third)
        assert state(instance) == "wait_event"
        fire(second, "2026032500")
        assert state(instance) == "wait_run"
        assert history(instance) == ["events_met"]
        assert_sound()

    def test_what_came_before_counts_too(self) -> None:
        first, second = make_event(), make_event()
        fire(first)
        instance = waiting(first, second)
        assert state(instance) == "wait_event"
        assert consumers(first) == [instance.pk]
        fire(second)
        assert state(instance) == "wait_run"
        assert_sound()

    def test_upstream_comes_after_events(self) -> None:
        event = make_event()
        instance = waiting(event, pending=1)
        fire(event)
        assert state(instance) == "wait_upstream"
        assert fresh(instance).ready_since is None

    def test_one_call_may_fire_all_of_them(self) -> None:
        project = make.make_project()
        first, second = make_event(project), make_event(project)
        instance = waiting(first, second)
        firing.fire(project, [(first.name, TODAY), (second.name, TODAY)], source="api")
        assert state(instance) == "wait_run"
        assert history(instance) == ["events_met"]


class TestBatches:
    def test_more_waits_than_a_batch_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(matching, "WAITS_A_BATCH", 7)
        event = make_event()
        crowd = scene.crowd(event, 30)
        fired = fire(event)
        assert consumers(event) == ids(crowd)
        assert EventInstance.objects.get(pk=fired.event_instances[0]).consumers == 30
        assert Instance.objects.filter(state="wait_run").count() == 30
        assert_sound()

    def test_more_single_firings_than_waits_and_the_other_way_round(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(matching, "WAITS_A_BATCH", 3)
        event = make_event(delivery="SINGLE")
        crowd = scene.crowd(event, 8)
        scene.unsettled(event, TODAY)
        for _ in range(4):
            scene.unsettled(event, TODAY)
        matching.settle_left()
        assert consumers(event) == ids(crowd)[:5]
        for _ in range(5):
            scene.unsettled(event, TODAY)
        matching.settle_left()
        assert consumers(event) == ids(crowd)
        assert states(event) == ["consumed"] * 8 + ["to_be_consumed"] * 2
        assert_sound()

    def test_what_a_crash_left_is_settled_by_the_sweep_even_past_its_time(self) -> None:
        event = make_event()
        instance = waiting(event)
        scene.unsettled(event)
        scene.age_firings(event, dt.timedelta(days=30))
        assert matching.settle_left() == 1
        assert state(instance) == "wait_run"
        assert matching.settle_left() == 0

    def test_a_wait_whose_instance_has_moved_on_is_withdrawn_and_consumes_nothing(self) -> None:
        event = make_event(delivery="SINGLE")
        gone, other = waiting(event, planned=START), waiting(event, planned=START + HOUR)
        Instance.objects.filter(pk=gone.pk).update(state="failed", end_time=START)
        fire(event)
        assert consumers(event) == [other.pk]
        assert Wait.objects.get(instance=gone.pk).withdrawn_at is not None


def _new_life(*instances: Instance, ignored: bool = False) -> set[int]:
    """What a rerun does around the waits."""
    with transaction.atomic():
        matching.lock_awaited(ids(instances))
        list(Instance.objects.select_for_update().filter(pk__in=ids(instances)).order_by("pk"))
        still = matching.take(matching.begin_again(ids(instances), ignored=ignored))
        Instance.objects.filter(pk__in=still).update(state="wait_event")
        Instance.objects.filter(pk__in=set(ids(instances)) - still).update(state="wait_run")
        return still


class TestNewLives:
    def _ended(self, *events: Any, **options: Any) -> Instance:
        instance = waiting(*events, **options)
        with transaction.atomic():
            Instance.objects.filter(pk=instance.pk).update(state="failed", end_time=START)
            matching.withdraw([instance.pk])
        return instance

    def test_it_waits_again_with_the_whole_time(self) -> None:
        event = make_event()
        instance = self._ended(event, max_wait=2 * HOUR)
        scene.age_waits(instance)
        assert _new_life(instance) == {instance.pk}
        wait = Wait.objects.get()
        assert wait.withdrawn_at is None
        with connection.cursor() as cursor:
            cursor.execute("SELECT deadline > now() + interval '119 minutes' FROM events_wait")
            assert cursor.fetchone()[0]
        fire(event)
        assert state(instance) == "wait_run"
        assert_sound()

    def test_it_ignores_events_if_told_so_in_this_life_only(self) -> None:
        event = make_event()
        instance = self._ended(event)
        assert _new_life(instance, ignored=True) == set()
        fire(event)
        assert consumers(event) == []
        scene.age_firings(event, dt.timedelta(days=30))
        assert _new_life(instance) == {instance.pk}

    def test_it_finds_what_lives(self) -> None:
        event = make_event(delivery="SINGLE")
        instance = self._ended(event)
        fire(event)
        assert _new_life(instance) == set()
        assert consumers(event) == [instance.pk]
        assert_sound()

    def test_what_it_consumed_once_it_need_not_wait_for_again(self) -> None:
        event, other = make_event(delivery="SINGLE"), make_event()
        instance = waiting(event, other)
        fire(event)
        fire(other)
        scene.age_firings(event, dt.timedelta(days=30))
        assert _new_life(instance) == set()
        assert _new_life(instance, ignored=True) == set()
        assert Consumption.objects.count() == 2
        assert_sound()

    def test_several_new_lives_share_a_single_firing_by_plan(self) -> None:
        event = make_event(delivery="SINGLE")
        late, early = self._ended(event, planned=START + HOUR), self._ended(event, planned=START)
        fire(event)
        assert _new_life(late, early) == {late.pk}
        assert consumers(event) == [early.pk]
        assert_sound()

    def test_no_wait_no_lock(self) -> None:
        instance = waiting(make_event())
        with transaction.atomic():
            assert matching.lock_awaited([instance.pk])
            assert not matching.lock_awaited([instance.pk + 1])


class TestConstraints:
    """The database refuses nonsense."""

    def test_a_second_consumer_of_a_single_firing(self) -> None:
        event = make_event(delivery="SINGLE")
        fire(event)
        waiting(event)
        row = EventInstance.objects.get()
        with pytest.raises(IntegrityError, match="consumption_single_once"):
            Consumption.objects.create(event_instance=row, instance_id=0, single=True)

    @pytest.mark.parametrize(
        ("columns", "name"),
        [
            ({"state": "consumed"}, "event_instance_consumed_has_time"),
            ({"state": "lost"}, "event_instance_consumed_has_time"),
            ({"data_time": "2026-03-25"}, "event_instance_data_time_digits"),
            ({"expires_at": START - 9000 * HOUR}, "event_instance_expires_after_trigger"),
        ],
    )
    def test_event_instances(self, columns: dict[str, Any], name: str) -> None:
        fire(make_event())
        with pytest.raises(IntegrityError, match=name):
            EventInstance.objects.update(**columns)

    @pytest.mark.parametrize(
        ("columns", "name"),
        [
            ({"name": "1st"}, "event_name_well_formed"),
            ({"name": "a-b"}, "event_name_well_formed"),
            ({"cycle": "WEEK"}, "event_cycle_known"),
            ({"delivery": "SOME"}, "event_delivery_known"),
            ({"time_to_live": 0}, "event_lives"),
        ],
    )
    def test_events(self, columns: dict[str, Any], name: str) -> None:
        with pytest.raises(IntegrityError, match=name):
            make_event(**columns)

    def test_a_name_once_in_a_project(self) -> None:
        event = make_event(name="once")
        make_event(name="once")
        with pytest.raises(IntegrityError, match="event_name_once"):
            make_event(event.project, name="once")

    def test_a_wait_is_satisfied_by_something(self) -> None:
        waiting(make_event())
        with pytest.raises(IntegrityError, match="wait_satisfied_by_something"):
            Wait.objects.update(satisfied_at=START)
