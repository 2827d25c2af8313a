"""The lineage of an instance as a graph: what is in it, what is hidden, what it costs; and its pages."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from events.models import Emitter, Listener
from instances.engine import generation, lifecycle
from instances.insight import lineage as module
from instances.insight.graph import MARKS, Graph
from instances.insight.lineage import lineage
from instances.insight.workflow_graph import workflow_graph
from instances.models import Dependency, Edge, Instance, Task
from tests import factories as make
from tests.engine.harness import family, instances_of
from tests.events.scene import make_event
from tests.insight.scenes import chain, move

pytestmark = pytest.mark.django_db


def keys(*instances: Instance) -> set[str]:
    return {f"i{one.pk}" for one in instances}


def found(graph: Graph) -> set[str]:
    return {node.key for node in graph.nodes}


def cost(call: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_it_opens_layer_by_layer() -> None:
    line = chain(7)
    graph = lineage(line[3], up=1, down=2)
    assert found(graph) == keys(*line[2:6])
    assert {node.id: node.level for node in graph.nodes} == {
        line[2].pk: -1,
        line[3].pk: 0,
        line[4].pk: 1,
        line[5].pk: 2,
    }
    ends = {node.id: (node.more_up, node.more_down) for node in graph.nodes if node.more_up or node.more_down}
    assert ends == {line[2].pk: (1, 0), line[5].pk: (0, 1)}
    graph = lineage(line[3], up=1, down=2, open_up=[line[2].pk], open_down=[line[5].pk, 0])
    assert found(graph) == keys(*line[1:])
    places = {node.id: node.x for node in graph.nodes}
    assert [places[one.pk] for one in line[1:]] == sorted(places.values()), (
        "what is waited for stands to the left"
    )


def test_what_was_opened_stays_open_when_more_behind_it_is_opened() -> None:
    line = chain(6)
    graph = lineage(line[0], down=1, open_down=[line[3].pk, line[1].pk, line[2].pk])
    assert found(graph) == keys(*line[:5])


def test_the_states_of_dependencies_are_marked() -> None:
    parents, child = family(3)
    generation.generate()
    [day] = instances_of(child)
    done, cut, slow = (instances_of(task)[0] for task in parents)
    lifecycle.mark_success([done.pk])
    edges = [(cut.task_id, cut.data_time)]
    lifecycle.remove_edges([day.pk], edges=edges, user_id=None, reason="not needed")
    graph = lineage(day)
    assert {edge.source: edge.state for edge in graph.edges} == {
        f"i{done.pk}": "met",
        f"i{cut.pk}": "removed",
        f"i{slow.pk}": "open",
    }


def test_what_is_not_generated_stands_in_it() -> None:
    [parent], child = family(1)
    Task.objects.filter(pk=parent.pk).update(status="paused")
    generation.generate()
    [day] = instances_of(child)
    [missing] = [node for node in lineage(day).nodes if node.state == "missing"]
    assert (missing.title, missing.id, missing.level) == (parent.name, None, -1)
    assert MARKS["missing"].mark


def test_another_project_is_a_locked_node_and_nothing_behind_it_is_told() -> None:
    first, secret, last = chain(3)
    move(secret, make.make_workflow())
    vera = make.make_user(make.VERA, project=last.project)
    graph = lineage(last, vera, up=5, open_up=[secret.pk])
    assert found(graph) == keys(secret, last)
    [locked] = [node for node in graph.nodes if node.locked]
    assert (locked.id, locked.title, locked.facts, locked.more_up) == (None, "Another project", (), 0)
    told = repr(graph.as_json())
    assert secret.task.name not in told
    assert first.task.name not in told


def test_operations_are_those_that_the_reader_may_do_now() -> None:
    [day] = chain(1)

    def offered(name: str) -> tuple[str, ...]:
        return lineage(day, make.make_user(name, project=day.project)).nodes[0].operations

    assert offered(make.VERA) == ()
    assert offered(make.OMAR) == ("rerun", "terminate", "mark_success", "freeze", "remove_dependency")
    lifecycle.freeze([day.pk])
    assert "thaw" in offered(make.OMAR)
    assert "freeze" not in offered(make.OMAR)


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    _parents, child = family(12)
    generation.generate()
    [day] = instances_of(child)
    monkeypatch.setattr(module, "FAN", 5)
    graph = lineage(day)
    assert len(graph.nodes) == 6
    assert next(node.more_up for node in graph.nodes if node.id == day.pk) == 7
    monkeypatch.setattr(module, "FAN", 60)
    monkeypatch.setattr(module, "MOST_NODES", 8)
    graph = lineage(day)
    assert len(graph.nodes) == 8
    assert "first 8 instances" in graph.note
    line = chain(6)
    monkeypatch.setattr(module, "MOST_LAYERS", 2)
    assert "2 layers" in lineage(line[0], down=99).note


def test_a_ring_is_drawn_once() -> None:
    first, second, third = chain(3)
    Edge.objects.create(
        instance=first, upstream_task=third.task, upstream_data_time=third.data_time, upstream=third
    )
    graph = lineage(second, up=9, down=9)
    assert found(graph) == keys(first, second, third)
    assert len(graph.edges) == 3


def test_it_costs_layers_not_nodes() -> None:
    def of(width: int) -> int:
        _parents, child = family(width)
        generation.generate()
        [day] = instances_of(child)
        return cost(lambda: lineage(day))

    assert of(2) == of(25) <= 10


def test_pages_of_the_lineage() -> None:
    line = chain(3)
    eve = browser(make.make_user(make.EVE))
    omar = browser(make.make_user(make.OMAR, project=line[0].project))
    data = reverse("admin:instances_instance_lineage_data", args=(line[1].pk,))
    page = reverse("admin:instances_instance_lineage", args=(line[1].pk,))
    sent = omar.get(f"{data}?up=x&down=99999999&open_up=a,1,{'9' * 30}").json()
    assert {node["id"] for node in sent["nodes"]} == {one.pk for one in line}
    assert sent["focus"] == f"i{line[1].pk}"
    assert "{id}" in sent["links"]["open"]
    assert set(sent["states"]) == {node["state"] for node in sent["nodes"]}
    assert {kind for node in sent["nodes"] for kind in node["operations"]} == set(sent["kinds"])
    assert omar.get(page).status_code == 200
    listed = omar.get(f"{page}?mode=list&up=1&down=1")
    assert [group["level"] for group in listed.context["groups"]] == [-1, 0, 1]
    assert cost(lambda: omar.get(data)) <= 14
    for address in (data, page, f"{page}?mode=list"):
        assert eve.get(address).status_code == 404


class TestWorkflow:
    def test_its_tasks_and_those_next_to_it(self) -> None:
        first, second, third = chain(3)
        other = make.make_workflow()
        move(third, other)
        lifecycle.mark_success([first.pk])
        vera = make.make_user(make.VERA, project=first.project)
        graph = workflow_graph(first.workflow, vera)
        assert {node.key: (node.state, node.locked) for node in graph.nodes} == {
            f"t{first.task_id}": ("success", False),
            f"t{second.task_id}": ("wait_run", False),
            f"t{third.task_id}": ("locked", True),
        }
        assert [(edge.source, edge.target) for edge in graph.edges] == [
            (f"t{first.task_id}", f"t{second.task_id}"),
            (f"t{second.task_id}", f"t{third.task_id}"),
        ]
        assert third.task.name not in repr(graph.as_json())

    def test_an_event_joins_who_fires_it_and_who_listens(self) -> None:
        first, second = chain(2)
        outside = make.make_task(workflow=make.make_workflow())
        event = make_event(project=first.project)
        Emitter.objects.create(task=second.task, event=event)
        Listener.objects.create(task=first.task, event=event)
        Listener.objects.create(task=outside, event=event)
        foreign = make_event(project=outside.workflow.project)
        Emitter.objects.create(task=outside, event=foreign)
        Listener.objects.create(task=second.task, event=foreign)
        vera = make.make_user(make.VERA, project=first.project)
        graph = workflow_graph(first.workflow, vera)
        one, two, other = (f"t{pk}" for pk in (first.task_id, second.task_id, outside.pk))
        assert sorted(
            (edge.source, edge.target, edge.title) for edge in graph.edges if edge.state == "event"
        ) == sorted(
            [(two, one, event.name), (two, other, event.name), (other, two, "Event of another project")]
        )
        assert {node.key for node in graph.nodes if node.locked} == {other}
        assert foreign.name not in repr(graph.as_json())
        Emitter.objects.all().delete()
        assert {node.key for node in workflow_graph(first.workflow, vera).nodes} == {one, two}

    def test_its_page(self) -> None:
        workflow = chain(2)[0].workflow
        dana = browser(make.make_user(make.DANA, project=workflow.project))
        data = reverse("admin:instances_workflow_graph", args=(workflow.pk,))
        assert len(dana.get(data).json()["nodes"]) == 2
        page = dana.get(reverse("admin:instances_workflow_change", args=(workflow.pk,))).content.decode()
        assert f'data-graph="{data}"' in page
        assert browser(make.make_user(make.EVE)).get(data).status_code == 404
        before = cost(lambda: dana.get(data))
        chain(8, workflow)
        assert Dependency.objects.count() == 8
        assert cost(lambda: dana.get(data)) == before
