"""The critical path, the time line and the grid."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances.engine import lifecycle
from instances.engine.lives import Life
from instances.insight import gantt as module
from instances.insight.critical import outlook
from instances.insight.forecast import Standing
from instances.insight.gantt import of_rows
from instances.insight.grid import grid
from instances.models import BackfillPlan, Instance, Task
from tests import factories as make
from tests.engine.harness import JANUARY, bad, due, good, run_all, started
from tests.insight.scenes import chain, move

NOW = dt.datetime(2026, 3, 25, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
GANTT, GRID = (reverse(f"admin:instances_instance_{name}") for name in ("gantt", "grid"))


def cost(call: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


class TestCriticalPath:
    def test_it_is_the_chain_that_ends_last(self) -> None:
        standings = {
            1: Standing("success", NOW, NOW - 9 * MINUTE, NOW - 5 * MINUTE),
            2: Standing("running", NOW, NOW - 2 * MINUTE),
            3: Standing("wait_upstream", NOW),
            4: Standing("wait_upstream", NOW),
            5: Standing("wait_upstream", NOW),
        }
        runs = {2: 10 * MINUTE, 3: 5 * MINUTE, 4: 1 * MINUTE, 5: 2 * MINUTE}
        found = outlook(standings, runs, [(1, 3), (2, 3), (1, 4), (3, 5), (4, 5)], NOW)
        assert found.path == (2, 3, 5)
        assert found.finish[3] == NOW + 13 * MINUTE
        assert found.end == NOW + 15 * MINUTE
        assert found.finish[1] == NOW - 5 * MINUTE

    def test_what_waits_does_not_start_before_it_may(self) -> None:
        later = NOW + 60 * MINUTE
        found = outlook({1: Standing("wait_run", later)}, {1: MINUTE}, [], NOW)
        assert found.end == later + MINUTE

    def test_what_is_late_is_expected_now_and_rings_end(self) -> None:
        late = {1: Standing("running", NOW, NOW - 60 * MINUTE)}
        assert outlook(late, {1: MINUTE}, [], NOW).end == NOW
        ring = {1: Standing("wait_upstream", NOW), 2: Standing("wait_upstream", NOW)}
        assert set(outlook(ring, {}, [(1, 2), (2, 1), (1, 9), (2, 2)], NOW).path) == {1, 2}
        assert outlook({}, {}, [], NOW).path == ()


def rows(*instances: Instance) -> Any:
    return Instance.objects.filter(pk__in=[one.pk for one in instances])


@pytest.mark.django_db
class TestTimeLine:
    def test_bars_of_what_was_and_what_is_expected(self) -> None:
        first, second, third = chain(3, code="true")
        run_all(first.task)
        line = of_rows(rows(first, second, third), timezone.now())
        assert [bar.expected for bar in line.bars] == [False, False, False]
        for bar in line.bars:
            assert bar.began is not None
            assert bar.ended is not None
            assert line.begin <= bar.began <= bar.ended <= line.end  # type: ignore[operator]
        assert [one.pk for one in line.path] == [first.pk, second.pk, third.pk]
        lifecycle.rerun([third.pk], None)
        now = timezone.now()
        line = of_rows(rows(first, second, third), now)
        [waiting] = [bar for bar in line.bars if bar.expected]
        assert waiting.instance.pk == third.pk
        assert line.done is not None
        assert line.done >= now

    def test_it_is_bounded_and_costs_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        line = chain(9)
        assert cost(lambda: of_rows(rows(*line[:2]), NOW)) == cost(lambda: of_rows(rows(*line), NOW)) <= 3
        monkeypatch.setattr(module, "MOST", 5)
        monkeypatch.setattr(module, "PAGE", 2)
        found = of_rows(rows(*line), NOW, page=99)
        assert (found.count, found.pages, len(found.bars), found.capped) == (5, 3, 1, True)
        assert of_rows(Instance.objects.none(), NOW).bars == []

    def test_its_page(self) -> None:
        first, second = chain(2)
        hidden = chain(1)[0]
        client = Client()
        client.force_login(make.make_user(make.VERA, project=first.project))
        answer = client.get(GANTT, {"day": f"{JANUARY:%Y-%m-%d}"})
        assert {row.bar.instance.pk for row in answer.context["rows"]} == {first.pk, second.pk}
        assert hidden.task.name not in answer.content.decode()
        assert "critical path" in answer.content.decode().lower()
        assert client.get(f"{GANTT}?day={JANUARY:%Y-%m-%d}&workflow={first.workflow_id}").context["rows"]
        for wrong in ("day=x", f"workflow={hidden.workflow_id}", "plan=77"):
            refused = client.get(f"{GANTT}?{wrong}")
            assert (refused.status_code, refused.context["rows"]) == (200, [])
            assert "begin anew" in refused.context["problem"]
        assert client.get(GANTT).context["rows"] == [], "today has none"
        before = cost(lambda: client.get(GANTT, {"day": f"{JANUARY:%Y-%m-%d}"}))
        chain(6, first.workflow)
        assert cost(lambda: client.get(GANTT, {"day": f"{JANUARY:%Y-%m-%d}"})) == before <= 14

    def test_a_plan_as_a_whole(self) -> None:
        days = due(3, code="true")
        run_all(days[0].task)
        project = days[0].project_id
        plan = BackfillPlan.objects.create(
            name="again", options={}, task_ids=[days[0].task_id], project_ids=[project]
        )
        lifecycle.rerun([day.pk for day in days[:2]], None, Life(parallelism=1, lane=-3, plan_id=plan.pk))
        client = Client()
        client.force_login(make.make_user(make.VERA, project=days[0].project))
        answer = client.get(f"{GANTT}?plan={plan.pk}")
        assert {row.bar.instance.pk for row in answer.context["rows"]} == {day.pk for day in days[:2]}
        assert all(row.bar.expected for row in answer.context["rows"])
        assert answer.context["gantt"].done is not None


@pytest.mark.django_db
class TestGrid:
    def test_a_cell_for_each_instance(self) -> None:
        days = due(3, code="true")
        claimed = {c.instance_id: c for c in started(*days)}
        lifecycle.finish([bad(claimed[days[1].pk]), good(claimed[days[2].pk])])
        found = grid(Task.objects.all())
        assert found.times == [day.data_time for day in days]
        [(task, cells)] = found.rows
        assert task.pk == days[0].task_id
        assert [(cell.id, cell.state) for cell in cells if cell] == [
            (days[0].pk, "running"),
            (days[1].pk, "failed"),
            (days[2].pk, "success"),
        ]
        assert found.earlier is None
        part = grid(Task.objects.all(), times=2)
        assert (part.times, part.earlier) == ([day.data_time for day in days[1:]], days[1].data_time)
        assert grid(Task.objects.all(), before=part.earlier).times == [days[0].data_time]

    def test_its_page(self) -> None:
        days = due(3)
        other = chain(1)[0]
        move(other, make.make_workflow())
        client = Client()
        client.force_login(make.make_user(make.VERA, project=days[0].project))
        answer = client.get(GRID)
        assert [row.task.pk for row in answer.context["rows"]] == [days[0].task_id]
        assert answer.context["cycle"] == "Day"
        assert client.get(GRID, {"cycle": "HOUR"}).context["rows"] == []
        assert client.get(GRID, {"before": days[2].data_time.isoformat(), "p": "9"}).context["heads"]
        for wrong in ("cycle=x", f"workflow={other.workflow_id}"):
            assert "begin anew" in client.get(f"{GRID}?{wrong}").context["problem"]
        assert client.get(GRID, {"before": "2013-99-99T00:00:00Z"}).status_code == 200
        before = cost(lambda: client.get(GRID))
        due(5, workflow=days[0].workflow)
        assert cost(lambda: client.get(GRID)) == before <= 12
        client.force_login(make.make_user(make.EVE))
        assert client.get(GRID).status_code == client.get(GANTT).status_code == 403
