"""Pages and counts of instances that read a bounded number of rows, whatever the filter (ADR 0024).

Every result is that of the queryset itself; only the way to it is chosen here.
"""

from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

from instances.models import Instance
from instances.models.instance import UNCOMMON
from instances.reading_ways import ALL_STATES, TABLE, Sql, Way
from weops.console.paging import COUNT_CAP, capped_count

# Entries of one order that a page reads before it gives up; some more for each row that it wants.
WALK = 10_000
WALK_EACH = 20
# Entries of a state that a count reads: of the index alone, and of the rows themselves.
COUNTED = 10_000
COUNTED_ROWS = 1_500
# So few rows of tasks are read at once, without a walk before.
AT_ONCE = 2_000
# A count looks up the uncommon rows of so many tasks one by one.
MOST_LOOKED_UP = 500
# Rows of all tasks together that a count by task reads, and the most tasks that it reads them of.
BY_TASK = 10_000
MOST_COUNTED_TASKS = 300

# (id, data time)
Found = tuple[int, Any]


@dataclass
class Counts:
    """`found`: {state: rows, at least}; `more`: the states whose count ended before it knew all."""

    found: dict[str, int] = field(default_factory=dict)
    more: set[str] = field(default_factory=set)


def page_ids(rows: QuerySet[Instance], limit: int, offset: int = 0, *, descending: bool = True) -> list[int]:
    """Ids of `rows.order_by("-data_time", "-id")[offset : offset + limit]`, or of the other direction.

    The caller checks the conditions once more when it reads the rows: they may have changed meanwhile.
    """
    need = offset + limit
    try:
        way = Way.to(rows, descending=descending)
        found = None if way is None else _bounded(way, need)
    except EmptyResultSet:
        return []
    if found is not None:
        return [pk for pk, _ in found[offset:]]
    order = ("-data_time", "-id") if descending else ("data_time", "id")
    return list(rows.order_by(*order).values_list("pk", flat=True)[offset:need])


def count(rows: QuerySet[Instance], cap: int) -> Counts:
    """Rows in each state; counts beyond `cap` are `cap` + 1."""
    try:
        way = Way.to(rows)
        counts = Counts(count_states(rows, cap)) if way is None else _counted(way, cap)
    except EmptyResultSet:
        return Counts()
    counts.more = {state for state in counts.more if counts.found.get(state, 0) <= cap}
    counts.found = {state: min(number, cap + 1) for state, number in counts.found.items() if number}
    return counts


def total(rows: QuerySet[Instance], cap: int = COUNT_CAP) -> int:
    """The number of rows, or `cap` + 1 for any more, however long it takes."""
    counts = count(rows, cap)
    known = sum(counts.found.values())
    return capped_count(rows, cap) if counts.more and known <= cap else min(known, cap + 1)


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


# Pages


def _bounded(way: Way, need: int) -> list[Found] | None:
    """The first `need` rows by one of the bounded ways; None if none leads there."""
    if way.tasks == []:
        return []
    if few := _few(way):
        return _of_few(way, few, need)
    if way.started is None:
        return _in_order(way, need)
    late = _walked(way.off_time(), need, WALK + WALK_EACH * need)
    usual = _in_order(way.on_time(), need) if late is not None else None
    if late is None or usual is None:
        return None
    return _merged(way, [*usual, *late], need)


def _in_order(way: Way, need: int) -> list[Found] | None:
    tasks = len(way.tasks) * (len(way.uncommon) or 1) if way.tasks is not None else 0
    quick = way.states is None or bool(way.uncommon)
    if tasks and quick and not way.rare and tasks * need <= max(AT_ONCE, need + AT_ONCE // 4):
        return _by_task(way, need)
    found = _walked(way, need, WALK + WALK_EACH * need)
    return _by_task(way, need) if found is None and tasks and not way.rare else found


def _merged(way: Way, found: list[Found], need: int) -> list[Found]:
    return sorted(found, key=lambda row: (row[1], row[0]), reverse=way.descending)[:need]


def _few(way: Way) -> Sql | None:
    """A condition that so few rows pass that all of them can be read."""
    for lead, most in way.few_rows:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {TABLE} WHERE {lead.text} LIMIT %s) AS part"  # noqa: S608
        if _fetched(sql, [*lead.values, most + 1])[0][0] <= most:
            return lead
    return None


def _fenced(lead: Sql) -> str:
    """The offset keeps the database from another way than by `lead`."""
    return f"(SELECT * FROM {TABLE} WHERE {lead.text} OFFSET 0) AS {TABLE}"  # noqa: S608


def _of_few(way: Way, lead: Sql, need: int) -> list[Found]:
    sql = (
        f"SELECT id, data_time FROM {_fenced(lead)} WHERE {way.condition.text} ORDER BY {way.order} LIMIT %s"  # noqa: S608
    )
    return _fetched(sql, [*lead.values, *way.condition.values, need])


def _walked(way: Way, need: int, budget: int) -> list[Found] | None:
    """The first rows by the order, or by that of each chosen state; None if the budget ended before `need` were found."""
    parts = way.orders
    # Of a state, the index alone may tell; in the order of all, rows that come together lie together, too.
    narrow = way.narrow if parts != [None] else None
    condition, columns = (
        (way.condition, "*") if narrow is None else (narrow, "id, data_time, task_id, traversal")
    )
    pieces: list[str] = []
    values: list[Any] = []
    for place, state in enumerate(parts):
        part = way.part(state, budget, columns)
        pieces.append(
            f"(SELECT id, data_time, {place} AS part FROM ({part.text}) AS {TABLE} WHERE {condition.text}"  # noqa: S608
            f" ORDER BY {way.order} LIMIT %s)"
        )
        values += [*part.values, *condition.values, need]
    found = _fetched(" UNION ALL ".join(pieces), values) if pieces else []
    sizes = [0] * len(parts)
    for _, _, place in found:
        sizes[place] += 1
    for state, size in zip(parts, sizes, strict=True):
        if size < need and not _ended(way, state, budget):
            return None
    return _merged(way, [(pk, data_time) for pk, data_time, _ in found], need)


def _ended(way: Way, state: str | None, budget: int) -> bool:
    """Whether the budget reached the end of that order."""
    part = way.part(state, budget + 1, "1")
    return not _fetched(f"SELECT 1 FROM ({part.text}) AS part OFFSET %s LIMIT 1", [*part.values, budget])  # noqa: S608


def _by_task(way: Way, need: int) -> list[Found]:
    """The first rows of each task, merged: of those `need` tasks alone whose own first rows come first."""
    states: list[str | None] = [*way.uncommon] or [None]
    seek = (
        way.seek & Sql("state = ANY(%s) AND state = candidate.state", [states]) if way.uncommon else way.seek
    )
    first = (
        f"SELECT id, data_time FROM {TABLE} WHERE task_id = candidate.id AND {seek.text} AND {way.condition.unguessed}"  # noqa: S608
        f" ORDER BY {way.order} LIMIT %s"
    )
    order = way.order.replace("data_time", "page.data_time").replace("id ", "page.id ")
    sql = (
        "WITH candidate AS MATERIALIZED (SELECT one.id, state.state FROM unnest(%s::bigint[]) AS one(id)"  # noqa: S608
        " CROSS JOIN unnest(%s::text[]) AS state(state)), foremost AS MATERIALIZED (SELECT candidate.id, candidate.state"
        f" FROM candidate CROSS JOIN LATERAL ({first}) AS page ORDER BY {order} LIMIT %s)"
        f" SELECT page.id, page.data_time FROM foremost AS candidate CROSS JOIN LATERAL ({first}) AS page"
        f" ORDER BY {order} LIMIT %s"
    )
    inside = [*seek.values, *way.condition.values]
    return _fetched(sql, [way.tasks, states, *inside, 1, need, *inside, need, need])


# Counts


def _counted(way: Way, cap: int) -> Counts:
    if way.tasks == []:
        return Counts()
    if few := _few(way):
        sql = f"SELECT state, count(*) FROM {_fenced(few)} WHERE {way.condition.text} GROUP BY state"  # noqa: S608
        return Counts(dict(_fetched(sql, [*few.values, *way.condition.values])))
    if way.started is not None:
        usual, other = _walked_counts(way.on_time(), cap), _walked_counts(way.off_time(), cap)
        for state, number in other.found.items():
            usual.found[state] = usual.found.get(state, 0) + number
        return Counts(usual.found, usual.more | other.more)
    if way.narrow is not None and not way.rare:
        return _narrow_counts(way, way.narrow, cap)
    counts = _walked_counts(way, cap)
    if counts.more and way.tasks is not None and not way.uncommon and not way.rare:
        _improve(counts, way, way.tasks)
    return counts


def _narrow_counts(way: Way, narrow: Sql, cap: int) -> Counts:
    """By indexes alone: uncommon states of tasks by the one that finds them, the others by the order of the state."""
    pieces: list[str] = []
    values: list[Any] = []
    for state in ALL_STATES if way.states is None else way.states:
        if _is_looked_up(way, state):
            part = _looked_up(way, state, COUNTED + 1, "task_id, traversal")
        else:
            part = way.part(state, COUNTED + 1, "task_id, traversal")
        pieces.append(
            f"SELECT %s::text, count(*) FILTER (WHERE {narrow.text}), count(*) > %s FROM ({part.text}) AS {TABLE}"  # noqa: S608
        )
        values += [state, *narrow.values, COUNTED, *part.values]
    return _read_counts(pieces, values)


def _is_looked_up(way: Way, state: str) -> bool:
    return way.tasks is not None and state in UNCOMMON and len(way.tasks) <= MOST_LOOKED_UP


def _looked_up(way: Way, state: str, limit: int, columns: str = "*") -> Sql:
    """Rows of the tasks in an uncommon state, in no order."""
    where = way.seek & Sql("state = %s AND task_id = ANY(%s::bigint[])", [state, way.tasks])
    return Sql(f"SELECT {columns} FROM {TABLE} WHERE {where.text} LIMIT %s", [*where.values, limit])  # noqa: S608


def _walked_counts(way: Way, cap: int) -> Counts:
    if way.rare:
        return _rare_counts(way)
    pieces: list[str] = []
    values: list[Any] = []
    for state in ALL_STATES if way.states is None else way.states:
        part, entries = (
            _looked_up(way, state, limit, columns)
            if _is_looked_up(way, state)
            else way.part(state, limit, columns)
            for limit, columns in ((COUNTED_ROWS, "*"), (COUNTED_ROWS + 1, "1"))
        )
        # Whether the budget reached the end is asked only of what is below the cap.
        pieces.append(
            "SELECT %s::text, count(*), CASE WHEN count(*) <= %s"  # noqa: S608
            f" THEN (SELECT count(*) FROM ({entries.text}) AS entry) > %s ELSE false END"
            f" FROM (SELECT 1 FROM ({part.text}) AS {TABLE} WHERE {way.condition.text} LIMIT %s) AS part"
        )
        values += [state, cap, *entries.values, COUNTED_ROWS, *part.values, *way.condition.values, cap + 1]
    return _read_counts(pieces, values)


def _rare_counts(way: Way) -> Counts:
    part = way.part(None, COUNTED_ROWS + 1)
    found = _fetched(
        f"SELECT state, count(*) FILTER (WHERE {way.condition.text}), count(*) FROM ({part.text}) AS {TABLE} GROUP BY state",  # noqa: S608
        [*way.condition.values, *part.values],
    )
    more = sum(read for _, _, read in found) > COUNTED_ROWS
    return Counts({state: hits for state, hits, _ in found}, {*(way.states or ALL_STATES)} if more else set())


def _read_counts(pieces: list[str], values: list[Any]) -> Counts:
    counts = Counts()
    for state, hits, more in _fetched(" UNION ALL ".join(pieces), values) if pieces else []:
        counts.found[state] = hits
        if more:
            counts.more.add(state)
    return counts


def _improve(counts: Counts, way: Way, tasks: list[int]) -> None:
    """Counts the newest rows of each task; all states are known if no task has more rows than that."""
    if len(tasks) > MOST_COUNTED_TASKS:
        return
    each = max(1, BY_TASK // len(tasks))
    mine = (
        f"SELECT * FROM {TABLE} WHERE {way.seek.text} AND task_id = candidate.id"  # noqa: S608
        f" ORDER BY {way.order} LIMIT %s"
    )
    found = _fetched(
        f"SELECT state, count(*) FILTER (WHERE hit), max(place) FROM (SELECT state, {way.condition.text} AS hit,"  # noqa: S608
        f" row_number() OVER (PARTITION BY task_id) AS place FROM unnest(%s::bigint[]) AS candidate(id)"
        f" CROSS JOIN LATERAL ({mine}) AS {TABLE}) AS part GROUP BY state",
        [*way.condition.values, tasks, *way.seek.values, each],
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
