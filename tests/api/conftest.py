"""The same two projects as the admin's tests, and clients with tokens."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests import factories
from tests.admin.conftest import _quick, world  # noqa: F401 - fixtures
from tests.admin.rows import make_execution, make_instance
from tests.api.things import make_alarm
from weops.api import tokens


@pytest.fixture(autouse=True)
def _no_limit(settings: Any) -> None:
    settings.WEOPS_API_RATE = 0


@pytest.fixture
def api(world: SimpleNamespace) -> Callable[..., APIClient]:  # noqa: F811
    """`api(name, **limits)`: a client with a token of that one of the cast, limited as `tokens.issue` takes it."""

    def with_token(name: str, **limits: Any) -> APIClient:
        _, text = tokens.issue(world.cast[name], "test", **limits)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
        return client

    return with_token


@pytest.fixture
def sales(transactional_db: None, live_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A project with a failed instance of a task `load`, and a token in the environment."""
    project = factories.make_project("sales")
    user = factories.make_user(factories.PETRA, project=project)
    workflow = factories.make_workflow(project, name="orders")
    task = factories.make_task(workflow, name="load", code="echo hi", owner=user)
    factories.submit(task)
    failed = make_instance(task, "failed", error_code="EXIT_NONZERO")
    _, text = tokens.issue(user, "docs")
    monkeypatch.setenv("WEOPS_URL", live_server.url)
    monkeypatch.setenv("WEOPS_TOKEN", text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    execution = make_execution(failed, "failed", error_code="EXIT_NONZERO", error_message="It ended with 1.")
    return SimpleNamespace(
        project=project,
        task=task,
        failed=failed,
        execution=execution,
        alarm=make_alarm(failed, level=3),
        url=live_server.url,
        token=text,
    )
