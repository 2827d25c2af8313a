"""How an answer names instances and tasks: what belongs to a project that the reader cannot see is not named."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from events.models import Event
from instances.insight.answers import Link
from instances.models import Instance, Task
from weops.console.present import clock
from weops.projects import access
from weops.projects.access import AnyUser, Right


@dataclass(frozen=True)
class Names:
    """`visible`: ids of the projects that may be named; None: all."""

    visible: frozenset[int] | None

    @classmethod
    def of(cls, user: AnyUser | None) -> "Names":
        """As `user` may see it; None stands for the system, which sees all."""
        ids = access.project_ids(user, Right.VIEW) if user is not None else None
        return cls(None if ids is None else frozenset(ids))

    def sees(self, project_id: int) -> bool:
        return self.visible is None or project_id in self.visible

    def task(self, task: Task, project_id: int) -> str:
        if self.sees(project_id):
            return task.name
        return _("Task #%(id)d of another project") % {"id": task.pk}

    def at(self, task: Task, project_id: int, data_time: dt.datetime) -> str:
        """The task with a data time in its own zone."""
        return f"{self.task(task, project_id)} {clock(data_time, task.timezone)}"

    def instance(self, instance: Instance) -> Link:
        """A link to the instance (with its task); without its id, if it may not be opened."""
        title = self.at(instance.task, instance.project_id, instance.data_time)
        return Link("instance", instance.pk if self.sees(instance.project_id) else None, title)

    def definitions(self, given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Definitions of versions, in which upstream tasks and events that may not be named are not. Two queries, none for who
        sees all."""
        if self.visible is None:
            return [dict(one) for one in given]
        waited = [row for one in given for row in one.get("dependencies") or ()]
        events = [row for one in given for rows in (one.get("events") or {}).values() for row in rows]
        tasks = Task.objects.filter(workflow__project__in=self.visible)
        seen = {
            "task": _ids(tasks, {row["task"]["id"] for row in waited}),
            "event": _ids(
                Event.objects.filter(project__in=self.visible), {row["event"]["id"] for row in events}
            ),
        }
        return [_definition(one, seen) for one in given]


def _ids(rows: QuerySet[Any], wanted: Collection[int]) -> set[int]:
    return set(rows.filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else set()


def _definition(one: Mapping[str, Any], seen: Mapping[str, Collection[int]]) -> dict[str, Any]:
    found = dict(one)
    if waits := one.get("dependencies"):
        found["dependencies"] = [_row(row, "task", seen) for row in waits]
    if events := one.get("events"):
        found["events"] = {what: [_row(row, "event", seen) for row in rows] for what, rows in events.items()}
    return found


def _row(row: Mapping[str, Any], key: str, seen: Mapping[str, Collection[int]]) -> dict[str, Any]:
    pk = row[key]["id"]
    if pk in seen[key]:
        return dict(row)
    words = {"task": _("Task #%(id)d of another project"), "event": _("Event #%(id)d of another project")}
    return {**row, key: {"id": pk, "name": words[key] % {"id": pk}}}
