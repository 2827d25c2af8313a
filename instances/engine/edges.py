"""Edges of new instances: what each waits for, resolved, bound to instances that exist, and written as columns.

A dependency's data times depend on nothing but its scope, its offsets, both schedules and the downstream data time, so
they are reckoned once for all tasks that share these. Times travel as places in a short list of distinct moments.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

from django.db import connection

from instances.engine import backlog
from instances.engine.backlog import array
from instances.engine.dependencies import upstream_data_times
from instances.engine.schedule import Schedule
from instances.engine.states import InstanceType, RunType

# Bounds of one statement, and of what is held in memory: an instance may wait for a year of minutes.
EDGES_A_PIECE = 200_000


@dataclass(slots=True)
class Wanted:
    """An instance that is to exist. `orderly`: it waits for the one of its task before it."""

    task_id: int
    schedule: Schedule
    data_time: dt.datetime
    planned_time: dt.datetime
    orderly: bool = False
    instance_type: str = InstanceType.PERIODIC
    run_type: str = RunType.PERIODIC
    instance_id: int = 0
    pending: int = 0


class Moments:
    """Distinct times, and their places (from 1) in the array that stands for them in a statement."""

    def __init__(self) -> None:
        self.times: list[dt.datetime] = []
        self._places: dict[dt.datetime, int] = {}

    def place(self, time: dt.datetime) -> int:
        place = self._places.get(time)
        if place is None:
            self.times.append(time)
            place = self._places[time] = len(self.times)
        return place


@dataclass(slots=True)
class Edges:
    """Columns of edges, and the `wanted` that each belongs to."""

    owners: list[Wanted] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    is_self: list[bool] = field(default_factory=list)
    upstream: list[int | None] = field(default_factory=list)
    succeeded: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.owners)

    def add(self, owner: Wanted, task_id: int, moments: Sequence[int], is_self: bool = False) -> None:
        count = len(moments)
        self.owners += [owner] * count
        self.tasks += [task_id] * count
        self.moments += moments
        self.is_self += [is_self] * count


Known = dict[tuple[int, int], tuple[int | None, bool]]


def pieces(
    wanted: Sequence[Wanted], moments: Moments, schedules: Mapping[int, Schedule]
) -> Iterator[tuple[list[Wanted], Edges]]:
    """The wanted in order, in pieces of about EDGES_A_PIECE edges, with what they wait for; `pending` is counted.

    A piece must be written before the next one is asked for. `schedules`: as `generation.create` takes them.
    """
    places = _places(wanted, moments, _rules(wanted, schedules))
    previous = _previous(wanted, moments)
    new: Known = {(w.task_id, moments.place(w.data_time)): (w.instance_id, False) for w in wanted}
    piece, edges = list[Wanted](), Edges()
    for w, waits_for in zip(wanted, places, strict=True):
        for upstream_id, found in waits_for:
            edges.add(w, upstream_id, found)
        if w.instance_id in previous:
            edges.add(w, w.task_id, [previous[w.instance_id]], is_self=True)
        piece.append(w)
        if len(edges) >= EDGES_A_PIECE:
            _bind(edges, new, moments)
            yield piece, edges
            piece, edges = [], Edges()
    if piece:
        _bind(edges, new, moments)
        yield piece, edges


# A dependency's scope and offsets.
_Scope = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Rule:
    """All dependencies of a task on one other: what two scopes share is one edge."""

    upstream_id: int
    scopes: tuple[_Scope, ...]
    schedule: Schedule


def _rules(wanted: Sequence[Wanted], schedules: Mapping[int, Schedule]) -> dict[int, list[_Rule]]:
    """Dependencies of the wanted instances' tasks."""
    known = {**schedules, **{w.task_id: w.schedule for w in wanted}}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT task_id, upstream_id, scope, offsets FROM instances_dependency "
            "WHERE task_id = ANY(%s::bigint[]) ORDER BY task_id, id",
            [array({w.task_id for w in wanted})],
        )
        rows = cursor.fetchall()
    known |= backlog.schedules(
        backlog.fingerprints({upstream_id for _, upstream_id, *_ in rows if upstream_id not in known})
    )
    scopes: defaultdict[int, dict[int, tuple[_Scope, ...]]] = defaultdict(dict)
    for task_id, upstream_id, scope, offsets in rows:
        of_task = scopes[task_id]
        of_task[upstream_id] = (*of_task.get(upstream_id, ()), (scope, offsets))
    return {
        task_id: [_Rule(upstream_id, of_pair, known[upstream_id]) for upstream_id, of_pair in of_task.items()]
        for task_id, of_task in scopes.items()
    }


@lru_cache(maxsize=50_000)
def _resolved(
    scopes: tuple[_Scope, ...], downstream: Schedule, data_time: dt.datetime, upstream: Schedule
) -> tuple[dt.datetime, ...]:
    times = (
        time
        for scope, offsets in scopes
        for time in upstream_data_times(scope, downstream, data_time, upstream, offsets)
    )
    return tuple(dict.fromkeys(times))


def _places(
    wanted: Sequence[Wanted], moments: Moments, rules: Mapping[int, list[_Rule]]
) -> Iterator[list[tuple[int, list[int]]]]:
    """For each wanted instance: (upstream task, places of the data times that it waits for)."""
    resolved: dict[tuple[tuple[_Scope, ...], int, int, int], list[int]] = {}
    for w in wanted:
        moment, found = moments.place(w.data_time), []
        for rule in rules.get(w.task_id, ()):
            # Schedules are shared: the same object, the same schedule. Hashing one takes longer than all else here.
            key = (rule.scopes, id(w.schedule), moment, id(rule.schedule))
            places = resolved.get(key)
            if places is None:
                times = _resolved(rule.scopes, w.schedule, w.data_time, rule.schedule)
                places = resolved[key] = [moments.place(time) for time in times]
            found.append((rule.upstream_id, places))
        yield found


_PREVIOUS = """
-- What was run once by hand is no part of the order: its failure must not hold up the schedule.
SELECT w.place::int, (SELECT max(i.data_time) FROM instances_instance i WHERE i.task_id = w.task_id
                      AND i.data_time < (%s::timestamptz[])[w.moment] AND i.instance_type <> 'non_periodic')
FROM unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS w(task_id, moment, place)
"""


def _previous(wanted: Sequence[Wanted], moments: Moments) -> dict[int, int]:
    """Orderly tasks: {instance id: place of the data time generated before it}, among rows and the wanted."""
    orderly = sorted((w for w in wanted if w.orderly), key=lambda w: (w.task_id, w.data_time))
    if not orderly:
        return {}
    places = [moments.place(w.data_time) for w in orderly]
    with connection.cursor() as cursor:
        cursor.execute(_PREVIOUS, [moments.times, array(w.task_id for w in orderly), array(places)])
        before = {place - 1: time for place, time in cursor.fetchall() if time}
    for place, (first, second) in enumerate(pairwise(orderly), 1):
        if first.task_id == second.task_id:
            before[place] = max(first.data_time, before.get(place, first.data_time))
    return {orderly[place].instance_id: moments.place(time) for place, time in before.items()}


_UPSTREAM_STATES = """
SELECT w.place::int, i.id, i.state = 'success' FROM instances_instance i
JOIN unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS w(task_id, moment, place)
  ON i.task_id = w.task_id AND i.data_time = (%s::timestamptz[])[w.moment]
WHERE i.traversal = '' ORDER BY i.id FOR SHARE OF i
"""


def _bind(edges: Edges, new: Known, moments: Moments) -> None:
    """Gives edges the upstream instances that exist already, or are generated in this batch."""
    keys = list(zip(edges.tasks, edges.moments, strict=True))
    older = list({key for key in keys if key not in new})
    found: Known = {}
    if older:
        with connection.cursor() as cursor:
            cursor.execute(
                _UPSTREAM_STATES,
                [array(task for task, _ in older), array(place for _, place in older), moments.times],
            )
            for place, instance_id, succeeded in cursor.fetchall():
                found[older[place - 1]] = (instance_id, succeeded)
    nobody = (None, False)
    for key, owner in zip(keys, edges.owners, strict=True):
        instance_id, succeeded = new.get(key) or found.get(key, nobody)
        edges.upstream.append(instance_id)
        edges.succeeded.append(succeeded)
        owner.pending += not succeeded


_INSERT = """
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, is_self, satisfied_at)
SELECT instance_id, task_id, (%(moments)s::timestamptz[])[moment], upstream_id, is_self, CASE WHEN succeeded THEN now() END
FROM unnest(%(owners)s::bigint[], %(tasks)s::bigint[], %(places)s::int[], %(upstream)s::bigint[], %(is_self)s::boolean[],
            %(succeeded)s::boolean[])
  AS e(instance_id, task_id, moment, upstream_id, is_self, succeeded)
"""


def insert(edges: Edges, moments: Moments) -> None:
    """Writes the edges; the instances that they belong to are written already."""
    if not edges:
        return
    columns: dict[str, Any] = {
        "owners": array(owner.instance_id for owner in edges.owners),
        "tasks": array(edges.tasks),
        "places": array(edges.moments),
        "upstream": array("NULL" if upstream is None else upstream for upstream in edges.upstream),
        "is_self": array(edges.is_self),
        "succeeded": array(edges.succeeded),
        "moments": moments.times,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, columns)
