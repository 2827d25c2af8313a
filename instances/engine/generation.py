"""Generation: what is due becomes instances, each exactly once, with its edges, as sets.

One transaction at a time creates instances (a transaction-scoped advisory lock), so that two ticks, or two doors,
never miss each other's rows: an edge binds to an upstream instance that exists, or the upstream instance, when it is
generated later, finds the edge. Upstream instances are locked FOR SHARE while their state is read: a parent that ends
meanwhile waits, and then sees the new edges (see lifecycle).

Rows travel as columns, and times as places in a short list of distinct moments: a tick is bound by the database, not by
this language. What new instances wait for is found by `edges.py`.
"""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from events import matching
from instances.engine import backlog, edges, event_waits, hints, lifecycle
from instances.engine.backlog import Cursors, DueTasks, array
from instances.engine.dispatch import follow
from instances.engine.edges import JUDGED_TASK, Moments, Wanted
from instances.engine.lifecycle import Touched
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
    ripples: bool = False

    def add(self, other: "Generated") -> None:
        self.instances += other.instances
        self.edges += other.edges
        self.groups |= other.groups
        self.ripples |= other.ripples


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


def _drop_existing(wanted: Sequence[Wanted], moments: Moments) -> list[Wanted]:
    """Those that do not exist yet, with ids of their own."""
    places = [moments.place(w.data_time) for w in wanted]
    with connection.cursor() as cursor:
        cursor.execute(_NEW, [array(w.task_id for w in wanted), array(places), moments.times])
        new = []
        for place, instance_id in cursor.fetchall():
            wanted[place - 1].instance_id = instance_id
            new.append(wanted[place - 1])
    return new


_INSERT_INSTANCES = f"""
WITH made AS (
    INSERT INTO instances_instance (id, task_id, data_time, planned_time, instance_type, run_type, cycle_type, task_type,
        project_id, workflow_id, folder_id, owner_id, resource_group_id, priority, state, pending_upstream, not_before,
        wait_deadline, wait_since, ready_since, trigger_policy, fails_with_upstream)
    SELECT w.id, t.id, m.times[w.data_time], m.times[w.planned_time], w.instance_type, w.run_type, t.cycle_type, t.task_type,
        f.project_id, f.id, coalesce(t.folder_id, f.folder_id), t.owner_id, t.resource_group_id, t.priority,
        CASE WHEN w.id = ANY(%(awaiting)s::bigint[]) THEN 'wait_event'
             WHEN w.pending > 0 OR w.id = ANY(%(judged)s::bigint[]) THEN 'wait_upstream' ELSE 'wait_run' END,
        w.pending, m.times[w.planned_time], now() + t.wait_timeout, now(),
        CASE WHEN w.pending = 0 AND w.id <> ALL(%(awaiting)s::bigint[]) AND w.id <> ALL(%(judged)s::bigint[]) THEN now() END,
        CASE WHEN {JUDGED_TASK} THEN t.trigger_policy ELSE '' END, t.upstream_failure = 'fail'
    FROM unnest(%(ids)s::bigint[], %(tasks)s::bigint[], %(data)s::int[], %(planned)s::int[], %(types)s::text[],
                %(run_types)s::text[], %(pending)s::int[])
      AS w(id, task_id, data_time, planned_time, instance_type, run_type, pending)
    CROSS JOIN (SELECT %(moments)s::timestamptz[] AS times) m
    JOIN instances_task t ON t.id = w.task_id JOIN instances_workflow f ON f.id = t.workflow_id
    RETURNING resource_group_id
)
SELECT DISTINCT resource_group_id FROM made
"""  # noqa: S608 - constants

_BIND_WAITING = """
-- Edges that have waited for these instances to be generated.
UPDATE instances_edge e SET upstream_id = w.id
FROM unnest(%(ids)s::bigint[], %(tasks)s::bigint[], %(data)s::int[]) AS w(id, task_id, moment)
WHERE e.upstream_task_id = w.task_id AND e.upstream_data_time = (%(moments)s::timestamptz[])[w.moment]
  AND e.upstream_id IS NULL
"""


def _insert(wanted: Sequence[Wanted], moments: Moments, awaiting: set[int]) -> set[int]:
    """Writes instances, `awaiting` of which wait for events, and binds the edges that have waited for them; the instances'
    resource groups."""
    columns: dict[str, Any] = {
        "ids": array(w.instance_id for w in wanted),
        "tasks": array(w.task_id for w in wanted),
        "data": array(moments.place(w.data_time) for w in wanted),
        "planned": array(moments.place(w.planned_time) for w in wanted),
        "types": array(w.instance_type for w in wanted),
        "run_types": array(w.run_type for w in wanted),
        "pending": array(w.pending for w in wanted),
        "awaiting": array(awaiting),
        "judged": array(w.instance_id for w in wanted if w.judged),
        "moments": moments.times,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_INSTANCES, columns)
        groups = {group_id for (group_id,) in cursor.fetchall()}
        cursor.execute(_BIND_WAITING, columns)
    return groups


def create(
    wanted: Sequence[Wanted], schedules: Mapping[int, Schedule] | None = None, *, lives_follow: bool = False
) -> Generated:
    """Makes the wanted instances that do not exist, inside the caller's transaction, which holds the generation lock.

    `schedules`: of upstream tasks by id, where they are to be read otherwise than they stand (a backfill knows no
    effective period). `lives_follow`: the caller begins their first lives, by `lifecycle.rerun` in this transaction, so
    that they take no event before it is decided whether they wait for any.
    """
    moments, made = Moments(), Generated()
    new = _drop_existing(wanted, moments) if wanted else []
    # Events are locked before any instance is.
    listening = event_waits.begin(new, withdrawn=lives_follow) if new else set()
    for piece, found in edges.pieces(new, moments, schedules or {}) if new else ():
        # Who may be skipped at once takes no event before that is known.
        special = {w.instance_id for w in piece if w.special} & listening
        awaiting = matching.take({w.instance_id for w in piece} & listening - special) | special
        made.add(Generated(len(piece), len(found), _insert(piece, moments, awaiting)))
        edges.insert(found, moments)
    judged = [w.instance_id for w in new if w.special]
    if judged and not lives_follow:
        with connection.cursor() as cursor:
            touched = Touched()
            lifecycle.begin_to_wait(cursor, judged, touched, listening)
            made.ripples = touched.ripples
    return made


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
    hints.send(follow(Touched(groups=set(made.groups), ripples=made.ripples)))
    return made
