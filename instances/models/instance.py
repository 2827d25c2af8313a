"""Instances and the edges between them. Only engine/lifecycle and engine/generation.py write them, dispatch their queue,
owners.py their owner."""

import datetime as dt

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.engine.states import INSTANCE_TYPE_LABELS, InstanceType, RunType, SelfDependency, State
from instances.engine.trigger_policies import EXCUSED_WORDS, NEVER_COMES, BadParent
from instances.engine.zone import zone, zone_names
from instances.kept_words import told
from instances.models.choices import CYCLES, STATES, known, task_types
from instances.models.definition import Task, TaskVersion, Workflow
from weops.projects.models import Folder, Project, ResourceGroup

# States that lists find by task, too. Few instances end in them, so that the index costs the others nothing.
UNCOMMON = (State.FAILED.value, State.FAILED_RETRY.value, State.SKIPPED.value)
# What starts within this time after its data time is in no index of its own: nearly everything that is not done later.
MOST_LAG = dt.timedelta(days=2)
_LAG = ExpressionWrapper(F("start_time") - F("data_time"), DurationField())

INSTANCE_TYPES = [(kind.value, _(INSTANCE_TYPE_LABELS[kind])) for kind in InstanceType]


class Instance(models.Model):
    """One (task, data time[, traversal]).

    A test run (type `test`) stands outside: its traversal is `test-<id>` and `for_each_id` its own id, so that whatever passes
    over inner instances passes over it (ADR 25).

    Project, workflow, folder, owner, group and types are copied from the task when the instance is generated, so that a
    list of ten million rows filters without a join. Those copies carry no database foreign key: six checks a row
    would halve the speed of generation, and the task's own foreign keys already hold them.

    Indexes and who needs them: `instance_once` (identity; binding of edges; history of one task), `instance_ready`
    (dispatch), `instance_gated` (the next of a serial task), `instance_in_lane` (the next of a lane, in each group),
    `instance_retry` (retry tick), `instance_deadline` (waiting timeout), `instance_thaw` (automatic thaw),
    `instance_of_plan` (a plan's progress), `instance_of_for_each` (traversals), `instance_tests` (test runs of a task),
    `instance_by_data_time` and `instance_in_state` (lists with their usual order, and their counts from the index alone),
    `instance_uncommon`, `instance_not_periodic`, `instance_inside`, `instance_started` and `instance_off_time` (rare values; see
    instances/reading.py).
    """

    task = models.ForeignKey(Task, models.CASCADE, related_name="instances", db_index=False)
    data_time = models.DateTimeField()
    traversal = models.CharField(max_length=64, default="", db_default="", blank=True)
    planned_time = models.DateTimeField()
    instance_type = models.CharField(max_length=16, choices=INSTANCE_TYPES)
    cycle_type = models.CharField(max_length=16, choices=CYCLES)
    task_type = models.CharField(max_length=16, choices=task_types)
    project = models.ForeignKey(
        Project, models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    workflow = models.ForeignKey(
        Workflow, models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    folder = models.ForeignKey(
        Folder, models.PROTECT, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    resource_group = models.ForeignKey(
        ResourceGroup, models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    priority = models.SmallIntegerField()

    state = models.CharField(max_length=16, choices=STATES)
    run_type = models.CharField(max_length=16, default=RunType.PERIODIC, db_default=RunType.PERIODIC.value)
    life_round = models.PositiveIntegerField(default=0, db_default=0)
    tries = models.PositiveIntegerField(_("retries"), default=0, db_default=0)
    total_runs = models.PositiveIntegerField(_("accumulated runs"), default=0, db_default=0)
    # Edges that count (neither removed nor waived) and have not succeeded, whatever the state; the last one to succeed
    # releases the instance.
    pending_upstream = models.PositiveIntegerField(default=0, db_default=0)
    # How its parents are judged, as its task said when it was generated; empty: it runs when all have succeeded.
    trigger_policy = models.CharField(max_length=48, default="", db_default="", blank=True)
    fails_with_upstream = models.BooleanField(default=False, db_default=False)
    # Of a branch, while it is successful: the tasks that it did not take; edges to it count as skipped for them.
    not_taken = ArrayField(models.BigIntegerField(), null=True)
    # Place in the queue for execution: ready to be dispatched; gated, because another instance of its serial task is
    # on, or until its lane has a place; or taken, because it has been dispatched. Means something in state wait_run only.
    queue = models.CharField(max_length=8, default="ready", db_default="ready")
    not_before = models.DateTimeField(help_text=_("Planned time, or the end of the retry wait."))
    wait_deadline = models.DateTimeField(
        null=True, help_text=_("When the total waiting timeout ends this life's waiting.")
    )
    wait_since = models.DateTimeField(db_default=Now(), help_text=_("When this life began to wait."))
    ready_since = models.DateTimeField(null=True, help_text=_("When it last began to wait for execution."))
    # The execution of now or the last one; no foreign key, since executions point here.
    execution_id = models.BigIntegerField(null=True)
    version = models.ForeignKey(
        TaskVersion, models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    overrides = models.JSONField(
        default=dict, db_default={}, help_text=_("Parameters that an operation set for this life.")
    )
    application_parameters = models.JSONField(
        default=dict,
        db_default={},
        help_text=_("Settings of Spark types that an operation set for this life."),
    )
    self_dependency = models.CharField(
        max_length=16,
        default="",
        db_default="",
        blank=True,
        help_text=_("For this life, in place of the task's."),
    )
    # At most `lane_limit` instances with this `lane` are on at once, in place of the self-dependency: the parallelism
    # that a rerun or a backfill sets for its lives. Null: no lane.
    lane = models.BigIntegerField(null=True)
    lane_limit = models.PositiveSmallIntegerField(null=True)
    # The backfill plan that this life belongs to.
    plan_id = models.BigIntegerField(null=True)
    # The instance of the For-each task in one of whose traversals (`traversal`: its number) this is an inner task's.
    for_each_id = models.BigIntegerField(null=True)
    # Held: it is not dispatched until it is thawed, by hand or at `thaw_at`.
    frozen_at = models.DateTimeField(null=True)
    thaw_at = models.DateTimeField(null=True)
    start_time = models.DateTimeField(null=True)
    end_time = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=40, default="", db_default="", blank=True)
    error_message = models.TextField(default="", db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-data_time", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["task", "data_time", "traversal"], name="instance_once"),
            known("state", State, "instance_state_known"),
            known("instance_type", InstanceType, "instance_type_known"),
            known("queue", ["ready", "gated", "taken"], "instance_queue_known"),
            known("self_dependency", ["", *SelfDependency], "instance_self_dependency_known"),
            models.CheckConstraint(
                condition=Q(thaw_at__isnull=True) | Q(frozen_at__isnull=False),
                name="instance_thaws_if_frozen",
            ),
            models.CheckConstraint(
                condition=Q(lane__isnull=True, lane_limit__isnull=True)
                | Q(lane__isnull=False, lane_limit__gt=0),
                name="instance_lane_has_limit",
            ),
            models.CheckConstraint(
                condition=Q(for_each_id__isnull=True, traversal="")
                | (Q(for_each_id__isnull=False) & ~Q(traversal="")),
                name="instance_of_traversal",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.WAIT_UPSTREAM) | Q(pending_upstream__gt=0) | ~Q(trigger_policy=""),
                name="instance_waits_for_something",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[State.RUNNING, State.TERMINATING])
                | Q(execution_id__isnull=False, start_time__isnull=False, end_time__isnull=True),
                name="instance_active_has_execution",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[State.FAILED, State.SUCCESS, State.SKIPPED])
                | Q(end_time__isnull=False),
                name="instance_final_has_end",
            ),
            models.CheckConstraint(
                condition=Q(end_time__isnull=True)
                | Q(start_time__isnull=True)
                | Q(end_time__gte=F("start_time")),
                name="instance_ends_after_start",
            ),
        ]
        indexes = [
            models.Index(
                F("resource_group"),
                F("priority").desc(),
                F("planned_time"),
                F("id"),
                condition=Q(state=State.WAIT_RUN, queue="ready", frozen_at__isnull=True),
                name="instance_ready",
            ),
            models.Index(
                F("task"),
                F("priority").desc(),
                F("planned_time"),
                F("id"),
                condition=Q(state=State.WAIT_RUN, queue="gated", lane__isnull=True),
                name="instance_gated",
            ),
            models.Index(
                F("lane"),
                F("resource_group"),
                F("priority").desc(),
                F("planned_time"),
                F("id"),
                condition=Q(state=State.WAIT_RUN, queue="gated", lane__isnull=False),
                name="instance_in_lane",
            ),
            models.Index(fields=["not_before"], condition=Q(state=State.FAILED_RETRY), name="instance_retry"),
            models.Index(
                fields=["wait_deadline"],
                condition=Q(
                    state__in=["wait_event", "wait_upstream", "wait_run"],
                    wait_deadline__isnull=False,
                    frozen_at__isnull=True,
                ),
                name="instance_deadline",
            ),
            models.Index(fields=["thaw_at"], condition=Q(thaw_at__isnull=False), name="instance_thaw"),
            models.Index(fields=["plan_id"], condition=Q(plan_id__isnull=False), name="instance_of_plan"),
            models.Index(
                fields=["for_each_id", "traversal"],
                condition=Q(for_each_id__isnull=False),
                name="instance_of_for_each",
            ),
            models.Index(
                fields=["task"], condition=Q(instance_type=InstanceType.TEST), name="instance_tests"
            ),
            models.Index(F("data_time").desc(), F("id").desc(), name="instance_by_data_time"),
            models.Index(
                fields=["state", "-data_time", "-id"], include=["task", "traversal"], name="instance_in_state"
            ),
            models.Index(
                fields=["task", "state", "-data_time", "-id"],
                include=["traversal"],
                condition=Q(state__in=UNCOMMON),
                name="instance_uncommon",
            ),
            models.Index(
                F("data_time").desc(),
                F("id").desc(),
                condition=~Q(instance_type=InstanceType.PERIODIC),
                name="instance_not_periodic",
            ),
            models.Index(
                fields=["-data_time", "-id"], condition=Q(for_each_id__isnull=False), name="instance_inside"
            ),
            models.Index(
                fields=["start_time"], condition=Q(start_time__isnull=False), name="instance_started"
            ),
            models.Index(
                fields=["-data_time", "-id"],
                condition=Q(LessThan(_LAG, dt.timedelta(0))) | Q(GreaterThan(_LAG, MOST_LAG)),
                name="instance_off_time",
            ),
        ]

    @property
    def error_said(self) -> str:
        """`error_message` in the language of who reads it."""
        return told(self.error_message)

    def __str__(self) -> str:
        name = self.task.timezone
        shown = self.data_time.astimezone(zone(name)) if name in zone_names() else self.data_time
        return f"{self.task} {shown:%Y-%m-%d %H:%M:%S}"


class Edge(models.Model):
    """`instance` waits for the instance (upstream_task, upstream_data_time), which may not exist yet.

    Indexes: the primary key (what one instance waits for), `edge_upstream` (whom a finished parent releases; lineage
    downstream), `edge_unbound` (what a newly generated instance is awaited by), `edge_timeout` (whose parent takes too long).
    """

    pk = models.CompositePrimaryKey("instance_id", "upstream_task_id", "upstream_data_time")
    instance = models.ForeignKey(Instance, models.CASCADE, related_name="edges", db_index=False)
    upstream_task = models.ForeignKey(
        Task, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    upstream_data_time = models.DateTimeField()
    upstream = models.ForeignKey(
        Instance,
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="downstream_edges",
    )
    is_self = models.BooleanField(default=False, db_default=False)
    satisfied_at = models.DateTimeField(null=True)
    # Not checked in the present life: a rerun or backfill chose so. The next life decides anew.
    waived = models.BooleanField(default=False, db_default=False)
    removed_at = models.DateTimeField(null=True)
    removed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    removed_reason = models.TextField(default="", db_default="", blank=True)
    # What bad parents are excused, as its dependency said then: bits of engine/trigger_policies.py.
    rules = models.SmallIntegerField(default=0, db_default=0)
    timeout_minutes = models.IntegerField(null=True)
    timeout_at = models.DateTimeField(null=True)
    # Why it counts as satisfied, since `satisfied_at`, though its parent has not succeeded.
    excused = models.CharField(max_length=16, default="", db_default="", blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(excused="")
                | Q(excused__in=[one.value for one in BadParent], satisfied_at__isnull=False),
                name="edge_excused_is_satisfied",
            ),
        ]
        indexes = [
            models.Index(fields=["upstream"], name="edge_upstream"),
            models.Index(
                fields=["timeout_at"],
                condition=Q(
                    timeout_at__isnull=False, satisfied_at__isnull=True, removed_at__isnull=True, waived=False
                ),
                name="edge_timeout",
            ),
            models.Index(
                fields=["upstream_task", "upstream_data_time"],
                condition=Q(upstream__isnull=True),
                name="edge_unbound",
            ),
        ]

    def __str__(self) -> str:
        return (
            f"{self.instance_id} waits for {self.upstream_task_id} {self.upstream_data_time:%Y-%m-%d %H:%M}"
        )

    @property
    def excused_words(self) -> str:
        """Why it counts as met though its parent has not succeeded; empty if it has."""
        return gettext(EXCUSED_WORDS[self.excused]) if self.excused in EXCUSED_WORDS else self.excused

    @property
    def never_comes(self) -> bool:
        """The upstream's schedule did not have this data time when the edge was made."""
        return bool(self.rules & NEVER_COMES)


class Ripple(models.Model):
    """The instance has changed, and its children up to the id `after` have been judged by it. Removed when all have been."""

    instance_id = models.BigIntegerField()
    after = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"children of {self.instance_id} after {self.after}"
