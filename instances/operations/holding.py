"""Freeze and thaw: hold an instance, or it and all that lies downstream, until it is thawed by hand or at a given time.

A frozen instance is not started, whatever its state says (ADR 0009, point 7). What runs already goes on; its retries wait.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from django.utils import timezone
from django.utils.translation import gettext as _

from instances.engine import lifecycle
from instances.models import Instance, OperationRecord
from instances.operations.base import Changed, InstanceOperation, register
from instances.operations.parsing import OptionError, flag, moment, only
from weops.projects.access import Right

_TIMES = "%Y-%m-%d %H:%M:%S %Z"


@dataclass(frozen=True, slots=True)
class FreezeOptions:
    """`subtree`: all that lies downstream of the chosen instances is frozen with them, over workflows and projects.
    `thaw_at`: when they thaw by themselves; None: by hand only."""

    subtree: bool = False
    thaw_at: dt.datetime | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        only(given, cls.__dataclass_fields__)
        return cls(subtree=flag(given, "subtree"), thaw_at=moment(given, "thaw_at"))

    @property
    def passed(self) -> bool:
        return self.thaw_at is not None and self.thaw_at <= timezone.now()

    def as_json(self) -> dict[str, Any]:
        """What `parse` takes; without what is as by default."""
        options: dict[str, Any] = {"subtree": True} if self.subtree else {}
        if self.thaw_at is not None:
            options["thaw_at"] = self.thaw_at.isoformat()
        return options


@register
class Freeze(InstanceOperation):
    """An instance that is frozen already gets the new time of its thaw."""

    kind = "freeze"
    right = Right.OPERATE

    def parse(self, given: Mapping[str, Any]) -> FreezeOptions:
        return FreezeOptions.parse(given)

    def check(self, options: FreezeOptions) -> None:
        if options.passed:
            raise OptionError("thaw_at", _("That time has passed; write one in the future, or none."))

    def refusal(self, instance: Instance, options: FreezeOptions) -> str:
        if why := super().refusal(instance, options):
            return why
        if options.passed:
            message = _("The time at which %(instance)s was to thaw has passed: %(time)s.")
            return message % {"instance": instance, "time": f"{options.thaw_at:{_TIMES}}"}
        if instance.frozen_at is not None and instance.thaw_at == options.thaw_at:
            if instance.thaw_at is None:
                return _("%(instance)s is frozen already, until it is thawed by hand.") % {
                    "instance": instance
                }
            message = _("%(instance)s is frozen already, until %(time)s.")
            return message % {"instance": instance, "time": f"{instance.thaw_at:{_TIMES}}"}
        return ""

    def change(self, ids: Sequence[int], record: OperationRecord, options: FreezeOptions) -> Changed:
        return Changed(*lifecycle.freeze(ids, record.pk, options.thaw_at))


@register
class Thaw(InstanceOperation):
    kind = "thaw"
    right = Right.OPERATE

    def refusal(self, instance: Instance, options: Any) -> str:
        if instance.frozen_at is not None:
            return ""
        return _("%(instance)s is not frozen.") % {"instance": instance}

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        return Changed(*lifecycle.thaw(ids, record.pk))
