"""Graphs to pick downstream instances and tasks from: what is in them, what can be picked, what they cost."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from instances.engine import generation, lifecycle
from instances.insight import picking as module
from instances.insight.graph import Graph
from instances.insight.picking import Opened, instances_downstream, tasks_downstream
from instances.models import Instance, Task
from instances.models.choices import RerunAllowed
from tests import factories as make
from tests.engine.harness import HOUR, JANUARY, instances_of
from tests.insight.scenes import chain, move
from weops.projects.models import Member

pytestmark = pytest.mark.django_db
FAR = Opened(layers=30)


def omar(*instances: Instance) -> Any:
    """Who operates in the projects of the instances."""
    user: Any = None
    for project in {one.project for one in instances}:
        user = make.make_user(make.OMAR, project=project)
    return user


def ids(graph: Graph) -> list[int]:
    return [node.id for node in graph.nodes if node.id is not None]


def pks(*rows: Any) -> list[int]:
    return [row.pk for row in rows]


def fan(width: int) -> tuple[Instance, list[Instance]]:
    """An instance and so many that wait for it."""
    workflow, group = make.make_workflow(), make.make_group()
    tasks = [make.make_task(workflow, group=group, effective_to=JANUARY + HOUR) for _ in range(width + 1)]
    for task in tasks[1:]:
        make.depend(task, tasks[0])
    for task in tasks:
        make.submit(task, since=JANUARY - HOUR)
    generation.generate()
    root, *rest = (instances_of(task)[0] for task in tasks)
    return root, rest


def test_it_opens_layer_by_layer_and_by_branches() -> None:
    line = chain(6)
    user = omar(line[0])
    graph = instances_downstream([line[0].pk], user, Opened())
    assert ids(graph) == pks(*line[:2])
    assert [(node.root, node.pick, node.level, node.more_down) for node in graph.nodes] == [
        (True, False, 0, 0),
        (False, True, 1, 1),
    ]
    assert "Chosen already" in graph.nodes[0].why_not
    graph = instances_downstream([line[0].pk], user, Opened(2))
    assert ids(graph) == pks(*line[:3])
    graph = instances_downstream([line[0].pk], user, Opened(1, ids=[line[2].pk, line[1].pk, 0]))
    assert ids(graph) == pks(*line[:4]), "one that was opened brought in the other"
    graph = instances_downstream([line[0].pk], user, Opened(1, branches=[line[1].pk, 0]))
    assert ids(graph) == pks(*line)
    assert len(graph.edges) == 5


def test_removed_dependencies_lead_nowhere() -> None:
    first, second, third = chain(3)
    edges = [(second.task_id, second.data_time)]
    lifecycle.remove_edges([third.pk], edges=edges, user_id=None, reason="not needed")
    assert ids(instances_downstream([first.pk], omar(first), FAR)) == pks(first, second)


def test_what_is_hidden_is_not_in_it_and_nothing_behind_it() -> None:
    first, secret, last = chain(3)
    move(secret, make.make_workflow())
    user = omar(first)
    for opened in (FAR, Opened(0, branches=[first.pk]), Opened(1, ids=[secret.pk])):
        graph = instances_downstream([first.pk], user, opened)
        assert ids(graph) == [first.pk]
        assert graph.nodes[0].more_down == 0, "not even counted"
        assert last.task.name not in repr(graph.as_json())
    assert ids(instances_downstream([first.pk], make.make_user(make.SUSAN), FAR)) == pks(first, secret, last)


def test_where_one_may_not_operate_it_says_why() -> None:
    first, second, third = chain(3)
    move(second, make.make_workflow())
    user = omar(first)
    Member.objects.create(user=user, project=Instance.objects.get(pk=second.pk).project, role="viewer")
    user = type(user).objects.get(pk=user.pk)
    graph = instances_downstream([first.pk], user, FAR)
    said = {node.id: (node.pick, node.why_not) for node in graph.nodes}
    project = Instance.objects.get(pk=second.pk).project
    assert said[second.pk] == (False, f"You may not operate in project {project.name}.")
    assert said[third.pk] == (True, ""), "an instance behind it can be picked: it is run again by itself"
    assert graph.as_json()["nodes"][1]["why_not"]

    tasks = tasks_downstream([first.task_id], user, FAR)
    assert ids(tasks) == pks(first.task, second.task), "a plan is not led through where one may not operate"
    assert [node.pick for node in tasks.nodes] == [False, False]
    assert tasks.nodes[1].more_down == 0


def test_what_a_rerun_would_refuse_now_is_said() -> None:
    first, second = chain(2)
    Task.objects.filter(pk=second.task_id).update(rerun_allowed=RerunAllowed.NONE)
    lifecycle.mark_success([first.pk, second.pk])
    node = instances_downstream([first.pk], omar(first), FAR).nodes[1]
    assert "does not allow reruns" in dict(node.facts)["Refused as it is now"]


def test_tasks_open_in_the_same_way() -> None:
    line = [one.task for one in chain(4)]
    user = make.make_user(make.OMAR, project=line[0].workflow.project)
    graph = tasks_downstream([line[0].pk], user, Opened())
    assert ids(graph) == pks(*line[:2])
    assert [(node.root, node.pick, node.more_down) for node in graph.nodes] == [
        (True, False, 0),
        (False, True, 1),
    ]
    assert ids(tasks_downstream([line[0].pk], user, Opened(0, branches=[line[0].pk]))) == pks(*line)
    Task.objects.filter(pk=line[1].pk).update(cycle_type="ONEOFF")
    assert ids(tasks_downstream([line[0].pk], user, FAR)) == [line[0].pk], "it has no data times to fill in"


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    root, rest = fan(9)
    user = omar(root)
    monkeypatch.setattr(module, "MOST_NODES", 6)
    for opened in (Opened(), Opened(0, branches=[root.pk])):
        graph = instances_downstream([root.pk], user, opened)
        assert graph.nodes[0].id == root.pk
        assert len(graph.nodes) == 6
        assert set(ids(graph)) < set(pks(root, *rest))
        assert "first 6" in graph.note
        assert graph.nodes[0].more_down == 4
    monkeypatch.setattr(module, "MOST_ROOTS", 2)
    graph = instances_downstream(pks(*rest[:3]), user, Opened())
    assert "first 2" in graph.note


def test_it_costs_layers_not_nodes() -> None:
    def of(call: Callable[[], Any]) -> int:
        with CaptureQueriesContext(connection) as captured:
            call()
        return len(captured)

    costs = set()
    for width in (3, 20):
        root, rest = fan(width)
        user = omar(root)
        pages = (partial(instances_downstream, [root.pk]), partial(tasks_downstream, [root.task_id]))
        costs.add(tuple(of(partial(page, user, Opened())) for page in pages))
        assert len(rest) == width
    assert len(costs) == 1
    assert max(costs.pop()) <= 7
