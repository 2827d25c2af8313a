"""Operations on tasks on record: who, through which door, what, why, and the task before and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from django.contrib.auth.models import User
from django.db.models.functions import Now

from instances.models import OperationRecord, Task
from instances.models.operation import OperationState
from instances.operations.records import operator_name, storable

Source = Literal["admin", "api", "wedata", "command", "system"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, through which door, and why. `user` None is the system, which may do everything."""

    user: User | None
    source: str = "system"
    reason: str = ""


def image(task: Task) -> dict[str, Any]:
    """What operations on tasks change, JSON-safe. Costs a query if owner or version are not loaded."""
    return {
        "status": str(task.status),
        "owner": task.owner.username if task.owner else None,
        "version": task.current_version.number if task.current_version else None,
        "generated_until": task.generated_until.isoformat() if task.generated_until else None,
        "next_due_at": task.next_due_at.isoformat() if task.next_due_at else None,
    }


def record(
    kind: str,
    task: Task,
    asked: Asked,
    before: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    **columns: Any,
) -> OperationRecord:
    """The record, not saved yet, of an operation that has made `task`, whose image was `before`, what it is now.

    Its options hold the task's id and name, what differs before and after, and the operation's own `options`.
    """
    after = image(task)
    differs = [name for name, value in after.items() if before[name] != value]
    return OperationRecord(
        kind=kind,
        operator=asked.user,
        operator_name=operator_name(asked.user),
        source=asked.source,
        reason=storable(asked.reason),
        options={
            "task": task.pk,
            "name": task.name,
            **(options or {}),
            "before": {name: before[name] for name in differs},
            "after": {name: after[name] for name in differs},
        },
        **{"state": OperationState.SUCCESS, "started_at": Now(), "finished_at": Now(), **columns},
    )
