"""The near-miss inbox: what it shows, and firing as meant."""

import datetime as dt

import pytest
from django.db import connection, transaction

from events import expiry, firing, near_misses
from events.models import EventInstance, Firing, Stray
from events.near_misses import NearMiss
from tests import factories as make
from tests.engine.harness import _django_db_helper, state
from tests.events import scene
from tests.events.scene import HOUR, START, TODAY, fire, make_event, waiting

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def said(found: list[NearMiss]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    return [
        (one.kind, one.data_time, [(meant.event.name, meant.data_time, meant.why) for meant in one.meant])
        for one in found
    ]


@pytest.mark.parametrize(
    "name", ["order_ready", "orders_redy", "Orders_Ready", "orders_ready2", "ordersready"]
)
def test_a_name_nearly_the_same(name: str) -> None:
    event = make_event(name="orders_ready")
    instance = waiting(event)
    waiting(event)
    firing.fire(event.project, [(name, TODAY), ("something_else", TODAY)], source="api")
    other, miss = sorted(near_misses.find([event.project_id]), key=lambda one: len(one.meant))
    assert said([miss]) == [("stray", TODAY, [("orders_ready", TODAY, "a name nearly the same")])]
    assert (miss.meant[0].waits, miss.meant[0].instance_id) == (2, instance.pk)
    assert other.meant == []


@pytest.mark.parametrize(
    ("cycle", "written", "meant"),
    [
        ("DAY", "2026-03-25", ["20260325"]),
        ("DAY", "2026032507", ["20260325"]),
        ("HOUR", "20260325", ["2026032500", "2026032501"]),
        ("HOUR", "2026-03-25 01:30", ["2026032501"]),
        ("DAY", "yesterday", ["20260325"]),
        ("DAY", "20260330", []),
    ],
)
def test_a_data_time_in_another_format(cycle: str, written: str, meant: list[str]) -> None:
    event = make_event(cycle=cycle)
    waiting(event)
    if cycle == "HOUR":
        waiting(event, data_time=START + HOUR)
    fire(event, written)
    if written == "20260330":
        assert near_misses.find(None) == []
        return
    [miss] = near_misses.find([event.project_id])
    assert [one.data_time for one in miss.meant] == meant


def test_one_cycle_off() -> None:
    event = make_event()
    waiting(event)
    fire(event, "20260324")
    fire(event, "20260326")
    fire(event, "20260327")
    assert said(near_misses.find(None)) == [
        ("idle", "20260326", [(event.name, TODAY, "one cycle earlier")]),
        ("idle", "20260324", [(event.name, TODAY, "one cycle later")]),
    ]


def test_it_expired_before_the_instance_was_there() -> None:
    event = make_event(time_to_live=1)
    fire(event)
    scene.age_firings(event, dt.timedelta(days=2))
    expiry.expire()
    instance = waiting(event)
    [miss] = near_misses.find(None)
    assert miss.problem == "Expired"
    assert miss.meant[0].why == "it expired before the instance was there"
    near_misses.fire_as_meant(miss.kind, miss.pk, event, TODAY, None)
    assert state(instance) == "wait_run"
    assert near_misses.find(None) == []


def test_an_event_of_that_name_in_another_project() -> None:
    event = make_event(name="ready")
    waiting(event)
    other = make.make_project()
    firing.fire(other, [("ready", TODAY)], source="api")
    [miss] = near_misses.find(None)
    assert [one.why for one in miss.meant] == ["an event of another project"]
    # Who sees one project only hears nothing of the other.
    assert said(near_misses.find([other.pk])) == [("stray", TODAY, [])]
    assert near_misses.find([event.project_id]) == []


def test_a_sister_event_was_fired() -> None:
    project = make.make_project()
    meant, fired = make_event(project, name="orders_ready"), make_event(project, name="order_ready")
    waiting(meant)
    fire(fired)
    assert said(near_misses.find(None)) == [
        ("idle", TODAY, [("orders_ready", TODAY, "a name nearly the same")])
    ]


def test_what_was_heard_is_no_near_miss() -> None:
    event = make_event()
    waiting(event)
    waiting(event, data_time=START + 24 * HOUR)
    fire(event)
    fire(event)
    assert near_misses.find(None) == []


def test_old_ones_are_left_out() -> None:
    event = make_event(name="orders_ready")
    waiting(event)
    fire(event, "20260326")
    firing.fire(event.project, [("orders_redy", TODAY)], source="api")
    assert len(near_misses.find(None)) == 2
    scene.age_firings(event, dt.timedelta(days=15))
    Firing.objects.update(created_at=START - dt.timedelta(days=9000))
    assert near_misses.find(None) == []


def test_firing_as_meant_happens_once_and_resolves_the_stray() -> None:
    event = make_event(name="orders_ready")
    instance = waiting(event)
    user = make.make_user(make.SUSAN)
    firing.fire(event.project, [("orders_redy", TODAY)], source="api")
    [miss] = near_misses.find(None)
    first = near_misses.fire_as_meant(miss.kind, miss.pk, event, TODAY, user)
    again = near_misses.fire_as_meant(miss.kind, miss.pk, event, TODAY, user)
    assert (first.repeated, again.repeated) == (False, True)
    assert state(instance) == "wait_run"
    assert Stray.objects.get().resolved_by == user
    assert near_misses.find(None) == []
    row = EventInstance.objects.select_related("firing").get()
    assert (row.firing.source, row.firing.user) == ("inbox", user)


def test_a_stray_of_another_project_is_not_resolved_by_its_number() -> None:
    theirs = make.make_project()
    firing.fire(theirs, [("orders_redy", TODAY)], source="api")
    event = make_event(name="orders_ready")
    user = make.make_user("omar", project=event.project, role="operator")
    near_misses.fire_as_meant("stray", Stray.objects.get().pk, event, TODAY, user)
    assert Stray.objects.get().resolved_at is None


def test_dismissing() -> None:
    firing.fire(make.make_project(), [("nobody", TODAY)], source="api")
    stray = Stray.objects.get()
    assert near_misses.dismiss(stray.pk, None)
    assert not near_misses.dismiss(stray.pk, None)
    assert near_misses.find(None) == []


def test_whether_a_data_time_was_heard_does_not_cost_the_firings_of_its_event() -> None:
    """It is asked for each of them: after a backlog of ten thousand that would be all pairs."""
    event = make_event(name="ticks", cycle="SECOND")
    firing.fire_range(event, "20260101000000", "20260101010000", source="api")
    heard = EventInstance.objects.filter(event=event, data_time="20260101000000", consumers__gt=0)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "event_instance_heard" in heard.explain()


def test_a_name_that_is_misspelt_again_and_again_hides_nothing() -> None:
    project = make.make_project()
    firing.fire(project, [("once", TODAY)], source="api")
    firing.fire(project, [("orders_redy", f"202603{day:02}") for day in range(1, 29)], source="api")
    firing.fire(make.make_project(), [("orders_redy", TODAY)], source="api")
    found = near_misses.find(None)
    assert sorted((one.name, one.alike) for one in found) == [
        ("once", 1), ("orders_redy", 1), *[("orders_redy", 28)] * near_misses.MOST_ALIKE
    ]  # fmt: skip
    assert {one.data_time for one in found if one.alike == 28} == {"20260326", "20260327", "20260328"}
    stray = Stray.objects.filter(name="orders_redy").earliest("id")
    assert near_misses.dismiss_alike(stray, None) == 28
    assert sorted(one.name for one in near_misses.find(None)) == ["once", "orders_redy"]
