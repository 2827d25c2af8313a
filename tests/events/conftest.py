"""The world of the admin's tests, for the pages of events."""

from tests.admin.conftest import _quick, as_user, world

__all__ = ["_quick", "as_user", "world"]
