"""What people define: workflows, tasks with their schedule and versions, dependencies between tasks."""

import datetime as dt
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.engine.schedule import Cycle, Schedule
from instances.engine.states import SelfDependency, TaskStatus
from instances.engine.trigger_policies import CHOICES, Policy
from instances.models.choices import (
    CYCLES,
    SELF_DEPENDENCIES,
    TASK_STATUSES,
    TRIGGER_POLICIES,
    CalendarMode,
    CatchUp,
    Generation,
    Priority,
    RerunAllowed,
    UpstreamFailure,
    known,
    task_types,
)
from weops.projects.models import (
    Calendar,
    DataSource,
    Folder,
    Limited,
    Project,
    ResourceGroup,
    name_validator,
    validate_parameters,
)

USER = settings.AUTH_USER_MODEL
# Columns of a task that decide for which data times there are instances.
SCHEDULE_COLUMNS = (
    "cycle_type",
    "timezone",
    "at",
    "step",
    "hours",
    "weekdays",
    "month_days",
    "months",
    "crontab",
    "run_at",
    "effective_from",
    "effective_to",
    "window_start",
    "window_end",
    "calendar",
    "calendar_mode",
    "generation",
)


class Workflow(models.Model):
    project = models.ForeignKey(Project, models.PROTECT, related_name="workflows")
    folder = models.ForeignKey(Folder, models.PROTECT, null=True, blank=True, related_name="workflows")
    name = models.CharField(max_length=100, validators=[name_validator])
    description = models.TextField(blank=True)
    owner = models.ForeignKey(USER, models.SET_NULL, null=True, blank=True, related_name="+")
    parameters = models.JSONField(default=dict, blank=True, validators=[validate_parameters])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["project", "name"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="workflow_name_once")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.folder and self.folder.project_id != self.project_id:
            raise ValidationError({"folder": gettext("The folder belongs to another project.")})


class Task(Limited):
    """A definition. Saving through `instances.definitions.submit` makes a numbered version of it."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="tasks", db_index=False)
    folder = models.ForeignKey(
        Folder, models.PROTECT, null=True, blank=True, related_name="tasks", db_index=False
    )
    name = models.CharField(max_length=100, validators=[name_validator])
    for_each = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="inner_tasks",
        verbose_name=_("For-each task"),
        help_text=_("It is a step of each traversal of this task, and never scheduled by itself."),
        db_index=False,
    )
    description = models.TextField(blank=True)
    owner = models.ForeignKey(USER, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False)
    status = models.CharField(max_length=16, choices=TASK_STATUSES, default=TaskStatus.OFFLINE)

    task_type = models.CharField(max_length=16, choices=task_types, default="SHELL")
    code = models.TextField(
        blank=True, help_text=_("${name} and time expressions such as ${yyyyMMdd-1d} are filled in.")
    )
    parameters = models.JSONField(default=dict, blank=True, validators=[validate_parameters])
    settings = models.JSONField(default=dict, blank=True, help_text=_("Settings of the task type."))
    data_source = models.ForeignKey(
        DataSource,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="tasks",
        help_text=_("For SQL tasks."),
        db_index=False,
    )
    secrets = models.ManyToManyField(
        "projects.Secret",
        blank=True,
        related_name="+",
        help_text=_("Given to the child process as environment variables of these names."),
    )

    resource_group = models.ForeignKey(ResourceGroup, models.PROTECT, related_name="tasks", db_index=False)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.MEDIUM)
    self_dependency = models.CharField(
        max_length=16, choices=SELF_DEPENDENCIES, default=SelfDependency.SERIAL
    )
    rerun_allowed = models.CharField(
        max_length=16,
        choices=RerunAllowed,
        default=RerunAllowed.ALL,
        db_default=RerunAllowed.ALL.value,
        help_text=_("Whether instances may be rerun and backfilled."),
    )
    trigger_policy = models.CharField(
        _("runs when"),
        max_length=48,
        choices=TRIGGER_POLICIES,
        default=Policy.ALL_SUCCESS,
        db_default=Policy.ALL_SUCCESS.value,
        help_text=_("Judged over everything that an instance waits for; its previous period is apart."),
    )
    upstream_failure = models.CharField(
        _("when an upstream has failed"),
        max_length=8,
        choices=UpstreamFailure,
        default=UpstreamFailure.WAIT,
        db_default=UpstreamFailure.WAIT.value,
        help_text=_("For ALL_SUCCESS and NONE_FAILED, once all upstream have ended."),
    )
    allow_downstream = models.BooleanField(
        _("other tasks may depend on it"),
        default=True,
        db_default=True,
        help_text=_(
            "Off: nobody can add a dependency on it; those that exist stay until their task is submitted again."
        ),
    )
    outputs = ArrayField(
        models.CharField(max_length=128),
        default=list,
        db_default=[],
        blank=True,
        verbose_name=_("output parameters"),
        help_text=_(
            "Names that a run writes as name=value lines to the file $WEOPS_OUTPUT, such as rows,path."
        ),
    )
    retry_limit = models.PositiveSmallIntegerField(default=5, validators=[MaxValueValidator(100)])
    retry_wait = models.DurationField(
        default=dt.timedelta(minutes=5), help_text=_("Between two tries, HH:MM:SS.")
    )
    run_timeout = models.DurationField(
        null=True, blank=True, help_text=_("A try that runs longer is killed, HH:MM:SS.")
    )
    wait_timeout = models.DurationField(
        null=True,
        blank=True,
        help_text=_("Events, upstream and resources together; longer waiting ends it, HH:MM:SS."),
    )
    dry_run = models.BooleanField(
        default=False, help_text=_("Dry-run scheduling: instances become successful without running.")
    )

    cycle_type = models.CharField(max_length=16, choices=CYCLES, default=Cycle.DAY)
    timezone = models.CharField(max_length=64, default="UTC")
    step = models.PositiveSmallIntegerField(default=1, help_text=_("Every so many minutes or hours."))
    at = models.TimeField(
        default=dt.time(0, 0), help_text=_("Time of day; for hour tasks the first hour and the minute.")
    )
    hours = ArrayField(
        models.SmallIntegerField(), default=list, blank=True, help_text=_("Chosen hours 0-23, such as 2,8.")
    )
    weekdays = ArrayField(
        models.SmallIntegerField(), default=list, blank=True, help_text=_("1 = Monday to 7 = Sunday.")
    )
    month_days = ArrayField(
        models.SmallIntegerField(), default=list, blank=True, help_text=_("1-31; -1 = last day.")
    )
    months = ArrayField(
        models.SmallIntegerField(), default=list, blank=True, help_text=_("1-12, for yearly tasks.")
    )
    crontab = models.CharField(
        max_length=200, blank=True, help_text=_("5 fields, or 7 as Quartz writes them.")
    )
    run_at = models.DateTimeField(null=True, blank=True, help_text=_("For one-off tasks."))
    effective_from = models.DateTimeField(null=True, blank=True)
    effective_to = models.DateTimeField(null=True, blank=True)
    window_start = models.TimeField(null=True, blank=True)
    window_end = models.TimeField(null=True, blank=True)
    calendar = models.ForeignKey(
        Calendar, models.PROTECT, null=True, blank=True, related_name="tasks", db_index=False
    )
    calendar_mode = models.CharField(max_length=16, choices=CalendarMode, blank=True)
    generation = models.CharField(max_length=16, choices=Generation, default=Generation.T_PLUS_0)
    catch_up = models.CharField(
        max_length=16, choices=CatchUp, default=CatchUp.ALL, help_text=_("After downtime.")
    )

    # Kept by the engine: everything planned up to `generated_until` is generated, the next is due at `next_due_at`.
    current_version = models.ForeignKey(
        "TaskVersion", models.PROTECT, null=True, editable=False, related_name="+", db_index=False
    )
    generated_until = models.DateTimeField(null=True, editable=False)
    next_due_at = models.DateTimeField(null=True, editable=False)
    generation_error = models.TextField(default="", db_default="", blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["workflow", "name"]
        constraints = [
            models.UniqueConstraint(fields=["workflow", "name"], name="task_name_once"),
            known("status", TaskStatus, "task_status_known"),
            known("cycle_type", Cycle, "task_cycle_known"),
            known("self_dependency", SelfDependency, "task_self_dependency_known"),
            known("rerun_allowed", RerunAllowed.values, "task_rerun_allowed_known"),
            known("priority", Priority.values, "task_priority_known"),
            known("trigger_policy", Policy, "task_trigger_policy_known"),
            known("upstream_failure", UpstreamFailure.values, "task_upstream_failure_known"),
            models.CheckConstraint(
                condition=~Q(status=TaskStatus.SCHEDULING) | Q(current_version__isnull=False),
                name="task_scheduling_has_version",
            ),
            models.CheckConstraint(
                condition=Q(for_each__isnull=True) | Q(next_due_at__isnull=True),
                name="task_inner_never_due",
            ),
            models.CheckConstraint(condition=~Q(for_each=F("id")), name="task_not_inside_itself"),
            models.CheckConstraint(
                condition=Q(effective_to__isnull=True)
                | Q(effective_from__isnull=True)
                | Q(effective_to__gte=F("effective_from")),
                name="task_effective_period_ordered",
            ),
        ]
        # The foreign keys have no index: every move of the cursor would write all of them, for lists of a table that is
        # small. `task_name_once` serves those of one workflow.
        indexes = [
            # The generation tick: costs what is due.
            models.Index(fields=["next_due_at"], condition=Q(status=TaskStatus.SCHEDULING), name="task_due"),
            # Whether any task has output parameters: the first dispatch of each life asks.
            models.Index(fields=["id"], condition=~Q(outputs=[]), name="task_with_outputs"),
            models.Index(fields=["for_each"], condition=Q(for_each__isnull=False), name="task_inner"),
        ]

    def __str__(self) -> str:
        return self.name

    # Where it is found by typing: two workflows may have tasks of one name.
    choice_reads = ("workflow__project",)

    @property
    def choice_name(self) -> str:
        return f"{self.name} ({self.workflow.project} / {self.workflow})"

    def schedule(self) -> Schedule:
        """The schedule as the pure functions of `engine.schedule` take it; equal ones are one object."""
        return _shared_schedule(
            self.cycle_type,
            self.timezone,
            self.step,
            self.at,
            tuple(self.hours),
            tuple(self.weekdays),
            tuple(self.month_days),
            tuple(self.months),
            self.crontab,
            self.run_at,
            self.effective_from,
            self.effective_to,
            self.window_start,
            self.window_end,
            self.calendar_mode if self.calendar else "",
            frozenset(self.calendar.dates) if self.calendar else frozenset(),
            self.generation,
        )


@lru_cache(maxsize=10_000)
def _shared_schedule(cycle: str, *columns: Any) -> Schedule:
    """Ten thousand tasks have few schedules: each is made, and its occurrences are reckoned, once."""
    return Schedule(Cycle(cycle), *columns)


class SubmittedVersions(models.Manager["TaskVersion"]):
    def get_queryset(self) -> models.QuerySet["TaskVersion"]:
        return super().get_queryset().filter(number__isnull=False)


class TaskVersion(models.Model):
    """What was submitted, never changed afterwards. `definition` holds the whole task for the record.

    One without a number was never submitted: a test run ran it as it stood in the editor. `every` has those, too.
    """

    task = models.ForeignKey(Task, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(null=True)
    task_type = models.CharField(max_length=16, choices=task_types)
    code = models.TextField(blank=True)
    parameters = models.JSONField(default=dict)
    definition = models.JSONField(default=dict)
    note = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(USER, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SubmittedVersions()
    every = models.Manager["TaskVersion"]()

    class Meta:
        ordering = ["task", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="version_number_once"),
            models.CheckConstraint(condition=Q(number__gte=1), name="version_number_from_1"),
        ]

    def __str__(self) -> str:
        if self.number:
            return f"{self.task} v{self.number}"
        return gettext("%(task)s, as edited") % {"task": self.task}


class Dependency(models.Model):
    """`task` waits for the instances of `upstream` that `scope` and `offsets` choose (engine/dependencies.py)."""

    task = models.ForeignKey(Task, models.CASCADE, related_name="dependencies")
    upstream = models.ForeignKey(Task, models.PROTECT, related_name="dependents")
    scope = models.CharField(max_length=40, blank=True, help_text=_("Empty: the default of the two cycles."))
    offsets = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text=_("Of ranges and lists, such as -1,0; counted from the data time of the task."),
    )
    # Which bad parents count as satisfied; empty: every parent is waited for.
    bad_parents = ArrayField(
        models.CharField(max_length=16, choices=[(one.value, one.value) for one in CHOICES]),
        default=list,
        db_default=[],
        blank=True,
        verbose_name=_("do not wait for"),
    )
    parent_timeout = models.PositiveIntegerField(
        _("timeout (minutes)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(525_600)],
        help_text=_("For PARENT_TIMEOUT: counted from when the instance begins to wait."),
    )

    class Meta:
        ordering = ["task", "id"]
        verbose_name_plural = _("dependencies")
        constraints = [
            models.UniqueConstraint(fields=["task", "upstream", "scope", "offsets"], name="dependency_once"),
            models.CheckConstraint(condition=~Q(task=F("upstream")), name="dependency_not_on_itself"),
            models.CheckConstraint(
                condition=Q(scope__regex="^(RANGE|LIST)_", offsets__regex=r"^[-+0-9][-+0-9 ,]*$")
                | (~Q(scope__regex="^(RANGE|LIST)_") & Q(offsets="")),
                name="dependency_offsets_of_ranges_and_lists",
            ),
            models.CheckConstraint(
                condition=Q(bad_parents__contained_by=[one.value for one in CHOICES]),
                name="dependency_bad_parents_known",
            ),
            models.CheckConstraint(
                condition=Q(bad_parents__contains=["PARENT_TIMEOUT"], parent_timeout__gte=1)
                | (~Q(bad_parents__contains=["PARENT_TIMEOUT"]) & Q(parent_timeout__isnull=True)),
                name="dependency_timeout_has_minutes",
            ),
        ]

    def __str__(self) -> str:
        scope = f"{self.scope} {self.offsets}".strip() or gettext("default scope")
        values = {"task": self.task, "upstream": self.upstream, "scope": scope}
        return gettext("%(task)s waits for %(upstream)s (%(scope)s)") % values


def parameter_layers(task: Task) -> list[dict[str, Any]]:
    """Parameters from the weakest layer to the strongest: project, workflow, task."""
    return [task.workflow.project.parameters, task.workflow.parameters, task.parameters]
