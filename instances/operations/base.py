"""What a kind of operation is: its right, its options, whom it refuses, how it changes a set through the lifecycle.

One class each, registered by its kind. It never writes outcomes and knows no batches: `applying` calls it for one batch at
a time, inside the batch's transaction.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.utils import timezone

from instances.engine import hints, lifecycle, states
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Touched
from instances.models import Instance, OperationItem, OperationRecord, StateChange
from instances.models.operation import ItemOutcome, OperationState
from instances.operations.parsing import only
from weops.projects.access import Right

log = logging.getLogger(__name__)
BATCH = 500


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the old state of each instance that it changed, and what that made ready.

    `messages`: what to put on record of an instance: why it was left as it was, or what was done.
    """

    states: dict[int, str]
    touched: Touched = field(default_factory=Touched)
    messages: dict[int, str] = field(default_factory=dict)


class InstanceOperation:
    """One kind of operation.

    `right`: what its user must have in an instance's project. `reason_required`: it must be told why. `undoable`: undo may
    put back what it did; `why_not_undoable` says why not.
    """

    kind: ClassVar[str]
    right: ClassVar[Right]
    reason_required: ClassVar[bool] = False
    undoable: ClassVar[bool] = True
    why_not_undoable: ClassVar[str] = ""

    def parse(self, given: Mapping[str, Any]) -> Any:
        """The options, from JSON-like values. Raises OptionError. By default there are none."""
        only(given, ())
        return {}

    def check(self, options: Any) -> None:
        """Raises OptionError for what may stand on record but cannot be asked for now, such as a time that has passed."""

    def as_json(self, options: Any) -> dict[str, Any]:
        """What `parse` takes, to be kept on record."""
        return dict(options.as_json() if hasattr(options, "as_json") else options)

    def rights(self, options: Any) -> frozenset[Right]:
        """All that its user must have in an instance's project."""
        return frozenset({self.right})

    def refusal(self, instance: Instance, options: Any) -> str:
        """Why `instance` (with its task) is refused as it is now; '' if it is not. By default the states' table decides."""
        if instance.state in self.allowed_from():
            return ""
        return states.refusal(states.Operation(self.kind), instance.state, str(instance))

    def refusals(self, instances: Sequence[Instance], options: Any) -> dict[int, str]:
        """{id: why it is refused}, for many instances at once."""
        return {instance.pk: why for instance in instances if (why := self.refusal(instance, options))}

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        """Changes those of `ids` (ascending, locked, not refused) that it can, in the caller's transaction."""
        raise TypeError(f"{type(self).__name__} does not say how it changes instances")

    def revert(
        self, before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]], record: OperationRecord
    ) -> Changed:
        """Undoes its change on behalf of `record`: {id: image} before and after it, of instances that are locked."""
        return Changed(*lifecycle.restore(before, after, record.pk, self.kind))

    def apply(self, ids: Sequence[int], *, user: User | None, reason: str, source: str) -> OperationRecord:
        """Does it to the instances, in batches; those in another state are refused and listed, the others proceed.

        The caller has checked that `user` may operate on every one of `ids`.
        """
        ids = sorted(set(ids))
        record = OperationRecord.objects.create(
            kind=self.kind,
            operator=user,
            reason=reason,
            source=source,
            total=len(ids),
            state=OperationState.RUNNING,
        )
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            try:
                self._apply_batch(batch, record)
            except Exception:
                log.exception("operation %s failed on %d instances", record, len(batch))
                record.failed += len(batch)
                self._note(
                    record,
                    [
                        OperationItem(
                            operation=record,
                            instance_id=pk,
                            from_state="",
                            outcome=ItemOutcome.FAILED,
                            message="An error inside WeOps; its log has the traceback.",
                        )
                        for pk in batch
                    ],
                )
        if record.done == record.total:
            record.state = OperationState.SUCCESS
        else:
            record.state = OperationState.PART_SUCCESS if record.done else OperationState.FAIL
        record.finished_at = timezone.now()
        record.save(update_fields=["state", "done", "refused", "failed", "finished_at"])
        return record

    def _apply_batch(self, ids: list[int], record: OperationRecord) -> None:
        done_now = self.change(ids, record, self.parse({}))
        changed, touched = done_now.states, done_now.touched
        refused = [pk for pk in ids if pk not in changed]
        # What the operation itself did; a quick worker may have gone on since, so the present state tells nothing.
        history = StateChange.objects.filter(operation_id=record.pk, instance_id__in=list(changed))
        new_states = dict(history.values_list("instance_id", "to_state"))
        done = [
            OperationItem(
                operation=record,
                instance_id=pk,
                from_state=old,
                to_state=new_states.get(pk, ""),
                outcome=ItemOutcome.DONE,
            )
            for pk, old in changed.items()
        ]
        self._note(record, done + self._refusals(refused, record))
        record.done += len(changed)
        record.refused += len(refused)
        try:
            hints.send(dispatch(touched.groups, touched.serial_tasks))
        except DatabaseError:
            # The change stands; the next sweep dispatches.
            log.exception("what operation %s made ready is not dispatched yet", record)

    def _refusals(self, ids: list[int], record: OperationRecord) -> list[OperationItem]:
        rows = Instance.objects.select_related("task").in_bulk(ids)
        items = []
        for pk in ids:
            row = rows.get(pk)
            items.append(
                OperationItem(
                    operation=record,
                    instance_id=pk,
                    from_state=row.state if row else "",
                    outcome=ItemOutcome.REFUSED,
                    message=states.refusal(states.Operation(self.kind), row.state, str(row))
                    if row
                    else "There is no such instance any more.",
                )
            )
        return items

    @staticmethod
    def _note(record: OperationRecord, items: list[OperationItem]) -> None:
        OperationItem.objects.bulk_create(items, ignore_conflicts=True)

    @classmethod
    def allowed_from(cls) -> tuple[str, ...]:
        """States from which it is allowed; all, if it is not in the states' table."""
        if cls.kind in list(states.Operation):
            return states.sources(states.Operation(cls.kind))
        return tuple(states.State)

    @classmethod
    def verb(cls) -> str:
        """Its kind in words: `mark success`."""
        return cls.kind.replace("_", " ")


_kinds: dict[str, InstanceOperation] = {}


def register(operation: type[InstanceOperation]) -> type[InstanceOperation]:
    _kinds[operation.kind] = operation()
    return operation


def get(kind: str) -> InstanceOperation:
    """The operation called `kind`. Raises KeyError with the known kinds."""
    try:
        return _kinds[kind]
    except KeyError:
        raise KeyError(f"unknown operation {kind!r}; known: {', '.join(kinds())}") from None


def kinds() -> list[str]:
    """The names of all operations on instances."""
    return sorted(_kinds)


def run(kind: str, ids: Sequence[int], *, user: User | None, reason: str, source: str) -> OperationRecord:
    """Applies the operation called `kind`; see `InstanceOperation.apply`."""
    return get(kind).apply(ids, user=user, reason=reason, source=source)
