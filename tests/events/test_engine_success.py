"""What successful runs fire; undo; and everything at once, with events."""

import random
from typing import Any

import pytest
from django.db import transaction

from events.models import Emission, Emitter, EventInstance, Firing
from instances.engine import event_handler, generation, lifecycle, maintenance
from instances.engine.lifecycle import Result
from instances.models import Instance
from tests.engine import harness
from tests.engine.harness import (
    _django_db_helper,
    due,
    fresh,
    good,
    instances_of,
    state,
)
from tests.events import scene
from tests.events.scene import FIRST, assert_sound, consumers, fire, generated, listening, make_event

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class TestSuccess:
    """What becomes successful fires what its task declares, and what its run printed."""

    def firing_task(self, *events: Any, **columns: Any) -> list[Instance]:
        task = harness.make_due(1, **columns)
        for event in events:
            Emitter.objects.create(task=task, event=event)
        generation.generate()
        return instances_of(task)

    def test_declared_events_release_who_listens(self) -> None:
        event = make_event()
        [listener] = generated(event)
        [day] = self.firing_task(event)
        [claimed] = harness.started(day)
        touched = lifecycle.finish([good(claimed)])
        assert touched.fires
        assert not EventInstance.objects.exists()
        event_handler.emit()
        assert state(listener) == "wait_run"
        row = Firing.objects.get()
        assert (row.source, row.instance_id, row.execution_id) == ("success", day.pk, claimed.execution_id)
        assert row.request_id == f"run:{claimed.execution_id}:success"
        assert_sound()

    def test_events_of_several_projects(self) -> None:
        one, other = make_event(), make_event(cycle="HOUR")
        [day] = self.firing_task(one, other)
        harness.run_all(day.task)
        event_handler.emit()
        assert set(EventInstance.objects.values_list("event", "data_time")) == {
            (one.pk, FIRST),
            (other.pk, "2013010100"),
        }

    def test_printed_events_are_those_of_the_tasks_project(self) -> None:
        [day] = self.firing_task()
        event = make_event(day.project, name="orders_ready")
        [claimed] = harness.started(day)
        printed = "orders_ready,20130101;orders_ready,20130102;odd,1\0"
        touched = lifecycle.finish([Result(claimed.execution_id, claimed.token, ok=True, events=printed)])
        assert touched.fires
        event_handler.emit()
        assert list(EventInstance.objects.order_by("id").values_list("event", "data_time")) == [
            (event.pk, "20130101"), (event.pk, "20130102")
        ]  # fmt: skip
        assert Firing.objects.get().refused == 1

    @pytest.mark.parametrize("reason", ["failed", "late", "terminated"])
    def test_a_run_that_does_not_succeed_fires_nothing(self, reason: str) -> None:
        event = make_event()
        [day] = self.firing_task(event)
        [claimed] = harness.started(day)
        result = Result(
            claimed.execution_id, claimed.token, ok=reason != "failed", events=f"{event.name},{FIRST}"
        )
        if reason == "terminated":
            lifecycle.terminate([day.pk])
        if reason == "late":
            harness.age_leases(claimed.execution_id)
            lifecycle.expire(harness.lease_seconds())
        assert not lifecycle.finish([result]).fires
        assert not Emission.objects.exists()

    def test_a_report_that_comes_twice_fires_once(self) -> None:
        event = make_event()
        [day] = self.firing_task(event)
        [claimed] = harness.started(day)
        lifecycle.finish([good(claimed)])
        event_handler.emit()
        lifecycle.finish([good(claimed)])
        event_handler.emit()
        assert EventInstance.objects.count() == 1

    def test_marking_as_successful_fires_too_once_a_life(self) -> None:
        event = make_event()
        [day] = self.firing_task(event)
        _, touched = lifecycle.mark_success([day.pk])
        assert touched.fires
        maintenance.sweep()
        assert EventInstance.objects.count() == 1
        lifecycle.rerun([day.pk])
        harness.run_all(day.task)
        maintenance.sweep()
        assert EventInstance.objects.count() == 2

    def test_a_crash_before_the_firing_leaves_it_to_the_sweep(self) -> None:
        event = make_event()
        [listener] = generated(event)
        [day] = self.firing_task(event)
        [claimed] = harness.started(day)
        lifecycle.finish([good(claimed)])
        maintenance.sweep()
        assert fresh(listener).state != "wait_event"

    def test_nobody_declares_and_nothing_is_written(self) -> None:
        [day] = due()
        [claimed] = harness.started(day)
        assert not lifecycle.finish([good(claimed)]).fires
        assert not lifecycle.mark_success([due()[0].pk])[1].fires


class TestUndo:
    """What an operation ended waits on, if it is taken back."""

    def undone(self, change: Any, kind: str, day: Instance) -> tuple[dict[int, str], Any, dict[int, str]]:
        with transaction.atomic():
            before = lifecycle.images([day.pk])
            change([day.pk])
            after = lifecycle.images([day.pk])
        return lifecycle.restore(before, after, None, kind)

    @pytest.mark.parametrize(
        ("change", "kind"), [(lifecycle.terminate, "terminate"), (lifecycle.mark_success, "mark_success")]
    )
    def test_an_end(self, change: Any, kind: str) -> None:
        event = make_event()
        [day] = generated(event, max_wait=2)
        changed, _, reasons = self.undone(change, kind, day)
        assert (list(changed), reasons) == ([day.pk], {})
        assert state(day) == "wait_event"
        assert_sound()
        fire(event, FIRST)
        assert state(day) == "wait_run"
        assert_sound()

    def test_an_end_during_which_the_event_came(self) -> None:
        event = make_event()
        [day] = generated(event)
        with transaction.atomic():
            before = lifecycle.images([day.pk])
            lifecycle.terminate([day.pk])
            after = lifecycle.images([day.pk])
        fire(event, FIRST)
        lifecycle.restore(before, after, None, "terminate")
        assert (state(day), consumers(event)) == ("wait_run", [day.pk])
        assert_sound()

    def test_a_rerun_that_waits_again(self) -> None:
        event = make_event()
        [day] = generated(event)
        lifecycle.terminate([day.pk])
        changed, _, _ = self.undone(lifecycle.rerun, "rerun", day)
        assert list(changed) == [day.pk]
        assert state(day) == "failed"
        fire(event, FIRST)
        assert consumers(event) == []
        assert_sound()

    def test_a_success_that_fired_events_stays(self) -> None:
        event = make_event()
        [day] = generated()
        Emitter.objects.create(task=day.task, event=event)
        changed, _, reasons = self.undone(lifecycle.mark_success, "mark_success", day)
        assert changed == {}
        assert "has fired events" in reasons[day.pk]


class TestAllAtOnce:
    @pytest.mark.parametrize("seed", range(4))
    def test_whatever_happens_nothing_is_lost_or_done_twice(self, seed: int) -> None:
        """Ticks, firings, clocks and people at the same rows, each in a thread of its own."""
        chance = random.Random(seed)
        event, single = make_event(), make_event(delivery="SINGLE")
        tasks = [listening(event, single, days=6, max_wait=1) for _ in range(4)]
        for _ in range(2):
            listening(event, days=6)
        texts = [f"2013010{n}" for n in range(1, 7)]
        some = generation.generate()
        assert some.instances == 36
        days = [day for task in tasks for day in instances_of(task)]
        more = [listening(single, days=6) for _ in range(2)]
        scene.age_waits(*chance.sample(days, 5))

        def operate(change: Any, rows: list[Instance]) -> Any:
            return lambda: [change([day.pk]) for day in rows]

        harness.race(
            generation.generate,
            lambda: [fire(event, text) for text in texts],
            lambda: [fire(single, text) for text in texts * 2],
            maintenance.sweep,
            operate(lifecycle.terminate, chance.sample(days, 8)),
            operate(lifecycle.mark_success, chance.sample(days, 4)),
            operate(lifecycle.rerun, chance.sample(days, 8)),
        )
        assert not EventInstance.objects.filter(settled=False).exists()
        assert_sound()
        harness.assert_sound()
        assert len(more) == 2
