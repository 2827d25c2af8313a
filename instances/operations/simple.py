"""Terminate, rerun and mark as successful."""

from collections.abc import Sequence
from typing import Any

from instances.engine import lifecycle
from instances.engine.states import Operation
from instances.models import OperationRecord
from instances.operations.base import Changed, InstanceOperation, register
from weops.projects.access import Right


@register
class Terminate(InstanceOperation):
    kind = Operation.TERMINATE
    right = Right.OPERATE

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        return Changed(*lifecycle.terminate(ids, record.pk))


@register
class Rerun(InstanceOperation):
    kind = Operation.RERUN
    right = Right.OPERATE

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        return Changed(*lifecycle.rerun(ids, record.pk))


@register
class MarkSuccess(InstanceOperation):
    kind = Operation.MARK_SUCCESS
    right = Right.OVERRIDE

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        return Changed(*lifecycle.mark_success(ids, record.pk))
