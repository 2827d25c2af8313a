"""Freezing the instances of an operation: who is in it, in which order, as they are now (ADR 0008, ADR 0009)."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from instances.engine.backlog import array
from instances.models import FrozenSet, Instance
from instances.operations import downstream, order
from instances.operations.downstream import Reach, Roots
from instances.operations.options import OptionError, Range, RerunOptions
from instances.operations.staleness import MARK, Difference, difference

__all__ = ["BATCH", "Difference", "difference", "freeze"]

# Instances a batch: what one transaction changes and one worker holds in memory.
BATCH = 1_000


def _batches(rows: str) -> str:
    """An INSERT of `rows` (id, mark, layer, place from 0 on) as batches of the set that is its first parameter."""
    return f"""
INSERT INTO instances_frozenbatch (frozen_set_id, seq, instance_ids, marks, layers)
SELECT %s, place / {BATCH} + 1, array_agg(id ORDER BY place), array_agg(mark ORDER BY place),
       array_agg(layer ORDER BY place)
FROM ({rows}) r GROUP BY place / {BATCH} RETURNING cardinality(instance_ids) AS size
"""  # noqa: S608 - constants


_CHOSEN = f"""
SELECT i.id, {MARK} AS mark, 0 AS layer, row_number() OVER (ORDER BY i.id) - 1 AS place
FROM instances_instance i
WHERE i.id IN (SELECT * FROM chosen) AND (%s::bigint[] IS NULL OR i.project_id = ANY(%s::bigint[]))
"""  # noqa: S608 - constants

_PLAIN = f"""
WITH chosen AS MATERIALIZED ({{roots}}), batch AS ({_batches(_CHOSEN)})
SELECT coalesce(sum(size), 0)::int, (SELECT count(DISTINCT c) FROM chosen c)::int FROM batch
"""  # noqa: S608 - constants

_REACHED = f"""
SELECT i.id, {MARK} AS mark, r.layer, row_number() OVER (ORDER BY {{order}}) - 1 AS place
FROM weops_reached r JOIN instances_instance i ON i.id = r.id
LEFT JOIN unnest(%s::bigint[], %s::int[]) AS k(task_id, rank) ON k.task_id = r.task_id
"""  # noqa: S608 - constants

_ORDERED = f"""
WITH batch AS ({_batches(_REACHED)}) SELECT coalesce(sum(size), 0)::int FROM batch
"""  # noqa: S608 - constants
_BY_ID = _ORDERED.format(order="r.id")
_PARENTS_FIRST = _ORDERED.format(order="coalesce(k.rank, 0), r.step NULLS LAST, r.data_time, r.id")

_KEEP_ROOTS = f"""
INSERT INTO instances_frozenroots (frozen_set_id, instance_ids)
SELECT %s, array_agg(id ORDER BY id)
FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / {BATCH} AS part FROM weops_reached
      WHERE layer = 0 AND NOT hidden) r
GROUP BY part ORDER BY part
"""  # noqa: S608 - constants


def freeze(
    kind: str,
    roots: "QuerySet[Instance] | Sequence[int]",
    *,
    user: User | None,
    options: Mapping[str, Any] | RerunOptions | None = None,
) -> FrozenSet:
    """Writes down the instances of an operation in ordered batches, each with its mark and its layer.

    `roots`: what was chosen, as a query (it runs inside the database) or as ids. `user` None sees everything. What
    the user cannot see is not in the set; `summary["left_out"]` counts it. Raises OptionError for impossible options
    and for hand-picked instances that are not downstream of the roots; TypeError for roots that are no instances.
    """
    given = options.as_json() if isinstance(options, RerunOptions) else dict(options or {})
    reach = Reach.of(kind, given)
    query, seen = Roots.of(roots), downstream.sight(user)
    with transaction.atomic():
        frozen = FrozenSet.objects.create(kind=kind, options=given, user=user)
        if kind == "rerun" or reach:
            frozen.total, left_out = _freeze_ordered(frozen, query, reach, seen)
        else:
            frozen.total, left_out = _freeze_plain(frozen, query, seen)
        frozen.summary = {"left_out": left_out}
        frozen.save(update_fields=["total", "summary"])
    return frozen


def _freeze_plain(
    frozen: FrozenSet, query: Roots, seen: list[int] | None
) -> tuple[int, list[dict[str, Any]]]:
    """The chosen instances in order of id; (how many, who is left out)."""
    with connection.cursor() as cursor:
        cursor.execute(_PLAIN.format(roots=query.sql), [*query.params, frozen.pk, seen, seen])
        total, chosen = cursor.fetchone()
    return total, _left_out((query.given or chosen) - total)


def _freeze_ordered(
    frozen: FrozenSet, query: Roots, reach: Reach | None, seen: list[int] | None
) -> tuple[int, list[dict[str, Any]]]:
    """The chosen instances and their downstream as far as `reach` goes; parents first if they are to run."""
    with downstream.reached() as cursor:
        found = downstream.start(cursor, query, seen)
        beyond = 0
        if reach:
            cursor.execute(_KEEP_ROOTS, [frozen.pk])
            downstream.spread(cursor, reach, seen, found)
            _check_picked(cursor, reach)
            beyond = downstream.outside(cursor, reach, seen)
        unseen_roots, unseen = downstream.hidden(cursor)
        if reach and reach.range == Range.CHOSEN:
            unseen = 0
        downstream.prune(cursor, reach)
        total = _write(cursor, frozen)
    absent = 0 if query.given is None else query.given - found
    return total, _left_out(absent + unseen_roots, unseen, beyond, reach)


def _check_picked(cursor: CursorWrapper, reach: Reach) -> None:
    if reach.range != Range.CHOSEN:
        return
    first = downstream.missing(cursor, reach)
    if first is not None:
        message = _("Instance %(id)s is not downstream of the chosen instances.")
        raise OptionError("chosen", message % {"id": first})


def _write(cursor: CursorWrapper, frozen: FrozenSet) -> int:
    """The table's rows as batches of the set; how many they are."""
    parents_first = frozen.kind == "rerun"
    ranks = order.rank(cursor) if parents_first else {}
    statement = _PARENTS_FIRST if parents_first else _BY_ID
    cursor.execute(statement, [frozen.pk, array(ranks), array(ranks.values())])
    total: int = cursor.fetchone()[0]
    return total


def _left_out(
    roots: int, unseen: int = 0, beyond: int = 0, reach: Reach | None = None
) -> list[dict[str, Any]]:
    """[{"why", "count"}] of those that are not 0. Whether an id exists or is hidden is not told apart."""
    lines = [
        (
            roots,
            ngettext(
                "%(count)s chosen instance is in projects that you cannot see, or not there any more.",
                "%(count)s chosen instances are in projects that you cannot see, or not there any more.",
                roots,
            ),
        ),
        (
            unseen,
            ngettext(
                "%(count)s downstream instance is in projects that you cannot see; what follows from there is "
                "left out too.",
                "%(count)s downstream instances are in projects that you cannot see; what follows from there is "
                "left out too.",
                unseen,
            ),
        ),
        (beyond, _beyond(beyond, reach)),
    ]
    return [{"why": why % {"count": f"{count:,}"}, "count": count} for count, why in lines if count]


def _beyond(number: int, reach: Reach | None) -> str:
    if reach and reach.range == Range.PROJECT:
        return ngettext(
            "%(count)s downstream instance is left out: in other projects.",
            "%(count)s downstream instances are left out: in other projects.",
            number,
        )
    return ngettext(
        "%(count)s downstream instance is left out: in other workflows.",
        "%(count)s downstream instances are left out: in other workflows.",
        number,
    )
