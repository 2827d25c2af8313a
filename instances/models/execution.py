"""Executions of instances, their leases, logs and state changes, and the workers that run them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from instances.engine.states import HOLDING_SLOT, ON, ExecutionState, RunType
from instances.kept_words import told
from instances.models.choices import known
from instances.models.definition import TaskVersion
from instances.models.instance import Instance
from weops.projects.models import ResourceGroup


class Execution(models.Model):
    """One attempt of an instance: (life round, try). Made when it is given a slot, or when a waiting instance ends.

    Phases: waiting for events and upstream (`wait_*`), waiting for execution (`queue_*`), running (`run_*`).

    Indexes: `execution_once` and its rows' order (the detail page), `execution_slots` (slots taken per group, lost
    hints), `execution_one_serial` (serial tasks: the database itself refuses a second active one), `execution_one_in_lane`
    (the same for lanes),
    `execution_unsealed` (logs left to seal).
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="executions", db_index=False)
    life_round = models.PositiveIntegerField()
    try_number = models.PositiveIntegerField()
    run_type = models.CharField(max_length=24, default=RunType.PERIODIC)
    dry_run = models.BooleanField(default=False, db_default=False)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in ExecutionState])
    resource_group = models.ForeignKey(
        ResourceGroup, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    serial_task_id = models.BigIntegerField(null=True)
    # Its place among the `lane_limit` that the instance's lane allows at once.
    lane = models.BigIntegerField(null=True)
    lane_place = models.PositiveSmallIntegerField(null=True)
    # The snapshot: an immutable version and the parameters as they were when the life was first dispatched.
    version = models.ForeignKey(
        TaskVersion, models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    parameters = models.JSONField(default=dict, db_default={})
    application_parameters = models.JSONField(default=dict, db_default={})
    # {name: {"from": upstream task, "also": [those whose value was not taken]}} of values among the parameters.
    inherited = models.JSONField(null=True)
    # What it gave its children by name, once it has succeeded; null: nothing.
    outputs = models.JSONField(null=True)

    wait_started_at = models.DateTimeField(null=True)
    queue_started_at = models.DateTimeField(null=True)
    run_started_at = models.DateTimeField(null=True)
    run_ended_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    hinted_at = models.DateTimeField(null=True)

    worker = models.CharField(max_length=200, default="", db_default="")
    pid = models.IntegerField(null=True)
    exit_code = models.IntegerField(null=True)
    signal = models.IntegerField(null=True)
    error_code = models.CharField(max_length=40, default="", db_default="")
    error_message = models.TextField(default="", db_default="")

    log_lines = models.BigIntegerField(default=0, db_default=0)
    log_bytes = models.BigIntegerField(default=0, db_default=0)
    log_file = models.CharField(
        max_length=200, default="", db_default="", help_text=_("In the storage 'logs', once sealed.")
    )

    class Meta:
        ordering = ["instance", "-life_round", "-try_number", "-id"]
        constraints = [
            known("state", ExecutionState, "execution_state_known"),
            models.UniqueConstraint(
                fields=["instance", "life_round", "try_number"],
                condition=~Q(state=ExecutionState.REQUEUED),
                name="execution_once",
            ),
            models.UniqueConstraint(
                fields=["instance"],
                condition=Q(state__in=[s.value for s in ON]),
                name="execution_one_active",
            ),
            models.UniqueConstraint(
                fields=["serial_task_id"],
                condition=Q(state__in=[s.value for s in ON]),
                name="execution_one_serial",
            ),
            models.UniqueConstraint(
                fields=["lane", "lane_place"],
                condition=Q(state__in=[s.value for s in ON], lane__isnull=False),
                name="execution_one_in_lane",
            ),
            models.CheckConstraint(
                condition=~Q(state=ExecutionState.RUNNING)
                | Q(run_started_at__isnull=False, ended_at__isnull=True),
                name="execution_running_has_start",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in ON]) | Q(ended_at__isnull=False),
                name="execution_final_has_end",
            ),
            models.CheckConstraint(
                condition=Q(run_ended_at__isnull=True) | Q(run_ended_at__gte=F("run_started_at")),
                name="execution_ends_after_start",
            ),
        ]
        indexes = [
            models.Index(fields=["instance"], name="execution_by_instance"),
            models.Index(
                fields=["resource_group", "state"],
                condition=Q(state__in=[s.value for s in HOLDING_SLOT]),
                name="execution_slots",
            ),
            models.Index(fields=["id"], condition=Q(log_bytes__gt=0, log_file=""), name="execution_unsealed"),
        ]

    @property
    def error_said(self) -> str:
        """`error_message` in the language of who reads it."""
        return told(self.error_message)

    def __str__(self) -> str:
        return f"execution {self.pk} (life {self.life_round}, try {self.try_number})"


class Lease(models.Model):
    """The right to write an execution's result. Narrow, no index on the heartbeat, so that renewals stay cheap (HOT)."""

    execution = models.OneToOneField(Execution, models.CASCADE, primary_key=True, related_name="lease")
    token = models.UUIDField()
    worker = models.CharField(max_length=200)
    heartbeat_at = models.DateTimeField()
    cancel = models.CharField(
        max_length=24, default="", db_default="", help_text=_("Why the worker must stop it.")
    )

    class Meta:
        indexes = [models.Index(fields=["worker"], name="lease_by_worker")]

    def __str__(self) -> str:
        return f"lease of execution {self.execution_id} by {self.worker}"


class LogChunk(models.Model):
    """A piece of a log while the run is on; the sealed log replaces all of them."""

    execution = models.ForeignKey(Execution, models.CASCADE, related_name="chunks", db_index=False)
    seq = models.PositiveIntegerField()
    start = models.BigIntegerField(help_text=_("Characters of the log before this chunk."))
    line = models.BigIntegerField(default=0, db_default=0, help_text=_("Line ends before this chunk."))
    text = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["execution", "seq"]
        constraints = [models.UniqueConstraint(fields=["execution", "seq"], name="log_chunk_once")]

    def __str__(self) -> str:
        return f"log of execution {self.execution_id}, chunk {self.seq}"


class StateChange(models.Model):
    """History: one row for each change of an instance's state, written in the same transaction. Append-only."""

    instance_id = models.BigIntegerField()
    execution_id = models.BigIntegerField(null=True)
    at = models.DateTimeField(db_default=Now())
    move = models.CharField(max_length=24)
    from_state = models.CharField(max_length=16)
    to_state = models.CharField(max_length=16)
    error_code = models.CharField(max_length=40, default="", db_default="")
    operation_id = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["instance_id", "id"]
        indexes = [models.Index(fields=["instance_id", "id"], name="state_change_by_instance")]

    def __str__(self) -> str:
        return f"{self.from_state} -> {self.to_state} ({self.move})"


class WorkerProcess(models.Model):
    """A worker that claims executions; one that was not seen for a while is dead or deaf.

    `groups`: ids of the resource groups whose queues it serves; null: of all.
    """

    name = models.CharField(max_length=200, primary_key=True)
    host = models.CharField(max_length=200)
    pid = models.IntegerField()
    slots = models.PositiveIntegerField()
    busy = models.PositiveIntegerField(default=0)
    groups = ArrayField(models.BigIntegerField(), null=True)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    stopping = models.BooleanField(default=False, db_default=False)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = _("worker processes")

    def __str__(self) -> str:
        return self.name
