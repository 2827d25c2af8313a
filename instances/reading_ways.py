"""What the conditions of a queryset of instances offer to those who read a page of it, or count it (ADR 0024)."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from django.core.exceptions import FullResultSet
from django.db import connection
from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import Lookup
from django.db.models.sql.where import AND, WhereNode

from instances.engine.states import InstanceType, State
from instances.models import Instance, TaskPlace
from instances.models.instance import MOST_LAG, UNCOMMON
from weops.console.paging import Among

# So few rows with an index of their own are read whole.
FEW = 20_000
FEW_SCATTERED = 4_000
# More tasks than these are no way to a page, nor to a count.
MOST_TASKS = 5_000
ALL_STATES: tuple[str, ...] = tuple(state.value for state in State)
TABLE = '"instances_instance"'
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
# Rows whose start lies where their data time lets expect it, and the others, which have an index (`instance_off_time`).
_LAG = f"({TABLE}.start_time - {TABLE}.data_time)"
ON_TIME = f"{_LAG} >= interval '0' AND {_LAG} <= interval '{MOST_LAG.days} days'"
OFF_TIME = f"({_LAG} < interval '0' OR {_LAG} > interval '{MOST_LAG.days} days')"
# Rare rows by other columns, with indexes that say the same.
OFF_BEAT = f"NOT {TABLE}.instance_type = 'periodic'"
INSIDE = f"{TABLE}.for_each_id IS NOT NULL"


@dataclass(frozen=True)
class Sql:
    """A condition and its values."""

    text: str = "TRUE"
    values: list[Any] = field(default_factory=list)

    @property
    def unguessed(self) -> str:
        """The condition, kept from the database's guess how many rows pass: it takes related columns for independent, and
        then reads all rows of a task to sort them, where the first page of its index has enough."""
        return f"coalesce(({self.text}), false)"

    def __and__(self, other: "Sql") -> "Sql":
        return Sql(f"{self.text} AND {other.text}", [*self.values, *other.values])


@dataclass(frozen=True)
class Way:
    """What a queryset's conditions offer. `tasks`: those that can have any of its rows, None if too many or unknown.

    `condition`: all of its conditions. `seek`: those on data time and id, which the indexes of the order seek by.
    `leads`: conditions that few rows may pass, each with an index of its own. `states`: those that are chosen, None for
    all. `started`: the range of start times, if there is any. `inner`: whether those of For-each tasks are wanted, None for
    both. `tested`: whether test runs are. `simple`: what was said here is all that is asked. `rare`: an order of rare rows
    alone leads to all of them, by an index that knows no states."""

    condition: Sql
    seek: Sql
    leads: list[Sql]
    states: list[str] | None
    tasks: list[int] | None
    places: int
    started: tuple[dt.datetime | None, dt.datetime | None] | None
    inner: bool | None
    tested: bool
    simple: bool
    descending: bool
    rare: Sql | None

    @classmethod
    def to(cls, rows: QuerySet[Instance], *, descending: bool = True) -> "Way | None":
        """None: other tables are joined, and only the database can tell. Raises EmptyResultSet."""
        query = rows.query
        joined = [
            name for name, uses in query.alias_refcount.items() if uses and name != Instance._meta.db_table
        ]
        if joined or query.is_sliced or query.combinator or query.distinct:
            return None
        children = list(_anded(query.where))
        lookups = [
            (child.lhs.target.attname, child.lookup_name, child.rhs) for child in children if _plain(child)
        ]
        seek = _sql(rows, WhereNode([child for child in children if _of_order(child)], AND))
        states = [set(_listed(name, rhs)) for column, name, rhs in lookups if column == "state"]
        tasks, places = _tasks(lookups)
        inner = {not rhs for column, name, rhs in lookups if (column, name) == ("for_each_id", "isnull")}
        off_beat = any(c == "instance_type" and n == "exact" and v != "periodic" for c, n, v in lookups)
        inside = inner == {True}
        return cls(
            condition=_sql(rows, query.where),
            seek=seek,
            leads=[
                _sql(rows, WhereNode([child], AND)) & seek
                for child in children
                if _plain(child) and _leads(child.lhs.target.attname, child.lookup_name)
            ],
            states=sorted(set(ALL_STATES).intersection(*states)) if states else None,
            tasks=tasks,
            places=places,
            started=_range(lookups),
            inner=next(iter(inner)) if len(inner) == 1 else None,
            tested=not any(_is_no_test(child) for child in children),
            simple=len(inner) < 2 and all(_of_order(child) or _is_simple(child) for child in children),
            descending=descending,
            rare=Sql(OFF_BEAT) if off_beat else Sql(INSIDE) if inside else None,
        )

    @property
    def order(self) -> str:
        way = "DESC" if self.descending else "ASC"
        return f"data_time {way}, id {way}"

    @property
    def few_rows(self) -> list[tuple[Sql, int]]:
        """Conditions that only few rows may pass, and how many of them may be read: less of those that lie scattered."""
        found = [(lead, FEW_SCATTERED) for lead in self.leads]
        if self.started is not None:
            since, until = self.started
            both = [("start_time >= %s", since), ("start_time <= %s", until)]
            given = [(text, value) for text, value in both if value is not None]
            between = Sql(" AND ".join(text for text, _ in given), [value for _, value in given])
            found.append((between, FEW))
        if self.rare:
            found.append((self.rare & self.seek, FEW_SCATTERED))
        if self.uncommon and self.tasks is not None and not self.simple:
            of_tasks = Sql("task_id = ANY(%s::bigint[]) AND state = ANY(%s)", [self.tasks, self.uncommon])
            found.append((of_tasks & self.seek, FEW_SCATTERED))
        return found

    @cached_property
    def narrow(self) -> Sql | None:
        """All conditions but those of `seek` and `states`, by what the index of the states holds; None if that cannot say it."""
        if not self.simple:
            return None
        found = Sql() if self.inner is None else Sql("traversal <> ''" if self.inner else "traversal = ''")
        if not self.tested:
            found &= Sql("traversal NOT LIKE 'test-%%'")
        if self.places:
            if self.tasks is None or not self._settled:
                return None
            found &= Sql("task_id = ANY(%s::bigint[])", [self.tasks])
        return found

    @cached_property
    def _settled(self) -> bool:
        """None of the tasks was ever anywhere else."""
        return TaskPlace.objects.filter(Among(F("task_id"), self.tasks or [])).count() == self.places

    @property
    def uncommon(self) -> list[str]:
        """The chosen states if all of them are in the index that finds them by task."""
        return self.states if self.states and set(self.states) <= {*UNCOMMON} else []

    def on_time(self) -> "Way":
        """Of what started as its data time lets expect; that bounds the data time, too."""
        since, until = self.started or (None, None)
        bounds = Sql()
        if since is not None:
            bounds &= Sql(f"{TABLE}.data_time >= %s", [since - MOST_LAG])
        if until is not None:
            bounds &= Sql(f"{TABLE}.data_time <= %s", [until])
        return replace(
            self, condition=self.condition & bounds & Sql(ON_TIME), seek=self.seek & bounds, started=None
        )

    def off_time(self) -> "Way":
        """Of what started early or late."""
        return replace(self, condition=self.condition & Sql(OFF_TIME), started=None, rare=Sql(OFF_TIME))

    @property
    def orders(self) -> list[str | None]:
        """The orders that together lead through all rows: those of the chosen states, or None, which is that of all rows."""
        return [None] if self.rare or self.states is None else [*self.states]

    def part(self, state: str | None, limit: int, columns: str = "*") -> Sql:
        """The first `limit` rows after the mark, of one state or of all, whatever the other conditions."""
        where = self.seek if state is None else self.seek & Sql("state = %s", [state])
        if self.rare:
            where &= self.rare
        return Sql(
            f"SELECT {columns} FROM {TABLE} WHERE {where.text} ORDER BY {self.order} LIMIT %s",  # noqa: S608
            [*where.values, limit],
        )


def _sql(rows: QuerySet[Instance], where: WhereNode) -> Sql:
    try:
        sql, values = rows.query.get_compiler(connection=connection).compile(where)
    except FullResultSet:
        return Sql()
    return Sql(f"({sql})", list(values)) if sql else Sql()


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


def _of_place(column: str, name: str) -> bool:
    return column in _PLACE_COLUMNS and name in ("exact", "in", "isnull", Among.lookup_name)


def _is_no_test(condition: Any) -> bool:
    """That test runs are left out."""
    if not isinstance(condition, WhereNode) or not condition.negated or len(condition.children) != 1:
        return False
    child: Any = condition.children[0]
    if not _plain(child):
        return False
    return (child.lhs.target.attname, child.lookup_name, child.rhs) == (
        "instance_type",
        "exact",
        InstanceType.TEST,
    )


def _is_simple(condition: Any) -> bool:
    if _is_no_test(condition):
        return True
    if not _plain(condition):
        return False
    column, name = condition.lhs.target.attname, condition.lookup_name
    if column == "state":
        return name in ("exact", "in")
    return (column, name) == ("for_each_id", "isnull") or _of_place(column, name)


def _leads(column: str, name: str) -> bool:
    return column in ("id", "for_each_id") and name in ("exact", "in")


def _range(lookups: list[tuple[str, str, Any]]) -> tuple[Any, Any] | None:
    """The start times that conditions on them let through, at both ends inclusive."""
    since = [value for column, name, value in lookups if (column, name) == ("start_time", "gte")]
    until = [value for column, name, value in lookups if (column, name) == ("start_time", "lte")]
    return (max(since, default=None), min(until, default=None)) if since or until else None


def _tasks(lookups: list[tuple[str, str, Any]]) -> tuple[list[int] | None, int]:
    """(tasks that can have any row, how many of their places match); (None, 1) if they are too many."""
    wanted = [one for one in lookups if _of_place(one[0], one[1])]
    if not wanted:
        return None, 0
    places = TaskPlace.objects.order_by("task_id")
    for column, name, value in wanted:
        among = name == Among.lookup_name
        places = places.filter(Among(F(column), value) if among else Q(**{f"{column}__{name}": value}))
    found = list(places.values_list("task_id").annotate(Count("id"))[: MOST_TASKS + 1])
    if len(found) > MOST_TASKS:
        return None, 1
    return [task for task, _ in found], sum(number for _, number in found)
