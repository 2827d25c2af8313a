"""What the page of an instance tells of its task as it is now: schedule, policies, parameters and code."""

from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from instances import definitions
from instances.admin.looks import language_of
from instances.engine import secrets
from instances.engine.schedule import ScheduleError, describe
from instances.models import Task, TaskVersion
from weops.console.present import span, stamp

NEXT_RUNS = 5


@dataclass(frozen=True)
class Definition:
    """`version`: the last one that was submitted. `runs`: (planned time, data time) of the next ones."""

    task: Task
    version: TaskVersion | None
    schedule: str
    runs: list[tuple[SafeString, SafeString]]
    facts: list[tuple[str, str]]
    parameters: list[tuple[str, str]]
    code: str
    language: str


def definition_of(task: Task) -> Definition:
    mask = secrets.masker_of(task.pk)
    return Definition(
        task=task,
        version=TaskVersion.objects.filter(task=task).order_by("-number").first(),
        schedule=_words(task),
        runs=_runs(task),
        facts=_facts(task),
        parameters=sorted(secrets.masked(dict(task.parameters), mask).items()),
        code=mask.mask_text(task.code),
        language=language_of(task.task_type),
    )


def _words(task: Task) -> str:
    try:
        return describe(task.schedule())
    except (ScheduleError, ValueError) as error:
        return str(error)


def _runs(task: Task) -> list[tuple[SafeString, SafeString]]:
    try:
        found = definitions.preview(task, NEXT_RUNS)
    except ValidationError:
        return []
    return [
        (stamp(run.planned_time, task.timezone, named=True), stamp(run.data_time, task.timezone))
        for run in found
    ]


def _facts(task: Task) -> list[tuple[str, str]]:
    facts = [
        (gettext("Status"), task.get_status_display()),
        (gettext("Task type"), task.get_task_type_display()),
        (gettext("Cycle type"), task.get_cycle_type_display()),
        (gettext("Owner"), str(task.owner or "")),
        (gettext("Priority"), task.get_priority_display()),
        (gettext("Self-dependency"), task.get_self_dependency_display()),
        (gettext("Rerun allowed"), task.get_rerun_allowed_display()),
        (gettext("Retries"), str(task.retry_limit)),
        (gettext("Wait before a retry"), span(task.retry_wait) if task.retry_limit else ""),
        (gettext("Run timeout"), span(task.run_timeout)),
        (gettext("Waiting timeout"), span(task.wait_timeout)),
        (gettext("Description"), task.description),
    ]
    return [fact for fact in facts if fact[1]]
