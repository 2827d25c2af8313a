"""Rules of defining tasks, whatever the door: checking and submitting. `task_operations` has the rest of a task's life.

A definition becomes active when it is submitted: a numbered version is made and the task is scheduled.
Nothing here touches an instance.

Locks, in this order: `lock_dependencies`, then the row of the task. A caller that writes dependencies or
tasks in the transaction in which it calls `submit` takes `lock_dependencies` first.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models import Max, QuerySet
from django.utils import timezone
from django.utils.duration import duration_string

from instances import inner_tasks
from instances.definition_rules import SCHEDULE_COLUMNS, faults, whole_faults
from instances.engine.schedule import Occurrence, Schedule, ScheduleError, next_occurrence
from instances.engine.schedule import errors as schedule_errors
from instances.engine.states import TaskStatus
from instances.models import Dependency, Task, TaskVersion
from instances.task_records import Asked, Source, image, record

# Key of the transaction-scoped advisory lock that every edit of dependencies takes: "weopsdep" in ASCII. Two
# edits that close a circle only together follow one another, and the second sees what the first committed.
DEPENDENCY_LOCK = int.from_bytes(b"weopsdep", "big")

# Kept by the engine or by the row itself, so no part of what a version defines.
_KEPT = ("status", "current_version", "generated_until", "next_due_at", "updated_at")
_NOT_DEFINED = {"id", "created_at", *_KEPT}
# Columns that came later: as they are by default, versions say nothing of them, so that older ones still say the same.
_BY_DEFAULT: dict[str, Any] = {
    "trigger_policy": "ALL_SUCCESS",
    "upstream_failure": "wait",
    "allow_downstream": True,
    "outputs": [],
    **dict.fromkeys(Task.LIMITS),
}
# On record in each version, but who owns a task, and that it could not be generated, changes nothing of what runs.
_NO_NEW_VERSION = {"owner", "generation_error"}


def validate(
    task: Task, dependencies: Iterable[Dependency] | None = None, *, reader: User | None = None
) -> None:
    """Raises ValidationError (column of Task, or `dependencies` -> messages) unless it can be scheduled.

    `dependencies` are those the task shall have, saved or not; by default those it has. The answer about
    circles is final only in a transaction that holds `lock_dependencies`. `reader`: as in `faults`.
    """
    if dependencies is None:
        saved = task.pk is not None
        dependencies = task.dependencies.select_related("upstream__workflow") if saved else ()
    if wrong := faults(task, dependencies, reader):
        raise ValidationError({column: list(messages) for column, messages in wrong.items()})


def validate_whole(task: Task, *, reader: User | None = None) -> None:
    """The same of all that a submit of the saved `task` needs: its inner tasks, the tasks that a branch chooses from."""
    validate(task, reader=reader)
    if wrong := whole_faults(task):
        raise ValidationError(wrong)


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
    lock_dependencies()
    row = locked([task.pk]).get()
    validate_whole(row, reader=user)
    before = image(row)
    version = enact(row, user, note, now or timezone.now(), since)
    asked = Asked(user, source, note)
    record("submit_task", row, asked, before, {"version": version.number}).save(force_insert=True)
    task.refresh_from_db(fields=_KEPT)
    return version


def enact(
    row: Task, user: User | None, note: str, now: dt.datetime, since: dt.datetime | None = None
) -> TaskVersion:
    """The change that `submit` makes, without its record: `row` is valid and `locked`. Inner tasks are submitted with theirs."""
    if row.task_type == inner_tasks.FOR_EACH:
        for inner in locked([inner.pk for inner in inner_tasks.members(row)]):
            enact(inner, user, note, now)
    version = _version_of(row, user, note)
    begins = since or _goes_on_from(row, now)
    row.current_version = version
    row.status = TaskStatus.SCHEDULING
    if row.for_each_id is None:
        move_cursor(row, begins)
    row.save(update_fields=["current_version", "status", "generated_until", "next_due_at", "updated_at"])
    return version


def locked(task_ids: Sequence[int]) -> QuerySet[Task]:
    """The rows in order of id, locked against other edits once read; instances of them may still be inserted."""
    rows = Task.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=task_ids).order_by("pk")
    return rows.select_related(
        "workflow__project", "calendar", "data_source", "folder", "owner", "current_version", "for_each"
    )


def preview(task: Task, count: int = 10, after: dt.datetime | None = None) -> list[Occurrence]:
    """The next `count` runs planned after `after` (default now), fewer if the schedule ends.

    The task need not be saved. Raises ValidationError if its schedule cannot be used.
    """
    moment = after or timezone.now()
    found: list[Occurrence] = []
    schedule = usable(task)
    while len(found) < count:
        occurrence = next_occurrence(schedule, moment)
        if occurrence is None:
            break
        found.append(occurrence)
        moment = occurrence.planned_time
    return found


def snapshot(task: Task) -> dict[str, Any]:
    """The whole definition, JSON-safe: columns, what it waits for, events, names (never values) of its secrets.

    Times are ISO texts, durations as `duration_string` writes them; a foreign key is {"id", "name"} or None.
    """
    definition = {
        field.name: _plain(getattr(task, field.name))
        for field in task._meta.concrete_fields
        if field.name not in _NOT_DEFINED
    }
    for name, usual in _BY_DEFAULT.items():
        if definition[name] == usual:
            del definition[name]
    definition["secrets"] = sorted(task.secrets.values_list("name", flat=True))
    definition["dependencies"] = [
        {
            "task": _plain(row.upstream),
            "scope": row.scope,
            **({"offsets": row.offsets} if row.offsets else {}),
            **({"do_not_wait_for": sorted(row.bad_parents)} if row.bad_parents else {}),
            **({"timeout_minutes": row.parent_timeout} if row.parent_timeout else {}),
        }
        for row in task.dependencies.select_related("upstream").order_by("id")
    ]
    # Only where there are any: versions from before there were inner tasks, or events, say nothing of them.
    if task.for_each_id is None:
        del definition["for_each"]
    if inner := inner_tasks.described(task):
        definition["inner"] = inner
    if events := _events(task):
        definition["events"] = events
    return definition


def completed(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A version's definition with the columns that came later, which it says nothing of."""
    return {**_BY_DEFAULT, **definition}


def _events(task: Task) -> dict[str, Any]:
    """What the task listens to, and what its success fires; empty if nothing."""
    listens = [
        {"event": _plain(row.event), "max_wait": row.max_wait, "unit": row.max_wait_unit}
        for row in task.listeners.select_related("event").order_by("id")
    ]
    fires = [{"event": _plain(row.event)} for row in task.emitters.select_related("event").order_by("id")]
    return {"listens_to": listens, "fires": fires} if listens or fires else {}


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


def _version_of(row: Task, user: User | None, note: str) -> TaskVersion:
    """The current version if it defines the same, else the next one. The task's row must be locked."""
    definition = snapshot(row)
    current = row.current_version
    if current is not None and _essence(current.definition) == _essence(definition):
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


def drifted(task: Task) -> bool:
    """Whether what is saved of the task is not what its current version defines; False if it was never submitted."""
    version = task.current_version
    return version is not None and _essence(version.definition) != _essence(snapshot(task))


def _essence(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in definition.items() if name not in _NO_NEW_VERSION}


def _goes_on_from(row: Task, now: dt.datetime) -> dt.datetime:
    """Where a submitted task goes on: what the old schedule still owes is left to the new one."""
    owes = row.next_due_at is not None and row.next_due_at <= now
    if row.status == TaskStatus.SCHEDULING and owes and row.generated_until is not None:
        return row.generated_until
    return now


def move_cursor(row: Task, begins: dt.datetime) -> None:
    """What is planned after `begins` is to be generated; `row` is not saved. Raises ValidationError as `usable` does."""
    following = next_occurrence(usable(row), begins)
    row.generated_until = begins
    row.next_due_at = following.planned_time if following else None


def usable(task: Task) -> Schedule:
    """The task's schedule. Raises ValidationError (column -> messages) if it cannot be used."""
    try:
        schedule = task.schedule()
        for error in schedule_errors(schedule):
            raise error
    except ScheduleError as error:
        column = SCHEDULE_COLUMNS.get(error.field, error.field)
        raise ValidationError({column: [error.message]}) from error
    return schedule
