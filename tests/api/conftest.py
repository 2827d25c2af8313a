"""The same two projects as the admin's tests, and clients with tokens."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.admin.conftest import _quick, world  # noqa: F401 - fixtures
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
