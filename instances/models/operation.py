"""The record of every operation: who did what, when, why, on which instances, and what came of each."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from instances.models.choices import STATES, known


class OperationState(models.TextChoices):
    INIT = "INIT", "Waiting"
    RUNNING = "RUNNING", "Running"
    SUCCESS = "SUCCESS", "Done"
    FAIL = "FAIL", "Failed"
    PART_SUCCESS = "PART_SUCCESS", "Partly done"


class ItemOutcome(models.TextChoices):
    DONE = "done", "Done"
    REFUSED = "refused", "Refused"
    FAILED = "failed", "Failed"


class OperationRecord(models.Model):
    """Index `operation_by_time`: the global list, newest first."""

    kind = models.CharField(max_length=32)
    operator = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    source = models.CharField(
        max_length=16, help_text="The door it came through: admin, api, command, system."
    )
    reason = models.TextField(blank=True)
    options = models.JSONField(default=dict)
    state = models.CharField(max_length=16, choices=OperationState, default=OperationState.INIT)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "operation"
        indexes = [models.Index(fields=["-created_at"], name="operation_by_time")]
        constraints = [
            known("state", OperationState.values, "operation_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=["INIT", "RUNNING"]) | Q(finished_at__isnull=False),
                name="operation_end_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"


class OperationItem(models.Model):
    """What an operation did to one instance. Index `operation_item_once`; `operation_item_instance` for the detail page."""

    operation = models.ForeignKey(OperationRecord, models.CASCADE, related_name="items", db_index=False)
    instance_id = models.BigIntegerField()
    from_state = models.CharField(max_length=16, choices=STATES, blank=True)
    to_state = models.CharField(max_length=16, choices=STATES, blank=True)
    outcome = models.CharField(max_length=16, choices=ItemOutcome)
    message = models.TextField(blank=True)

    class Meta:
        ordering = ["operation", "instance_id"]
        constraints = [
            models.UniqueConstraint(fields=["operation", "instance_id"], name="operation_item_once"),
            known("outcome", ItemOutcome.values, "operation_item_outcome_known"),
        ]
        indexes = [models.Index(fields=["instance_id", "-id"], name="operation_item_instance")]

    def __str__(self) -> str:
        return f"{self.operation_id}: {self.instance_id} {self.outcome}"
