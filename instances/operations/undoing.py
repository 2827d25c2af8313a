"""Undo: an operation of its own on the instances that another one has changed; docs/adr/0008-operations.md, point 8."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from instances.models import Instance, OperationItem, OperationRecord
from instances.models.operation import ItemOutcome, OperationState
from instances.operations.base import Changed, InstanceOperation, get, kinds, register
from instances.operations.options import OptionError
from instances.operations.records import UNFINISHED
from weops.projects.access import Right

KIND = "undo"
NOT_UNDOABLE_TWICE = gettext_noop("An undo cannot be undone; do the operation once more instead.")


@register
class Undo(InstanceOperation):
    """Its option `operation` is the id of the record that it undoes."""

    kind = KIND
    right = Right.OPERATE
    undoable = False
    locks_parents = True
    why_not_undoable = NOT_UNDOABLE_TWICE

    def parse(self, given: Mapping[str, Any]) -> dict[str, Any]:
        number = given.get("operation")
        if type(number) is not int or not 0 < number < 2**63 or set(given) != {"operation"}:
            message = _("Write the number of the operation that is to be undone, no more.")
            raise OptionError("operation", message)
        return {"operation": number}

    def rights(self, options: dict[str, Any]) -> frozenset[Right]:
        """What the operation itself needs."""
        original = OperationRecord.objects.get(pk=options["operation"])
        operation = get(original.kind)
        return operation.rights(operation.parse(original.options))

    def change(self, ids: Sequence[int], record: OperationRecord, options: dict[str, Any]) -> Changed:
        original = OperationRecord.objects.get(pk=options["operation"])
        images = OperationItem.objects.filter(
            operation=original, instance_id__in=ids, outcome=ItemOutcome.DONE, before__isnull=False
        ).values_list("instance_id", "before", "after")
        before: dict[int, dict[str, Any]] = {}
        after: dict[int, dict[str, Any]] = {}
        for pk, was, became in images:
            before[pk], after[pk] = was or {}, became or {}
        return get(original.kind).revert(before, after, record)


def done_by(record: OperationRecord) -> QuerySet[Instance]:
    """The instances that the operation has changed."""
    done = OperationItem.objects.filter(operation=record, outcome=ItemOutcome.DONE)
    return Instance.objects.filter(pk__in=done.values("instance_id"))


def why_not_undoable(record: OperationRecord) -> str:
    """Why the operation as a whole cannot be undone; '' if it can be tried, instance by instance."""
    if record.kind not in kinds():
        return _("It is no operation on instances.")
    operation = get(record.kind)
    if not operation.undoable:
        return _(operation.why_not_undoable)
    if record.state in UNFINISHED:
        return _("It is not finished yet; it can be cancelled.")
    if not record.done:
        return _("It changed nothing.")
    undos = OperationRecord.objects.filter(undoes=record).exclude(state=OperationState.FAIL)
    undone = undos.values_list("id", flat=True).first()
    return _("It was undone already, by operation #%(id)s.") % {"id": undone} if undone else ""
