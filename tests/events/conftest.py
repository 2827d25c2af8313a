"""The world of the admin's tests, and an event on either side of it."""

from types import SimpleNamespace

import pytest

from events.models import Event
from tests.admin.conftest import _quick, as_user, world
from tests.events.scene import make_event

__all__ = ["_quick", "as_user", "foreign", "ours", "world"]


@pytest.fixture
def ours(world: SimpleNamespace) -> Event:
    return make_event(world.ours.project, "ours_ready", description="The orders are there.")


@pytest.fixture
def foreign(world: SimpleNamespace) -> Event:
    return make_event(world.foreign.project, "foreign_ready")
