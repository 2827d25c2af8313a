"""Runs of For-each tasks and their traversals. Only engine/traversals.py and the lifecycle change them (ADR 14)."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from instances.models.choices import known
from instances.models.instance import Instance


class TraversalState(models.TextChoices):
    """`stopped`: it was not started any more; or it was, and its For-each instance was ended from outside."""

    PENDING = "pending", _("Not started")
    ACTIVE = "active", _("Under way")
    SUCCESS = "success", _("Success")
    FAILED = "failed", _("Failed")
    STOPPED = "stopped", _("Not run")


class ForEachRun(models.Model):
    """What a For-each instance does in its last life: so many traversals of its inner DAG.

    `dag`: [[inner task id, [ids of those that it follows]], ...] in an order in which each comes after those. `parameters`: the
    parent's own, resolved, with `${` escaped. `spec`: as `engine.traversal_spec` reads it. The counts are of its traversals by
    state, and change with them in the same transaction. Index `for_each_open`: what the sweep goes on with.
    """

    instance = models.OneToOneField(
        Instance, models.CASCADE, primary_key=True, db_constraint=False, related_name="for_each_run"
    )
    execution_id = models.BigIntegerField()
    is_open = models.BooleanField(default=True, help_text=_("There is something to do or to wait for."))
    spec = models.JSONField()
    dag = models.JSONField()
    parameters = models.JSONField()
    stop_code = models.CharField(
        max_length=40,
        default="",
        db_default="",
        blank=True,
        help_text=_("Why it is being stopped, if it is not by people."),
    )
    total = models.PositiveIntegerField(default=0)
    pending = models.PositiveIntegerField(default=0)
    active = models.PositiveIntegerField(default=0)
    success = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    stopped = models.PositiveIntegerField(default=0)
    kept = models.PositiveIntegerField(
        default=0, db_default=0, help_text=_("Of the successful ones: those that an earlier run had done.")
    )
    started_at = models.DateTimeField()
    deadline = models.DateTimeField(null=True, help_text=_("When the run timeout is over."))
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["instance"], condition=Q(is_open=True), name="for_each_open")]

    def __str__(self) -> str:
        return f"traversals of instance {self.pk}"


class Traversal(models.Model):
    """One item of a For-each instance's array, and the run of the inner DAG for it.

    Its instances are those with the parent's `for_each_id` and `number` as their `traversal`. One whose `execution_id` is not its
    run's is of an earlier life, which had a longer array. Index `traversal_open`: what to start, what is under way.
    """

    for_each = models.ForeignKey(
        Instance, models.CASCADE, db_constraint=False, db_index=False, related_name="traversals"
    )
    number = models.PositiveIntegerField(help_text=_("Place in the array, from 0."))
    execution_id = models.BigIntegerField()
    item = models.TextField()
    state = models.CharField(max_length=16, choices=TraversalState)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["for_each", "number"]
        constraints = [
            models.UniqueConstraint(fields=["for_each", "number"], name="traversal_once"),
            known("state", TraversalState.values, "traversal_state_known"),
        ]
        indexes = [
            models.Index(
                fields=["for_each", "number"],
                condition=Q(state__in=["pending", "active"]),
                name="traversal_open",
            ),
        ]

    def __str__(self) -> str:
        return f"traversal {self.number} of instance {self.for_each_id}: {self.state}"
