"""Backfill plans and their runs, one for each (task, data time). Only engine/plans.py changes them once they are made."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from instances.kept_words import told
from instances.models.choices import known
from instances.models.definition import Task


class PlanState(models.TextChoices):
    PREPARING = "preparing", _("Being prepared")
    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")
    STOPPING = "stopping", _("Stopping")
    SUCCESS = "success", _("Success")
    PARTLY = "partly", _("Partly successful")
    FAILED = "failed", _("Failed")
    STOPPED = "stopped", _("Stopped")


UNFINISHED_PLANS = (PlanState.PREPARING, PlanState.RUNNING, PlanState.PAUSED, PlanState.STOPPING)


class RunState(models.TextChoices):
    """`blocked`: a parent of the plan has failed, so its instance waits. `skipped`: left as it is by the reprocess policy."""

    PENDING = "pending", _("Not started")
    ACTIVE = "active", _("Under way")
    BLOCKED = "blocked", _("Blocked by a failure")
    SUCCESS = "success", _("Success")
    FAILED = "failed", _("Failed")
    REFUSED = "refused", _("Refused")
    STOPPED = "stopped", _("Stopped")
    SKIPPED = "skipped", _("Left as it is")


class BackfillPlan(models.Model):
    """Tasks x data times that are to be run again or for the first time. `options` is what `engine.plan_spec` reads.

    The counts are of the plan's runs by state, and change with them in the same transaction. Index `backfill_unfinished`: what
    the sweep goes on with.
    """

    name = models.CharField(max_length=200)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_by_name = models.CharField(
        max_length=150, blank=True, help_text=_("As it was then; empty for the system.")
    )
    reason = models.TextField(blank=True)
    options = models.JSONField()
    task_ids = ArrayField(models.BigIntegerField())
    project_ids = ArrayField(models.BigIntegerField())
    # Its record, kind `backfill`; and, when it is being stopped, the one that says so, and whether running ones go too.
    operation_id = models.BigIntegerField(null=True)
    stop_operation_id = models.BigIntegerField(null=True)
    stop_running = models.BooleanField(default=False, db_default=False)
    state = models.CharField(max_length=16, choices=PlanState, default=PlanState.PREPARING)
    message = models.TextField(blank=True, help_text=_("Why it stands as it does, if nobody asked for it."))

    data_times = models.PositiveIntegerField(default=0)
    waves = models.PositiveIntegerField(default=0)
    pending = models.PositiveIntegerField(default=0)
    active = models.PositiveIntegerField(default=0)
    blocked = models.PositiveIntegerField(default=0)
    success = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    stopped = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)

    created_at = models.DateTimeField(db_default=Now())
    prepared_at = models.DateTimeField(null=True)
    moved_at = models.DateTimeField(null=True, help_text=_("When a run last started or ended."))
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            known("state", PlanState.values, "backfill_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=UNFINISHED_PLANS) | Q(finished_at__isnull=False),
                name="backfill_end_known",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(state__in=UNFINISHED_PLANS), name="backfill_unfinished"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def total(self) -> int:
        """Runs that the plan is to see to; those that its policy leaves as they are do not count."""
        return self.pending + self.active + self.complete

    @property
    def complete(self) -> int:
        """Runs that the plan has no more to do for."""
        return self.blocked + self.success + self.failed + self.refused + self.stopped

    @property
    def percent_complete(self) -> float:
        """0 to 100, one decimal; 100 for a plan with nothing to do. 100 only if everything is complete."""
        return _percent(self.complete, self.total) if self.prepared_at else 0.0

    @property
    def percent_successful(self) -> float:
        """Of all of its runs, 0 to 100, one decimal."""
        return _percent(self.success, self.total) if self.prepared_at else 0.0

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED_PLANS


def _percent(part: int, whole: int) -> float:
    return 100.0 if part == whole else part * 1000 // whole / 10


class BackfillRun(models.Model):
    """One (task, data time) of a plan. `wave`: its place in the order of starting; a wave has one data time.

    Indexes: `backfill_run_once` (identity; the page by data time), `backfill_run_next` (what to start), `backfill_run_open`
    (what is under way; whom a failed instance blocks).
    """

    plan = models.ForeignKey(BackfillPlan, models.CASCADE, related_name="runs", db_index=False)
    task = models.ForeignKey(Task, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    data_time = models.DateTimeField()
    planned_time = models.DateTimeField()
    wave = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=RunState)
    instance_id = models.BigIntegerField(null=True)
    # The life of the instance that the plan began.
    life_round = models.PositiveIntegerField(null=True)
    made = models.BooleanField(default=False, db_default=False, help_text=_("The plan made the instance."))
    message = models.TextField(default="", db_default="", blank=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["plan", "wave", "id"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "data_time", "task"], name="backfill_run_once"),
            known("state", RunState.values, "backfill_run_state_known"),
            models.CheckConstraint(
                condition=~Q(state__in=["active", "blocked"])
                | Q(instance_id__isnull=False, life_round__isnull=False),
                name="backfill_run_has_instance",
            ),
        ]
        indexes = [
            models.Index(
                fields=["plan", "wave", "id"], condition=Q(state="pending"), name="backfill_run_next"
            ),
            models.Index(
                fields=["plan", "instance_id"],
                condition=Q(state__in=["active", "blocked"]),
                name="backfill_run_open",
            ),
        ]

    @property
    def said(self) -> str:
        """`message` in the language of who reads it."""
        return told(self.message)

    def __str__(self) -> str:
        return f"{self.task} {self.data_time:%Y-%m-%d %H:%M:%S}: {self.state}"
