"""What lies downstream of chosen instances: a temporary table that the database fills, layer by layer.

Nothing is carried through Python, so ten instances and a million take the same memory. The rules:

- An edge leads downstream unless it is removed, or leads from an instance to the next period of its own task. A waived
  edge is not checked in the present life of the child, which changes nothing about what the child is made from.
- The range holds for every step: with the range "workflow" a step leads from an instance to one of the same workflow, so
  everything reached is in the workflow of the instance it was reached from. What is behind another workflow is not in.
- Instances in projects that the user cannot see are counted, and neither taken nor walked through.
- Hand-picked ones are reached over any range; they alone are taken, at their distance from the roots.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from django.contrib.auth.models import User
from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from instances.engine.backlog import array
from instances.models import Instance
from instances.operations.options import Range, RerunOptions, Scope
from weops.projects import access
from weops.projects.access import Right


@dataclass(frozen=True, slots=True)
class Roots:
    """The chosen instances as a query of their ids. `given`: how many ids somebody wrote down, if it was a list."""

    sql: str
    params: tuple[Any, ...]
    given: int | None = None

    @classmethod
    def of(cls, roots: "QuerySet[Instance] | Sequence[int]") -> Self:
        """Raises TypeError for a query of anything but instances, and for ids that are no whole numbers."""
        if isinstance(roots, QuerySet):
            return cls._of_query(roots)
        ids = set(roots)
        if not all(type(pk) is int for pk in ids):
            raise TypeError("instances are chosen by whole numbers")
        # What no column can hold names no instance.
        possible = sorted(pk for pk in ids if 0 < pk < 2**63)
        return cls("SELECT unnest(%s::bigint[])", (array(possible),), len(ids))

    @classmethod
    def _of_query(cls, roots: "QuerySet[Instance]") -> Self:
        if roots.model is not Instance:
            raise TypeError(f"instances are chosen, not {roots.model.__name__}")
        # Where the order decides which rows there are, it must stay.
        ordered = roots.query.is_sliced or roots.query.distinct_fields
        query = (roots if ordered else roots.order_by()).values("pk").query
        try:
            sql, params = query.sql_with_params()
        except EmptyResultSet:
            return cls("SELECT NULL::bigint WHERE false", ())
        # A query that is ordered by other columns may select them too; the id is the first.
        return cls(f"SELECT chosen_id FROM ({sql}) AS chosen(chosen_id)", tuple(params))  # noqa: S608 - made by Django


@dataclass(frozen=True, slots=True)
class Reach:
    """How far downstream an operation goes. `with_roots`: the chosen instances are in the set themselves."""

    range: Range
    with_roots: bool = True
    picked: tuple[int, ...] = ()

    @classmethod
    def of(cls, kind: str, options: Mapping[str, Any]) -> Self | None:
        """None: the operation takes the chosen instances only. `options` are those of a frozen set."""
        if kind == "rerun":
            rerun = RerunOptions.parse(options)
            if rerun.scope == Scope.THIS:
                return None
            return cls(rerun.range, rerun.scope == Scope.WITH_DOWNSTREAM, rerun.chosen)
        return cls(Range.ALL) if options.get("subtree") else None


def sight(user: User | None) -> list[int] | None:
    """Ids of the projects that the user sees; None: all of them (a superuser, the system)."""
    return None if user is None else access.project_ids(user, Right.VIEW)


_CREATE = """
CREATE TEMPORARY TABLE weops_reached (
    id bigint PRIMARY KEY, task_id bigint NOT NULL, data_time timestamptz NOT NULL, workflow_id bigint NOT NULL,
    project_id bigint NOT NULL, layer int NOT NULL, hidden boolean NOT NULL, open int NOT NULL DEFAULT 0, step int
) ON COMMIT DROP;
CREATE INDEX weops_reached_layer ON weops_reached (layer);
"""

_START = """
INSERT INTO weops_reached (id, task_id, data_time, workflow_id, project_id, layer, hidden)
SELECT i.id, i.task_id, i.data_time, i.workflow_id, i.project_id, 0,
       NOT (%s::bigint[] IS NULL OR i.project_id = ANY(%s::bigint[]))
FROM instances_instance i WHERE i.id IN ({roots})
"""

_SPREAD = """
INSERT INTO weops_reached (id, task_id, data_time, workflow_id, project_id, layer, hidden)
SELECT i.id, i.task_id, i.data_time, i.workflow_id, i.project_id, %(layer)s + 1,
       NOT (%(sight)s::bigint[] IS NULL OR i.project_id = ANY(%(sight)s::bigint[]))
FROM (
    SELECT DISTINCT e.instance_id, r.workflow_id, r.project_id FROM weops_reached r
    JOIN instances_edge e ON e.upstream_id = r.id AND NOT e.is_self AND e.removed_at IS NULL
    WHERE r.layer = %(layer)s AND NOT r.hidden
      AND NOT EXISTS (SELECT 1 FROM weops_reached known WHERE known.id = e.instance_id)
) r
JOIN instances_instance i ON i.id = r.instance_id
WHERE {within}
ON CONFLICT (id) DO NOTHING
"""

_WITHIN = {
    Range.WORKFLOW: "i.workflow_id = r.workflow_id",
    Range.PROJECT: "i.project_id = r.project_id",
    Range.ALL: "true",
    Range.CHOSEN: "true",
}

_OUTSIDE = """
SELECT count(DISTINCT i.id)
FROM weops_reached r
JOIN instances_edge e ON e.upstream_id = r.id AND NOT e.is_self AND e.removed_at IS NULL
JOIN instances_instance i ON i.id = e.instance_id
WHERE NOT r.hidden AND NOT {within} AND (%(sight)s::bigint[] IS NULL OR i.project_id = ANY(%(sight)s::bigint[]))
  AND NOT EXISTS (SELECT 1 FROM weops_reached known WHERE known.id = i.id)
"""

_PRUNE = """
DELETE FROM weops_reached WHERE hidden OR layer = 0 AND NOT %s OR layer > 0 AND %s AND NOT id = ANY(%s::bigint[])
"""


@contextmanager
def reached() -> Iterator[CursorWrapper]:
    """A cursor in a transaction that has the empty table `weops_reached`: the instances of a set, one a row."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CREATE)
        yield cursor
        # The caller's transaction may go on, and want another.
        cursor.execute("DROP TABLE weops_reached")


def start(cursor: CursorWrapper, roots: Roots, seen: list[int] | None) -> int:
    """Puts the roots there as layer 0; how many of them exist, seen or not."""
    cursor.execute(_START.format(roots=roots.sql), [seen, seen, *roots.params])
    found: int = cursor.rowcount
    cursor.execute("ANALYZE weops_reached")
    return found


def spread(cursor: CursorWrapper, reach: Reach, seen: list[int] | None, size: int) -> None:
    """Adds what lies downstream of the `size` roots, nearest first; stops early when all hand-picked are found."""
    layer, analyzed = 0, size
    statement = _SPREAD.format(within=_WITHIN[reach.range])
    while reach.range != Range.CHOSEN or missing(cursor, reach):
        cursor.execute(statement, {"layer": layer, "sight": seen})
        if not cursor.rowcount:
            break
        layer, size = layer + 1, size + cursor.rowcount
        # Nobody else gathers statistics of a temporary table.
        if size > 2 * analyzed:
            cursor.execute("ANALYZE weops_reached")
            analyzed = size


def missing(cursor: CursorWrapper, reach: Reach) -> int | None:
    """The first hand-picked id that has not been reached downstream; None when all have."""
    cursor.execute(
        """
        SELECT min(p.id) FROM unnest(%s::bigint[]) AS p(id)
        WHERE NOT EXISTS (SELECT 1 FROM weops_reached r WHERE r.id = p.id AND NOT r.hidden AND (r.layer > 0 OR %s))
        """,
        [array(reach.picked), reach.with_roots],
    )
    first: int | None = cursor.fetchone()[0]
    return first


def hidden(cursor: CursorWrapper) -> tuple[int, int]:
    """How many roots, and how many downstream of the others, the user cannot see."""
    cursor.execute(
        "SELECT count(*) FILTER (WHERE layer = 0), count(*) FILTER (WHERE layer > 0) FROM weops_reached WHERE hidden"
    )
    roots, others = cursor.fetchone()
    return roots, others


def outside(cursor: CursorWrapper, reach: Reach, seen: list[int] | None) -> int:
    """How many instances that the user sees are direct children of what was reached, but out of the range."""
    if reach.range not in (Range.WORKFLOW, Range.PROJECT):
        return 0
    cursor.execute(_OUTSIDE.format(within=_WITHIN[reach.range]), {"sight": seen})
    count: int = cursor.fetchone()[0]
    return count


def prune(cursor: CursorWrapper, reach: Reach | None) -> None:
    """Leaves the instances of the set."""
    with_roots = reach is None or reach.with_roots
    picked = reach is not None and reach.range == Range.CHOSEN
    cursor.execute(_PRUNE, [with_roots, picked, array(reach.picked if reach else ())])
    cursor.execute("ANALYZE weops_reached")
