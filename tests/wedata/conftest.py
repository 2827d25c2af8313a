"""A project with the cast, as in the tests of the admin, and the endpoint with a key of each of them."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests import factories
from tests.admin.rows import make_instance
from tests.wedata.support import Door
from weops.projects.models import Folder


@pytest.fixture(autouse=True)
def _quick(settings: Any) -> None:
    """Without static files, which are looked for anew for each client."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]


@pytest.fixture
def world(db: None) -> SimpleNamespace:
    """`ours` and `foreign`, each with project, folder, workflow, task, instance, group; `cast`; `door(name)`."""
    ours, foreign = _project("ours"), _project("foreign")
    cast = factories.make_cast(ours.project)
    doors: dict[str, Door] = {}

    def door(name: str) -> Door:
        if name not in doors:
            doors[name] = Door(cast[name])
        return doors[name]

    return SimpleNamespace(ours=ours, foreign=foreign, cast=cast, door=door)


def _project(name: str) -> SimpleNamespace:
    project = factories.make_project(f"{name}_project")
    folder = Folder.objects.create(project=project, name=f"{name}_folder")
    workflow = factories.make_workflow(project, name=f"{name}_workflow", folder=folder)
    task = factories.make_task(workflow, name=f"{name}_task", folder=folder, code="echo ${yyyyMMdd}")
    factories.submit(task)
    return SimpleNamespace(
        project=project,
        folder=folder,
        workflow=workflow,
        task=task,
        group=task.resource_group,
        instance=make_instance(task),
        id=str(project.pk),
    )
