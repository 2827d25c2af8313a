"""Rules of defining tasks, whatever the door: checking, submitting, pausing, resuming, taking offline.

A definition becomes active when it is submitted: a numbered version is made and the task is scheduled.
Nothing here touches the state of an instance. Statuses change by an UPDATE filtered by the old status.

Locks, in this order: `lock_dependencies`, then the row of the task. A caller that writes dependencies or
tasks in the transaction in which it calls `submit` takes `lock_dependencies` first.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.duration import duration_string

from instances.definition_rules import SCHEDULE_COLUMNS, faults
from instances.engine.schedule import Occurrence, Schedule, ScheduleError, next_occurrence
from instances.engine.schedule import errors as schedule_errors
from instances.engine.states import TaskStatus
from instances.models import Dependency, OperationRecord, Task, TaskVersion
from instances.models.operation import OperationState

# Key of the transaction-scoped advisory lock that every edit of dependencies takes: "weopsdep" in ASCII. Two
# edits that close a circle only together follow one another, and the second sees what the first committed.
DEPENDENCY_LOCK = int.from_bytes(b"weopsdep", "big")

Source = Literal["admin", "api", "command", "system"]

# Kept by the engine or by the row itself, so no part of what a version defines.
_KEPT = ("status", "current_version", "generated_until", "next_due_at", "updated_at")
_NOT_DEFINED = {"id", "created_at", *_KEPT}


def validate(task: Task, dependencies: Iterable[Dependency] | None = None) -> None:
    """Raises ValidationError (column of Task, or `dependencies` -> messages) unless it can be scheduled.

    `dependencies` are those the task shall have, saved or not; by default those it has. The answer about
    circles is final only in a transaction that holds `lock_dependencies`.
    """
    if dependencies is None:
        dependencies = task.dependencies.select_related("upstream") if task.pk is not None else ()
    if wrong := faults(task, dependencies):
        raise ValidationError({column: list(messages) for column, messages in wrong.items()})


def lock_dependencies() -> None:
    """Waits until no other transaction edits dependencies; held to the end of the present transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [DEPENDENCY_LOCK])


@transaction.atomic
def submit(
    task: Task,
    *,
    user: User | None,
    note: str = "",
    since: dt.datetime | None = None,
    source: Source = "system",
    now: dt.datetime | None = None,
) -> TaskVersion:
    """Makes what is saved of `task` its current version (a new one if anything differs) and schedules it.

    What is planned after `since` (exclusive) will be generated. Without `since` a task that was not scheduled
    starts now, and one that was goes on where it stands. Raises ValidationError, and Task.DoesNotExist for a
    deleted task. `task` is brought up to date with what the engine keeps.
    """
    now = now or timezone.now()
    lock_dependencies()
    row = _locked(task)
    validate(row)
    version = _version_of(row, user, note)
    begins = since or _goes_on_from(row, now)
    row.current_version = version
    row.status = TaskStatus.SCHEDULING
    _move_cursor(row, begins)
    row.save(update_fields=["current_version", "status", "generated_until", "next_due_at", "updated_at"])
    _record("submit_task", row, user, source, note, {"version": version.number})
    _refresh(task)
    return version


def pause(task: Task, user: User | None, *, source: Source = "system", reason: str = "") -> bool:
    """Generates nothing until it is resumed. False: it was not scheduling, nothing is changed."""
    return _set_status(task, [TaskStatus.SCHEDULING], TaskStatus.PAUSED, "pause_task", user, source, reason)


def take_offline(task: Task, user: User | None, *, source: Source = "system", reason: str = "") -> bool:
    """Ends its scheduling until it is submitted again. False: it is offline already."""
    active = [TaskStatus.SCHEDULING, TaskStatus.PAUSED]
    return _set_status(task, active, TaskStatus.OFFLINE, "take_task_offline", user, source, reason)


@transaction.atomic
def resume(
    task: Task,
    user: User | None,
    *,
    source: Source = "system",
    reason: str = "",
    now: dt.datetime | None = None,
) -> bool:
    """Schedules a paused task again from now on: what was planned during the pause is not generated.

    False: it was not paused. Raises ValidationError if its schedule can no longer be used.
    """
    row = _locked(task)
    _move_cursor(row, now or timezone.now())
    cursor = {"generated_until": row.generated_until, "next_due_at": row.next_due_at}
    return _set_status(
        task, [TaskStatus.PAUSED], TaskStatus.SCHEDULING, "resume_task", user, source, reason, **cursor
    )


def preview(task: Task, count: int = 10, after: dt.datetime | None = None) -> list[Occurrence]:
    """The next `count` runs planned after `after` (default now), fewer if the schedule ends.

    The task need not be saved. Raises ValidationError if its schedule cannot be used.
    """
    moment = after or timezone.now()
    found: list[Occurrence] = []
    schedule = _usable(task)
    while len(found) < count:
        occurrence = next_occurrence(schedule, moment)
        if occurrence is None:
            break
        found.append(occurrence)
        moment = occurrence.planned_time
    return found


def snapshot(task: Task) -> dict[str, Any]:
    """The whole definition, JSON-safe: columns, what it waits for, names (never values) of its secrets.

    Times are ISO texts, durations as `duration_string` writes them; a foreign key is {"id", "name"} or None.
    """
    definition = {
        field.name: _plain(getattr(task, field.name))
        for field in task._meta.concrete_fields
        if field.name not in _NOT_DEFINED
    }
    definition["secrets"] = sorted(task.secrets.values_list("name", flat=True))
    definition["dependencies"] = [
        {"task": _plain(row.upstream), "scope": row.scope}
        for row in task.dependencies.select_related("upstream").order_by("id")
    ]
    return definition


def _plain(value: Any) -> Any:
    if isinstance(value, models.Model):
        return {"id": value.pk, "name": str(value)}
    if isinstance(value, dt.timedelta):
        return duration_string(value)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, dt.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _locked(task: Task) -> Task:
    """The row as it is saved, locked against other edits; instances of it may still be inserted."""
    rows = Task.objects.select_for_update(of=("self",), no_key=True)
    return rows.select_related("workflow__project", "calendar", "data_source", "folder").get(pk=task.pk)


def _version_of(row: Task, user: User | None, note: str) -> TaskVersion:
    """The current version if it defines the same, else the next one. The task's row must be locked."""
    definition = snapshot(row)
    current = row.current_version
    if current is not None and current.definition == definition:
        return current
    latest = row.versions.aggregate(latest=Max("number"))["latest"] or 0
    return TaskVersion.objects.create(
        task=row,
        number=latest + 1,
        task_type=row.task_type,
        code=row.code,
        parameters=row.parameters,
        definition=definition,
        note=note,
        created_by=user,
    )


def _goes_on_from(row: Task, now: dt.datetime) -> dt.datetime:
    """Where a submitted task goes on: what the old schedule still owes is left to the new one."""
    owes = row.next_due_at is not None and row.next_due_at <= now
    if row.status == TaskStatus.SCHEDULING and owes and row.generated_until is not None:
        return row.generated_until
    return now


def _move_cursor(row: Task, begins: dt.datetime) -> None:
    following = next_occurrence(_usable(row), begins)
    row.generated_until = begins
    row.next_due_at = following.planned_time if following else None


def _usable(task: Task) -> Schedule:
    try:
        schedule = task.schedule()
        for error in schedule_errors(schedule):
            raise error
    except ScheduleError as error:
        column = SCHEDULE_COLUMNS.get(error.field, error.field)
        raise ValidationError({column: [error.message]}) from error
    return schedule


@transaction.atomic
def _set_status(
    task: Task,
    sources: Sequence[TaskStatus],
    target: TaskStatus,
    kind: str,
    user: User | None,
    source: Source,
    reason: str,
    **columns: Any,
) -> bool:
    changed = Task.objects.filter(pk=task.pk, status__in=sources).update(
        status=target, updated_at=timezone.now(), **columns
    )
    if changed:
        _record(kind, task, user, source, reason, {})
    _refresh(task)
    return bool(changed)


def _record(
    kind: str, task: Task, user: User | None, source: Source, reason: str, options: Mapping[str, Any]
) -> None:
    OperationRecord.objects.create(
        kind=kind,
        operator=user,
        source=source,
        reason=reason,
        options={"task": task.pk, "name": task.name, **options},
        state=OperationState.SUCCESS,
        finished_at=Now(),
    )


def _refresh(task: Task) -> None:
    task.refresh_from_db(fields=_KEPT)
