"""Operations on record: begun, cancelled, found when nobody is at work on them, and removed when they are old."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _

from instances.engine import hints
from instances.models import FrozenSet, OperationRecord
from instances.models.operation import OperationState
from instances.operations.base import get, kinds
from weops.projects import access

# The operator's name of what nobody asked for; a person's stays when the account is removed.
SYSTEM = ""
UNFINISHED = (OperationState.INIT, OperationState.RUNNING)


def operator_name(user: User | None) -> str:
    """As it is kept on record, for good."""
    return user.get_username() if user is not None else SYSTEM


def storable(text: str, most: int = 4000) -> str:
    """What PostgreSQL can hold of a text from anywhere: no NUL, no half character, not too long."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode().strip()[:most]


def begin(
    frozen: FrozenSet, *, user: User | None, reason: str, source: str, undoes: OperationRecord | None = None
) -> OperationRecord:
    """Puts on record that `frozen` is to be applied. A set that has a record already raises IntegrityError."""
    return OperationRecord.objects.create(
        kind=frozen.kind,
        operator=user,
        operator_name=operator_name(user),
        source=source,
        reason=storable(reason),
        options=frozen.options,
        frozen_set=frozen,
        project_ids=projects_of(frozen),
        undoes=undoes,
        total=frozen.total,
    )


def projects_of(frozen: FrozenSet) -> list[int]:
    """Ids of the projects that instances of the set belong to, ascending."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT i.project_id FROM instances_frozenbatch b CROSS JOIN unnest(b.instance_ids) AS chosen(id) "
            "JOIN instances_instance i ON i.id = chosen.id WHERE b.frozen_set_id = %s",
            [frozen.pk],
        )
        return sorted(project_id for (project_id,) in cursor.fetchall())


def note(
    kind: str,
    *,
    user: User | None,
    source: str,
    reason: str = "",
    options: Mapping[str, Any] | None = None,
    project_ids: list[int] | None = None,
    **columns: Any,
) -> OperationRecord:
    """Puts on record what was done at once and is not about instances: a task was paused, a plan was resumed.

    `columns`: others than by default, such as a state and counts.
    """
    return OperationRecord.objects.create(
        kind=kind,
        operator=user,
        operator_name=operator_name(user),
        source=source,
        reason=storable(reason),
        options=dict(options or {}),
        project_ids=project_ids,
        **{"state": OperationState.SUCCESS, "started_at": Now(), "finished_at": Now(), **columns},
    )


def cancel(record: OperationRecord, user: User | None) -> bool:
    """Asks it to stop after the batch that is being applied; what is left gets the outcome `cancelled`.

    False: it has ended, or was cancelled before. Raises PermissionDenied unless `user` asked for the operation, or could
    ask for it: has its right wherever instances are left.
    """
    if record.state not in UNFINISHED or record.frozen_set_id is None:
        return False
    if not may_cancel(record, user):
        message = _(
            "Operation #%(id)s can be cancelled by %(user)s, "
            "and by those who have the right to it wherever it has instances left."
        )
        raise PermissionDenied(message % {"id": record.pk, "user": record.operator_name or _("the system")})
    asked = OperationRecord.objects.filter(
        pk=record.pk, state__in=UNFINISHED, cancel_requested_at=None
    ).update(cancel_requested_at=Now(), cancel_requested_by=user)
    if asked:
        transaction.on_commit(lambda: hints.operations.send([record.pk]))
    return bool(asked)


def may_cancel(record: OperationRecord, user: User | None) -> bool:
    """Whether `cancel` would let `user` do it, if there is anything left to cancel."""
    if user is None or (user.is_active and (user.is_superuser or user.pk == record.operator_id)):
        return True
    if record.kind not in kinds():
        return False
    operation = get(record.kind)
    needed = operation.rights(operation.parse(record.options))
    return all(needed <= access.rights(user, project_id) for project_id in _projects_left(record))


def _projects_left(record: OperationRecord) -> set[int | None]:
    """Projects of the instances that the operation has not come to yet; {None} if nothing is left."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT i.project_id FROM instances_frozenbatch b CROSS JOIN unnest(b.instance_ids) AS chosen(id) "
            "JOIN instances_instance i ON i.id = chosen.id WHERE b.frozen_set_id = %s AND b.applied_at IS NULL",
            [record.frozen_set_id],
        )
        return {project_id for (project_id,) in cursor.fetchall()} or {None}


def stalled(seconds: float, limit: int = 100) -> list[int]:
    """Operations that are not finished and have not moved for `seconds`: their hint was lost, or who applied them died."""
    return list(
        OperationRecord.objects.filter(state__in=UNFINISHED, frozen_set__isnull=False)
        .alias(moved=Coalesce("moved_at", "created_at"))
        .filter(moved__lt=Now() - dt.timedelta(seconds=seconds))
        .order_by("id")
        .values_list("id", flat=True)[:limit]
    )
