"""Removes what is too old of operations: sets that nobody applied, the ids of sets that were, at last the records."""

import datetime as dt
from functools import partial

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from instances.engine.transactions import retried
from instances.models import FrozenSet

# Previews of one account that wait to be applied: each writes down its whole set, up to a million instances a click.
NEWEST = 20
# How long a set stays that was previewed and never applied, and the ids of one that was.
KEPT = dt.timedelta(days=1)

_OLDEST = """
SELECT r.id, r.frozen_set_id FROM instances_operationrecord r
WHERE r.created_at < now() - %s::interval AND r.finished_at < now() - %s::interval
  AND NOT EXISTS (SELECT 1 FROM instances_operationrecord u WHERE u.undoes_id = r.id)
ORDER BY r.created_at, r.id LIMIT 1 FOR UPDATE SKIP LOCKED
"""


def hourly(keep_days: int) -> None:
    """Slow housekeeping, in small transactions: sets that nobody applied, ids of old sets, records older than `keep_days`."""
    for batch in (remove_unapplied, remove_ids_of_finished, partial(remove_old, keep_days)):
        while batch():
            pass


@retried
def remove_unapplied(limit: int = 50) -> int:
    """Removes sets that were previewed a day ago and never applied; how many."""
    old = FrozenSet.objects.filter(created_at__lt=Now() - KEPT, record=None).order_by("created_at")
    return _delete_unapplied(old[:limit])


def keep_newest(user_id: int, most: int = NEWEST) -> None:
    """Removes the account's previews that were never applied, but for the newest ones; in the caller's transaction."""
    waiting = FrozenSet.objects.filter(created_at__gte=Now() - KEPT, user=user_id, record=None)
    older = list(waiting.order_by("-created_at", "-id").values_list("id", flat=True)[most:])
    _delete_unapplied(FrozenSet.objects.filter(pk__in=older).order_by("id"))


def _delete_unapplied(rows: QuerySet[FrozenSet]) -> int:
    """Removes those of `rows` that nobody has applied or is applying; how many it looked at."""
    # Whoever applies one right now holds its row; a second look, under the lock, tells whether it has a record by then.
    locked = list(rows.select_for_update(of=("self",), skip_locked=True).values_list("id", flat=True))
    _delete_sets(list(FrozenSet.objects.filter(pk__in=locked, record=None).values_list("id", flat=True)))
    return len(locked)


@retried
def remove_ids_of_finished(limit: int = 500) -> int:
    """Removes batches of sets whose operation ended a day ago: its outcomes say what became of each instance."""
    removed = 0
    with connection.cursor() as cursor:
        for table in ("instances_frozenbatch", "instances_frozenroots"):
            cursor.execute(
                f"DELETE FROM {table} WHERE id IN (SELECT b.id FROM {table} b "  # noqa: S608 - constants
                "JOIN instances_operationrecord r ON r.frozen_set_id = b.frozen_set_id "
                "WHERE r.finished_at < now() - %s::interval ORDER BY b.id LIMIT %s)",
                [str(KEPT), limit],
            )
            removed += cursor.rowcount
    return removed


@retried
def remove_old(keep_days: int, limit: int = 5000) -> int:
    """Removes the oldest record that ended more than `keep_days` ago, its outcomes in several calls; rows removed.

    An operation that was undone stays as long as its undo does.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, [f"{keep_days} days"] * 2)
        oldest = cursor.fetchone()
        if oldest is None:
            return 0
        operation_id, set_id = oldest
        # The database lets nobody else delete what is on record (migration 0006).
        cursor.execute("SET LOCAL weops.retention = 'on'")
        cursor.execute(
            "DELETE FROM instances_operationitem WHERE id IN "
            "(SELECT id FROM instances_operationitem WHERE operation_id = %s LIMIT %s)",
            [operation_id, limit],
        )
        if cursor.rowcount:
            return int(cursor.rowcount)
        cursor.execute("DELETE FROM instances_operationrecord WHERE id = %s", [operation_id])
    _delete_sets([set_id] if set_id else [])
    return 1


def _delete_sets(ids: list[int]) -> None:
    with connection.cursor() as cursor:
        for statement in (
            "DELETE FROM instances_frozenbatch WHERE frozen_set_id = ANY(%s)",
            "DELETE FROM instances_frozenroots WHERE frozen_set_id = ANY(%s)",
            "DELETE FROM instances_frozenset WHERE id = ANY(%s)",
        ):
            cursor.execute(statement, [ids])
