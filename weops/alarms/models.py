"""Rules, what they watch, whom they tell; messages, and what is left to send of them.

Rules and channels are written by `rules.py` and `channels.py`, everything else by the evaluator and the sender.
"""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from weops.alarms.kinds import (
    ChannelKind,
    Kind,
    Level,
    Measure,
    ObjectKind,
    Receivers,
    Sending,
    Trigger,
)
from weops.projects import encryption
from weops.projects.models import Project

USER = settings.AUTH_USER_MODEL
__all__ = [
    "Channel",
    "Cursor",
    "Delivery",
    "Group",
    "Measure",
    "Message",
    "Notice",
    "Pulse",
    "Rule",
    "Target",
    "Watch",
]


class Channel(models.Model):
    """A group chat or a webhook of a project. Its address is a secret: encrypted, written and never shown again."""

    project = models.ForeignKey(
        Project, models.CASCADE, related_name="alarm_channels", verbose_name=_("project")
    )
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=16, choices=ChannelKind, default=ChannelKind.WEBHOOK)
    ciphertext = models.BinaryField(editable=False)
    # What may be shown of the address: scheme and host.
    shown = models.CharField(_("address"), max_length=300, blank=True, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True, db_default=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        ordering = ["project", "name"]
        verbose_name, verbose_name_plural = _("alarm channel"), _("alarm channels")
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="alarm_channel_name_once"),
            models.CheckConstraint(condition=Q(kind__in=ChannelKind.values), name="alarm_channel_kind_known"),
        ]

    def __str__(self) -> str:
        return self.name

    def reveal(self) -> str:
        """The address, for the sender and nobody else."""
        return encryption.decrypt(bytes(self.ciphertext))


class Rule(models.Model):
    """What is alarmed about which objects of a project. `limits` is what `limits.Limit` reads, in a list."""

    project = models.ForeignKey(
        Project, models.CASCADE, related_name="alarm_rules", verbose_name=_("project")
    )
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    enabled = models.BooleanField(_("enabled"), default=True, db_default=True)
    level = models.SmallIntegerField(_("level"), choices=Level, default=Level.NORMAL)
    object_kind = models.CharField(_("watches"), max_length=16, choices=ObjectKind, default=ObjectKind.TASK)
    kinds = ArrayField(models.CharField(max_length=16, choices=Kind), verbose_name=_("alarms about"))
    trigger = models.CharField(_("failure to tell"), max_length=8, choices=Trigger, default=Trigger.FINAL)
    rerun_trigger = models.CharField(
        _("failure to tell of reruns and backfills"), max_length=8, choices=Trigger, default=Trigger.FINAL
    )
    limits = models.JSONField(_("limits"), default=list, blank=True)
    creator = models.ForeignKey(
        USER, models.SET_NULL, null=True, related_name="+", db_index=False, editable=False
    )
    created_at = models.DateTimeField(_("created"), db_default=Now())
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    # What happened before is not told: set when the rule is made, changed or switched on.
    active_since = models.DateTimeField(db_default=Now(), editable=False)
    # Instances that were active then are enrolled for its limits, in order of id, up to here; null: done.
    enrolled_to = models.BigIntegerField(null=True, editable=False)

    class Meta:
        ordering = ["project", "name"]
        verbose_name, verbose_name_plural = _("alarm rule"), _("alarm rules")
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="alarm_rule_name_once"),
            models.CheckConstraint(condition=Q(level__in=Level.values), name="alarm_rule_level_known"),
            models.CheckConstraint(
                condition=Q(object_kind__in=ObjectKind.values), name="alarm_rule_object_kind_known"
            ),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(enrolled_to__isnull=False), name="alarm_rule_to_enrol")
        ]

    def __str__(self) -> str:
        return self.name


class Target(models.Model):
    """A rule watches this task, workflow or project. Index `alarm_target_of_object`: the rules of an instance."""

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="targets", db_index=False)
    object_kind = models.CharField(max_length=16)
    object_id = models.BigIntegerField()

    class Meta:
        verbose_name, verbose_name_plural = _("target"), _("targets")
        constraints = [models.UniqueConstraint(fields=["rule", "object_id"], name="alarm_target_once")]
        indexes = [models.Index(fields=["object_kind", "object_id"], name="alarm_target_of_object")]

    def __str__(self) -> str:
        return f"{ObjectKind(self.object_kind).label} {self.object_id}"


class Group(models.Model):
    """Receivers of a rule, and when they are told: quiet hours, repeats, escalation.

    `quiet` is a list of {"days": [1..7], "start": "HH:MM:SS", "end": "HH:MM:SS"} on the wall clock of `timezone`; an end
    before its start is on the next day.
    """

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="groups")
    position = models.PositiveSmallIntegerField(default=0)
    receivers = models.CharField(_("tell"), max_length=8, choices=Receivers, default=Receivers.OWNER)
    people: models.ManyToManyField = models.ManyToManyField(
        USER, blank=True, related_name="+", verbose_name=_("people")
    )
    emails = ArrayField(
        models.EmailField(), default=list, blank=True, verbose_name=_("other e-mail addresses")
    )
    by_email = models.BooleanField(_("by e-mail"), default=True)
    channels = models.ManyToManyField(Channel, blank=True, related_name="groups", verbose_name=_("channels"))
    notify_count = models.PositiveSmallIntegerField(
        _("times"), default=1, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    notify_minutes = models.PositiveIntegerField(
        _("minutes between"), default=30, validators=[MinValueValidator(1), MaxValueValidator(10_080)]
    )
    quiet = models.JSONField(_("quiet hours"), default=list, blank=True)
    timezone = models.CharField(_("time zone of quiet hours"), max_length=64, default="UTC")
    # Whom to tell besides, one after the other, while nobody acknowledges.
    escalation = ArrayField(models.BigIntegerField(), default=list, blank=True, verbose_name=_("escalate to"))
    escalation_minutes = models.PositiveIntegerField(
        _("escalate after minutes"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(10_080)],
    )

    class Meta:
        ordering = ["rule", "position", "id"]
        verbose_name, verbose_name_plural = _("receivers"), _("receivers")

    def __str__(self) -> str:
        return gettext("receivers %(number)s") % {"number": self.position + 1}


class Message(models.Model):
    """One alarm: what a rule found about one life of an instance. Told once, whoever found it.

    Indexes: `alarm_message_once` (identity), `alarm_message_of_project` (the list, newest first),
    `alarm_message_of_instance`, `alarm_message_by_time` (retention).
    """

    # Null when the rule was deleted: what was told stays.
    rule = models.ForeignKey(Rule, models.SET_NULL, null=True, related_name="messages", db_index=False)
    rule_name = models.CharField(_("rule"), max_length=100)
    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    instance_id = models.BigIntegerField()
    task_id = models.BigIntegerField()
    task_name = models.CharField(_("task"), max_length=100)
    data_time = models.DateTimeField(_("data time"))
    timezone = models.CharField(max_length=64, default="UTC")
    life_round = models.PositiveIntegerField()
    execution_id = models.BigIntegerField(null=True)
    # `failure`, `success` or `limit:<kind>`, of this life.
    occasion = models.CharField(max_length=40)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    level = models.SmallIntegerField(_("level"), choices=Level)
    reason = models.TextField(_("reason"))
    # Told before it happened; `limit_at` is what will be missed.
    predicted = models.BooleanField(default=False, db_default=False)
    limit_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(_("found"), db_default=Now())
    state = models.CharField(_("state"), max_length=8, choices=Sending, default=Sending.TO_SEND)
    attempts = models.PositiveIntegerField(_("attempts"), default=0, db_default=0)
    error = models.TextField(blank=True, default="", db_default="")
    sent_at = models.DateTimeField(_("last told"), null=True)
    # Who was told, by name or address, and how.
    receivers = ArrayField(models.TextField(), default=list, db_default=[])
    receiver_ids = ArrayField(models.BigIntegerField(), default=list, db_default=[])
    ways = ArrayField(models.CharField(max_length=16), default=list, db_default=[])
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(USER, models.SET_NULL, null=True, related_name="+", db_index=False)

    class Meta:
        ordering = ["-id"]
        verbose_name, verbose_name_plural = _("alarm message"), _("alarm messages")
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "instance_id", "life_round", "occasion"], name="alarm_message_once"
            ),
            models.CheckConstraint(condition=Q(state__in=Sending.values), name="alarm_message_state_known"),
        ]
        indexes = [
            models.Index(fields=["project", "-id"], name="alarm_message_of_project"),
            models.Index(fields=["instance_id", "-id"], name="alarm_message_of_instance"),
            models.Index(fields=["created_at"], name="alarm_message_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.rule_name}: {self.task_name}"


class Notice(models.Model):
    """What a group of receivers is still to be told of a message. Index `alarm_notice_due`: whom to tell now."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="notices")
    group = models.ForeignKey(Group, models.CASCADE, related_name="+")
    told = models.PositiveSmallIntegerField(default=0, db_default=0)
    escalated = models.PositiveSmallIntegerField(default=0, db_default=0)
    repeat_at = models.DateTimeField(null=True)
    escalate_at = models.DateTimeField(null=True)
    # The earlier of the two, after quiet hours; null: nothing is left.
    next_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("notice"), _("notices")
        constraints = [models.UniqueConstraint(fields=["message", "group"], name="alarm_notice_once")]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(next_at__isnull=False), name="alarm_notice_due")
        ]

    def __str__(self) -> str:
        return f"{self.message_id} to {self.group_id}"


class Delivery(models.Model):
    """One message to one address or channel. Sent at least once; receivers tell a repetition by `dedup_id`.

    Index `alarm_delivery_due`: what to send now; `next_at` of one that is being sent is the end of its sender's lease.
    """

    message = models.ForeignKey(Message, models.CASCADE, related_name="deliveries")
    # Such as `1.0` (first notice), `2.0` (second), `0.1` (first escalation), with the group before it.
    step = models.CharField(max_length=32)
    address = models.CharField(max_length=320, blank=True)
    channel = models.ForeignKey(Channel, models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=8, choices=Sending, default=Sending.TO_SEND)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    next_at = models.DateTimeField(db_default=Now())
    error = models.TextField(blank=True, default="", db_default="")
    sent_at = models.DateTimeField(null=True)
    dedup_id = models.UUIDField(default=uuid.uuid4, editable=False)

    class Meta:
        ordering = ["message", "id"]
        verbose_name, verbose_name_plural = _("delivery"), _("deliveries")
        constraints = [
            models.UniqueConstraint(
                fields=["message", "step", "address", "channel"],
                name="alarm_delivery_once",
                nulls_distinct=False,
            )
        ]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(state="to_send"), name="alarm_delivery_due"),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} to {self.address or self.channel_id}"


class Watch(models.Model):
    """A limit of a rule on one life of an instance, to be looked at at `due_at`. Index `alarm_watch_due`."""

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="+", db_index=False)
    limit_no = models.PositiveSmallIntegerField()
    instance_id = models.BigIntegerField()
    life_round = models.PositiveIntegerField()
    # Of limits on the running time: the try that it is about.
    execution_id = models.BigIntegerField(null=True)
    limit_at = models.DateTimeField()
    due_at = models.DateTimeField()

    class Meta:
        verbose_name, verbose_name_plural = _("watch"), _("watches")
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "limit_no", "instance_id", "life_round"], name="alarm_watch_once"
            )
        ]
        indexes = [models.Index(fields=["due_at"], name="alarm_watch_due")]

    def __str__(self) -> str:
        return f"limit {self.limit_no} of rule {self.rule_id} on {self.instance_id}"


class Cursor(models.Model):
    """How far a table was read (ADR 16): all up to `low` for good, all visible up to `seen`."""

    name = models.CharField(primary_key=True, max_length=32)
    low = models.BigIntegerField()
    seen = models.BigIntegerField()
    mark = models.BigIntegerField(null=True)
    mark_xid = models.BigIntegerField(null=True)
    moved_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name, verbose_name_plural = _("mark of reading"), _("marks of reading")

    def __str__(self) -> str:
        return self.name


class Pulse(models.Model):
    """When a task of beat last ran to its end, and for how long: `tick`, `alarms`, `hourly`."""

    name = models.CharField(primary_key=True, max_length=16)
    at = models.DateTimeField(db_default=Now())
    seconds = models.FloatField(default=0)

    class Meta:
        verbose_name, verbose_name_plural = _("pulse"), _("pulses")

    def __str__(self) -> str:
        return f"{self.name} at {self.at}"
