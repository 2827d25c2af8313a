"""Events: definitions and who listens, firings and what became of each, waits, consumptions.

Instances and tasks belong to another app, known here by name only. `matching.py` and `expiry.py` alone change the state
of an event instance or a wait.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from events import formats, words
from events.formats import EventCycle, Unit
from weops.projects.models import Project

USER = settings.AUTH_USER_MODEL
CYCLES = [(cycle.value, words.CYCLES[cycle]) for cycle in EventCycle]
UNITS = [(unit.value, words.UNITS[unit]) for unit in Unit]
# A year in seconds: whatever the unit, no clock runs longer than 31,622,400 of it.
_AMOUNT = [MinValueValidator(1), MaxValueValidator(31_622_400)]


class Delivery(models.TextChoices):
    BROADCAST = "BROADCAST", _("Broadcast: every listening instance")
    SINGLE = "SINGLE", _("Single: one instance")


class EventState(models.TextChoices):
    """`consuming`: a broadcast that was consumed and lives; others may still come."""

    TO_BE_CONSUMED = "to_be_consumed", _("To be consumed")
    CONSUMING = "consuming", _("Consuming")
    CONSUMED = "consumed", _("Consumed")
    EXPIRED = "expired", _("Expired")


LIVING = (EventState.TO_BE_CONSUMED.value, EventState.CONSUMING.value)


class Source(models.TextChoices):
    """The door that a firing came through."""

    ADMIN = "admin", _("Admin")
    INBOX = "inbox", _("Near-miss inbox")
    API = "api", _("API")
    SHELL = "shell", _("Printed by a task")
    SUCCESS = "success", _("Success of a task")
    SYSTEM = "system", _("System")


class Event(models.Model):
    """Project, name and cycle identify it for whoever fires it, so they stay as they were made."""

    project = models.ForeignKey(Project, models.PROTECT, related_name="events", verbose_name=_("project"))
    name = models.CharField(
        _("name"),
        max_length=20,
        validators=[
            RegexValidator(
                formats.NAME, _("Write 1 to 20 letters, digits or '_', beginning with a letter."), "invalid"
            )
        ],
    )
    cycle = models.CharField(
        _("cycle type"),
        max_length=8,
        choices=CYCLES,
        default=EventCycle.DAY,
        help_text=_("Decides the format of its data times."),
    )
    delivery = models.CharField(
        _("type"),
        max_length=12,
        choices=Delivery,
        default=Delivery.BROADCAST,
        help_text=_("Who consumes a firing."),
    )
    time_to_live = models.PositiveIntegerField(
        _("time to live"),
        default=7,
        validators=_AMOUNT,
        help_text=_("How long a firing waits to be consumed."),
    )
    time_to_live_unit = models.CharField(_("unit"), max_length=8, choices=UNITS, default=Unit.DAYS)
    owner = models.ForeignKey(
        USER,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("owner"),
    )
    description = models.TextField(_("description"), blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        ordering = ["project", "name"]
        verbose_name, verbose_name_plural = _("event"), _("events")
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="event_name_once"),
            models.CheckConstraint(
                condition=Q(name__regex=r"^[A-Za-z][A-Za-z0-9_]{0,19}$"), name="event_name_well_formed"
            ),
            models.CheckConstraint(condition=Q(cycle__in=list(EventCycle)), name="event_cycle_known"),
            models.CheckConstraint(condition=Q(delivery__in=Delivery.values), name="event_delivery_known"),
            models.CheckConstraint(
                condition=Q(time_to_live__gte=1, time_to_live_unit__in=list(Unit)), name="event_lives"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    # Where it is found by typing: two projects may have events of one name.
    choice_reads = ("project",)

    @property
    def choice_name(self) -> str:
        return f"{self.name} ({self.project}, {self.format})"

    @property
    def format(self) -> str:
        """Of its data times, such as yyyyMMdd."""
        return formats.FORMATS[EventCycle(self.cycle)]

    @property
    def lives(self) -> str:
        return words.lasting(self.time_to_live, self.time_to_live_unit)

    def clean(self) -> None:
        check_length("time_to_live", self.time_to_live, self.time_to_live_unit)


def check_length(field: str, amount: int | None, unit: str) -> None:
    """Raises ValidationError for a duration beyond a year: such a clock is a mistake of the unit."""
    if amount is not None and unit in list(Unit) and formats.length(amount, unit).days > 366:
        said = gettext("%(time)s is more than a year; choose less.")
        raise ValidationError({field: said % {"time": words.lasting(amount, unit)}})


class Listener(models.Model):
    """Instances of `task` wait for `event` with their own data time. Those that exist keep the waits they have."""

    task = models.ForeignKey(
        "instances.Task",
        models.CASCADE,
        related_name="listeners",
        db_index=False,
        verbose_name=_("task"),
    )
    event = models.ForeignKey(Event, models.PROTECT, related_name="listeners", verbose_name=_("event"))
    max_wait = models.PositiveIntegerField(
        _("maximum wait"),
        null=True,
        blank=True,
        validators=_AMOUNT,
        help_text=_("An instance that waits longer is ended; empty: no limit."),
    )
    max_wait_unit = models.CharField(_("unit"), max_length=8, choices=UNITS, default=Unit.HOURS)

    class Meta:
        ordering = ["task", "id"]
        verbose_name, verbose_name_plural = _("listener"), _("listeners")
        constraints = [
            models.UniqueConstraint(fields=["task", "event"], name="listener_once"),
            models.CheckConstraint(
                condition=(Q(max_wait__isnull=True) | Q(max_wait__gte=1)) & Q(max_wait_unit__in=list(Unit)),
                name="listener_wait_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} ({words.lasting(self.max_wait, self.max_wait_unit)})"

    def clean(self) -> None:
        check_length("max_wait", self.max_wait, self.max_wait_unit)


class Emitter(models.Model):
    """Each instance of `task` that becomes successful fires `event` with its own data time."""

    task = models.ForeignKey(
        "instances.Task", models.CASCADE, related_name="emitters", db_index=False, verbose_name=_("task")
    )
    event = models.ForeignKey(Event, models.PROTECT, related_name="emitters", verbose_name=_("event"))

    class Meta:
        ordering = ["task", "id"]
        verbose_name, verbose_name_plural = _("emitter"), _("emitters")
        constraints = [models.UniqueConstraint(fields=["task", "event"], name="emitter_once")]

    def __str__(self) -> str:
        return gettext("fires %(event)s") % {"event": self.event}


class Firing(models.Model):
    """One call that fired events of one project, whoever made it. `firing_once` makes a repeated call harmless.

    `digest` tells a repetition from another call under the same request id.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    request_id = models.CharField(max_length=128, blank=True)
    digest = models.CharField(max_length=64)
    source = models.CharField(max_length=8, choices=Source)
    user = models.ForeignKey(USER, models.SET_NULL, null=True, related_name="+", db_index=False)
    user_name = models.CharField(max_length=150, blank=True, help_text=_("As it was then."))
    # The instance and execution that fired it, if it was a task.
    instance_id = models.BigIntegerField(null=True)
    execution_id = models.BigIntegerField(null=True)
    fired = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        verbose_name, verbose_name_plural = _("firing"), _("firings")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "request_id"], condition=~Q(request_id=""), name="firing_once"
            ),
            models.CheckConstraint(condition=Q(source__in=Source.values), name="firing_source_known"),
        ]
        indexes = [models.Index(fields=["created_at"], name="firing_by_time")]

    def __str__(self) -> str:
        return gettext("firing #%(id)s") % {"id": self.pk}


class EventInstance(models.Model):
    """One firing of an event for one data time.

    `moment` is the data time's wall clock kept as if it were UTC: for sorting and ranges, never to be compared with an
    instant. `settled`: everything that waited when it was fired has been served. `consumers` counts its consumptions.

    Indexes: `event_instance_living` (matching), `event_instance_unsettled` (what a batch goes on with),
    `event_instance_heard` (which data times were consumed: near misses), `event_instance_expiry` (the clock),
    `event_instance_by_event`, `_by_moment`, `_by_trigger`, `_by_state` (lists).
    """

    event = models.ForeignKey(Event, models.PROTECT, related_name="event_instances", db_index=False)
    firing = models.ForeignKey(Firing, models.PROTECT, related_name="event_instances")
    data_time = models.CharField(max_length=14)
    moment = models.DateTimeField()
    state = models.CharField(max_length=16, choices=EventState, default=EventState.TO_BE_CONSUMED)
    settled = models.BooleanField(default=False)
    triggered_at = models.DateTimeField(db_default=Now())
    consumed_at = models.DateTimeField(null=True, help_text=_("When it was first consumed."))
    expires_at = models.DateTimeField()
    consumers = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        ordering = ["-id"]
        verbose_name, verbose_name_plural = _("event instance"), _("event instances")
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["consuming", "consumed"], consumed_at__isnull=False, consumers__gte=1)
                | Q(state__in=["to_be_consumed", "expired"], consumed_at__isnull=True, consumers=0),
                name="event_instance_consumed_has_time",
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("triggered_at")), name="event_instance_expires_after_trigger"
            ),
            models.CheckConstraint(
                condition=Q(data_time__regex=r"^[0-9]{8}([0-9]{2}){0,3}$"),
                name="event_instance_data_time_digits",
            ),
        ]
        indexes = [
            models.Index(
                fields=["event", "data_time", "id"],
                condition=Q(state__in=LIVING),
                name="event_instance_living",
            ),
            models.Index(fields=["id"], condition=Q(settled=False), name="event_instance_unsettled"),
            models.Index(
                fields=["expires_at"],
                condition=Q(state__in=LIVING, settled=True),
                name="event_instance_expiry",
            ),
            models.Index(
                fields=["event", "data_time"], condition=Q(consumers__gt=0), name="event_instance_heard"
            ),
            models.Index(fields=["event", "-id"], name="event_instance_by_event"),
            models.Index(fields=["moment", "id"], name="event_instance_by_moment"),
            models.Index(fields=["triggered_at", "id"], name="event_instance_by_trigger"),
            models.Index(fields=["state", "-id"], name="event_instance_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.data_time}"


class Stray(models.Model):
    """What a firing asked for and nobody could have meant: an unknown event, or a data time in another format.

    Kept for the near-miss inbox until somebody fires it as meant or dismisses it.
    """

    class Reason(models.TextChoices):
        UNKNOWN = "unknown", _("There is no such event")
        FORMAT = "format", _("Wrong data time")

    firing = models.ForeignKey(Firing, models.CASCADE, related_name="strays")
    name = models.CharField(max_length=100, help_text=_("As written, cut."))
    data_time = models.CharField(max_length=40, help_text=_("As written, cut."))
    reason = models.CharField(max_length=8, choices=Reason)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(USER, models.SET_NULL, null=True, related_name="+", db_index=False)

    class Meta:
        ordering = ["-id"]
        verbose_name, verbose_name_plural = _("stray firing"), _("stray firings")
        constraints = [
            models.CheckConstraint(condition=Q(reason__in=["unknown", "format"]), name="stray_reason_known")
        ]
        indexes = [models.Index(fields=["-id"], condition=Q(resolved_at__isnull=True), name="stray_open")]

    def __str__(self) -> str:
        return f"{self.name},{self.data_time}"


# Conditions of a wait that counts; the partial indexes below serve exactly this.
OPEN = Q(satisfied_at__isnull=True, withdrawn_at__isnull=True)


class Wait(models.Model):
    """An instance waits for an event with this data time. Made with the instance; each of its lives decides anew.

    Open while neither satisfied (by `event_instance`) nor withdrawn (its life ended, or ignores events). `max_wait` and
    `planned_time` are kept here, so that a listener that changes later changes nothing for it.

    Indexes: the primary key (what an instance waits for), `wait_open` (whom a firing serves, the first planned first),
    `wait_overdue` (the clock).
    """

    pk = models.CompositePrimaryKey("instance_id", "event_id")
    instance = models.ForeignKey(
        "instances.Instance",
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="event_waits",
    )
    event = models.ForeignKey(
        Event, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="waits"
    )
    data_time = models.CharField(max_length=14)
    planned_time = models.DateTimeField()
    max_wait = models.DurationField(null=True)
    deadline = models.DateTimeField(null=True)
    satisfied_at = models.DateTimeField(null=True)
    event_instance = models.ForeignKey(
        EventInstance, models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("wait"), _("waits")
        constraints = [
            models.CheckConstraint(
                condition=Q(satisfied_at__isnull=True, event_instance__isnull=True)
                | Q(satisfied_at__isnull=False, event_instance__isnull=False, withdrawn_at__isnull=True),
                name="wait_satisfied_by_something",
            )
        ]
        indexes = [
            models.Index(
                fields=["event", "data_time", "planned_time", "instance"], condition=OPEN, name="wait_open"
            ),
            models.Index(
                fields=["deadline", "instance"],
                condition=OPEN & Q(deadline__isnull=False),
                name="wait_overdue",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id} waits for {self.event_id} {self.data_time}"


class Consumption(models.Model):
    """An instance consumed an event instance. `single` lets the database refuse a second consumer.

    No database foreign keys: checking one row after the other would take a third of the time of a release.
    """

    pk = models.CompositePrimaryKey("event_instance_id", "instance_id")
    event_instance = models.ForeignKey(
        EventInstance, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="consumptions"
    )
    instance = models.ForeignKey(
        "instances.Instance", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    single = models.BooleanField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name, verbose_name_plural = _("consumption"), _("consumptions")
        constraints = [
            models.UniqueConstraint(
                fields=["event_instance"], condition=Q(single=True), name="consumption_single_once"
            )
        ]
        indexes = [models.Index(fields=["instance"], name="consumption_by_instance")]

    def __str__(self) -> str:
        return f"{self.instance_id} consumed {self.event_instance_id}"


class Emission(models.Model):
    """What a successful run still has to fire: written with its success, removed when it has been fired.

    `entries` are [name, data time] each, of events of `project`.
    """

    project = models.ForeignKey(Project, models.CASCADE, db_index=False, related_name="+")
    request_id = models.CharField(max_length=128)
    source = models.CharField(max_length=8, choices=Source)
    instance_id = models.BigIntegerField()
    execution_id = models.BigIntegerField(null=True)
    entries: Any = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name, verbose_name_plural = _("emission"), _("emissions")
        constraints = [
            models.UniqueConstraint(fields=["project", "request_id"], name="emission_once"),
        ]

    def __str__(self) -> str:
        return f"emission {self.request_id}"
