"""Choices of the columns, made from the engine's enumerations."""

from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models import CheckConstraint, Q
from django.utils.translation import gettext_lazy as _

from instances.engine.schedule import Cycle
from instances.engine.states import LABELS, SelfDependency, State, TaskStatus
from instances.engine.trigger_policies import WORDS
from instances.runners import registry

STATES = [(state.value, LABELS[state]) for state in State]
CYCLES = [(cycle.value, cycle.value.capitalize()) for cycle in Cycle]
TASK_STATUSES = [(status.value, status.value.capitalize()) for status in TaskStatus]
SELF_DEPENDENCIES = [
    (SelfDependency.SERIAL.value, "Serial: one at a time, in any order"),
    (SelfDependency.ORDERLY.value, "Orderly: waits for the success of the previous data time"),
    (SelfDependency.PARALLEL.value, "Parallel: no limit"),
]

TRIGGER_POLICIES = [(policy.value, f"{policy}: {words}") for policy, words in WORDS.items()]


class Priority(models.IntegerChoices):
    """Higher runs first. Backfills run in a band of their own below: minus 10."""

    LOW = 1, "Low"
    MEDIUM = 2, "Medium"
    HIGH = 3, "High"


def task_types() -> list[tuple[str, str]]:
    """The registered task types. A function, so that a new type needs no migration."""
    return registry.choices()


class Generation(models.TextChoices):
    T_PLUS_0 = "T_PLUS_0", "T+0: in its own cycle"
    T_PLUS_1 = "T_PLUS_1", "T+1: one cycle later"


class CatchUp(models.TextChoices):
    ALL = "all", "Generate everything that was missed"
    LATEST = "latest", "Latest only"


class CalendarMode(models.TextChoices):
    RUN_ONLY = "RUN_ONLY", "Run only on its dates"
    SKIP = "SKIP", "Skip its dates"


class RerunAllowed(models.TextChoices):
    ALL = "ALL", "Always"
    FAILURE = "FAILURE", "Only after a failure"
    NONE = "NONE", "Never"


class UpstreamFailure(models.TextChoices):
    """What an instance does whose policy cannot be met because a parent has failed."""

    WAIT = "wait", _("Wait: the upstream may still be rerun or marked as successful")
    FAIL = "fail", _("Fail, with the code UPSTREAM_FAILED")


def known(field: str, values: type[StrEnum] | list[Any], name: str) -> CheckConstraint:
    """A database check that `field` holds one of `values`."""
    allowed = [getattr(value, "value", value) for value in values]
    return CheckConstraint(condition=Q(**{f"{field}__in": allowed}), name=name)
