"""What every door calls: preview and apply, or run at once; undo. The rules are the same whoever asks, and from where."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from instances.engine import hints
from instances.models import FrozenSet, Instance, OperationRecord
from instances.operations import applying, retention, selection, undoing
from instances.operations.base import InstanceOperation, get
from instances.operations.parsing import OptionError
from instances.operations.preview import summary as summarized
from instances.operations.records import UNFINISHED, begin
from instances.operations.selection import Difference

log = logging.getLogger(__name__)

# Sets of up to so many instances are applied by the process that was asked, as long as the user waits.
SMALL = 1_000

Roots = QuerySet[Instance] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Preview:
    """What an operation would do. `token`: what `apply` needs. `summary`: see `preview.summary`."""

    token: UUID
    frozen: FrozenSet
    summary: dict[str, Any]


class UnknownPreview(LookupError):
    """There is no preview with this token, or it is somebody else's, or too old."""


class StalePreview(Exception):
    """Instances have changed since the preview; nothing was done. `difference` names them."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(_("Instances have changed since the preview, so nothing was done."))
        self.difference = difference


class ReasonRequired(ValueError):
    """The operation is not done without a reason."""


class NotUndoable(ValueError):
    """The operation cannot be undone; the message says why."""


def preview(
    kind: str, roots: Roots, *, user: User | None, options: Mapping[str, Any] | None = None
) -> Preview:
    """Freezes the chosen instances, and for a rerun what its options add downstream, and says what would happen.

    Changes nothing but the set that it writes down. `user` None is the system. Raises KeyError for an unknown kind,
    OptionError, and NotUndoable for `undo`, which has functions of its own.
    """
    return _previewed(_chosen_kind(kind), roots, user, options or {})


@transaction.atomic
def preview_undo(record: OperationRecord, *, user: User | None) -> Preview:
    """Raises NotUndoable. What is refused because of what happened since shows only when it is applied."""
    _check_undoable(record)
    options = {"operation": record.pk}
    return _previewed(get(undoing.KIND), undoing.done_by(record), user, options)


@transaction.atomic
def _previewed(
    operation: InstanceOperation, roots: Roots, user: User | None, options: Mapping[str, Any]
) -> Preview:
    frozen = _freeze(operation, roots, user, options)
    frozen.summary = summarized(frozen, operation, user)
    frozen.save(update_fields=["summary"])
    if user is not None:
        retention.keep_newest(user.pk)
    return Preview(frozen.token, frozen, frozen.summary)


def _freeze(
    operation: InstanceOperation, roots: Roots, user: User | None, options: Mapping[str, Any]
) -> FrozenSet:
    if not isinstance(options, Mapping):
        raise OptionError("options", _("Write the options as names and their values."))
    parsed = operation.parse(options)
    operation.check(parsed)
    return selection.freeze(operation.kind, roots, user=user, options=operation.as_json(parsed))


def apply(
    token: UUID, *, user: User | None, reason: str, source: str, background: bool | None = None
) -> OperationRecord:
    """Does what was previewed, exactly that. A second time it gives the same record and does nothing more.

    By default a small set is applied before this returns, others in the background. Raises UnknownPreview, StalePreview,
    ReasonRequired, NotUndoable.
    """
    with transaction.atomic():
        # Locked, so that of two who send the same token the second finds the first one's record.
        frozen = FrozenSet.objects.select_for_update(of=("self",)).filter(token=token, user=user).first()
        if frozen is None:
            message = _("There is no such preview: it was somebody else's, or is too old.")
            raise UnknownPreview(message)
        record = OperationRecord.objects.filter(frozen_set=frozen).first()
        if record is None:
            _check_reason(get(frozen.kind), reason)
            undoes = _undone(frozen)
            if difference := selection.difference(frozen):
                raise StalePreview(difference)
            record = begin(frozen, user=user, reason=reason, source=source, undoes=undoes)
    return _go_on(record, background)


def run(
    kind: str,
    roots: Roots,
    *,
    user: User | None,
    reason: str,
    source: str,
    options: Mapping[str, Any] | None = None,
    background: bool | None = None,
) -> OperationRecord:
    """Freezes and applies at once. Raises KeyError for an unknown kind, OptionError, ReasonRequired; NotUndoable for `undo`."""
    operation = _chosen_kind(kind)
    _check_reason(operation, reason)
    with transaction.atomic():
        frozen = _freeze(operation, roots, user, options or {})
        record = begin(frozen, user=user, reason=reason, source=source)
    return _go_on(record, background)


def undo(
    record: OperationRecord, *, user: User | None, reason: str, source: str, background: bool | None = None
) -> OperationRecord:
    """Puts back what the operation did, where nothing irreversible has happened since. Raises NotUndoable."""
    with transaction.atomic():
        _check_undoable(record)
        frozen = _freeze(get(undoing.KIND), undoing.done_by(record), user, {"operation": record.pk})
        _check_something_left(frozen)
        undone = begin(frozen, user=user, reason=reason, source=source, undoes=record)
    return _go_on(undone, background)


def _chosen_kind(kind: str) -> InstanceOperation:
    """An operation on instances of one's choice. An undo is none: whatever it undoes is undone as a whole, and once."""
    if kind == undoing.KIND:
        raise NotUndoable(_("An operation is undone by its record, not by instances."))
    return get(kind)


def _check_something_left(frozen: FrozenSet) -> None:
    """An undo of nothing would count as the one undo that there is: for instance of who sees none of the instances."""
    if not frozen.total:
        raise NotUndoable(
            _("None of the instances that it changed is there any more, or they are not yours to see.")
        )


def _check_reason(operation: InstanceOperation, reason: str) -> None:
    if operation.reason_required and not reason.strip():
        raise ReasonRequired(_("Say why: %(verb)s needs a reason.") % {"verb": operation.verb()})


def _undone(frozen: FrozenSet) -> OperationRecord | None:
    """The record that the set is to undo, if it is an undo."""
    if frozen.kind != undoing.KIND:
        return None
    _check_something_left(frozen)
    record = OperationRecord.objects.get(pk=frozen.options["operation"])
    _check_undoable(record)
    return record


def _check_undoable(record: OperationRecord) -> None:
    """Raises NotUndoable. In a transaction it stays as it is: the record is locked, so nobody else undoes it."""
    locked = OperationRecord.objects.select_for_update(of=("self",), no_key=True).get(pk=record.pk)
    if why_not := undoing.why_not_undoable(locked):
        raise NotUndoable(why_not)


def _go_on(record: OperationRecord, background: bool | None) -> OperationRecord:
    """Applies the operation, here or in the background; the record as it is then."""
    if record.state not in UNFINISHED:
        return record
    if background is None:
        background = record.total > SMALL
    if background:
        transaction.on_commit(lambda: hints.operations.send([record.pk]))
        return record
    try:
        applying.work(record.pk)
    except (OperationalError, InterfaceError):
        # It is on record: whoever sweeps next goes on with it.
        log.exception("operation %d is not finished yet", record.pk)
    record.refresh_from_db()
    return record
