"""Pages and counts of instances that read a bounded number of rows, whatever the filter (ADR 0024).

Every result is that of the queryset itself; only the way to it is chosen here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import Col, RawSQL
from django.db.models.lookups import Lookup
from django.db.models.sql.where import AND, WhereNode

from instances.engine.states import State
from instances.models import Instance, TaskPlace
from weops.console.paging import COUNT_CAP

# Entries of one order that a count reads before it gives up; a page reads some more for each row that it wants.
WALK = 10_000
WALK_EACH = 20
# So few rows of tasks are read at once, without a walk before.
AT_ONCE = 2_000
# Rows of all tasks together that a count by task reads.
BY_TASK = 30_000
# More tasks than these are no way to a page, nor to a count.
MOST_TASKS = 1_000
MOST_COUNTED_TASKS = 300
# With a range of start times, which has an index of its own, these are the most.
FEW_TASKS = 20

ORDER = ("-data_time", "-id")
ALL_STATES: tuple[str, ...] = tuple(state.value for state in State)
_TABLE = '"instances_instance"'
_PLACE_COLUMNS = {
    "task_id",
    "project_id",
    "workflow_id",
    "folder_id",
    "owner_id",
    "resource_group_id",
    "task_type",
    "cycle_type",
}


@dataclass
class Counts:
    """`found`: {state: rows, at least}; `more`: the states whose count ended before it knew all."""

    found: dict[str, int] = field(default_factory=dict)
    more: set[str] = field(default_factory=set)


def page_ids(rows: QuerySet[Instance], limit: int, offset: int = 0) -> list[int]:
    """Ids of `rows.order_by("-data_time", "-id")[offset : offset + limit]`."""
    need = offset + limit
    try:
        way = _Way.to(rows)
        if way is not None:
            found = _bounded(way, need)
            if found is not None:
                return found[offset:]
    except EmptyResultSet:
        return []
    return list(rows.order_by(*ORDER).values_list("pk", flat=True)[offset:need])


def _bounded(way: "_Way", need: int) -> list[int] | None:
    """The first `need` ids by one of the two bounded ways; None if neither leads there."""
    if way.tasks == []:
        return []
    by_task = way.tasks is not None and (not way.started or len(way.tasks) <= FEW_TASKS)
    if by_task and not way.started and way.states is None and len(way.tasks or ()) * need <= AT_ONCE:
        return _by_task(way, need)
    found = _walked(way, need, WALK + WALK_EACH * need)
    return _by_task(way, need) if found is None and by_task else found


def count(rows: QuerySet[Instance], cap: int) -> Counts:
    """Rows in each state; counts beyond `cap` are `cap` + 1."""
    try:
        way = _Way.to(rows)
        if way is None:
            return Counts(count_states(rows, cap))
        if way.tasks == []:
            return Counts()
        counts = _walked_counts(way, cap)
        if counts.more and way.tasks is not None:
            _improve(counts, way)
    except EmptyResultSet:
        return Counts()
    counts.more = {state for state in counts.more if counts.found.get(state, 0) <= cap}
    counts.found = {state: min(number, cap + 1) for state, number in counts.found.items() if number}
    return counts


def count_states(rows: QuerySet[Instance], cap: int = COUNT_CAP) -> dict[str, int]:
    """{state: rows in it, at most cap + 1}, in one query that reads no more than that of each state."""
    # Each part is SQL that the ORM made; values stay parameters.
    parts: list[str] = []
    values: list[Any] = []
    for state in ALL_STATES:
        try:
            sql, parameters = rows.filter(state=state).values_list("pk")[: cap + 1].query.sql_with_params()
        except EmptyResultSet:
            continue
        parts.append(f"SELECT %s::text AS state, count(*) FROM ({sql}) AS part")  # noqa: S608
        values += [state, *parameters]
    found = _fetched(" UNION ALL ".join(parts), values) if parts else []
    return {state: number for state, number in found if number}


@dataclass
class _Way:
    """What a queryset's conditions offer. `tasks`: those that can have any of its rows, None if too many or unknown.

    `condition`: all of its conditions as SQL. `seek`: the one on data time and id, which the indexes of the order seek by.
    `states`: those that are chosen, None for all. `started`: there is a condition on the start time."""

    rows: QuerySet[Instance]
    condition: str
    values: list[Any]
    seek: str
    seek_values: list[Any]
    states: list[str] | None
    tasks: list[int] | None
    started: bool

    @classmethod
    def to(cls, rows: QuerySet[Instance]) -> "_Way | None":
        """None: something rarer leads, and the database finds it by itself. Raises EmptyResultSet."""
        query = rows.query
        joined = [
            name for name, uses in query.alias_refcount.items() if uses and name != Instance._meta.db_table
        ]
        if joined or query.is_sliced or query.combinator or query.distinct:
            return None
        lookups = list(_lookups(query.where))
        if any(_leads(*one) for one in lookups):
            return None
        condition, values = _sql(rows, query.where)
        order = [child for child in _anded(query.where) if _of_order(child)]
        seek, seek_values = _sql(rows, WhereNode(order, AND))
        states = [set(_listed(name, rhs)) for column, name, rhs in lookups if column == "state"]
        chosen = sorted(set(ALL_STATES).intersection(*states)) if states else None
        started = any(column == "start_time" for column, _, _ in lookups)
        return cls(rows, condition, values, seek, seek_values, chosen, _tasks(lookups), started)

    def part(self, state: str | None, limit: int, columns: str = "*") -> tuple[str, list[Any]]:
        """The newest `limit` rows after the mark, of one state or of all, whatever the other conditions."""
        where, values = self.seek, [*self.seek_values]
        if state is not None:
            where, values = f"{where} AND state = %s", [*values, state]
        return (
            f"SELECT {columns} FROM {_TABLE} WHERE {where} ORDER BY data_time DESC, id DESC LIMIT %s",  # noqa: S608
            [*values, limit],
        )


def _sql(rows: QuerySet[Instance], where: WhereNode) -> tuple[str, list[Any]]:
    try:
        sql, values = rows.query.get_compiler(connection=connection).compile(where)
    except FullResultSet:
        return "TRUE", []
    return sql or "TRUE", list(values)


def _anded(where: WhereNode) -> Iterator[Any]:
    """The conditions that all hold, from nested ANDs too."""
    if where.connector != AND or where.negated:
        yield where
        return
    for child in where.children:
        if isinstance(child, WhereNode):
            yield from _anded(child)
        else:
            yield child


def _lookups(where: WhereNode) -> Iterator[tuple[str, str, Any]]:
    """(column, lookup, plain value) of the conditions that all hold."""
    for child in _anded(where):
        if _plain(child):
            yield child.lhs.target.attname, child.lookup_name, child.rhs


def _plain(condition: Any) -> bool:
    """A column of the instance, compared with a value that is known here."""
    return (
        isinstance(condition, Lookup)
        and isinstance(condition.lhs, Col)
        and not hasattr(condition.rhs, "as_sql")
        and not hasattr(condition.rhs, "resolve_expression")
    )


def _listed(name: str, value: Any) -> list[Any]:
    if name == "exact":
        return [value]
    return list(value) if name == "in" else list(ALL_STATES)


def _of_order(condition: Any) -> bool:
    if isinstance(condition, WhereNode):
        return all(_of_order(child) for child in condition.children)
    return _plain(condition) and condition.lhs.target.attname in ("data_time", "id")


def _leads(column: str, name: str, value: Any) -> bool:
    """An index of its own makes this condition the best beginning."""
    if column in ("id", "for_each_id"):
        return name in ("exact", "in")
    return column == "instance_type" and name == "exact" and value != "periodic"


def _tasks(lookups: list[tuple[str, str, Any]]) -> list[int] | None:
    wanted = [one for one in lookups if one[0] in _PLACE_COLUMNS and one[1] in ("exact", "in", "isnull")]
    if not wanted:
        return None
    places = TaskPlace.objects.all()
    for column, name, value in wanted:
        places = places.filter(**{f"{column}__{name}": value})
    found = list(places.order_by("task_id").values_list("task_id", flat=True).distinct()[: MOST_TASKS + 1])
    return found if len(found) <= MOST_TASKS else None


def _walked(way: _Way, need: int, budget: int) -> list[int] | None:
    """The first ids by the order, or by that of each chosen state; None if the budget ended before `need` were found."""
    parts: list[str | None] = [None] if way.states is None else [*way.states]
    pieces: list[str] = []
    values: list[Any] = []
    for place, state in enumerate(parts):
        sql, given = way.part(state, budget)
        pieces.append(
            f"(SELECT id, data_time, {place} AS part FROM ({sql}) AS {_TABLE} WHERE {way.condition}"  # noqa: S608
            " ORDER BY data_time DESC, id DESC LIMIT %s)"
        )
        values += [*given, *way.values, need]
    if not pieces:
        return []
    found = _fetched(" UNION ALL ".join(pieces), values)
    sizes = [0] * len(parts)
    for _, _, place in found:
        sizes[place] += 1
    for state, size in zip(parts, sizes, strict=True):
        if size < need and not _ended(way, state, budget):
            return None
    found.sort(key=lambda row: (row[1], row[0]), reverse=True)
    return [pk for pk, _, _ in found[:need]]


def _ended(way: _Way, state: str | None, budget: int) -> bool:
    """Whether the budget reached the end of that order."""
    sql, values = way.part(state, budget + 1, "1")
    return not _fetched(f"SELECT 1 FROM ({sql}) AS part OFFSET %s LIMIT 1", [*values, budget])  # noqa: S608


def _by_task(way: _Way, need: int) -> list[int]:
    """The first ids of each task, merged."""
    mine = way.rows.filter(task_id=RawSQL("candidate.id", [])).order_by(*ORDER)[:need]
    sql, values = mine.values_list("id", "data_time").query.sql_with_params()
    return [
        row[0]
        for row in _fetched(
            "SELECT page.id FROM unnest(%s::bigint[]) AS candidate(id)"  # noqa: S608
            f" CROSS JOIN LATERAL ({sql}) AS page(id, data_time)"
            " ORDER BY page.data_time DESC, page.id DESC LIMIT %s",
            [way.tasks, *values, need],
        )
    ]


def _walked_counts(way: _Way, cap: int) -> Counts:
    pieces: list[str] = []
    values: list[Any] = []
    for state in ALL_STATES if way.states is None else way.states:
        sql, given = way.part(state, WALK)
        all_of, all_values = way.part(state, WALK + 1, "1")
        # Whether the budget reached the end is asked only of what is below the cap.
        pieces.append(
            "SELECT %s::text, count(*), CASE WHEN count(*) <= %s"  # noqa: S608
            f" THEN (SELECT count(*) FROM ({all_of}) AS entry) > %s ELSE false END"
            f" FROM (SELECT 1 FROM ({sql}) AS {_TABLE} WHERE {way.condition} LIMIT %s) AS part"
        )
        values += [state, cap, *all_values, WALK, *given, *way.values, cap + 1]
    counts = Counts()
    for state, hits, more in _fetched(" UNION ALL ".join(pieces), values) if pieces else []:
        counts.found[state] = hits
        if more:
            counts.more.add(state)
    return counts


def _improve(counts: Counts, way: _Way) -> None:
    """Counts the newest rows of each task; all states are known if no task has more rows than that."""
    tasks = way.tasks or []
    if len(tasks) > MOST_COUNTED_TASKS:
        return
    each = max(1, BY_TASK // len(tasks))
    mine = (
        f"SELECT * FROM {_TABLE} WHERE {way.seek} AND task_id = candidate.id"  # noqa: S608
        " ORDER BY data_time DESC, id DESC LIMIT %s"
    )
    found = _fetched(
        f"SELECT state, count(*) FILTER (WHERE hit), max(place) FROM (SELECT state, {way.condition} AS hit,"  # noqa: S608
        f" row_number() OVER (PARTITION BY task_id) AS place FROM unnest(%s::bigint[]) AS candidate(id)"
        f" CROSS JOIN LATERAL ({mine}) AS {_TABLE}) AS part GROUP BY state",
        [*way.values, way.tasks, *way.seek_values, each],
    )
    if all(read < each for _, _, read in found):
        counts.found = {state: hits for state, hits, _ in found}
        counts.more = set()
        return
    for state, hits, _ in found:
        if state in counts.more:
            counts.found[state] = max(counts.found.get(state, 0), hits)


def _fetched(sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())
