"""Run a task once, now: an instance for a data time outside its schedule, which waits for no parent and falsifies none.

Its edges are made and waived, so that lineage is true; nobody downstream waits for it. An instance that exists for the
data time already begins a new life instead. docs/task-operations.md
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from instances import definitions
from instances.engine import generation, hints, lifecycle, parameters
from instances.engine.dispatch import follow
from instances.engine.generation import Wanted
from instances.engine.lifecycle import Touched
from instances.engine.lives import Life
from instances.engine.schedule import is_data_time, planned_time
from instances.engine.states import InstanceType, Operation, RunType, SelfDependency, TaskStatus, refusal
from instances.engine.transactions import retried
from instances.language import listed_plainly
from instances.models import Instance, OperationItem, OperationRecord, Task
from instances.models.definition import parameter_layers
from instances.models.operation import ItemOutcome
from instances.operations.base import get
from instances.operations.options import RerunOptions
from instances.operations.parsing import OptionError, flag, moment, only, texts
from instances.task_operations import Outcome, Refused, TaskOperation, refused, why_not
from instances.task_records import Asked, image, record
from weops.projects.access import Right

# Data times by hand reach back as far as clocks do, and a year ahead.
EARLIEST = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
FURTHEST = dt.timedelta(days=366)
_SECOND = dt.timedelta(seconds=1)
_TIMES = "%Y-%m-%d %H:%M:%S %Z"


@dataclass(frozen=True)
class RunOnce(TaskOperation):
    """What to run. `data_time` (aware): default the present, to the second, or the first second after it that is no data
    time of the schedule. `parameters` override by name, for this life, and need the right to override."""

    kind = "run_task_once"
    title = gettext_noop("Run once")
    right = Right.OPERATE
    sources = (TaskStatus.SCHEDULING, TaskStatus.PAUSED)
    data_time: dt.datetime | None = None
    check_parents: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """From JSON-like values: `data_time` an ISO text with a zone. Raises OptionError."""
        only(given, ("data_time", "check_parents", "parameters"))
        return cls(
            data_time=moment(given, "data_time"),
            check_parents=flag(given, "check_parents"),
            parameters=texts(given, "parameters"),
        )

    def rights(self) -> frozenset[Right]:
        return super().rights() | ({Right.OVERRIDE} if self.parameters else frozenset())

    def life(self) -> Life:
        """What the life that it begins is told."""
        return Life(
            run_type=RunType.MANUAL_TRIGGER,
            check_parents="all" if self.check_parents else "none",
            check_previous=self.check_parents,
            ignore_events=not self.check_parents,
            parameters=dict(self.parameters),
        )

    def refusal(self, task: Task) -> str:
        project = task.workflow.project
        if not project.enabled:
            return _("Project %(project)s is disabled: it runs nothing.") % {"project": project}
        try:
            definitions.usable(task)
        except ValidationError as error:
            message = _("%(task)s can no longer be scheduled: %(why)s")
            return message % {"task": task.name, "why": " ".join(error.messages)}
        return ""


def data_time_now(task: Task, now: dt.datetime) -> dt.datetime:
    """The data time of a run of `now`: to the second, and none of the schedule's own."""
    schedule = definitions.usable(task)
    data_time = now.astimezone(dt.UTC).replace(microsecond=0)
    while is_data_time(schedule, data_time):
        data_time += _SECOND
    return data_time


def raw_parameters(task: Task) -> dict[str, str]:
    """What a life of the task that starts now would freeze, expressions and all."""
    project, workflow, _task = parameter_layers(task)
    version = task.current_version
    return parameters.merge(project, workflow, version.parameters if version else task.parameters)


def run_once(
    operation: RunOnce,
    task_id: int,
    *,
    user: User | None,
    source: str = "system",
    reason: str = "",
    now: dt.datetime | None = None,
) -> Outcome:
    """Runs the task once. Done: the record has one item, the instance. Refused: nothing was changed."""
    try:
        outcome, touched = _run(operation, task_id, Asked(user, source, reason), now or timezone.now())
    except Refused as why:
        return refused(task_id, str(why))
    hints.send(follow(touched))
    return outcome


@retried
def _run(operation: RunOnce, task_id: int, asked: Asked, now: dt.datetime) -> tuple[Outcome, Touched]:
    generation.lock()
    task = definitions.locked([task_id]).first()
    why = why_not(operation, task, asked.user)
    if task is None or why:
        raise Refused(why)
    data_time = (
        operation.data_time.replace(microsecond=0) if operation.data_time else data_time_now(task, now)
    )
    _check_parameters(operation, task, data_time, now)
    existing = (
        Instance.objects.filter(task=task, data_time=data_time, traversal="").select_related("task").first()
    )
    if existing is None:
        _check_data_time(task, data_time, now)
    noted = _note(operation, task, asked, data_time, new_life=existing is not None)
    if existing is not None:
        touched = _begin_life(operation, existing, noted)
    else:
        touched = _create(operation, task, data_time, now, noted)
    return Outcome(task.pk, task.name, noted), touched


def _note(
    operation: RunOnce, task: Task, asked: Asked, data_time: dt.datetime, *, new_life: bool
) -> OperationRecord:
    options = {
        "data_time": data_time.isoformat(),
        "check_parents": operation.check_parents,
        "parameters": dict(operation.parameters),
        "new_life": new_life,
    }
    noted = record(operation.kind, task, asked, image(task), options, total=1, done=1)
    noted.save(force_insert=True)
    return noted


def _check_parameters(operation: RunOnce, task: Task, data_time: dt.datetime, now: dt.datetime) -> None:
    """Names that the task knows, and values that can be filled in."""
    try:
        texts({"parameters": operation.parameters}, "parameters")
    except OptionError as error:
        raise Refused(str(error)) from None
    raw = raw_parameters(task)
    if unknown := sorted(set(operation.parameters) - set(raw)):
        known = listed_plainly(sorted(raw) or [_("none")])
        message = _("%(task)s has no parameter %(names)s; it has: %(known)s.")
        names = listed_plainly(unknown)
        raise Refused(message % {"task": task.name, "names": names, "known": known})
    try:
        parameters.resolve(
            {**raw, **operation.parameters},
            data_time=data_time,
            timezone=task.timezone,
            scheduled_time=now,
        )
    except parameters.ParameterError as error:
        raise Refused(str(error)) from None


def _check_data_time(task: Task, data_time: dt.datetime, now: dt.datetime) -> None:
    """A new instance must not take the place of one that the schedule is going to generate itself."""
    if not EARLIEST <= data_time <= now + FURTHEST:
        message = _("Choose a data time from %(first)s to %(last)s, not %(time)s.")
        values = {
            "first": f"{EARLIEST:{_TIMES}}",
            "last": f"{now + FURTHEST:{_TIMES}}",
            "time": f"{data_time:{_TIMES}}",
        }
        raise Refused(message % values)
    schedule = definitions.usable(task)
    if task.status != TaskStatus.SCHEDULING:
        return
    planned = planned_time(schedule, data_time)
    if planned is not None and task.generated_until is not None and planned > task.generated_until:
        message = _(
            "The schedule of %(task)s generates %(time)s itself, to run at %(planned)s. "
            "Choose another data time."
        )
        values = {"task": task.name, "time": f"{data_time:{_TIMES}}", "planned": f"{planned:{_TIMES}}"}
        raise Refused(message % values)


def _begin_life(operation: RunOnce, existing: Instance, noted: OperationRecord) -> Touched:
    if why := get(Operation.RERUN).refusal(existing, RerunOptions()):
        raise Refused(why)
    before = lifecycle.images([existing.pk], parents=True)
    changed, touched = lifecycle.rerun([existing.pk], noted.pk, operation.life())
    if existing.pk not in changed:
        raise Refused(refusal(Operation.RERUN, before[existing.pk]["state"], str(existing)))
    _note_item(noted, existing.pk, before[existing.pk])
    return touched


def _create(
    operation: RunOnce, task: Task, data_time: dt.datetime, now: dt.datetime, noted: OperationRecord
) -> Touched:
    wanted = Wanted(
        task.pk,
        definitions.usable(task),
        data_time,
        now,
        orderly=task.self_dependency == SelfDependency.ORDERLY,
        instance_type=InstanceType.NON_PERIODIC,
        run_type=RunType.MANUAL_TRIGGER,
    )
    try:
        generation.create([wanted], lives_follow=True)
    except (ValueError, KeyError) as error:
        message = _("%(task)s cannot be run for %(time)s: %(error)s")
        values = {"task": task.name, "time": f"{data_time:{_TIMES}}", "error": error}
        raise Refused(message % values) from None
    _changed, touched = lifecycle.rerun([], noted.pk, operation.life(), fresh=[wanted.instance_id])
    _note_item(noted, wanted.instance_id, None)
    return touched


def _note_item(noted: OperationRecord, instance_id: int, before: dict[str, Any] | None) -> None:
    after = lifecycle.images([instance_id])[instance_id]
    OperationItem.objects.create(
        operation=noted,
        instance_id=instance_id,
        from_state=before["state"] if before else "",
        to_state=after["state"],
        outcome=ItemOutcome.DONE,
        before=before,
        after=after,
    )
