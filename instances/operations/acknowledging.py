"""Acknowledge a failure: somebody has seen it and takes care of it. An overlay on one life; it never changes a state."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from django.contrib.auth.models import User
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from instances.engine.states import FINAL, LABELS, State
from instances.language import listed_plainly
from instances.models import Acknowledgement, Instance, OperationRecord
from instances.operations.base import Changed, InstanceOperation, register
from instances.operations.parsing import OptionError, moment, only, storable
from weops.projects import access
from weops.projects.access import Right

FAILURES = (State.FAILED, State.FAILED_RETRY)
# Where no failure is left to be acknowledged, though the life is the same: a retry or a person made it successful.
_MENDED = [state.value for state in FINAL if state not in FAILURES]


@dataclass(frozen=True)
class AcknowledgeOptions:
    """`owner`: the name of the account that takes care of it; empty: who acknowledges. `expires_at`: until when it is
    in force at most."""

    owner: str = ""
    expires_at: dt.datetime | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        only(given, ("owner", "expires_at"))
        owner = given.get("owner") or ""
        if not storable(owner) or len(owner) > 150:
            raise OptionError("owner", _("Write the name of an account, or nothing for your own."))
        return cls(owner, moment(given, "expires_at"))

    def as_json(self) -> dict[str, Any]:
        """What `parse` takes; without what is as by default."""
        options = {"owner": self.owner} if self.owner else {}
        if self.expires_at is not None:
            options["expires_at"] = self.expires_at.isoformat()
        return options

    @cached_property
    def account(self) -> User | None:
        """The active account of `owner`."""
        return User.objects.filter(username=self.owner, is_active=True).first()

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


@register
class Acknowledge(InstanceOperation):
    """A new acknowledgement withdraws the one before it."""

    kind = "acknowledge"
    right = Right.OPERATE
    reason_required = True
    undoable = False
    why_not_undoable = gettext_noop("An acknowledgement is not undone: withdraw it.")

    def parse(self, given: Mapping[str, Any]) -> AcknowledgeOptions:
        return AcknowledgeOptions.parse(given)

    def check(self, options: AcknowledgeOptions) -> None:
        if options.owner and options.account is None:
            message = _("There is no active account called %(name)r.")
            raise OptionError("owner", message % {"name": options.owner})
        if options.expired:
            raise OptionError("expires_at", _("That time has passed; write one in the future, or none."))

    def refusal(self, instance: Instance, options: AcknowledgeOptions) -> str:
        if instance.state not in FAILURES:
            return _("%(instance)s is in state %(state)s: %(verb)s is allowed only from %(allowed)s.") % {
                "instance": instance,
                "state": _(LABELS[State(instance.state)]),
                "verb": self.verb(),
                "allowed": listed_plainly(_(LABELS[state]) for state in FAILURES),
            }
        if options.expired:
            message = _("The acknowledgement of %(instance)s would have expired already.")
            return message % {"instance": instance}
        if options.owner:
            owner = options.account
            if owner is None or Right.VIEW not in access.rights(owner, instance.project_id):
                message = _(
                    "%(owner)s cannot take care of %(instance)s: no active account that sees its project."
                )
                return message % {"owner": options.owner, "instance": instance}
        return ""

    def change(self, ids: Sequence[int], record: OperationRecord, options: AcknowledgeOptions) -> Changed:
        failed = Instance.objects.filter(pk__in=ids, state__in=FAILURES).order_by("pk")
        rows = list(failed.values_list("pk", "state", "life_round"))
        _withdraw([pk for pk, _state, _life in rows])
        owner = options.account if options.owner else record.operator
        Acknowledgement.objects.bulk_create(
            Acknowledgement(
                instance_id=pk,
                life_round=life_round,
                owner=owner,
                reason=record.reason,
                expires_at=options.expires_at,
                operation_id=record.pk,
            )
            for pk, _state, life_round in rows
        )
        return Changed({pk: state for pk, state, _life in rows})


@register
class WithdrawAcknowledgement(InstanceOperation):
    kind = "withdraw_acknowledgement"
    right = Right.OPERATE
    undoable = False
    why_not_undoable = gettext_noop("A withdrawal is not undone: acknowledge the failure once more.")

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        found = in_force(Instance.objects.filter(pk__in=ids))
        states = dict(found.order_by("pk").values_list("pk", "state"))
        _withdraw(list(states))
        return Changed(states)

    def refusals(self, instances: Sequence[Instance], options: Any) -> dict[int, str]:
        standing = acknowledgements(instance.pk for instance in instances)
        return {
            instance.pk: _("%(instance)s has no acknowledgement in force.") % {"instance": instance}
            for instance in instances
            if instance.pk not in standing
        }

    def refusal(self, instance: Instance, options: Any) -> str:
        return self.refusals([instance], options).get(instance.pk, "")


def _withdraw(instance_ids: Sequence[int]) -> None:
    rows = Acknowledgement.objects.filter(instance_id__in=instance_ids, withdrawn_at__isnull=True)
    rows.update(withdrawn_at=Now())


def _counting() -> QuerySet[Acknowledgement]:
    """Neither withdrawn nor expired; whether its life is still the instance's is not asked here."""
    return Acknowledgement.objects.filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=Now()), withdrawn_at__isnull=True
    )


def acknowledged() -> ExpressionWrapper:
    """For filters and annotations of a queryset of instances: whether its failure is acknowledged now."""
    rows = _counting().filter(instance_id=OuterRef("pk"), life_round=OuterRef("life_round"))
    return ExpressionWrapper(Exists(rows) & ~Q(state__in=_MENDED), BooleanField())


def acknowledged_ids(most: int) -> list[int]:
    """Ids of instances with an acknowledgement that is neither withdrawn nor expired, some of them if more than `most`."""
    return list(_counting().order_by().values_list("instance_id", flat=True)[:most])


def in_force(instances: QuerySet[Instance]) -> QuerySet[Instance]:
    """Those of `instances` whose failure is acknowledged now."""
    return instances.filter(acknowledged())


def acknowledgements(instance_ids: Iterable[int]) -> dict[int, Acknowledgement]:
    """{instance id: its acknowledgement in force, with its owner}, in one query."""
    lives = Instance.objects.filter(pk=OuterRef("instance_id"), life_round=OuterRef("life_round"))
    rows = _counting().filter(Exists(lives.exclude(state__in=_MENDED)), instance_id__in=list(instance_ids))
    return {row.instance_id: row for row in rows.select_related("owner")}
