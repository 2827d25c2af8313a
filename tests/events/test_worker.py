"""A real worker runs a real Shell task that prints events, and the instance that listens goes on."""

from collections.abc import Callable
from typing import Any

import pytest

from events.models import EventInstance, Firing, Stray
from instances.engine import generation
from instances.engine.runtime import Runtime
from tests.engine.harness import _django_db_helper, due, fresh, instances_of, make_due, state, until
from tests.engine.workers import begin, log_of, run, sent, worker
from tests.events.scene import listen, make_event

__all__ = ["_django_db_helper", "begin", "sent", "worker"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

SETTINGS = {"events_variable": "events"}
CODE = "echo 'events=\"orders_ready,${yyyyMMdd};nobody,${yyyyMMdd};\"'"


def test_what_a_script_prints_is_fired_when_it_has_succeeded(worker: Runtime) -> None:
    [day] = due(code=CODE, settings=SETTINGS)
    event = make_event(day.project, name="orders_ready")
    listener = make_due()
    listen(listener, event)
    generation.generate()
    [waits] = instances_of(listener)
    assert waits.state == "wait_event"
    [ran] = run(worker, day)
    assert ran.state == "success"
    until(lambda: state(waits) != "wait_event")
    firing = Firing.objects.get()
    assert (firing.source, firing.instance_id, firing.execution_id) == ("shell", day.pk, ran.execution_id)
    assert list(Stray.objects.values_list("name", flat=True)) == ["nobody"]
    assert 'events="orders_ready,20130101;nobody,20130101;"' in log_of(day)


def test_a_script_that_fails_fires_nothing(worker: Runtime) -> None:
    [day] = due(code=f"{CODE}; exit 1", settings=SETTINGS)
    make_event(day.project, name="orders_ready")
    [ran] = run(worker, day)
    assert ran.state == "failed"
    assert not EventInstance.objects.exists()


def test_an_empty_run_fires_what_is_declared(worker: Runtime, begin: Callable[..., Any]) -> None:
    event = make_event()
    task = make_due(dry_run=True)
    event.emitters.create(task=task)
    generation.generate()
    [day] = instances_of(task)
    run(worker, day)
    assert fresh(day).state == "success"
    until(lambda: EventInstance.objects.filter(event=event, data_time="20130101").exists())
