"""The figures of the overview: counted up from history once, for those who may see them."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from instances import figures
from instances.engine import lifecycle
from instances.insight import overview
from instances.models import DayFigure, Execution, Instance
from tests import factories as make
from tests.engine.harness import bad, due, good, started

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just happened counts at once; the transaction of a test has one time for everything."""
    monkeypatch.setattr(figures, "SETTLED", dt.timedelta(seconds=-1))


def ended(count: int = 3, **columns: Any) -> list[Instance]:
    """Of so many days the first fails, the others succeed; each ran two minutes."""
    days = due(count, code="true", **columns)
    claimed = {c.instance_id: c for c in started(*days)}
    Execution.objects.update(run_started_at=timezone.now() - dt.timedelta(minutes=2))
    lifecycle.finish([(bad if day == days[0] else good)(claimed[day.pk]) for day in days])
    return days


def test_each_change_counts_once() -> None:
    days = ended()
    assert figures.catch_up(batch=2) is True
    while figures.catch_up(batch=2):
        pass
    figures.catch_up()
    found = DayFigure.objects.get()
    assert (found.task_id, found.day, found.succeeded, found.failed, found.runs) == (
        days[0].task_id,
        timezone.localdate(),
        2,
        1,
        3,
    )
    assert found.run_seconds == pytest.approx(360, abs=5)
    lifecycle.mark_success([days[0].pk])
    lifecycle.freeze([days[1].pk])
    figures.catch_up()
    found.refresh_from_db()
    assert (found.succeeded, found.failed, found.runs) == (3, 1, 3), "what was marked did not run again"


def test_what_may_not_be_settled_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    ended()
    monkeypatch.setattr(figures, "SETTLED", dt.timedelta(minutes=5))
    assert figures.catch_up() is False
    assert not DayFigure.objects.exists()
    monkeypatch.setattr(figures, "SETTLED", dt.timedelta(seconds=-1))
    figures.catch_up()
    assert DayFigure.objects.get().succeeded == 2


def test_old_days_go(settings: Any) -> None:
    ended()
    figures.catch_up()
    today = timezone.localdate()
    assert figures.remove_old(today) == 0
    assert figures.remove_old(today + dt.timedelta(days=settings.WEOPS_RETENTION_DAYS + 1)) == 1


def test_what_the_page_reads() -> None:
    ours, theirs = ended(3), ended(4)
    figures.catch_up()
    today = timezone.localdate()
    days = overview.trend(None, today)
    assert [day.day for day in days] == [today - dt.timedelta(days=back) for back in range(13, -1, -1)]
    assert (days[-1].succeeded, days[-1].failed, days[0].failed) == (5, 2, 0)
    mine = [ours[0].project_id]
    assert overview.trend(mine, today)[-1].succeeded == 2
    assert [one.task_id for one in overview.slowest(mine, today)] == [ours[0].task_id]
    assert [(one.task_id, one.failed) for one in overview.failing(mine, today)] == [(ours[0].task_id, 1)]
    assert {one.task_id for one in overview.failing(None, today)} == {ours[0].task_id, theirs[0].task_id}
    assert overview.failing([], today) == []


def test_the_page() -> None:
    days = ended(3)
    Instance.objects.update(planned_time=timezone.now())
    figures.catch_up()
    client = Client()
    client.force_login(make.make_user(make.VERA, project=days[0].project))
    answer = client.get(reverse("admin:index"))
    context, text = answer.context, answer.content.decode()
    [project] = context["projects"]
    assert (project.name, project.total) == (days[0].project.name, 3)
    assert {tile.look.text: tile.number for tile in project.bar} == {"Failed": 1, "Success": 2}
    assert [row.figure.name for row in context["failing"]] == [days[0].task.name]
    assert context["failing"][0].failed_address.startswith("/admin/instances/instance/?state=failed&q=%23")
    assert "The clock stands still" in text
    assert 'data-type="bar"' in text
    for address in (context["days"][0].failed_address, context["failing"][0].failed_address):
        assert client.get(address).context["cl"].result_count == 1
    client.force_login(make.make_user(make.OMAR, project=make.make_project()))
    other = client.get(reverse("admin:index"))
    assert days[0].task.name not in other.content.decode()
