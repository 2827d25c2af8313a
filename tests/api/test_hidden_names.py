"""Names of projects that one does not see stay out of what one does see."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from events.models import Emitter, Listener
from instances.engine import branching
from tests import factories
from tests.events.scene import make_event
from tests.factories import DANA, SUSAN, VERA

Api = Callable[..., APIClient]


def test_what_a_task_waits_for_and_fires_elsewhere(world: SimpleNamespace, api: Api) -> None:
    task = factories.make_task(world.ours.workflow)
    upstream = factories.make_task(factories.make_workflow(), name="hidden_upstream")
    event = make_event(factories.make_project(), "hidden_event")
    waits = factories.depend(task, upstream)
    Listener.objects.create(task=task, event=event)
    Emitter.objects.create(task=task, event=event)
    addresses = [f"/api/v1/tasks/{task.pk}/", f"/api/v1/dependencies/{waits.pk}/"]
    for address in addresses:
        shown: Any = api(VERA).get(address)
        assert shown.status_code == 200
        assert "hidden_" not in shown.content.decode()
        assert "hidden_upstream" in api(SUSAN).get(address).content.decode()


def test_a_circle_through_another_project(world: SimpleNamespace, api: Api) -> None:
    task, other = world.ours.task, factories.make_task(world.ours.workflow, name="own_other")
    hidden = factories.make_task(factories.make_workflow(), name="hidden_between")
    factories.depend(hidden, task)
    factories.depend(other, hidden)
    closing = {"dependencies": [{"upstream": other.pk}]}
    told = {name: api(name).patch(f"/api/v1/tasks/{task.pk}/", closing) for name in (DANA, SUSAN)}
    assert {answer.status_code for answer in told.values()} == {400}
    unseen = f"Task #{hidden.pk} of another project"
    assert f"ours_task -> own_other -> {unseen} -> ours_task" in told[DANA].json()["detail"]
    assert "ours_task -> own_other -> hidden_between -> ours_task" in told[SUSAN].json()["detail"]


def test_what_waits_for_a_task_elsewhere(world: SimpleNamespace, api: Api) -> None:
    task = world.ours.task
    hidden = factories.make_task(factories.make_workflow(), name="hidden_child", cycle_type="DAY")
    factories.depend(hidden, task, scope="LIST_DAY", offsets="-1")
    factories.submit(hidden)
    told = {
        name: api(name).patch(f"/api/v1/tasks/{task.pk}/", {"cycle_type": "ONEOFF"}) for name in (DANA, SUSAN)
    }
    assert {answer.status_code for answer in told.values()} == {400}
    assert "hidden_" not in told[DANA].content.decode()
    assert f"Task #{hidden.pk} of another project" in told[DANA].content.decode()
    assert "hidden_child" in told[SUSAN].content.decode()


def test_a_branch_that_tasks_elsewhere_wait_for(world: SimpleNamespace) -> None:
    branch = factories.make_task(world.ours.workflow, name="branch")
    hidden = factories.make_task(factories.make_workflow(), name="hidden_way")
    for task in (hidden, factories.make_task(world.ours.workflow, name="own_way")):
        factories.depend(task, branch)
    # One that is known by its name may be named: who writes the branch has seen it.
    assert branching.ids_of(branch.pk, ["hidden_way"]) == [hidden.pk]
    with pytest.raises(branching.UnknownTasks) as caught:
        branching.ids_of(branch.pk, ["no_way"])
    assert "own_way" in str(caught.value)
    assert "hidden_" not in str(caught.value)


def test_what_a_version_waited_for(world: SimpleNamespace, api: Api) -> None:
    task = factories.make_task(world.ours.workflow)
    factories.depend(task, factories.make_task(factories.make_workflow(), name="hidden_upstream"))
    factories.depend(task, factories.make_task(world.ours.workflow, name="own_upstream"))
    Listener.objects.create(task=task, event=make_event(factories.make_project(), "hidden_event"))
    Listener.objects.create(task=task, event=make_event(world.ours.project, "own_event"))
    version = factories.submit(task)
    for address in (f"/api/v1/versions/{version.pk}/", f"/api/v1/versions/?task={task.pk}"):
        shown = api(VERA).get(address).content.decode()
        assert "hidden_" not in shown
        assert "own_upstream" in shown
        assert "own_event" in shown
        assert "hidden_upstream" in api(SUSAN).get(address).content.decode()
