"""Operations on tasks, whatever the door: pause, resume, take offline, submit, change the owner, one task or thousands.

`apply` carries one out on a set of tasks: rights are checked task by task, each task that cannot be operated on is
refused with its reason, the others proceed, each with an operation record of its own. docs/task-operations.md

Locks: what `prepare` takes (dependencies, or generation), then the rows of the tasks in order of id.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_noop as _

from instances import definitions, operations
from instances.engine import generation, owners
from instances.engine.schedule import due
from instances.engine.states import STATUS_WORDS, Operation, TaskStatus, sources
from instances.engine.transactions import retried
from instances.language import either
from instances.models import Instance, OperationRecord, Task
from instances.models.choices import CatchUp
from instances.operations.words import rights_named
from instances.task_records import Asked, image, record
from weops.projects import access
from weops.projects.access import Right

# Tasks changed by one transaction.
BATCH = 500
# How long the door itself ends instances; a worker goes on with what is left.
KILL_SECONDS = 2.0
NAMED = 5
NO_SUCH_TASK = gettext_lazy("There is no such task.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task. Refused: `record` is None, and `message` says why."""

    task_id: int
    name: str
    record: OperationRecord | None = None
    message: str = ""

    @property
    def done(self) -> bool:
        return self.record is not None


class Refused(Exception):
    """Ends the transaction of an operation on one task; the message goes to whoever asked."""


def refused(task_id: int, message: str) -> Outcome:
    """The outcome of an operation that was refused, and so has changed nothing."""
    task = Task.objects.filter(pk=task_id).only("name").first()
    name = task.name if task and message != NO_SUCH_TASK else f"#{task_id}"
    return Outcome(task_id, name, message=message)


@dataclass(frozen=True)
class TaskOperation:
    """One kind of operation on tasks. `right` is needed in the task's project, `sources` are the statuses that allow it.

    `for_inner`: it can be done to an inner task of a For-each task, too.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    right: ClassVar[Right]
    sources: ClassVar[tuple[TaskStatus, ...]] = tuple(TaskStatus)
    for_inner: ClassVar[bool] = False

    def prepare(self) -> None:
        """Takes the locks that come before those of the tasks."""

    def rights(self) -> frozenset[Right]:
        """All rights that it needs, options included."""
        return frozenset({self.right})

    def refusal(self, task: Task) -> str:
        """Why the task, which is locked and in one of `sources`, cannot be operated on; empty if it can."""
        return ""

    def change(self, tasks: Sequence[Task], asked: Asked) -> dict[str, Any]:
        """Changes rows and objects alike; options for the record of each."""
        raise TypeError(f"{type(self).__name__} does not say how it changes tasks")

    def finish(self, task_ids: Sequence[int], options: dict[str, Any]) -> None:
        """What follows once the change is committed."""


@dataclass(frozen=True)
class _Stop(TaskOperation):
    """Ends scheduling. `kill`: its instances that have not ended are terminated, by an operation of their own."""

    target: ClassVar[TaskStatus]
    kill: bool = False

    def rights(self) -> frozenset[Right]:
        return super().rights() | ({Right.OPERATE} if self.kill else frozenset())

    def change(self, tasks: Sequence[Task], asked: Asked) -> dict[str, Any]:
        ids = [task.pk for task in tasks]
        Task.objects.filter(pk__in=ids).update(status=self.target, updated_at=timezone.now())
        for task in tasks:
            task.status = self.target
        return {"kill": _begin_kill(self.title, tasks, asked)} if self.kill else {}

    def finish(self, task_ids: Sequence[int], options: dict[str, Any]) -> None:
        if (kill := options.get("kill")) is not None:
            operations.work(kill, KILL_SECONDS)


def _begin_kill(title: str, tasks: Sequence[Task], asked: Asked) -> int | None:
    """Puts on record that all instances of the tasks that can be terminated are; the record's id, None if there are none.

    Statuses have changed by now and the rows are locked, so that nothing is generated that would not be found here.
    """
    rows = Instance.objects.filter(
        task_id__in=[task.pk for task in tasks], state__in=sources(Operation.TERMINATE)
    )
    if not rows.exists():
        return None
    named = ", ".join(task.name for task in tasks[:NAMED]) + (", ..." if len(tasks) > NAMED else "")
    why = f"{title}, killing instances: {named}. {asked.reason}".strip()
    # Only put on record here; `finish` applies it once this is committed, or a worker if that does not come to it.
    return operations.run(
        Operation.TERMINATE, rows, user=asked.user, reason=why, source=asked.source, background=True
    ).pk


class Pause(_Stop):
    """Generates nothing until it is resumed. What has been generated goes on, unless it is killed."""

    kind = "pause_task"
    title = _("Pause")
    right = Right.OPERATE
    sources = (TaskStatus.SCHEDULING,)
    target = TaskStatus.PAUSED


class TakeOffline(_Stop):
    """Ends its scheduling until it is submitted again."""

    kind = "take_task_offline"
    for_inner = True
    title = _("Take offline")
    right = Right.AUTHOR
    sources = (TaskStatus.SCHEDULING, TaskStatus.PAUSED)
    target = TaskStatus.OFFLINE


@dataclass(frozen=True)
class Resume(TaskOperation):
    """Schedules paused tasks again, from now on; or from where each stood, so that what was missed is generated.

    "Latest only" tasks get the last of what they missed. The engine generates it at its next tick.
    """

    kind = "resume_task"
    title = _("Resume")
    right = Right.OPERATE
    sources = (TaskStatus.PAUSED,)
    generate_missed: bool = False
    now: dt.datetime = field(default_factory=timezone.now)

    def refusal(self, task: Task) -> str:
        try:
            definitions.usable(task)
        except ValidationError as error:
            message = gettext("%(task)s can no longer be scheduled: %(why)s")
            return message % {"task": task.name, "why": " ".join(error.messages)}
        return ""

    def change(self, tasks: Sequence[Task], asked: Asked) -> dict[str, Any]:
        for task in tasks:
            stood = task.generated_until if self.generate_missed else None
            definitions.move_cursor(task, stood or self.now)
            task.status = TaskStatus.SCHEDULING
            task.updated_at = timezone.now()
        Task.objects.bulk_update(tasks, ["status", "generated_until", "next_due_at", "updated_at"])
        return {"generate_missed": self.generate_missed}


@dataclass(frozen=True)
class Submit(TaskOperation):
    """Makes what is saved of each task its current version, and schedules it."""

    kind = "submit_task"
    for_inner = True
    title = _("Submit")
    right = Right.AUTHOR
    now: dt.datetime = field(default_factory=timezone.now)

    def prepare(self) -> None:
        definitions.lock_dependencies()

    def refusal(self, task: Task) -> str:
        try:
            definitions.validate_whole(task)
        except ValidationError as error:
            message = gettext("%(task)s cannot be scheduled: %(why)s")
            return message % {"task": task.name, "why": " ".join(error.messages)}
        return ""

    def change(self, tasks: Sequence[Task], asked: Asked) -> dict[str, Any]:
        for task in tasks:
            definitions.enact(task, asked.user, asked.reason, self.now)
        return {}


@dataclass(frozen=True)
class ChangeOwner(TaskOperation):
    """Gives tasks, and their instances that have not ended, to another owner: one who may edit them."""

    kind = "change_task_owner"
    for_inner = True
    title = _("Change owner")
    right = Right.AUTHOR
    owner: User

    def prepare(self) -> None:
        # Whoever creates instances copies the owner: either before this, and then they are handed over, or after it.
        generation.lock()

    def refusal(self, task: Task) -> str:
        # Instances are left behind if the last change of the owner was cut short; it is then finished by this one.
        if task.owner_id == self.owner.pk and not owners.left_behind(task.pk, self.owner.pk).exists():
            message = gettext("%(task)s belongs to %(owner)s already.")
            return message % {"task": task.name, "owner": self.owner}
        if not may_own(self.owner, task.workflow.project_id):
            message = gettext(
                "%(owner)s cannot own %(task)s: an owner is an active member of project %(project)s "
                "who may edit tasks, or a superuser."
            )
            return message % {"owner": self.owner, "task": task.name, "project": task.workflow.project}
        return ""

    def change(self, tasks: Sequence[Task], asked: Asked) -> dict[str, Any]:
        ids = [task.pk for task in tasks]
        Task.objects.filter(pk__in=ids).update(owner=self.owner, updated_at=timezone.now())
        for task in tasks:
            task.owner = self.owner
        return {}

    def finish(self, task_ids: Sequence[int], options: dict[str, Any]) -> None:
        owners.hand_over(task_ids, self.owner.pk)


def may_own(owner: User, project_id: int | None) -> bool:
    """Whether `owner` may own tasks of the project: whoever owns a task must be able to mend it."""
    return Right.AUTHOR in access.rights(owner, project_id)


def apply(
    operation: TaskOperation,
    task_ids: Iterable[int],
    *,
    user: User | None,
    source: str = "system",
    reason: str = "",
) -> list[Outcome]:
    """Carries the operation out on the tasks, each once, in the given order; the outcome of each.

    Tasks are changed in short transactions of up to BATCH; a crash leaves whole batches done or not done.
    """
    asked = Asked(user, source, reason)
    ids = list(dict.fromkeys(task_ids))
    outcomes: dict[int, Outcome] = {}
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        found, options = _apply_batch(operation, batch, asked)
        outcomes |= found
        operation.finish([pk for pk, outcome in found.items() if outcome.done], options)
    return [outcomes[pk] for pk in ids]


@retried
def _apply_batch(
    operation: TaskOperation, task_ids: Sequence[int], asked: Asked
) -> tuple[dict[int, Outcome], dict[str, Any]]:
    operation.prepare()
    rows = {task.pk: task for task in definitions.locked(task_ids)}
    outcomes = {}
    chosen = []
    for pk in task_ids:
        why = why_not(operation, rows.get(pk), asked.user)
        if why:
            name = rows[pk].name if pk in rows and why != NO_SUCH_TASK else f"#{pk}"
            outcomes[pk] = Outcome(pk, name, message=why)
        else:
            chosen.append(rows[pk])
    if not chosen:
        return outcomes, {}
    before = [image(task) for task in chosen]
    options = operation.change(chosen, asked)
    made = OperationRecord.objects.bulk_create(
        record(operation.kind, task, asked, was, options) for task, was in zip(chosen, before, strict=True)
    )
    records = OperationRecord.objects.in_bulk([one.pk for one in made])
    for task, one in zip(chosen, made, strict=True):
        outcomes[task.pk] = Outcome(task.pk, task.name, records[one.pk])
    return outcomes, options


def barred(operation: TaskOperation, task: Task | None, user: User | None) -> str:
    """Why neither the rights of `user` (None: the system) nor the task's status allow the operation; empty if they do."""
    if task is None:
        return str(NO_SUCH_TASK)
    project = task.workflow.project
    if user is not None:
        held = access.rights(user, project)
        if Right.VIEW not in held:
            return str(NO_SUCH_TASK)
        if lacking := operation.rights() - held:
            message = gettext("You do not have the right to %(rights)s in project %(project)s.")
            return message % {"rights": rights_named(lacking), "project": project}
    if task.for_each is not None and not operation.for_inner:
        message = gettext("%(task)s is a task inside %(outer)s, which runs it: do this with that one.")
        return message % {"task": task.name, "outer": task.for_each.name}
    if task.status not in operation.sources:
        message = gettext("%(task)s is %(status)s: %(verb)s is allowed only for tasks that are %(allowed)s.")
        return message % {
            "task": task.name,
            "status": gettext(STATUS_WORDS[TaskStatus(task.status)]),
            "verb": gettext(operation.title).lower(),
            "allowed": either(gettext(STATUS_WORDS[status]) for status in operation.sources),
        }
    return ""


def why_not(operation: TaskOperation, task: Task | None, user: User | None) -> str:
    """Why the operation is refused, for whatever reason; empty if it is not. The task is locked."""
    if why := barred(operation, task, user):
        return why
    return operation.refusal(task) if task is not None else str(NO_SUCH_TASK)


def possible_owners(project_ids: Iterable[int]) -> QuerySet[User]:
    """Active users who may own tasks of at least one of the projects."""
    roles = [role for role, rights in access.RIGHTS.items() if Right.AUTHOR in rights]
    members = Q(memberships__project__in=list(project_ids), memberships__role__in=roles)
    return User.objects.filter(Q(is_superuser=True) | members, is_active=True).distinct()


@dataclass(frozen=True, slots=True)
class Missed:
    """How many instances a resume would generate; `more`: it stopped counting there."""

    count: int = 0
    more: bool = False


def missed(task: Task, now: dt.datetime | None = None, limit: int = 10_000) -> Missed:
    """What "generate what was missed" would generate for a paused task, counted up to `limit`."""
    if task.status != TaskStatus.PAUSED or task.generated_until is None:
        return Missed()
    try:
        schedule = definitions.usable(task)
    except ValidationError:
        return Missed()
    latest = task.catch_up == CatchUp.LATEST
    found = due(schedule, task.generated_until, now or timezone.now(), latest_only=latest)
    count = sum(1 for _ in islice(found, limit + 1))
    return Missed(min(count, limit), count > limit)
