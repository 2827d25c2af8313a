"""For-each tasks and their traversals on pages: defining inner tasks, the list of traversals, the DAG of one, its steps."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances.engine.states import State
from instances.models import ForEachRun, Instance, Task, Traversal
from tests import factories
from tests.admin.rows import HOSTILE, make_execution, make_instance
from tests.admin.test_task_pages import ADD, change, form_of
from tests.factories import DANA, EVE, OMAR, VERA
from tests.traversing import add_inner


@pytest.fixture
def parent(world: SimpleNamespace) -> Instance:
    """An instance of a For-each task with the inner tasks first and second, and three traversals."""
    task = factories.make_task(
        world.ours.workflow, name="loop", task_type="FOR_EACH", code='["a"]', group=world.ours.group
    )
    steps = add_inner(task, {"first": [], "second": ["first"]}, code="echo ${item}")
    factories.submit(task)
    instance = make_instance(task, State.RUNNING)
    execution = make_execution(instance, "delegated", run_ended_at=None, ended_at=None)
    now = timezone.now()
    dag = [[steps["first"].pk, []], [steps["second"].pk, [steps["first"].pk]]]
    ForEachRun.objects.create(
        instance=instance, execution_id=execution.pk, spec={}, dag=dag, parameters={}, started_at=now,
        total=3, success=1, failed=1, pending=1,
    )  # fmt: skip
    for number, state in enumerate(("success", "failed", "pending")):
        begun = None if state == "pending" else now
        Traversal.objects.create(
            for_each=instance, number=number, execution_id=execution.pk, item=f"item{number} {HOSTILE}", state=state,
            started_at=begun, ended_at=begun,
        )  # fmt: skip
    for place, states in (("0", ("success", "success")), ("1", ("failed", "failed"))):
        for step, state in zip(steps.values(), states, strict=True):
            make_instance(step, state, traversal=place, for_each_id=instance.pk)
    return instance


def page_of(instance: Instance) -> str:
    return reverse("admin:instances_instance_change", args=(instance.pk,))


def dag_of(instance: Instance, number: int) -> str:
    return reverse("admin:instances_instance_traversal", args=(instance.pk, number))


def test_its_page_lists_the_traversals(parent: Instance, as_user: Callable[[str], Client]) -> None:
    client = as_user(VERA)
    answer = client.get(page_of(parent))
    panel = answer.context["page"].traversals
    assert [(row.number, row.done, row.failed) for row in panel.rows] == [
        (0, "2 / 2", 0),
        (1, "2 / 2", 2),
        (2, "0 / 2", 0),
    ]
    assert [(state, count) for state, _, count in panel.counts] == [
        ("pending", 1),
        ("success", 1),
        ("failed", 1),
    ]
    assert HOSTILE not in answer.content.decode()
    assert dag_of(parent, 1) in answer.content.decode()
    failed = client.get(page_of(parent), {"traversals": "failed"}).context["page"].traversals
    assert [row.number for row in failed.rows] == [1]
    assert client.get(page_of(parent), {"after": "1"}).context["page"].traversals.rows[0].number == 2
    assert "2 of 3 traversals are over" in answer.content.decode()


def test_the_page_costs_the_same_for_many_traversals(
    parent: Instance, as_user: Callable[[str], Client]
) -> None:
    client = as_user(VERA)
    client.get(page_of(parent))
    with CaptureQueriesContext(connection) as few:
        client.get(page_of(parent))
    run = parent.for_each_run
    for number in range(3, 60):
        Traversal.objects.create(
            for_each=parent, number=number, execution_id=run.execution_id, item="x", state="pending"
        )
    with CaptureQueriesContext(connection) as many:
        answer = client.get(page_of(parent))
    assert len(many) == len(few)
    panel = answer.context["page"].traversals
    assert (len(panel.rows), panel.after) == (50, 49)


def test_the_dag_of_a_traversal_leads_to_its_steps(
    parent: Instance, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(VERA).get(dag_of(parent, 1))
    layers = answer.context["layers"]
    assert [[card.step.name.partition("_")[0] for card in layer] for layer in layers] == [
        ["first"],
        ["second"],
    ]
    first = layers[0][0].step.instance
    text = answer.content.decode()
    assert page_of(first) in text
    assert HOSTILE not in text
    assert layers[1][0].step.after == [layers[0][0].step.name]
    not_begun = as_user(VERA).get(dag_of(parent, 2))
    assert "Not begun" in not_begun.content.decode()


def test_the_dag_is_drawn_as_a_graph(parent: Instance, as_user: Callable[[str], Client]) -> None:
    def graph(number: int) -> Any:
        return as_user(VERA).get(f"{dag_of(parent, number)}graph/").json()

    assert f"{dag_of(parent, 1)}graph/" in as_user(VERA).get(dag_of(parent, 1)).content.decode()
    first, second = graph(1)["nodes"]
    assert Instance.objects.get(pk=first["id"]).task.name == first["title"]
    assert first["state"] == "failed"
    assert [(edge["from"], edge["to"]) for edge in graph(1)["edges"]] == [(first["key"], second["key"])]
    assert [(node["state"], node["id"]) for node in graph(2)["nodes"]] == [("none", None), ("none", None)]
    assert graph(2)["states"]["none"]["text"] == "Not begun"
    assert as_user(EVE).get(f"{dag_of(parent, 0)}graph/").status_code in (403, 404)
    assert as_user(VERA).get(f"{dag_of(parent, 3)}graph/").status_code == 404


def test_a_step_says_where_it_belongs(parent: Instance, as_user: Callable[[str], Client]) -> None:
    step = Instance.objects.filter(for_each_id=parent.pk, traversal="1")[0]
    text = as_user(VERA).get(page_of(step)).content.decode()
    assert dag_of(parent, 1) in text
    assert page_of(parent) in text
    assert HOSTILE not in text


@pytest.mark.parametrize("number", [3, 99999999999])
def test_there_is_no_other_traversal(number: int, parent: Instance, as_user: Callable[[str], Client]) -> None:
    assert as_user(VERA).get(dag_of(parent, number)).status_code == 404


def test_outsiders_see_no_traversal(parent: Instance, as_user: Callable[[str], Client]) -> None:
    assert as_user(EVE).get(dag_of(parent, 0)).status_code in (403, 404)
    assert as_user(VERA).post(dag_of(parent, 0)).status_code == 405


def test_lists_show_inner_instances_when_asked(parent: Instance, as_user: Callable[[str], Client]) -> None:
    client = as_user(VERA)
    address = reverse("admin:instances_instance_changelist")

    def found(**asked: Any) -> set[str]:
        rows = client.get(address, asked).context["cl"].result_list
        return {f"{row.task.name.partition('_')[0]}{row.traversal}" for row in rows}

    assert found() == {"loop", "ours"}
    assert found(inner="only") == {"first0", "second0", "first1", "second1"}
    assert found(inner="all") == {"loop", "ours", "first0", "second0", "first1", "second1"}
    assert found(for_each=str(parent.pk), state="failed") == {"first1", "second1"}
    assert found(for_each="x") == set()


def test_only_for_each_instances_are_asked_which_traversals(
    parent: Instance, world: SimpleNamespace, as_user: Any
) -> None:
    client = as_user(OMAR)
    address = reverse("admin:instances_instance_operate", args=("rerun",))
    assert "failed_traversals" in client.get(address, {"ids": parent.pk}).content.decode()
    assert "failed_traversals" not in client.get(address, {"ids": world.ours.instance.pk}).content.decode()


def test_a_for_each_task_is_made_step_by_step(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(DANA)
    sent = form_of(world, task_type="FOR_EACH", code='["a", "b"]')
    del sent["_save"]
    answer = client.post(ADD, {**sent, "_save": "1"}, follow=True)
    assert "add one" in answer.content.decode()
    client.post(ADD, {**sent, "_draft": "1"}, follow=True)
    task = Task.objects.get(name="made_by_hand")
    text = client.get(change(task)).content.decode()
    assert f"for_each={task.pk}" in text
    inner = {**form_of(world, name="step", code="echo ${item} ${index}", for_each=task.pk), "_draft": "1"}
    client.post(f"{ADD}?for_each={task.pk}", inner)
    step = Task.objects.get(name="step")
    assert step.for_each == task
    assert "Schedule" not in client.get(change(step)).content.decode().split("</header>")[-1]
    client.post(change(task), form_of(world, task_type="FOR_EACH", code='["a", "b"]'))
    step.refresh_from_db()
    task.refresh_from_db()
    assert (task.status, step.status, step.next_due_at) == ("scheduling", "scheduling", None)
    assert task.current_version is not None
    assert task.current_version.definition["inner"] == [
        {"task": {"id": step.pk, "name": "step"}, "after": []}
    ]
    listed = client.get(reverse("admin:instances_task_changelist")).content.decode()
    assert change(task) in listed
    assert change(step) not in listed
    assert (
        change(step)
        in client.get(reverse("admin:instances_task_changelist"), {"inner": "only"}).content.decode()
    )


def test_a_viewer_sees_the_inner_tasks_and_adds_none(
    parent: Instance, as_user: Callable[[str], Client]
) -> None:
    text = as_user(VERA).get(change(parent.task)).content.decode()
    assert "first_" in text
    assert "Add an inner task" not in text
