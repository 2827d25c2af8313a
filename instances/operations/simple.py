"""Terminate, rerun (this instance only, parents not checked) and mark as successful."""

from collections.abc import Sequence

from instances.engine import lifecycle
from instances.engine.lifecycle import Touched
from instances.engine.states import Operation
from instances.operations.base import InstanceOperation, register


@register
class Terminate(InstanceOperation):
    kind = Operation.TERMINATE

    def change(self, ids: Sequence[int], record_id: int) -> tuple[dict[int, str], Touched]:
        return lifecycle.terminate(ids, record_id)


@register
class Rerun(InstanceOperation):
    kind = Operation.RERUN

    def change(self, ids: Sequence[int], record_id: int) -> tuple[dict[int, str], Touched]:
        return lifecycle.rerun(ids, record_id)


@register
class MarkSuccess(InstanceOperation):
    kind = Operation.MARK_SUCCESS

    def change(self, ids: Sequence[int], record_id: int) -> tuple[dict[int, str], Touched]:
        return lifecycle.mark_success(ids, record_id)
