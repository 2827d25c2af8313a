"""A project with the cast, a task and an instance in it, and the same in a project of somebody else."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from tests import factories
from tests.admin.rows import make_instance
from weops.projects.models import Folder


@pytest.fixture(autouse=True)
def _quick(settings: Any) -> None:
    """Without static files, which are looked for anew for each browser."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]


@pytest.fixture
def world(db: None, _quick: None) -> SimpleNamespace:
    """`ours` and `foreign`, each with project, folder, workflow, task, instance, secret, source, calendar; `cast`."""
    ours, foreign = _project("ours"), _project("foreign")
    return SimpleNamespace(ours=ours, foreign=foreign, cast=factories.make_cast(ours.project))


def _project(name: str) -> SimpleNamespace:
    project = factories.make_project(f"{name}_project")
    folder = Folder.objects.create(project=project, name=f"{name}_folder")
    workflow = factories.make_workflow(project, name=f"{name}_workflow", folder=folder)
    task = factories.make_task(workflow, name=f"{name}_task", folder=folder, code="echo ${yyyyMMdd}")
    version = factories.submit(task)
    source = factories.make_data_source(project, "postgresql://u:p@nowhere/x", f"{name}_source")
    return SimpleNamespace(
        project=project,
        folder=folder,
        workflow=workflow,
        task=task,
        version=version,
        source=source,
        secret=source.url,
        calendar=factories.make_calendar(project=project, name=f"{name}_calendar"),
        group=task.resource_group,
        instance=make_instance(task),
    )


@pytest.fixture
def as_user(world: SimpleNamespace) -> Callable[[str], Client]:
    """`as_user(name)`: a browser in which that one of the cast is signed in."""

    def signed_in(name: str) -> Client:
        client = Client()
        client.force_login(world.cast[name])
        return client

    return signed_in
