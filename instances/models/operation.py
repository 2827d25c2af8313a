"""Operations on record: the set each was frozen on, what it did to each instance, and who asked for it and why.

Append-only, which the database itself enforces (migration 0006): outcomes never change, a record only goes forward, and
what was asked for (kind, operator, reason, options) never changes. Only retention may delete.
"""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from instances.kept_words import told
from instances.models.choices import STATES, known


class OperationState(models.TextChoices):
    INIT = "INIT", _("Waiting")
    RUNNING = "RUNNING", _("Running")
    SUCCESS = "SUCCESS", _("Done")
    FAIL = "FAIL", _("Failed")
    PART_SUCCESS = "PART_SUCCESS", _("Partly done")


class ItemOutcome(models.TextChoices):
    DONE = "done", _("Done")
    REFUSED = "refused", _("Refused")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class FrozenSet(models.Model):
    """The exact instances of an operation, as they were when it was previewed or asked for; never what matches later.

    `token` is what a door sends back to apply the preview. One set serves one operation at most. Sets that were never
    applied are removed after a day. Index `frozen_set_by_time` serves that.
    """

    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=32)
    options = models.JSONField(default=dict)
    # Nobody else may apply it; null: the system's, or of an account that is removed.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False
    )
    total = models.PositiveIntegerField(default=0)
    summary = models.JSONField(default=dict, help_text=_("What the preview showed."))
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["created_at"], name="frozen_set_by_time")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.total} instances"


class FrozenBatch(models.Model):
    """At most a thousand instances of a frozen set, applied in one transaction; `seq` is the order of applying.

    `marks[i]` is the version of `instance_ids[i]` when the set was frozen: `state:life round:retries`. `layers[i]` is its
    distance from the chosen instances (0: chosen itself). Index `frozen_batch_once` is its place in the set.
    """

    frozen_set = models.ForeignKey(FrozenSet, models.CASCADE, related_name="batches", db_index=False)
    seq = models.PositiveIntegerField()
    instance_ids = ArrayField(models.BigIntegerField())
    marks = ArrayField(models.TextField())
    layers = ArrayField(models.IntegerField())
    applied_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["frozen_set", "seq"]
        constraints = [
            models.UniqueConstraint(fields=["frozen_set", "seq"], name="frozen_batch_once"),
        ]

    def __str__(self) -> str:
        return f"batch {self.seq} of set {self.frozen_set_id}"


class FrozenRoots(models.Model):
    """What a set with downstream instances grew from, at most a thousand ids a row: to see, before it is applied, who has
    come or left downstream since. They are in the batches too (layer 0), unless only the downstream was chosen."""

    frozen_set = models.ForeignKey(FrozenSet, models.CASCADE, related_name="roots")
    instance_ids = ArrayField(models.BigIntegerField())

    class Meta:
        ordering = ["frozen_set", "id"]

    def __str__(self) -> str:
        return f"roots of set {self.frozen_set_id}"


class OperationRecord(models.Model):
    """Indexes: `operation_by_time` (the global list, newest first), `operation_unfinished` (what a worker goes on with),
    `operation_on_secrets` (the history of a secret), `operation_undoes_once` (an operation is undone at most once)."""

    kind = models.CharField(max_length=32)
    operator = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    operator_name = models.CharField(
        max_length=150, blank=True, help_text=_("As it was then; stays when the account is removed.")
    )
    source = models.CharField(
        max_length=16, help_text=_("The door it came through: admin, api, command, system.")
    )
    reason = models.TextField(blank=True)
    options = models.JSONField(default=dict)
    # Null: it is not about instances (a task was paused), or has been there since before sets were frozen.
    frozen_set = models.OneToOneField(FrozenSet, models.PROTECT, null=True, related_name="record")
    # Of the instances in the set, as they were then: who sees one of them sees the record. Null without a set.
    project_ids = ArrayField(models.BigIntegerField(), null=True)
    undoes = models.ForeignKey("self", models.PROTECT, null=True, related_name="undone_by", db_index=False)
    state = models.CharField(max_length=16, choices=OperationState, default=OperationState.INIT)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    moved_at = models.DateTimeField(null=True, help_text=_("When its last batch was applied."))
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["-id"]
        verbose_name = _("operation")
        indexes = [
            models.Index(fields=["-created_at"], name="operation_by_time"),
            models.Index(
                fields=["id"], condition=Q(state__in=["INIT", "RUNNING"]), name="operation_unfinished"
            ),
            # The history on the page of a secret.
            models.Index(
                fields=["-id"],
                condition=Q(kind__in=["write_secret", "delete_secret"]),
                name="operation_on_secrets",
            ),
        ]
        constraints = [
            known("state", OperationState.values, "operation_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=["INIT", "RUNNING"]) | Q(finished_at__isnull=False),
                name="operation_end_known",
            ),
            # An undo that could put nothing back may be tried again.
            models.UniqueConstraint(
                fields=["undoes"],
                condition=Q(undoes__isnull=False) & ~Q(state="FAIL"),
                name="operation_undoes_once",
            ),
        ]

    def __str__(self) -> str:
        from instances.kinds import look_up

        return f"{look_up(self.kind).title} #{self.pk}"


class OperationItem(models.Model):
    """What an operation did to one instance, with the instance's columns before and after.

    `before` and `after` hold what `engine.lifecycle` names as its image of an instance; undo puts `before` back.
    Index `operation_item_once`; `operation_item_instance` for the detail page.
    """

    operation = models.ForeignKey(OperationRecord, models.CASCADE, related_name="items", db_index=False)
    instance_id = models.BigIntegerField()
    from_state = models.CharField(max_length=16, choices=STATES, blank=True)
    to_state = models.CharField(max_length=16, choices=STATES, blank=True)
    outcome = models.CharField(max_length=16, choices=ItemOutcome)
    message = models.TextField(blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["operation", "instance_id"]
        constraints = [
            models.UniqueConstraint(fields=["operation", "instance_id"], name="operation_item_once"),
            known("outcome", ItemOutcome.values, "operation_item_outcome_known"),
        ]
        indexes = [models.Index(fields=["instance_id", "-id"], name="operation_item_instance")]

    @property
    def said(self) -> str:
        """`message` in the language of who reads it."""
        return told(self.message)

    def __str__(self) -> str:
        return f"{self.operation_id}: {self.instance_id} {self.outcome}"


class Acknowledgement(models.Model):
    """Somebody has seen that this life of the instance failed. An overlay: it never changes a state.

    In force while `withdrawn_at` is null, `expires_at` has not passed, and the instance is still in `life_round` and has
    not been successful in it.
    Index `acknowledgement_in_force` (lists; one in force per instance).
    """

    instance_id = models.BigIntegerField()
    life_round = models.PositiveIntegerField()
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        help_text=_("Who takes care of it."),
    )
    reason = models.TextField()
    expires_at = models.DateTimeField(null=True)
    operation_id = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["instance_id"],
                condition=Q(withdrawn_at__isnull=True),
                name="acknowledgement_in_force",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id}, life {self.life_round}"
