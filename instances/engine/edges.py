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
from instances.engine.dependencies import Required, never_comes, required
from instances.engine.schedule import Schedule
from instances.engine.states import InstanceType, RunType, State
from instances.engine.trigger_policies import JUDGED, NEVER_COMES, bits

# Whether more than successes counts for instances of task `t`.
JUDGED_TASK = "(t.trigger_policy <> 'ALL_SUCCESS' OR t.upstream_failure = 'fail')"

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
    # A policy judges it, or a parent is excused, skipped or by the clock: `lifecycle.begin_to_wait` has a say.
    judged: bool = False
    special: bool = False


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
    rules: list[int] = field(default_factory=list)
    timeouts: list[int | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.owners)

    def add(self, owner: Wanted, rule: "_Rule", moments: "_Places") -> None:
        """What the owner waits for by a dependency of its task."""
        self._add(owner, rule.upstream_id, moments.all, is_self=False)
        self.rules += [rule.bits] * len(moments.all)
        self.timeouts += [rule.timeout] * len(moments.all)
        if moments.never:
            first = len(self.rules) - len(moments.all)
            for number, place in enumerate(moments.all, first):
                if place in moments.never:
                    self.rules[number] |= NEVER_COMES
        if rule.bits:
            owner.special = True
            owner.judged |= bool(rule.bits & JUDGED)

    def add_previous(self, owner: Wanted, moment: int) -> None:
        self._add(owner, owner.task_id, [moment], is_self=True)
        self.rules.append(0)
        self.timeouts.append(None)

    def _add(self, owner: Wanted, task_id: int, moments: Sequence[int], *, is_self: bool) -> None:
        count = len(moments)
        self.owners += [owner] * count
        self.tasks += [task_id] * count
        self.moments += moments
        self.is_self += [is_self] * count


@dataclass(frozen=True, slots=True)
class _Parent:
    """An instance that is waited for: its id and state; of a branch that succeeded, the tasks that it did not take."""

    instance_id: int | None
    state: str = ""
    not_taken: Sequence[int] = ()


Known = dict[tuple[int, int], _Parent]


def pieces(
    wanted: Sequence[Wanted], moments: Moments, schedules: Mapping[int, Schedule]
) -> Iterator[tuple[list[Wanted], Edges]]:
    """The wanted in order, in pieces of about EDGES_A_PIECE edges, with what they wait for; `pending` is counted.

    A piece must be written before the next one is asked for. `schedules`: as `generation.create` takes them.
    """
    places = _places(wanted, moments, _rules(wanted, schedules))
    previous = _previous(wanted, moments)
    new: Known = {(w.task_id, moments.place(w.data_time)): _Parent(w.instance_id) for w in wanted}
    piece, edges = list[Wanted](), Edges()
    for w, waits_for in zip(wanted, places, strict=True):
        for rule, found in waits_for:
            edges.add(w, rule, found)
        if w.instance_id in previous:
            edges.add_previous(w, previous[w.instance_id])
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
    # By which its task is generated, where `schedule` is another (a backfill's).
    generated: Schedule
    # What its edges excuse (engine/trigger_policies.py), and after how many minutes.
    bits: int = 0
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class _Places:
    """Places of the data times that an instance waits for; `never`: those that the upstream's schedule has not."""

    all: list[int]
    never: frozenset[int]


def _rules(wanted: Sequence[Wanted], schedules: Mapping[int, Schedule]) -> dict[int, list[_Rule]]:
    """Dependencies of the wanted instances' tasks."""
    known = {**schedules, **{w.task_id: w.schedule for w in wanted}}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.task_id, d.upstream_id, d.scope, d.offsets, d.bad_parents, d.parent_timeout, "  # noqa: S608
            f"{JUDGED_TASK} FROM instances_dependency d JOIN instances_task t ON t.id = d.task_id "
            "WHERE d.task_id = ANY(%s::bigint[]) ORDER BY d.task_id, d.id",
            [array({w.task_id for w in wanted})],
        )
        rows = cursor.fetchall()
    asked = {upstream_id for _, upstream_id, *_ in rows}
    generated = backlog.schedules(backlog.fingerprints(asked - (known.keys() - schedules.keys())))
    known = {**generated, **known}
    rules: defaultdict[int, dict[int, _Rule]] = defaultdict(dict)
    for task_id, upstream_id, scope, offsets, bad_parents, timeout, judged in rows:
        first = rules[task_id].get(upstream_id)
        rules[task_id][upstream_id] = _Rule(
            upstream_id,
            (*(first.scopes if first else ()), (scope, offsets)),
            known[upstream_id],
            generated.get(upstream_id, known[upstream_id]),
            bits(bad_parents, judged=judged) | (first.bits if first else 0),
            timeout or (first.timeout if first else None),
        )
    return {task_id: list(of_task.values()) for task_id, of_task in rules.items()}


@lru_cache(maxsize=50_000)
def _resolved(
    scopes: tuple[_Scope, ...], downstream: Schedule, data_time: dt.datetime, upstream: Schedule
) -> tuple[Required, ...]:
    found = {
        one.data_time: one
        for scope, offsets in scopes
        for one in required(scope, downstream, data_time, upstream, offsets)
    }
    return tuple(found.values())


def _places(
    wanted: Sequence[Wanted], moments: Moments, rules: Mapping[int, list[_Rule]]
) -> Iterator[list[tuple[_Rule, _Places]]]:
    """For each wanted instance: (dependency, places of the data times that it waits for)."""
    resolved: dict[tuple[tuple[_Scope, ...], int, int, int, int], _Places] = {}
    for w in wanted:
        moment, found = moments.place(w.data_time), []
        for rule in rules.get(w.task_id, ()):
            # Schedules are shared: the same object, the same schedule. Hashing one takes longer than all else here.
            key = (rule.scopes, id(w.schedule), moment, id(rule.schedule), id(rule.generated))
            places = resolved.get(key)
            if places is None:
                times = _resolved(rule.scopes, w.schedule, w.data_time, rule.schedule)
                never = frozenset(
                    moments.place(time) for time, exists in times if not exists or _never_comes(rule, time)
                )
                places = resolved[key] = _Places([moments.place(time) for time, _ in times], never)
            found.append((rule, places))
        yield found


def _never_comes(rule: _Rule, time: dt.datetime) -> bool:
    """Whether only a plan could make the instance of this data time."""
    return rule.generated is not rule.schedule and never_comes(rule.generated, time)


_PREVIOUS = """
-- What was run once by hand, or to try it, is no part of the order: its failure must not hold up the schedule.
SELECT w.place::int, (SELECT max(i.data_time) FROM instances_instance i WHERE i.task_id = w.task_id
                      AND i.data_time < (%s::timestamptz[])[w.moment] AND i.instance_type NOT IN ('non_periodic', 'test'))
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
SELECT w.place::int, i.id, i.state, coalesce(i.not_taken, '{}') FROM instances_instance i
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
            for place, *parent in cursor.fetchall():
                found[older[place - 1]] = _Parent(*parent)
    nobody = _Parent(None)
    for key, owner in zip(keys, edges.owners, strict=True):
        parent = new.get(key) or found.get(key, nobody)
        taken = not parent.not_taken or owner.task_id not in parent.not_taken
        succeeded = parent.state == State.SUCCESS and taken
        edges.upstream.append(parent.instance_id)
        edges.succeeded.append(succeeded)
        owner.pending += not succeeded
        if parent.state == State.SKIPPED or not taken:
            owner.special = True


_INSERT = """
-- Arrays that are empty stand for as many nothings: most edges have no rules.
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, is_self, satisfied_at, rules,
    timeout_minutes)
SELECT instance_id, task_id, (%(moments)s::timestamptz[])[moment], upstream_id, is_self, CASE WHEN succeeded THEN now() END,
       coalesce(rules, 0), timeout
FROM unnest(%(owners)s::bigint[], %(tasks)s::bigint[], %(places)s::int[], %(upstream)s::bigint[], %(is_self)s::boolean[],
            %(succeeded)s::boolean[], %(rules)s::smallint[], %(timeouts)s::int[])
  AS e(instance_id, task_id, moment, upstream_id, is_self, succeeded, rules, timeout)
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
        "rules": array(edges.rules if any(edges.rules) else ()),
        "timeouts": array("NULL" if one is None else one for one in edges.timeouts)
        if any(edges.timeouts)
        else "{}",
        "moments": moments.times,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, columns)
