"""Policies, the switch and output parameters on the pages: edited on the task, told on the instance."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from instances.engine.trigger_policies import NEVER_COMES
from instances.models import Dependency, Edge, Task
from tests import factories
from tests.admin.rows import HOSTILE, make_edge, make_execution, make_instance
from tests.admin.test_task_pages import ADD, change, form_of, refused
from tests.factories import DANA, VERA

pytestmark = pytest.mark.django_db


def test_policies_are_saved_with_the_version(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    chosen = {
        "dependencies-0-bad_parents": ["PARENT_EXPIRED", "PARENT_TIMEOUT"],
        "dependencies-0-parent_timeout": "90",
        "trigger_policy": "ONE_SUCCESS",
        "upstream_failure": "fail",
        "outputs": "rows, path",
    }
    answer = as_user(DANA).post(ADD, form_of(world, (world.ours.task, ""), **chosen))
    assert answer.status_code == 302
    task = Task.objects.get(name="made_by_hand")
    assert (task.trigger_policy, task.upstream_failure, task.outputs) == (
        "ONE_SUCCESS",
        "fail",
        ["rows", "path"],
    )
    row = task.dependencies.get()
    assert (sorted(row.bad_parents), row.parent_timeout) == (["PARENT_EXPIRED", "PARENT_TIMEOUT"], 90)
    assert task.current_version is not None
    said = task.current_version.definition
    assert said["trigger_policy"] == "ONE_SUCCESS"
    assert said["dependencies"][0]["timeout_minutes"] == 90
    assert 'value="PARENT_TIMEOUT"' in as_user(DANA).get(change(task)).content.decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dependencies-0-bad_parents": ["PARENT_TIMEOUT"]}, "fter how many minutes"),
        ({"dependencies-0-parent_timeout": "5"}, "only with PARENT_TIMEOUT"),
        ({"outputs": "rows, 2nd"}, "cannot name a parameter"),
        ({"outputs": "rows, rows"}, "listed twice"),
        ({"outputs": "rows", "task_type": "VIRTUAL", "code": ""}, "Only Shell and Python tasks"),
        ({"trigger_policy": "MOST_SUCCESS"}, "valid choice"),
    ],
)
def test_what_cannot_be_is_refused(
    fields: dict[str, Any], words: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    assert words in refused(as_user(DANA).post(ADD, form_of(world, (world.ours.task, ""), **fields)))
    assert not Task.objects.filter(name="made_by_hand").exists()


def test_code_may_use_what_upstream_gives_and_nothing_else(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    Task.objects.filter(pk=world.ours.task.pk).update(outputs=["rows"])
    client = as_user(DANA)
    assert "is not defined" in refused(client.post(ADD, form_of(world, code="echo ${rows}")))
    assert client.post(ADD, form_of(world, (world.ours.task, ""), code="echo ${rows}")).status_code == 302


def test_a_task_that_allows_no_downstream(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    Task.objects.filter(pk=world.ours.task.pk).update(allow_downstream=False)
    text = refused(as_user(DANA).post(ADD, form_of(world, (world.ours.task, ""))))
    assert "does not allow other tasks to depend on it" in text


def test_a_task_of_another_project_may_be_waited_for_by_whom_sees_it(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(DANA)
    assert "valid choice" in refused(client.post(ADD, form_of(world, (world.foreign.task, ""))))
    factories.make_user(DANA, project=world.foreign.project, role="viewer")
    assert client.post(ADD, form_of(world, (world.foreign.task, ""))).status_code == 302
    assert Dependency.objects.get(task__name="made_by_hand").upstream == world.foreign.task


def test_the_instance_tells_why_an_edge_counts_as_met_and_what_its_run_gave(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    day = make_instance(world.ours.task, "success", after=41)
    other = make_instance(world.ours.task, "failed", after=40)
    make_edge(day, other, satisfied_at=timezone.now(), excused="PARENT_EXPIRED")
    make_edge(day, make_instance(world.ours.task, "wait_run", after=39), rules=NEVER_COMES)
    make_execution(
        day,
        outputs={"rows": HOSTILE},
        parameters={"day": "1"},
        inherited={"day": {"from": HOSTILE, "also": []}},
    )
    client, page = as_user(VERA), reverse("admin:instances_instance_change", args=(day.pk,))
    # A plan has made it all the same.
    assert "never comes" not in client.get(page).content.decode()
    Edge.objects.filter(instance=day, rules=NEVER_COMES).update(upstream=None)
    text = client.get(page).content.decode()
    assert "it has failed, and the dependency does not wait for it then" in text
    assert "never comes: outside the schedule of its task" in text
    assert "output of &lt;script&gt;" in text
    assert "Output parameters" in text
    assert HOSTILE not in text
