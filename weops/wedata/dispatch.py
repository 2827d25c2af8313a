"""Actions by version and name: each declares its fields and its right, which are read and checked before it is called."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from django.contrib.auth.models import User

from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Project
from weops.wedata.errors import ApiError, no_right, not_found, not_in_project
from weops.wedata.fields import Field, Id, read_all
from weops.wedata.times import aware, read_zone, told

V2025 = "2025-08-06"
V2021 = "2021-08-20"

PROJECT = {"ProjectId": Id(required=True)}

# The modules whose import registers their actions.
_MODULES = (
    "projects", "members", "groups", "folders", "workflows", "tasks", "ops_tasks", "ops_workflows", "instances", "logs",
    "operations", "backfills", "events", "event_lists", "alarms",
)  # fmt: skip


class Scope:
    """The right of an action that is not about one project: it shows or does what its user may, row by row."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


# Lists what the user may see, in whichever project.
SEEN = Scope("what the user sees")
# Superusers alone.
SUPERUSER = Scope("superusers")


@dataclass
class Call:
    """One request: who asks, through which action, and its fields as values; absent ones are None."""

    action: "Action"
    user: User
    given: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name)

    @cached_property
    def tz(self) -> dt.tzinfo:
        return read_zone(self["TimeZone"] or self["ScheduleTimeZone"])

    def told(self, instant: dt.datetime | None) -> str | None:
        """A time as the answer has it."""
        return told(instant, self.tz)

    def instant(self, name: str) -> dt.datetime | None:
        """The instant of a field that is a time."""
        return None if self[name] is None else aware(self[name], self.tz)

    @cached_property
    def project(self) -> Project:
        """The project that the request names, which gives the user the action's right. Raises ApiError."""
        return self.project_of(self["ProjectId"], self.action.right)

    def project_of(self, project_id: int, right: "Right | Scope") -> Project:
        """A project in which the user has `right`. Who sees nothing of it does not hear whether it exists."""
        held = access.rights(self.user, project_id)
        if Right.VIEW not in held:
            raise not_in_project(project_id)
        project = Project.objects.filter(pk=project_id).first()
        if project is None:
            raise ApiError("InvalidParameter.WorkspaceNotExist", f"There is no project {project_id}.")
        if isinstance(right, Right) and right not in held:
            raise no_right(right, project)
        return project

    def need(self, right: Right) -> None:
        """One more right that some fields ask for."""
        if right not in access.rights(self.user, self.project):
            raise no_right(right, self.project)

    def found(self, row: Any, what: str, key: object) -> Any:
        """The row, if there is one."""
        if row is None:
            raise not_found(what, key)
        return row


Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Action:
    version: str
    name: str
    right: Right | Scope
    fields: Mapping[str, Field]
    handler: Handler

    def __call__(self, user: User, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the answer. Raises ApiError, and what the operation classes raise."""
        call = Call(self, user, read_all(self.fields, given))
        if isinstance(self.right, Right):
            # Before anything else is looked at, so that who is no member hears of nothing.
            _ = call.project
        elif self.right is SUPERUSER and not user.is_superuser:
            raise ApiError("UnauthorizedOperation", f"{self.name} is for superusers.")
        answer = self.handler(call)
        return {} if answer is None else {"Data": answer}


_actions: dict[tuple[str, str], Action] = {}


def action(
    name: str, right: Right | Scope, *, version: Any = V2025, **fields: Field
) -> Callable[[Handler], Handler]:
    """Registers a handler as the action `name`; an action of one project has the field ProjectId without saying so."""

    def register(handler: Handler) -> Handler:
        every = {**PROJECT, **fields} if isinstance(right, Right) else fields
        _actions[version, name] = Action(version, name, right, every, handler)
        return handler

    return register


def actions() -> dict[tuple[str, str], Action]:
    """All of them, by (version, name)."""
    for module in _MODULES:
        import_module(f"weops.wedata.{module}")
    return _actions


def find(version: str, name: str) -> Action:
    """Raises ApiError InvalidAction, or NoSuchVersion."""
    known = actions()
    if (version, name) in known:
        return known[version, name]
    if version not in (V2025, V2021):
        raise ApiError(
            "NoSuchVersion", f"There is no version {version[:40]!r}; there are {V2025} and {V2021}."
        )
    other = V2021 if version == V2025 else V2025
    hint = f"; version {other} has it" if (other, name) in known else ""
    raise ApiError("InvalidAction", f"There is no action {name[:80]!r} in version {version}{hint}.")
