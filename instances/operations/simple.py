"""Terminate, rerun and mark as successful."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from instances.engine import lifecycle
from instances.engine.lives import Life
from instances.engine.states import LABELS, Operation, State
from instances.models import Instance, OperationRecord
from instances.models.choices import RerunAllowed
from instances.operations.base import Changed, InstanceOperation, register
from instances.operations.options import RerunOptions
from weops.projects.access import Right


@register
class Terminate(InstanceOperation):
    """Done as soon as it is asked for: a running one is terminating then, until its processes are dead."""

    kind = Operation.TERMINATE
    right = Right.OPERATE

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        return Changed(*lifecycle.terminate(ids, record.pk))


@register
class Rerun(InstanceOperation):
    kind = Operation.RERUN
    right = Right.OPERATE
    of_tests = False
    locks_parents = True

    def parse(self, given: Mapping[str, Any]) -> RerunOptions:
        return RerunOptions.parse(given)

    def rights(self, options: RerunOptions) -> frozenset[Right]:
        """Other parameters than the task's are an override."""
        if options.parameters or options.application_parameters:
            return frozenset({self.right, Right.OVERRIDE})
        return frozenset({self.right})

    def refusal(self, instance: Instance, options: RerunOptions) -> str:
        if why := super().refusal(instance, options):
            return why
        allowed = instance.task.rerun_allowed
        if allowed == RerunAllowed.NONE:
            return _("%(instance)s: its task does not allow reruns.") % {"instance": instance}
        if allowed == RerunAllowed.FAILURE and instance.state not in (State.FAILED, State.FAILED_RETRY):
            message = _("%(instance)s is in state %(state)s: its task allows a rerun only after a failure.")
            return message % {"instance": instance, "state": _(LABELS[State(instance.state)])}
        return ""

    def change(self, ids: Sequence[int], record: OperationRecord, options: RerunOptions) -> Changed:
        life = Life(
            check_parents=options.check_parents,
            check_previous=options.check_previous,
            ignore_events=options.ignore_events,
            parameters=options.parameters,
            application_parameters=options.application_parameters,
            self_dependency=options.self_dependency,
            parallelism=options.parallelism,
            code=options.code,
            failed_traversals=options.failed_traversals,
        )
        return Changed(*lifecycle.rerun(ids, record.pk, life))


@register
class MarkSuccess(InstanceOperation):
    kind = Operation.MARK_SUCCESS
    of_tests = False
    right = Right.OVERRIDE

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        return Changed(*lifecycle.mark_success(ids, record.pk))
