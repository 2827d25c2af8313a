"""Generation: what is due becomes instances, each exactly once, with its edges, as sets.

One transaction at a time creates instances (a transaction-scoped advisory lock), so that two ticks, or two doors,
never miss each other's rows: an edge binds to an upstream instance that exists, or the upstream instance, when it is
generated later, finds the edge. Upstream instances are locked FOR SHARE while their state is read: a parent that ends
meanwhile waits, and then sees the new edges (see lifecycle).

Rows travel as columns, and times as places in a short list of distinct moments: a tick is bound by the database, not by
this language.
"""

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

from django.db import connection, transaction

from instances.engine import backlog, hints
from instances.engine.backlog import Cursors, DueTasks, array
from instances.engine.dependencies import upstream_data_times
from instances.engine.dispatch import dispatch
from instances.engine.schedule import Cycle, Schedule
from instances.engine.states import InstanceType, RunType
from instances.engine.transactions import retried
from instances.models import Task

log = logging.getLogger(__name__)

# Names the advisory lock of all creators of instances; any constant that nobody else uses.
GENERATION_LOCK = 0x5765_4F70_0001
# Bounds of one transaction.
TASKS_A_BATCH = 5_000
INSTANCES_A_BATCH = 5_000
# One task's backlog must not keep the others waiting.
INSTANCES_A_TASK = 1_000
# A task whose definition cannot be generated is looked at again after this.
TRY_BROKEN_AGAIN = dt.timedelta(minutes=5)


@dataclass(slots=True)
class Generated:
    """What a tick did."""

    instances: int = 0
    edges: int = 0
    groups: set[int] = field(default_factory=set)

    def add(self, other: "Generated") -> None:
        self.instances += other.instances
        self.edges += other.edges
        self.groups |= other.groups


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


class _Moments:
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
class _Edges:
    """Columns of edges, and the batch's `wanted` that each belongs to."""

    owners: list[Wanted] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    is_self: list[bool] = field(default_factory=list)
    upstream: list[int | None] = field(default_factory=list)
    succeeded: list[bool] = field(default_factory=list)

    def add(self, owner: Wanted, task_id: int, moment: int, is_self: bool = False) -> None:
        self.owners.append(owner)
        self.tasks.append(task_id)
        self.moments.append(moment)
        self.is_self.append(is_self)


@lru_cache(maxsize=50_000)
def _resolved(
    scope: str, offsets: str, downstream: Schedule, data_time: dt.datetime, upstream: Schedule
) -> tuple[dt.datetime, ...]:
    return upstream_data_times(scope, downstream, data_time, upstream, offsets)


def _wanted(groups: Sequence[DueTasks], now: dt.datetime) -> list[Wanted]:
    """The due instances of the tasks; moves each task's cursor."""
    known = backlog.schedules({group.ids[0]: group.fingerprint for group in groups})
    wanted: list[Wanted] = []
    cursors = Cursors([], [], [], [])
    for group in groups:
        room = INSTANCES_A_BATCH - len(wanted)
        if room <= 0:
            break
        schedule = known[group.ids[0]]
        found = backlog.due_occurrences(group, schedule, now, min(INSTANCES_A_TASK, room))
        ids = group.ids[: room // len(found)] if found else group.ids
        kinds = (InstanceType.PERIODIC, RunType.PERIODIC)
        if schedule.cycle is Cycle.ONEOFF:
            kinds = (InstanceType.NON_PERIODIC, RunType.APERIODIC)
        wanted += [
            Wanted(task_id, schedule, occurrence.data_time, occurrence.planned_time, group.orderly, *kinds)
            for task_id in ids
            for occurrence in found
        ]
        cursors.move(ids, schedule, found[-1].planned_time if found else now)
    cursors.write()
    return wanted


_NEW = """
SELECT place, nextval((SELECT pg_get_serial_sequence('instances_instance', 'id')::regclass)) FROM (
    SELECT w.place::int FROM unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS w(task_id, moment, place)
    WHERE NOT EXISTS (SELECT 1 FROM instances_instance i WHERE i.task_id = w.task_id
      AND i.data_time = (%s::timestamptz[])[w.moment] AND i.traversal = '') ORDER BY w.place) new
"""


def _drop_existing(wanted: Sequence[Wanted], moments: _Moments) -> list[Wanted]:
    """Those that do not exist yet, with ids of their own."""
    places = [moments.place(w.data_time) for w in wanted]
    with connection.cursor() as cursor:
        cursor.execute(_NEW, [array(w.task_id for w in wanted), array(places), moments.times])
        new = []
        for place, instance_id in cursor.fetchall():
            wanted[place - 1].instance_id = instance_id
            new.append(wanted[place - 1])
    return new


_PREVIOUS = """
-- What was run once by hand is no part of the order: its failure must not hold up the schedule.
SELECT w.place::int, (SELECT max(i.data_time) FROM instances_instance i WHERE i.task_id = w.task_id
                      AND i.data_time < (%s::timestamptz[])[w.moment] AND i.instance_type <> 'non_periodic')
FROM unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS w(task_id, moment, place)
"""


def _add_previous(edges: _Edges, wanted: Sequence[Wanted], moments: _Moments) -> None:
    """Orderly tasks: an edge to the data time generated before each wanted one, among rows and the wanted."""
    orderly = sorted((w for w in wanted if w.orderly), key=lambda w: (w.task_id, w.data_time))
    if not orderly:
        return
    places = [moments.place(w.data_time) for w in orderly]
    with connection.cursor() as cursor:
        cursor.execute(_PREVIOUS, [moments.times, array(w.task_id for w in orderly), array(places)])
        before = {place - 1: time for place, time in cursor.fetchall() if time}
    for place, (first, second) in enumerate(pairwise(orderly), 1):
        if first.task_id == second.task_id:
            before[place] = max(first.data_time, before.get(place, first.data_time))
    for place, time in before.items():
        edges.add(orderly[place], orderly[place].task_id, moments.place(time), is_self=True)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One dependency of a task."""

    upstream_id: int
    scope: str
    offsets: str
    schedule: Schedule


def _rules(wanted: Sequence[Wanted], schedules: Mapping[int, Schedule]) -> dict[int, list[_Rule]]:
    """Dependencies of the wanted instances' tasks."""
    known = {**schedules, **{w.task_id: w.schedule for w in wanted}}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT task_id, upstream_id, scope, offsets FROM instances_dependency WHERE task_id = ANY(%s::bigint[]) "
            "ORDER BY task_id, id",
            [array({w.task_id for w in wanted})],
        )
        rows = cursor.fetchall()
    known |= backlog.schedules(
        backlog.fingerprints({upstream_id for _, upstream_id, *_ in rows if upstream_id not in known})
    )
    rules: dict[int, list[_Rule]] = defaultdict(list)
    for task_id, upstream_id, scope, offsets in rows:
        rules[task_id].append(_Rule(upstream_id, scope, offsets, known[upstream_id]))
    return rules


def _resolve_edges(wanted: Sequence[Wanted], moments: _Moments, schedules: Mapping[int, Schedule]) -> _Edges:
    """What each wanted instance waits for: its task's dependencies, and itself for orderly tasks."""
    edges = _Edges()
    rules = _rules(wanted, schedules)
    resolved: dict[tuple[str, str, int, int, int], list[int]] = {}
    for w in wanted:
        moment = moments.place(w.data_time)
        met: set[tuple[int, int]] = set()
        for rule in rules.get(w.task_id, ()):
            # Schedules are shared: the same object, the same schedule. Hashing one takes longer than all else here.
            key = (rule.scope, rule.offsets, id(w.schedule), moment, id(rule.schedule))
            places = resolved.get(key)
            if places is None:
                times = _resolved(rule.scope, rule.offsets, w.schedule, w.data_time, rule.schedule)
                places = resolved[key] = [moments.place(time) for time in times]
            for place in places:
                # Two scopes on the same upstream task may overlap.
                if (rule.upstream_id, place) not in met:
                    met.add((rule.upstream_id, place))
                    edges.add(w, rule.upstream_id, place)
    _add_previous(edges, wanted, moments)
    return edges


_UPSTREAM_STATES = """
SELECT w.place::int, i.id, i.state = 'success' FROM instances_instance i
JOIN unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS w(task_id, moment, place)
  ON i.task_id = w.task_id AND i.data_time = (%s::timestamptz[])[w.moment]
WHERE i.traversal = '' ORDER BY i.id FOR SHARE OF i
"""


def _bind_edges(edges: _Edges, wanted: Sequence[Wanted], moments: _Moments) -> None:
    """Gives edges the upstream instances that exist already, or are generated in this batch."""
    found: dict[tuple[int, int], tuple[int | None, bool]] = {
        (w.task_id, moments.place(w.data_time)): (w.instance_id, False) for w in wanted
    }
    keys = list(zip(edges.tasks, edges.moments, strict=True))
    older = list({key for key in keys if key not in found})
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
        instance_id, succeeded = found.get(key, nobody)
        edges.upstream.append(instance_id)
        edges.succeeded.append(succeeded)
        owner.pending += not succeeded


_INSERT_INSTANCES = """
WITH made AS (
    INSERT INTO instances_instance (id, task_id, data_time, planned_time, instance_type, run_type, cycle_type, task_type,
        project_id, workflow_id, folder_id, owner_id, resource_group_id, priority, state, pending_upstream, not_before,
        wait_deadline, wait_since, ready_since)
    SELECT w.id, t.id, m.times[w.data_time], m.times[w.planned_time], w.instance_type, w.run_type, t.cycle_type, t.task_type,
        f.project_id, f.id, coalesce(t.folder_id, f.folder_id), t.owner_id, t.resource_group_id, t.priority,
        CASE WHEN w.pending > 0 THEN 'wait_upstream' ELSE 'wait_run' END, w.pending, m.times[w.planned_time],
        now() + t.wait_timeout, now(), CASE WHEN w.pending = 0 THEN now() END
    FROM unnest(%(ids)s::bigint[], %(tasks)s::bigint[], %(data)s::int[], %(planned)s::int[], %(types)s::text[],
                %(run_types)s::text[], %(pending)s::int[])
      AS w(id, task_id, data_time, planned_time, instance_type, run_type, pending)
    CROSS JOIN (SELECT %(moments)s::timestamptz[] AS times) m
    JOIN instances_task t ON t.id = w.task_id JOIN instances_workflow f ON f.id = t.workflow_id
    RETURNING resource_group_id
)
SELECT DISTINCT resource_group_id FROM made
"""

_INSERT_EDGES = """
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, is_self, satisfied_at)
SELECT instance_id, task_id, (%(moments)s::timestamptz[])[moment], upstream_id, is_self, CASE WHEN succeeded THEN now() END
FROM unnest(%(owners)s::bigint[], %(tasks)s::bigint[], %(places)s::int[], %(upstream)s::bigint[], %(is_self)s::boolean[],
            %(succeeded)s::boolean[])
  AS e(instance_id, task_id, moment, upstream_id, is_self, succeeded)
"""

_BIND_WAITING = """
-- Edges that have waited for these instances to be generated.
UPDATE instances_edge e SET upstream_id = w.id
FROM unnest(%(ids)s::bigint[], %(tasks)s::bigint[], %(data)s::int[]) AS w(id, task_id, moment)
WHERE e.upstream_task_id = w.task_id AND e.upstream_data_time = (%(moments)s::timestamptz[])[w.moment]
  AND e.upstream_id IS NULL
"""


def _insert(wanted: Sequence[Wanted], edges: _Edges, moments: _Moments) -> set[int]:
    """Writes instances and edges; the instances' resource groups."""
    columns: dict[str, Any] = {
        "ids": array(w.instance_id for w in wanted),
        "tasks": array(w.task_id for w in wanted),
        "data": array(moments.place(w.data_time) for w in wanted),
        "planned": array(moments.place(w.planned_time) for w in wanted),
        "types": array(w.instance_type for w in wanted),
        "run_types": array(w.run_type for w in wanted),
        "pending": array(w.pending for w in wanted),
        "moments": moments.times,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_INSTANCES, columns)
        groups = {group_id for (group_id,) in cursor.fetchall()}
        if edges.owners:
            edge_columns: dict[str, Any] = {
                "owners": array(owner.instance_id for owner in edges.owners),
                "tasks": array(edges.tasks),
                "places": array(edges.moments),
                "upstream": array("NULL" if upstream is None else upstream for upstream in edges.upstream),
                "is_self": array(edges.is_self),
                "succeeded": array(edges.succeeded),
                "moments": moments.times,
            }
            cursor.execute(_INSERT_EDGES, edge_columns)
        cursor.execute(_BIND_WAITING, columns)
    return groups


def create(wanted: Sequence[Wanted], schedules: Mapping[int, Schedule] | None = None) -> Generated:
    """Makes the wanted instances that do not exist, inside the caller's transaction, which holds the generation lock.

    `schedules`: of upstream tasks by id, where they are to be read otherwise than they stand (a backfill knows no
    effective period).
    """
    moments = _Moments()
    new = _drop_existing(wanted, moments) if wanted else []
    if not new:
        return Generated()
    edges = _resolve_edges(new, moments, schedules or {})
    _bind_edges(edges, new, moments)
    return Generated(len(new), len(edges.owners), _insert(new, edges, moments))


def lock() -> None:
    """Waits for the lock of all creators of instances; it ends with the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [GENERATION_LOCK])


@retried
def _generate_batch(now: dt.datetime) -> tuple[Generated, bool]:
    lock()
    tasks = backlog.due_tasks(now, TASKS_A_BATCH)
    if not tasks:
        return Generated(), False
    try:
        with transaction.atomic():
            return create(_wanted(tasks, now)), True
    except (ValueError, KeyError):
        # A definition that became impossible (a zone that is gone, a scope that no longer fits) stops nobody else.
        return _generate_apart([one for group in tasks for one in group.each()], now), True


def _generate_apart(tasks: Sequence[DueTasks], now: dt.datetime) -> Generated:
    """One task at a time; one that cannot be generated says why on its page and is tried again later."""
    total = Generated()
    for task in tasks:
        try:
            with transaction.atomic():
                total.add(create(_wanted([task], now)))
        except (ValueError, KeyError) as error:
            log.warning("task %d cannot be generated: %s", task.ids[0], error)
            Task.objects.filter(pk__in=task.ids).update(
                next_due_at=now + TRY_BROKEN_AGAIN, generation_error=f"{error}"[:1000]
            )
    return total


def generate(now: dt.datetime | None = None) -> Generated:
    """Generates everything that is due at `now` (default: the present), in short transactions."""
    now = now or dt.datetime.now(dt.UTC)
    total = Generated()
    more = True
    while more:
        made, more = _generate_batch(now)
        total.add(made)
    return total


def tick(now: dt.datetime | None = None) -> Generated:
    """What beat calls: generates what is due and hands what is ready to the workers. Safe to run twice at once."""
    made = generate(now)
    hints.send(dispatch(made.groups))
    return made
