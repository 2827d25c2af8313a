"""Health and readiness: each part has its own line, nothing secret is said, and a part that hangs is bounded."""

import datetime as dt
import threading

import pytest
from django.test import Client
from django.utils import timezone

from instances.models import WorkerProcess
from tests.engine.harness import Racer
from weops import health
from weops.alarms.models import Pulse
from weops.observe.pulse import pulse

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _well() -> None:
    with pulse("tick"):
        pass
    WorkerProcess.objects.create(name="w1", host="h", pid=1, slots=4)


def ready() -> tuple[int, dict[str, str]]:
    response = Client().get("/readyz")
    return response.status_code, response.json()


def test_all_is_well() -> None:
    assert Client().get("/healthz").json() == {"status": "ok"}
    status, lines = ready()
    assert (status, lines["status"]) == (200, "ok"), lines
    assert set(lines) == {"status", "database", "broker", "tick", "workers"}
    assert lines["workers"] == "ok, 1 alive"


def test_a_load_balancer_asks_for_the_parts_it_needs() -> None:
    WorkerProcess.objects.all().delete()
    response = Client().get("/readyz?only=database")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "database": "ok"})
    assert Client().get("/readyz?only=database,workers").status_code == 503
    assert Client().get("/readyz?only=<b>").status_code == 400


def test_a_clock_that_stands_still() -> None:
    Pulse.objects.update(at=timezone.now() - dt.timedelta(hours=1))
    status, lines = ready()
    assert status == 503
    assert "stands still" in lines["tick"]
    assert lines["database"] == "ok"
    Pulse.objects.all().delete()
    assert "never" in ready()[1]["tick"]


def test_workers_that_are_gone() -> None:
    WorkerProcess.objects.update(seen_at=timezone.now() - dt.timedelta(minutes=5))
    assert ready()[1]["workers"] == "none is alive"


def test_a_broker_that_is_away_is_no_secret_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from weops.celery import app

    away = app.connection("redis://:hunter22@127.0.0.1:1/0")
    monkeypatch.setattr(app, "connection_for_write", lambda: away)
    status, lines = ready()
    assert status == 503
    assert "does not answer" in lines["broker"] or "no answer" in lines["broker"]
    assert "hunter22" not in str(lines)
    assert "127.0.0.1" not in str(lines)


def test_one_that_hangs_is_bounded_and_holds_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, asked = threading.Event(), []
    monkeypatch.setattr(health, "SECONDS", 0.3)

    def hang() -> str:
        asked.append(1)
        hold.wait(30)
        return "ok"

    monkeypatch.setattr(health, "_broker", hang)
    racers = [Racer(lambda: ready()[1]["broker"]) for _asker in range(3)]
    assert {racer.result() for racer in racers} == {"no answer within 0.3 seconds"}
    assert len(asked) == 1
    hold.set()


def test_a_task_of_beat_that_fails_leaves_its_pulse_as_it_was() -> None:
    before = Pulse.objects.get(name="tick").at
    with pytest.raises(ValueError, match="broken"), pulse("tick"):
        raise ValueError("broken")
    assert Pulse.objects.get(name="tick").at == before
