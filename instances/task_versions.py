"""Taking a version back: what it defined is saved again and submitted, through the checks of every other edit.

Name, workflow, folder and owner stay as they are: they say where the task is, not what it does. docs/tasks.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import FieldDoesNotExist, PermissionDenied, ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from events.models import Event
from instances import definitions
from instances.engine.transactions import retried
from instances.models import Task, TaskVersion
from instances.task_definitions import TASKS
from instances.task_operations import Outcome, Refused, TaskOperation, barred, refused
from instances.task_records import Asked, image, record
from weops.projects.access import Right
from weops.projects.models import Secret

_STAY = {"name", "workflow", "folder", "owner", "for_each"}


@dataclass(frozen=True)
class RestoreVersion(TaskOperation):
    """Makes what the version `number` defined the current version again, under a new number, and schedules it."""

    kind = "restore_task_version"
    title = gettext_noop("Restore a version")
    right = Right.AUTHOR
    for_inner = True
    number: int = 0


def restore(
    operation: RestoreVersion, task_id: int, *, user: User | None, source: str = "system", reason: str = ""
) -> Outcome:
    """Carries it out. Done: there is a record. Refused: nothing was changed, and the message says why."""
    try:
        return _restore(operation, task_id, Asked(user, source, reason))
    except (Refused, PermissionDenied) as why:
        return refused(task_id, str(why))
    except ValidationError as error:
        said = _("Version %(number)d cannot be restored: %(why)s")
        return refused(task_id, said % {"number": operation.number, "why": " ".join(error.messages)})


@retried
def _restore(operation: RestoreVersion, task_id: int, asked: Asked) -> Outcome:
    definitions.lock_dependencies()
    task = definitions.locked([task_id]).first()
    why = barred(operation, task, asked.user)
    if task is None or why:
        raise Refused(why)
    version = task.versions.filter(number=operation.number).first()
    if version is None:
        said = _("%(task)s has no version %(number)d.")
        raise Refused(said % {"task": task.name, "number": operation.number})
    before, edited = image(task), definitions.drifted(task)
    TASKS.update(task, values_of(version, task), user=asked.user, source=asked.source)
    if not edited and not definitions.drifted(task):
        said = _("Version %(number)d is what %(task)s is already.")
        raise Refused(said % {"number": version.number, "task": task.name})
    definitions.validate_whole(task, reader=asked.user)
    note = f"As version {version.number}. {asked.reason}".strip()[:500]
    made = definitions.enact(task, asked.user, note, timezone.now())
    options = {"restored": version.number, "version": made.number}
    noted = record(operation.kind, task, asked, before, options)
    noted.save(force_insert=True)
    return Outcome(task.pk, task.name, noted)


def values_of(version: TaskVersion, task: Task) -> dict[str, Any]:
    """What differs from what is saved of the task, as `TASKS.update` takes it. Raises ValidationError for what the version
    needs and is there no more."""
    definition = definitions.completed(version.definition)
    wrong: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for name in set(TASKS.columns) - _STAY:
        if name not in definition:
            continue
        try:
            value = _column(name, definition[name])
        except ValidationError as error:
            wrong[name] = error.messages
            continue
        if value != getattr(task, name):
            values[name] = value
    for name, rows in _parts(definition).items():
        model, key = (Task, "upstream") if name == "dependencies" else (Event, "event")
        if gone := _gone(model, [row[key] for row in rows]):
            wrong[name] = gone
        values[name] = rows
    try:
        values["secrets"] = _secrets(definition, task)
    except ValidationError as error:
        wrong["secrets"] = error.messages
    if wrong:
        raise ValidationError(wrong)
    return values


def _column(name: str, value: Any) -> Any:
    """As the column holds it: what `definitions.snapshot` wrote, read again."""
    try:
        column: Any = Task._meta.get_field(name)
    except FieldDoesNotExist:
        raise ValidationError(_("There is no %(name)s any more.") % {"name": name}) from None
    if value is None or not isinstance(column, models.ForeignKey):
        return column.to_python(value)
    row = column.remote_field.model._default_manager.filter(pk=value["id"]).first()
    if row is None:
        said = _("Its %(noun)s, %(name)s, is there no more.")
        raise ValidationError(said % {"noun": column.verbose_name, "name": value["name"]})
    return row


def _parts(definition: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Dependencies, listeners and emitters."""
    events = definition.get("events") or {}
    return {
        "dependencies": [
            {
                "upstream": row["task"]["id"],
                "scope": row["scope"],
                "offsets": row.get("offsets", ""),
                "bad_parents": row.get("do_not_wait_for", []),
                "parent_timeout": row.get("timeout_minutes"),
            }
            for row in definition.get("dependencies") or ()
        ],
        "listeners": [
            {"event": row["event"]["id"], "max_wait": row["max_wait"], "max_wait_unit": row["unit"]}
            for row in events.get("listens_to") or ()
        ],
        "emitters": [{"event": row["event"]["id"]} for row in events.get("fires") or ()],
    }


def _gone(model: type[models.Model], ids: list[int]) -> list[str]:
    """By number: they may be of projects that the user does not see. One query, none without rows."""
    there = set(model._default_manager.filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()
    said = _("Task #%(id)d is there no more.") if model is Task else _("Event #%(id)d is there no more.")
    return [said % {"id": pk} for pk in ids if pk not in there]


def _secrets(definition: Mapping[str, Any], task: Task) -> list[int]:
    names = definition.get("secrets") or []
    found = dict(
        Secret.objects.filter(project=task.workflow.project, name__in=names).values_list("name", "pk")
    )
    if missing := sorted(set(names) - set(found)):
        raise ValidationError(_("There is no secret %(names)s any more.") % {"names": ", ".join(missing)})
    return sorted(found.values())
