"""Firing: what is written down, what is refused, and that a repeated call does nothing."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events import firing, matching
from events.firing import Call, FiringError
from events.formats import DataTimeError
from events.models import Emission, EventInstance, Firing, Stray
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, overtake, race
from tests.events import scene
from tests.events.scene import TODAY, assert_sound, make_event, waiting

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def test_a_firing_is_written_down() -> None:
    event = make_event(time_to_live=2, time_to_live_unit="HOURS")
    user = make.make_user()
    fired = scene.fire(event, user=user, source="admin", request_id="r1")
    row = EventInstance.objects.select_related("firing").get(pk=fired.event_instances[0])
    assert (row.event, row.data_time, row.state, row.settled, row.consumers) == (
        event,
        TODAY,
        "to_be_consumed",
        True,
        0,
    )
    assert row.moment == dt.datetime(2026, 3, 25, tzinfo=dt.UTC)
    assert row.expires_at - row.triggered_at == dt.timedelta(hours=2)
    assert (row.firing.user, row.firing.user_name, row.firing.source) == (user, "dana", "admin")
    assert (row.firing.fired, row.firing.refused) == (1, 0)


@pytest.mark.parametrize(
    ("cycle", "data_time"),
    [("DAY", "20260325"), ("HOUR", "2026032508"), ("MIN", "202603250830"), ("SECOND", "20260325083015")],
)
def test_every_cycle_has_its_format(cycle: str, data_time: str) -> None:
    event = make_event(cycle=cycle)
    assert len(scene.fire(event, data_time).event_instances) == 1
    assert scene.fire(event, data_time + "00").refused[0].reason == Stray.Reason.FORMAT


def test_what_cannot_be_meant_is_refused_and_the_rest_is_fired() -> None:
    event = make_event(name="orders_ready")
    fired = firing.fire(
        event.project,
        [
            ("order_ready", TODAY),
            ("orders_ready", "2026-03-25"),
            ("orders_ready", TODAY),
            ("nonsense\0", "x" * 500),
        ],
        source="api",
    )
    assert len(fired.event_instances) == 1
    messages = [refusal.message for refusal in fired.refused]
    assert messages[0] == "There is no event 'order_ready' in this project; did you mean orders_ready?"
    assert "its format is yyyyMMdd" in messages[1]
    assert "did you mean" not in messages[2]
    assert list(Stray.objects.order_by("id").values_list("name", "reason")) == [
        ("order_ready", "unknown"), ("orders_ready", "format"), ("nonsense ", "unknown")
    ]  # fmt: skip
    assert Firing.objects.get().refused == 3


def test_an_event_of_another_project_is_unknown() -> None:
    event = make_event()
    fired = firing.fire(make.make_project(), [(event.name, TODAY)], source="api")
    assert fired.refused[0].reason == Stray.Reason.UNKNOWN
    assert not EventInstance.objects.exists()


def test_a_repeated_request_gets_the_first_answer() -> None:
    event = make_event()
    entries = [(event.name, TODAY), ("nobody", TODAY)]
    first = firing.fire(event.project, entries, source="api", request_id="nightly")
    again = firing.fire(event.project, entries, source="api", request_id="nightly")
    assert again.repeated
    assert (again.firing_id, again.event_instances, again.refused) == (
        first.firing_id,
        first.event_instances,
        first.refused,
    )
    assert EventInstance.objects.count() == Firing.objects.count() == Stray.objects.count() == 1


def test_ten_thousand_in_one_call_and_once() -> None:
    event = make_event(cycle="MIN")
    start = dt.datetime(2026, 3, 25, tzinfo=dt.UTC)
    entries = [(event.name, f"{start + dt.timedelta(minutes=minute):%Y%m%d%H%M}") for minute in range(10_000)]
    first = firing.fire(event.project, entries, source="api", request_id="backlog")
    again = firing.fire(event.project, entries, source="api", request_id="backlog")
    assert (len(first.event_instances), first.refused) == (10_000, [])
    assert again.repeated
    assert again.event_instances == first.event_instances
    assert EventInstance.objects.count() == 10_000


def test_a_request_id_is_of_one_project_and_one_content() -> None:
    event, other = make_event(), make_event()
    scene.fire(event, request_id="r")
    assert not scene.fire(other, request_id="r").repeated
    with pytest.raises(FiringError, match="for other events; use a new one"):
        scene.fire(event, "20260326", request_id="r")
    assert EventInstance.objects.filter(event=event).count() == 1


def test_without_a_request_id_it_is_fired_again() -> None:
    event = make_event()
    scene.fire(event)
    scene.fire(event)
    assert scene.states(event) == ["to_be_consumed", "to_be_consumed"]


def test_two_repetitions_at_once_fire_once() -> None:
    event = make_event()

    def write() -> Any:
        return firing._write([Call(event.project_id, [(event.name, TODAY)], "api", request_id="r")])[0]

    first, [second] = overtake(write, write)
    assert (first.repeated, second.repeated) == (False, True)
    assert first.event_instances == second.event_instances
    answers = race(*[lambda: scene.fire(event, "20260326", request_id="r2")] * 4)
    assert sorted(one.repeated for one in answers) == [False, True, True, True]
    assert EventInstance.objects.count() == 2


@pytest.mark.parametrize(
    ("entries", "request_id", "said"),
    [
        ([], "", "at least one"),
        ([("a", "b")], "x" * 129, "128 characters"),
        ([("a", "b")], "run:7", "choose another"),
        ([("a", str(n)) for n in range(100_001)], "", "at most 100,000"),
    ],
)
def test_impossible_calls(entries: list[tuple[str, str]], request_id: str, said: str) -> None:
    with pytest.raises(FiringError, match=said):
        firing.fire(make.make_project(), entries, source="api", request_id=request_id)
    assert not Firing.objects.exists()


def test_an_entry_that_is_there_twice_is_fired_once() -> None:
    event = make_event()
    assert len(scene.fire(event, TODAY, TODAY).event_instances) == 1


def test_ten_thousand_firings_are_one_call_of_few_queries() -> None:
    event, single = make_event(cycle="MIN"), make_event(cycle="MIN", delivery="SINGLE")
    instance = waiting(event)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        fired = firing.fire_range(event, "202603250000", "202603312239", source="admin")
    assert len(fired.event_instances) == 10_000
    assert len(queries) < 150
    assert harness.state(instance) == "wait_run"
    firing.fire_range(single, "202603250000", "202603250009", source="admin")
    assert EventInstance.objects.filter(event=single).count() == 10
    assert not EventInstance.objects.filter(settled=False).exists()
    assert_sound()


def test_ten_thousand_mistakes_are_one_call_too() -> None:
    event = make_event(name="orders_ready")
    fired = firing.fire(event.project, [(f"order{n}_ready", TODAY) for n in range(10_000)], source="api")
    assert len(fired.refused) == 10_000
    assert "did you mean" in fired.refused[0].message


def test_a_range_that_cannot_be() -> None:
    with pytest.raises(DataTimeError):
        firing.fire_range(make_event(), "20260325", "20260324", source="admin")
    assert not Firing.objects.exists()


class TestEmissions:
    """What a successful run wrote down is fired once, whoever dies in between."""

    def test_it_is_fired_with_where_it_came_from(self) -> None:
        event = make_event()
        instance = waiting(event)
        firing.write_down([Call(event.project_id, [(event.name, TODAY)], "shell", None, "run:7", 5, 7)])
        assert not EventInstance.objects.exists()
        assert firing.emit_left() == 1
        row = Firing.objects.get()
        assert (row.source, row.instance_id, row.execution_id, row.request_id) == ("shell", 5, 7, "run:7")
        assert harness.state(instance) == "wait_run"
        assert not Emission.objects.exists()
        assert firing.emit_left() == 0

    def test_written_down_twice_it_is_fired_once(self) -> None:
        event = make_event()
        call = Call(event.project_id, [(event.name, TODAY)], "success", None, "run:7", 5, 7)
        firing.write_down([call])
        firing.write_down([call])
        firing.emit_left()
        firing.write_down([call])
        firing.emit_left()
        assert EventInstance.objects.count() == 1

    def test_many_emitters_share_what_there_is(self) -> None:
        event = make_event()
        firing.write_down(
            [
                Call(event.project_id, [(event.name, TODAY)], "shell", None, f"run:{n}", n, n)
                for n in range(1200)
            ]
        )
        assert sum(race(*[firing.emit_left] * 3)) == 1200
        assert EventInstance.objects.count() == 1200
        assert not EventInstance.objects.filter(settled=False).exists()

    def test_a_crash_after_the_firing_leaves_it_to_the_sweep(self) -> None:
        event = make_event()
        instance = waiting(event)
        firing.write_down([Call(event.project_id, [(event.name, TODAY)], "shell", None, "run:7", 5, 7)])
        firing._emit_batch()
        assert harness.state(instance) == "wait_event"
        assert matching.settle_left() == 1
        assert harness.state(instance) == "wait_run"

    def test_what_was_refused_is_kept_for_the_inbox(self) -> None:
        project = make.make_project()
        firing.write_down([Call(project.pk, [("nobody", "")], "shell", None, "run:7", 5, 7)])
        firing.emit_left()
        assert Stray.objects.get().firing.execution_id == 7
