"""Test runs: code as it stands in the editor, or a version of it, run once for a data time of one's choice.

It is a real run by a worker, in a slot of the task's group, that changes nothing for anybody: no schedule, no dependency, no
event, no alarm, no figure knows of it. The rule is docs/adr/0025-test-runs.md; in code a test run is called a trial.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from instances import definitions, inner_tasks
from instances.definition_rules import faults
from instances.engine import hints, lifecycle, parameters, snapshot
from instances.engine.dispatch import follow
from instances.engine.lifecycle import Touched
from instances.engine.states import FINAL, InstanceType
from instances.engine.transactions import retried
from instances.models import Instance, OperationItem, Task, TaskVersion
from instances.models.definition import parameter_layers
from instances.models.operation import ItemOutcome
from instances.operations import parsing
from instances.run_once import EARLIEST, FURTHEST
from instances.task_operations import Outcome, Refused, TaskOperation, refused, why_not
from instances.task_records import Asked, image, record
from weops.projects.access import Right

# Of one task at once.
MOST_AT_ONCE = 5
# Their work is done by other tasks, or there is none.
_NOT_TESTED = {inner_tasks.FOR_EACH, "VIRTUAL"}
_COLUMNS = ("task_type", "code", "settings", "parameters", "outputs")
_TIMES = "%Y-%m-%d %H:%M:%S %Z"


@dataclass(frozen=True)
class Edited:
    """What of a task a test run takes as it stands in the editor; all else is the task's, as it is saved."""

    task_type: str
    code: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task | TaskVersion) -> Self:
        """As a task is saved, or as a version has it."""
        if isinstance(task, Task):
            return cls(task.task_type, task.code, task.settings, task.parameters, tuple(task.outputs))
        given = task.definition
        return cls(
            task.task_type,
            task.code,
            given.get("settings") or {},
            task.parameters,
            tuple(given.get("outputs") or ()),
        )

    def put_on(self, task: Task) -> None:
        """Makes an unsaved change of the task."""
        task.task_type, task.code = self.task_type, self.code
        task.settings, task.parameters = dict(self.settings), dict(self.parameters)
        task.outputs = list(self.outputs)

    def faults(self, task: Task, reader: User | None) -> dict[str, list[str]]:
        """Column -> what is wrong with it, as of the task (which is left changed)."""
        self.put_on(task)
        found = faults(task, task.dependencies.select_related("upstream"), reader)
        return {column: found[column] for column in (*_COLUMNS, "data_source", "secrets") if column in found}


@dataclass(frozen=True)
class TrialRun(TaskOperation):
    """What to run: `edited`, or the submitted version `number`; by default what is saved. `data_time` (aware): default that of
    the latest instance, or the present. `parameters` override by name, and may add names."""

    kind = "test_task"
    title = gettext_noop("Test run")
    right = Right.AUTHOR
    for_inner = True
    edited: Edited | None = None
    number: int | None = None
    data_time: dt.datetime | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)

    def rights(self) -> frozenset[Right]:
        return frozenset({Right.AUTHOR, Right.OPERATE})

    def refusal(self, task: Task) -> str:
        project = task.workflow.project
        if not project.enabled:
            return _("Project %(project)s is disabled: it runs nothing.") % {"project": project}
        running = Instance.objects.filter(task=task, instance_type=InstanceType.TEST).exclude(state__in=FINAL)
        if running.count() >= MOST_AT_ONCE:
            message = _("%(number)d test runs of %(task)s are on: wait for them, or terminate one.")
            return message % {"number": MOST_AT_ONCE, "task": task.name}
        return ""


def default_data_time(task: Task, now: dt.datetime) -> dt.datetime:
    """That of its latest instance, so that data is there; the present if there is none."""
    rows = Instance.objects.filter(task=task, traversal="", data_time__lte=now).order_by("-data_time")
    latest = rows.values_list("data_time", flat=True).first()
    return latest or now.astimezone(dt.UTC).replace(microsecond=0)


def raw_parameters(task: Task, edited: Edited) -> dict[str, str]:
    """What a test run would freeze, expressions and all. Names that a real run gets from elsewhere (outputs of upstream
    tasks, the item of a traversal) are there, empty."""
    project, workflow, _own = parameter_layers(task)
    given = dict.fromkeys(_from_elsewhere(task), "")
    return {**given, **parameters.merge(project, workflow, dict(edited.parameters))}


def _from_elsewhere(task: Task) -> list[str]:
    if task.for_each_id is not None:
        return [inner_tasks.ITEM, inner_tasks.INDEX]
    names = task.dependencies.exclude(upstream__outputs=[]).values_list("upstream__outputs", flat=True)
    return sorted({name for outputs in names for name in outputs})


def start(
    operation: TrialRun,
    task_id: int,
    *,
    user: User | None,
    source: str = "system",
    reason: str = "",
    now: dt.datetime | None = None,
) -> Outcome:
    """Starts the test run. Done: the record has one item, the instance. Refused: nothing was changed."""
    try:
        outcome, touched = _start(operation, task_id, Asked(user, source, reason), now or timezone.now())
    except Refused as why:
        return refused(task_id, str(why))
    hints.send(follow(touched))
    return outcome


@retried
def _start(operation: TrialRun, task_id: int, asked: Asked, now: dt.datetime) -> tuple[Outcome, Touched]:
    task = definitions.locked([task_id]).first()
    why = why_not(operation, task, asked.user)
    if task is None or why:
        raise Refused(why)
    before = image(task)
    data_time = operation.data_time or default_data_time(task, now)
    if not EARLIEST <= data_time <= now + FURTHEST:
        message = _("Choose a data time from %(first)s to %(last)s, not %(given)s.")
        first, last, given = (f"{one:{_TIMES}}" for one in (EARLIEST, now + FURTHEST, data_time))
        raise Refused(message % {"first": first, "last": last, "given": given})
    version = _version(operation, task, asked)
    if version.task_type in _NOT_TESTED:
        message = _("A task of type %(type)s has no test run: it runs nothing by itself.")
        raise Refused(message % {"type": version.get_task_type_display()})
    _check_parameters(operation, task, version, data_time, now)
    if version.pk is None:
        version.save()
    options = {
        "version": version.number,
        "data_time": data_time.isoformat(),
        "parameters": dict(operation.parameters),
    }
    noted = record(operation.kind, task, asked, before, options, total=1, done=1)
    noted.save(force_insert=True)
    longest = settings.WEOPS_TEST_RUN_SECONDS
    instance_id, touched = lifecycle.begin_trial(version.pk, data_time, operation.parameters, longest)
    after = lifecycle.images([instance_id])[instance_id]
    OperationItem.objects.create(
        operation=noted,
        instance_id=instance_id,
        from_state="",
        to_state=after["state"],
        outcome=ItemOutcome.DONE,
        before=None,
        after=after,
    )
    return Outcome(task.pk, task.name, noted), touched


def _version(operation: TrialRun, task: Task, asked: Asked) -> TaskVersion:
    """The submitted one, or an unsaved one without a number."""
    if operation.number is not None:
        found = task.versions.filter(number=operation.number).first()
        if found is None:
            message = _("%(task)s has no version %(number)d.")
            raise Refused(message % {"task": task.name, "number": operation.number})
        return found
    edited = operation.edited or Edited.of(task)
    if wrong := edited.faults(task, asked.user):
        message = _("%(task)s cannot be run as it is: %(why)s")
        why = " ".join(line for lines in wrong.values() for line in lines)
        raise Refused(message % {"task": task.name, "why": why})
    return TaskVersion(
        task=task,
        number=None,
        task_type=task.task_type,
        code=task.code,
        parameters=task.parameters,
        definition=definitions.snapshot(task),
        created_by=asked.user,
    )


def _check_parameters(
    operation: TrialRun, task: Task, version: TaskVersion, data_time: dt.datetime, now: dt.datetime
) -> None:
    """Everything can be filled in, so that it does not fail before it runs."""
    project, workflow, _own = parameter_layers(task)
    known = parameters.merge(project, workflow, version.parameters)
    try:
        given = parsing.texts({"parameters": operation.parameters}, "parameters")
        for name in sorted(set(given) - set(known)):
            parameters.check_name(name)
        snapshot.render(version, {**known, **given}, data_time, now)
    except (parsing.OptionError, parameters.ParameterError) as error:
        raise Refused(str(error)) from None


def check_shape(given: Any) -> Edited:
    """What a browser or a program sent. Raises ValidationError."""
    if not isinstance(given, Mapping) or set(given) != set(_COLUMNS):
        raise ValidationError(_("Write an object of %(names)s.") % {"names": ", ".join(_COLUMNS)})
    kind, code, chosen, values, outputs = (given[name] for name in _COLUMNS)
    shaped = isinstance(chosen, Mapping) and isinstance(values, Mapping) and isinstance(outputs, list)
    if (
        not shaped
        or not all(isinstance(one, str) for one in (kind, code, *outputs, *values.values()))
        or not _storable(given)
    ):
        raise ValidationError(_("Write an object of %(names)s.") % {"names": ", ".join(_COLUMNS)})
    return Edited(kind, code, chosen, values, tuple(outputs))


def _storable(given: Any) -> bool:
    """Whether the database can hold every text in it, however deep."""
    left = [given]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            left += one
        elif isinstance(one, str) and not parsing.storable(one):
            return False
    return True
