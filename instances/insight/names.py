"""How an answer names instances and tasks: what belongs to a project that the reader cannot see is not named."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from instances.insight.answers import Link
from instances.models import Instance, Task
from weops.console.present import plain_time
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
        return f"{self.task(task, project_id)} {plain_time(data_time, task.timezone)}"

    def instance(self, instance: Instance) -> Link:
        """A link to the instance (with its task); without its id, if it may not be opened."""
        title = self.at(instance.task, instance.project_id, instance.data_time)
        return Link("instance", instance.pk if self.sees(instance.project_id) else None, title)

    def definitions(self, given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Definitions of versions, in which upstream tasks that may not be named are not. One query, none for who sees all."""
        if self.visible is None:
            return [dict(one) for one in given]
        ids = {row["task"]["id"] for one in given for row in one.get("dependencies") or () if row.get("task")}
        rows = (
            Task.objects.filter(pk__in=ids, workflow__project__in=self.visible)
            if ids
            else Task.objects.none()
        )
        seen = set(rows.values_list("pk", flat=True))
        return [self._definition(one, seen) for one in given]

    @staticmethod
    def _definition(one: Mapping[str, Any], seen: Collection[int]) -> dict[str, Any]:
        rows = []
        for row in one.get("dependencies") or ():
            task = row.get("task")
            if task and task["id"] not in seen:
                row = {
                    **row,
                    "task": {**task, "name": _("Task #%(id)d of another project") % {"id": task["id"]}},
                }
            rows.append(row)
        return {**one, "dependencies": rows} if rows else dict(one)
