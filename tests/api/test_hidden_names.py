"""Names of projects that one does not see stay out of what one does see."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rest_framework.test import APIClient

from events.models import Emitter, Listener
from tests import factories
from tests.events.scene import make_event
from tests.factories import SUSAN, VERA

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
