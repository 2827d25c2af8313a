"""Choices of the columns, made from the engine's enumerations."""

from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models import CheckConstraint, Q
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from instances.engine.schedule import Cycle
from instances.engine.states import LABELS, SelfDependency, State, TaskStatus
from instances.engine.trigger_policies import WORDS
from instances.runners import registry

STATES = [(state.value, _(LABELS[state])) for state in State]
_CYCLES = {
    Cycle.ONEOFF: pgettext_lazy("cycle type", "Oneoff"),
    Cycle.MINUTE: pgettext_lazy("cycle type", "Minute"),
    Cycle.HOUR: pgettext_lazy("cycle type", "Hour"),
    Cycle.DAY: pgettext_lazy("cycle type", "Day"),
    Cycle.WEEK: pgettext_lazy("cycle type", "Week"),
    Cycle.MONTH: pgettext_lazy("cycle type", "Month"),
    Cycle.YEAR: pgettext_lazy("cycle type", "Year"),
    Cycle.CRONTAB: pgettext_lazy("cycle type", "Crontab"),
}
CYCLES = [(cycle.value, _CYCLES[cycle]) for cycle in Cycle]
TASK_STATUSES = [
    (TaskStatus.SCHEDULING.value, _("Scheduling")),
    (TaskStatus.PAUSED.value, _("Paused")),
    (TaskStatus.OFFLINE.value, _("Offline")),
]
SELF_DEPENDENCIES: list[tuple[str, Any]] = [
    (SelfDependency.SERIAL.value, _("Serial: one at a time, in any order")),
    (SelfDependency.ORDERLY.value, _("Orderly: waits for the success of the previous data time")),
    (SelfDependency.PARALLEL.value, _("Parallel: no limit")),
]

TRIGGER_POLICIES = [
    (policy.value, format_lazy("{policy}: {words}", policy=policy.value, words=_(words)))
    for policy, words in WORDS.items()
]


class Priority(models.IntegerChoices):
    """Higher runs first. Backfills run in a band of their own below: minus 10."""

    LOW = 1, _("Low")
    MEDIUM = 2, _("Medium")
    HIGH = 3, _("High")


def task_types() -> list[tuple[str, str]]:
    """The registered task types. A function, so that a new type needs no migration."""
    return registry.choices()


class Generation(models.TextChoices):
    T_PLUS_0 = "T_PLUS_0", _("T+0: in its own cycle")
    T_PLUS_1 = "T_PLUS_1", _("T+1: one cycle later")


class CatchUp(models.TextChoices):
    ALL = "all", _("Generate everything that was missed")
    LATEST = "latest", _("Latest only")


class CalendarMode(models.TextChoices):
    RUN_ONLY = "RUN_ONLY", _("Run only on its dates")
    SKIP = "SKIP", _("Skip its dates")


class RerunAllowed(models.TextChoices):
    ALL = "ALL", _("Always")
    FAILURE = "FAILURE", _("Only after a failure")
    NONE = "NONE", _("Never")


class UpstreamFailure(models.TextChoices):
    """What an instance does whose policy cannot be met because a parent has failed."""

    WAIT = "wait", _("Wait: the upstream may still be rerun or marked as successful")
    FAIL = "fail", _("Fail, with the code UPSTREAM_FAILED")


def known(field: str, values: type[StrEnum] | list[Any], name: str) -> CheckConstraint:
    """A database check that `field` holds one of `values`."""
    allowed = [getattr(value, "value", value) for value in values]
    return CheckConstraint(condition=Q(**{f"{field}__in": allowed}), name=name)
