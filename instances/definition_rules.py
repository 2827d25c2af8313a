"""What makes a task unusable, column by column, in words that say what to write instead. Only reads."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from django.utils.translation import gettext as _

from instances import inner_tasks
from instances.engine import branching, parameters, schedule
from instances.engine import dependencies as scopes
from instances.engine.schedule import Cycle, ScheduleError
from instances.engine.states import TaskStatus
from instances.engine.trigger_policies import CHOICES, BadParent
from instances.language import listed, listed_plainly
from instances.models import Dependency, Task
from instances.models.definition import parameter_layers
from instances.runners import branch, registry, settings_schema
from instances.runners.branch import BranchRunner
from instances.runners.settings_schema import of_setting, setting_of
from weops.projects import access
from weops.projects.access import Right

# Fields of a Schedule that have another name as a column of Task.
SCHEDULE_COLUMNS = {"cycle": "cycle_type", "calendar_dates": "calendar"}
# Bytes of a task's code: each version keeps it, and each execution as it ran.
MOST_CODE = 1024 * 1024
# Tasks that a message names.
MOST_NAMED = 5
_LAYERS = ("project", "workflow", "task")
_INNER_LAYERS = ("project", "workflow", "for-each", "task")
_SAMPLE = datetime(2000, 6, 15, tzinfo=UTC)
_NO_TIME = timedelta(0)

Faults = dict[str, list[str]]
Fault = tuple[str, str]


def faults(task: Task, dependencies: Iterable[Dependency], reader: User | None = None) -> Faults:
    """Everything that is wrong: column of Task (or `dependencies`) -> messages. Empty if it can be scheduled.

    `dependencies` are the task's own, saved or not. A task that was never saved has no secrets to check yet. Tasks of other
    projects are named only to a `reader` who sees them; others are told their numbers.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    try:
        task.clean_fields()
    except ValidationError as error:
        found.update(error.message_dict)
    if "workflow" in found or "cycle_type" in found:
        return dict(found)
    dependencies = list(dependencies)
    checks: list[Callable[[Task], Iterator[Fault]]] = [
        *_CHECKS,
        partial(_dependents, reader=reader),
        partial(_parameters, dependencies=dependencies),
    ]
    for check in checks:
        for column, message in check(task):
            # A column that is malformed already needs no second opinion.
            if message not in found[column]:
                found[column].append(message)
    found["dependencies"] += dependency_faults(task, dependencies, reader)
    return {column: messages for column, messages in found.items() if messages}


def _name(other: Task, task: Task, reader: User | None) -> str:
    """How a message about `task` calls another one."""
    project_id = other.workflow.project_id
    seen = reader is not None and Right.VIEW in access.rights(reader, project_id)
    if seen or project_id == task.workflow.project_id:
        return other.name
    return _("Task #%(id)d of another project") % {"id": other.pk}


def dependency_faults(task: Task, dependencies: list[Dependency], reader: User | None = None) -> list[str]:
    """What is wrong with what `task` waits for: a scope that cycles do not have, offsets, a pair twice, a circle."""
    wrong = list(inner_tasks.dependency_faults(task, dependencies))
    seen: set[int] = set()
    for dependency in dependencies:
        upstream = dependency.upstream
        if upstream.pk == task.pk and task.pk is not None:
            message = _(
                "%(task)s cannot wait for itself; for its previous period choose self-dependency orderly."
            )
            wrong.append(message % {"task": task.name})
            continue
        if upstream.pk in seen:
            message = _("%(task)s is listed twice; keep one line, with the scope that covers both.")
            wrong.append(message % {"task": _name(upstream, task, reader)})
        seen.add(upstream.pk)
        if not upstream.allow_downstream and task.for_each_id is None:
            message = _(
                "%(task)s does not allow other tasks to depend on it; "
                "ask its owner to switch that on, or remove the line."
            )
            wrong.append(message % {"task": _name(upstream, task, reader)})
        problems = (
            _scope_problem(dependency, task, upstream),
            bad_parent_problem(dependency.bad_parents, dependency.parent_timeout),
        )
        wrong += [f"{_name(upstream, task, reader)}: {problem}" for problem in problems if problem]
    if task.pk is not None:
        wrong += _circles(task, seen - {task.pk}, reader)
    return wrong


def bad_parent_problem(chosen: Collection[str], minutes: int | None) -> str:
    """What is wrong with the bad parents of a dependency; '' if nothing is."""
    if unknown := sorted(set(chosen) - {one.value for one in CHOICES}):
        return _("choose among %(known)s, not %(given)s.") % {
            "known": listed_plainly(CHOICES),
            "given": listed_plainly(unknown),
        }
    if BadParent.PARENT_TIMEOUT in chosen and not minutes:
        return _("say after how many minutes PARENT_TIMEOUT counts.")
    if BadParent.PARENT_TIMEOUT not in chosen and minutes is not None:
        message = _("%(count)s minutes count only with PARENT_TIMEOUT; choose it, or clear the minutes.")
        return message % {"count": minutes}
    return ""


def _scope_problem(dependency: Dependency, task: Task, upstream: Task) -> str:
    cycles = Cycle(task.cycle_type), Cycle(upstream.cycle_type)
    return scopes.problem(dependency.scope, *cycles, dependency.offsets)


def _circles(task: Task, upstreams: set[int], reader: User | None) -> Iterator[str]:
    """A circle that the task's own rows close; all other rows are read in one query."""
    waits: defaultdict[int, set[int]] = defaultdict(set)
    for downstream, upstream in Dependency.objects.exclude(task=task).values_list("task_id", "upstream_id"):
        waits[downstream].add(upstream)
    waits[task.pk] = upstreams
    circle = scopes.find_cycle(waits, start=task.pk)
    if circle:
        names = Task.objects.select_related("workflow").in_bulk(circle)
        path = " -> ".join(_name(names[pk], task, reader) if pk in names else task.name for pk in circle)
        message = _(
            "These tasks would wait for one another in a circle: %(path)s. Remove one of these dependencies."
        )
        yield message % {"path": path}


def _code(task: Task) -> Iterator[Fault]:
    size = len(task.code.encode())
    if size > MOST_CODE:
        message = _(
            "The code has %(size)s bytes; %(most)s are the most. Keep large data in files, and let the code read them."
        )
        yield "code", message % {"size": f"{size:,}", "most": f"{MOST_CODE:,}"}


def _schedule(task: Task) -> Iterator[Fault]:
    try:
        wrong = schedule.errors(task.schedule())
    except ScheduleError as error:
        wrong = [error]
    for fault in wrong:
        yield SCHEDULE_COLUMNS.get(fault.field, fault.field), fault.message
    if task.calendar is not None and not task.calendar_mode:
        yield "calendar_mode", _("Choose what the calendar does: run only on its dates, or skip them.")
    if task.calendar is None and task.calendar_mode:
        yield "calendar", _("Choose the calendar whose dates count, or clear the calendar mode.")


def _dependents(task: Task, reader: User | None) -> Iterator[Fault]:
    """Tasks that wait for this one in a way that its cycle no longer offers; those offline are checked at their submit."""
    if task.pk is None:
        return
    waiting = Dependency.objects.filter(upstream_id=task.pk).exclude(scope="")
    waiting = (
        waiting.exclude(task__status=TaskStatus.OFFLINE)
        .select_related("task__workflow")
        .order_by("task__name", "pk")
    )
    broken = [row for row in waiting if _scope_problem(row, row.task, task)]
    if broken:
        named = listed_plainly(
            f"{_name(row.task, task, reader)} ({row.task.cycle_type}, {row.scope})"
            for row in broken[:MOST_NAMED]
        )
        if len(broken) > MOST_NAMED:
            more = len(broken) - MOST_NAMED
            named = _("%(names)s and %(count)s more") % {"names": named, "count": more}
        message = _(
            "These tasks wait for this one with a scope that they cannot have on %(cycle)s: %(names)s. "
            "Choose another scope there first, such as the default."
        )
        yield "cycle_type", message % {"cycle": task.cycle_type, "names": named}


def _durations(task: Task) -> Iterator[Fault]:
    if task.retry_wait is not None and task.retry_wait < _NO_TIME:
        yield "retry_wait", _("The wait between two tries cannot be negative; write 00:00:00 or more.")
    for column in ("run_timeout", "wait_timeout"):
        value = getattr(task, column)
        if value is not None and value <= _NO_TIME:
            yield column, _("A timeout must be longer than zero; clear it for no timeout.")


def _belongings(task: Task) -> Iterator[Fault]:
    project = task.workflow.project
    for column in ("folder", "data_source"):
        thing = getattr(task, column)
        if thing is not None and thing.project_id != project.pk:
            message = _("%(thing)s belongs to another project; choose one of %(project)s.")
            yield column, message % {"thing": thing, "project": project}
    calendar = task.calendar
    if calendar is not None and calendar.project_id not in (None, project.pk):
        message = _("%(thing)s belongs to another project; choose one of %(project)s, or a common one.")
        yield "calendar", message % {"thing": calendar, "project": project}
    if task.pk is not None:
        foreign = task.secrets.exclude(project=project).order_by("name").values_list("name", flat=True)
        for name in foreign:
            message = _("%(thing)s belongs to another project; choose secrets of %(project)s.")
            yield "secrets", message % {"thing": name, "project": project}


def _runner(task: Task) -> Iterator[Fault]:
    try:
        runner = registry.get(task.task_type)
    except registry.UnknownTaskType as error:
        yield "task_type", str(error)
        return
    if runner.data_source and task.data_source is None:
        message = _("A %(type)s task runs on a data source; choose one of the project.")
        yield "data_source", message % {"type": _(runner.label)}
    if not runner.data_source and task.data_source is not None:
        users = listed(_(known.label) for known in registry.runners() if known.data_source)
        message = _("Only %(types)s tasks use a data source; clear it, and give the task a secret instead.")
        yield "data_source", message % {"types": users}
    if not isinstance(task.settings, Mapping):
        yield "settings", _('Write an object, such as {"key": "value"}.')
        return
    for message in registry.check(task.task_type, task.settings, task.code):
        yield ("code" if setting_of(message) is None else "settings"), message


def _inner(task: Task) -> Iterator[Fault]:
    yield from inner_tasks.faults(task)


def whole_faults(task: Task) -> Faults:
    """What a draft may still lack, and a submitted task not: inner tasks of a For-each task, downstream tasks of a branch."""
    return {**_branch_faults(task), **_inner_faults(task)}


def _branch_faults(task: Task) -> Faults:
    """A branch chooses among tasks that wait for it."""
    if task.task_type != BranchRunner.type:
        return {}
    try:
        branching.ids_of(task.pk, branch.named(task.settings))
    except branching.UnknownTasks as error:
        problem = _("%(error)s; a new branch is saved as a draft first.") % {"error": error}
        return {"settings": [of_setting("branches", problem)]}
    return {}


def _inner_faults(task: Task) -> Faults:
    """What is wrong with the inner tasks that a submit of `task` would submit with it."""
    if task.task_type != inner_tasks.FOR_EACH:
        return {}
    inner = list(inner_tasks.members(task).select_related("workflow__project", "for_each"))
    wrong = [
        _("%(task)s, %(column)s: %(messages)s")
        % {"task": one.name, "column": column_name(column), "messages": " ".join(messages)}
        for one in inner
        for found in (faults(one, one.dependencies.select_related("upstream")), _branch_faults(one))
        for column, messages in found.items()
    ]
    if not inner:
        wrong = [_("A For-each task runs inner tasks: save it as a draft, then add one.")]
    return {"inner_tasks": wrong} if wrong else {}


def column_name(column: str) -> str:
    """A column of Task as its page calls it."""
    try:
        known = Task._meta.get_field(column)
    except FieldDoesNotExist:
        known = None
    return str(known.verbose_name) if isinstance(known, models.Field) else _(column.replace("_", " "))


# Types whose runs can set output parameters.
WITH_OUTPUTS = ("SHELL", "PYTHON")


def _outputs(task: Task) -> Iterator[Fault]:
    if task.outputs and task.task_type not in WITH_OUTPUTS:
        yield "outputs", _("Only Shell and Python tasks can set output parameters; clear them.")
    for name in task.outputs:
        try:
            parameters.check_name(name)
        except parameters.ParameterError as error:
            yield "outputs", str(error)
    if len(set(task.outputs)) < len(task.outputs):
        yield "outputs", _("A name is listed twice; keep one.")


def _parameters(task: Task, dependencies: Iterable[Dependency]) -> Iterator[Fault]:
    layers = parameter_layers(task)
    given = {name: "" for dependency in dependencies for name in dependency.upstream.outputs}
    if given and isinstance(layers[1], Mapping):
        # Stronger than the workflow's, weaker than the task's own.
        layers[1] = layers[1] | given
    if task.for_each is not None:
        layers = [
            *layers[:2],
            task.for_each.parameters | dict.fromkeys((inner_tasks.ITEM, inner_tasks.INDEX), ""),
            layers[2],
        ]
    if not all(isinstance(layer, Mapping) for layer in layers):
        return
    merged: dict[str, Any] = parameters.merge(*layers)
    broken = False
    names = _LAYERS if len(layers) == len(_LAYERS) else _INNER_LAYERS
    for name, value in merged.items():
        source = names[max(rank for rank, layer in enumerate(layers) if name in layer)]
        for message in _value_faults(name, value, merged):
            broken = True
            yield "parameters", _of_layer(source) % {"name": name, "problem": message}
    if not broken:
        try:
            parameters.resolve(merged, data_time=_SAMPLE, timezone="UTC")
        except parameters.ParameterError as error:
            yield "parameters", str(error)
    for fault in parameters.check(task.code, list(merged)):
        yield "code", str(fault)
    for name, text in _setting_texts(task):
        for fault in parameters.check(text, list(merged)):
            yield "settings", of_setting(name, str(fault))


def _of_layer(source: str) -> str:
    """How a message about a parameter begins, by where it is defined."""
    return {
        "project": _("Parameter %(name)s of the project: %(problem)s"),
        "workflow": _("Parameter %(name)s of the workflow: %(problem)s"),
        "for-each": _("Parameter %(name)s of the For-each task: %(problem)s"),
    }.get(source, _("Parameter %(name)s: %(problem)s"))


def _setting_texts(task: Task) -> Iterator[tuple[str, str]]:
    """Texts of the task's settings that ${...} is filled in."""
    if task.task_type in registry.types() and isinstance(task.settings, Mapping):
        yield from settings_schema.expressions(registry.get(task.task_type).schema, task.settings)


def _value_faults(name: str, value: Any, names: Mapping[str, Any]) -> Iterator[str]:
    try:
        parameters.check_name(name)
    except parameters.ParameterError as error:
        yield str(error)
    if not isinstance(value, str):
        yield _("write a text, in quotes.")
        return
    for fault in parameters.check(value, list(names)):
        yield str(fault)


_CHECKS: tuple[Callable[[Task], Iterator[Fault]], ...] = (
    _code,
    _schedule,
    _durations,
    _belongings,
    _runner,
    _inner,
    _outputs,
)
