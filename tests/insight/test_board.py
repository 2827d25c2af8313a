"""The blocker board: who holds how many, in which order, for whom, at what cost."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instances.engine import generation, lifecycle
from instances.insight import board as module
from instances.insight.board import Blocker, board
from instances.models import Edge, Instance, Task, WorkerProcess
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import bad, due, family, instances_of, started
from tests.events import scene
from tests.insight.scenes import chain, move
from weops.projects.models import ResourceGroup

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _worker() -> None:
    WorkerProcess.objects.create(name="w", host="h", pid=1, slots=4)


def shown(user: Any = None) -> list[tuple[str, int | None, int]]:
    return [(one.kind, one.link.id if one.link else None, one.held) for one in board(user).blockers]


def of(kind: str, user: Any = None) -> Blocker:
    [found] = [one for one in board(user).blockers if one.kind == kind]
    return found


def test_the_topmost_blockers_are_ranked_by_all_that_they_hold() -> None:
    top, *_line = chain(6)
    _parents, child = family(2)
    generation.generate()
    [claimed] = [c for c in started(top) if c.instance_id == top.pk]
    lifecycle.finish([bad(claimed)])
    parents = [instances_of(task)[0] for task in _parents]
    assert shown() == [("instance", top.pk, 5), *(("instance", one.pk, 1) for one in parents)]
    first = board().blockers[0]
    assert first.state == "failed"
    assert "EXIT_NONZERO" in first.how
    assert [fix.kind for fix in first.fixes] == ["rerun", "mark_success"]
    assert board().waiting == 6
    assert instances_of(child)


def test_one_that_is_held_twice_counts_once_for_each() -> None:
    """A diamond below two blockers."""
    [left, right], child = family(2)
    below = make.make_task(child.workflow, group=child.resource_group, effective_to=child.effective_to)
    make.depend(below, child)
    make.depend(below, left)
    make.submit(below, since=harness.JANUARY - harness.HOUR)
    generation.generate()
    held = {pk: count for _, pk, count in shown()}
    assert held == {instances_of(left)[0].pk: 2, instances_of(right)[0].pk: 2}


def test_what_is_missing_and_rings() -> None:
    [parent], child = family(1)
    Task.objects.filter(pk=parent.pk).update(status="paused")
    generation.generate()
    assert shown() == [("missing", parent.pk, 1)]
    assert "paused" in of("missing").how
    [day] = instances_of(child)
    first, second = chain(2)
    Edge.objects.create(
        instance=first, upstream_task=second.task, upstream_data_time=second.data_time, upstream=second
    )
    Instance.objects.filter(pk=first.pk).update(state="wait_upstream", pending_upstream=1)
    assert shown() == [("missing", parent.pk, 1)], "a ring has no topmost one"
    assert board().waiting == 3
    assert day.pk


def test_events_groups_and_serial_tasks() -> None:
    event = scene.make_event()
    scene.crowd(event, 3)
    assert (of("event").held, of("event").fixes[0].kind) == (3, "fire_event")
    days = due(4, self_dependency="serial", code="true")
    started(*days)
    assert (of("serial").held, of("serial").link.id) == (3, days[0].pk)  # type: ignore[union-attr]
    busy = due(5, group=make.make_group(1), code="true")
    started(busy[0])
    assert (of("group").held, of("group").how) == (4, "All 1 slots are taken.")
    WorkerProcess.objects.update(groups=[days[0].resource_group_id])
    assert "No live worker" in of("group").how
    ResourceGroup.objects.update(enabled=False)
    assert of("group").fixes[0].kind == "enable_group"
    assert of("group", make.make_user(make.OMAR, project=busy[0].project)).fixes == ()


def test_a_reader_sees_what_holds_his_own() -> None:
    top, middle, last = chain(3)
    move(top, make.make_workflow())
    vera = make.make_user(make.VERA, project=last.project)
    assert shown(vera) == [("instance", None, 2)]
    assert top.task.name not in repr(board(vera).as_json())
    assert shown(make.make_user(make.EVE)) == []
    assert board(make.make_user(make.EVE)).waiting == 0, "nor how many wait elsewhere"
    other = make.make_user(make.OMAR, project=top.__class__.objects.get(pk=top.pk).project)
    assert shown(other) == [], "he sees the blocker, but nothing that waits for it"
    assert middle.pk


def test_bounds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    chain(6)
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    assert "Only the" in board().note
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    monkeypatch.setattr(module, "MOST_STEPS", 2)
    found = board()
    assert (found.blockers[0].more, found.note) == (True, "Some counts are not complete.")


def test_its_page_costs_the_same_with_many() -> None:
    project = chain(2)[0].project
    client = Client()
    client.force_login(make.make_user(make.OMAR, project=project))
    address = reverse("admin:instances_instance_blockers")

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address).status_code == 200
        return len(captured)

    before = cost()
    for _ in range(3):
        top, _middle, last = chain(3)
        move(top, last.workflow)
    assert cost() == before <= 20
    assert "Mark as successful" in client.get(address).content.decode()
    client.force_login(make.make_user(make.EVE))
    assert client.get(address).status_code == 403
