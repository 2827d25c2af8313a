"""What every operation does: records itself, changes a set through the lifecycle, records each instance's outcome."""

import logging
from collections.abc import Sequence
from typing import ClassVar

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.utils import timezone

from instances.engine import hints
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Touched
from instances.engine.states import Operation, refusal, sources
from instances.models import Instance, OperationItem, OperationRecord, StateChange
from instances.models.operation import ItemOutcome, OperationState

log = logging.getLogger(__name__)
BATCH = 500


class InstanceOperation:
    """One kind of operation. `change` is the lifecycle's function: (ids, record id) -> ({id: old state}, touched)."""

    kind: ClassVar[Operation]

    def change(self, ids: Sequence[int], record_id: int) -> tuple[dict[int, str], Touched]:
        raise TypeError(f"{type(self).__name__} does not say how it changes instances")

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
        changed, touched = self.change(ids, record.pk)
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
                    message=refusal(self.kind, row.state, str(row))
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
        return sources(cls.kind)


_kinds: dict[str, type[InstanceOperation]] = {}


def register(operation: type[InstanceOperation]) -> type[InstanceOperation]:
    _kinds[operation.kind] = operation
    return operation


def get(kind: str) -> InstanceOperation:
    """The operation called `kind`. Raises KeyError with the known kinds."""
    try:
        return _kinds[kind]()
    except KeyError:
        raise KeyError(f"unknown operation {kind!r}; known: {', '.join(sorted(_kinds))}") from None


def run(kind: str, ids: Sequence[int], *, user: User | None, reason: str, source: str) -> OperationRecord:
    """Applies the operation called `kind`; see `InstanceOperation.apply`."""
    return get(kind).apply(ids, user=user, reason=reason, source=source)
