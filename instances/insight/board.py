"""The blocker board: what holds up everything that waits, ranked by how many instances it holds. Only reads.

The open dependencies of everything that waits for upstream are read in one statement and followed in memory, from each
topmost blocker down. Beside those stand events that have not come, groups without a free slot or worker, serial tasks and lanes.
Bounds: the oldest MOST_WAITING waiting instances, MOST_EDGES of their dependencies, MOST_STEPS steps; `Board.note` says when
one was met, and a count that is not complete is marked.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from events.models import Event
from instances.engine.states import State
from instances.insight.answers import Fix, Link
from instances.insight.board_queries import EDGES, EVENTS, GROUPS, LANES, SERIAL
from instances.insight.names import Names
from instances.insight.topmost import Missing
from instances.insight.why import Case
from instances.insight.why_waits import not_there, stands
from instances.insight.workers import alive, holding
from instances.models import Instance, Task
from weops.console.present import plain_time
from weops.projects.access import AnyUser, Right, rights

MOST_WAITING = 120_000
MOST_EDGES = 400_000
MOST_STEPS = 2_000_000
MOST_SHOWN = 50
COUNTED = 100_000


@dataclass(frozen=True)
class Blocker:
    """`kind`: instance, missing, event, group, serial or lane. `held`: instances that it holds (`more`: at least)."""

    kind: str
    title: str
    how: str
    held: int
    more: bool = False
    state: str = ""
    since: dt.datetime | None = None
    link: Link | None = None
    fixes: tuple[Fix, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "title": self.title,
            "how": self.how,
            "state": self.state,
            "held": self.held,
            "at_least": self.more,
            "since": self.since.isoformat() if self.since else None,
            "target": {"kind": self.link.kind, "id": self.link.id} if self.link else None,
            "fixes": [
                {"kind": fix.kind, "id": fix.target.id, "target": fix.target.kind, "data_time": fix.data_time}
                for fix in self.fixes
            ],
        }


@dataclass
class Board:
    """`waiting`: instances that wait for upstream, were looked at, and may be seen."""

    blockers: list[Blocker] = field(default_factory=list)
    waiting: int = 0
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "waiting": self.waiting,
            "note": self.note,
            "blockers": [blocker.as_json() for blocker in self.blockers],
        }


@dataclass
class _Held:
    """Who holds whom. A key is the id of an instance, or (task, data time) of one that is not generated."""

    waiting: dict[int, int]
    below: dict[Hashable, list[int]]
    capped: bool

    def ranked(self, names: Names) -> tuple[list[tuple[Any, int, bool]], bool]:
        """(topmost blocker, visible instances that it holds, whether there may be more), the most first; whether a
        bound was met."""
        seen = {pk for pk, project in self.waiting.items() if names.sees(project)}
        tops = [key for key in self.below if key not in self.waiting]
        tops.sort(key=lambda key: len(self.below[key]), reverse=True)
        steps, found = 0, []
        for top in tops:
            reached: set[int] = set()
            front: list[Hashable] = [top]
            while front and steps < MOST_STEPS:
                new = [pk for pk in self.below.get(front.pop(), ()) if pk not in reached]
                steps += len(new) + 1
                reached.update(new)
                front += new
            if not reached:
                reached.update(self.below[top])
            if held := len(reached & seen):
                found.append((top, held, bool(front)))
        found.sort(key=lambda one: one[1], reverse=True)
        return found, steps >= MOST_STEPS


def board(user: AnyUser | None = None, now: dt.datetime | None = None) -> Board:
    """What holds up the instances that `user` may see (None: all of them). A fixed number of queries."""
    now = now or timezone.now()
    names = Names.of(user)
    held = _open_edges()
    ranked, tired = held.ranked(names)
    found = _instances(ranked[:MOST_SHOWN], names, user, now)
    found += [*_events(names, user), *_groups(names, user, now), *_serial(names), *_lanes(names)]
    found.sort(key=lambda blocker: blocker.held, reverse=True)
    notes = []
    if held.capped:
        notes.append(
            _("Only the %(count)s oldest that wait were looked at.") % {"count": f"{len(held.waiting):,}"}
        )
    if tired:
        notes.append(_("Some counts are not complete."))
    waiting = sum(1 for project in held.waiting.values() if names.sees(project))
    return Board(found[:MOST_SHOWN], waiting, " ".join(notes))


def _open_edges() -> _Held:
    waiting: dict[int, int] = {}
    below: defaultdict[Hashable, list[int]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(EDGES, {"most": MOST_WAITING + 1, "edges": MOST_EDGES})
        rows = cursor.fetchall()
    for pk, project, upstream, task, data_time in rows:
        waiting[pk] = project
        below[(task, data_time) if upstream is None else upstream].append(pk)
    return _Held(waiting, below, len(rows) >= MOST_EDGES or len(waiting) > MOST_WAITING)


def _instances(
    ranked: list[tuple[Any, int, bool]], names: Names, user: AnyUser | None, now: dt.datetime
) -> list[Blocker]:
    """The blockers that are instances, or would be if they were generated."""
    ids = [key for key, _held, _more in ranked if isinstance(key, int)]
    rows = (
        Instance.objects.filter(pk__in=ids).select_related("task").defer("task__code", "overrides").in_bulk()
    )
    wanted = {key[0] for key, _held, _more in ranked if isinstance(key, tuple)}
    tasks = Task.objects.select_related("workflow__project").defer("code").in_bulk(wanted)
    found = []
    for key, held, more in ranked:
        if isinstance(key, int):
            # One that has succeeded since holds nobody any more.
            if (row := rows.get(key)) is None or row.state == State.SUCCESS:
                continue
            case = Case(row, names, user, now, row.wait_since)
            link = names.instance(row)
            found.append(
                Blocker(
                    kind="instance",
                    title=link.title,
                    how=stands(case, row),
                    held=held,
                    more=more,
                    state=row.state,
                    since=_since(row),
                    link=link,
                    fixes=case.helps(row),
                )
            )
        elif (task := tasks.get(key[0])) is not None:
            missing = Missing(task, key[1])
            seen = names.sees(missing.project_id)
            found.append(
                Blocker(
                    kind="missing",
                    title=names.at(task, missing.project_id, key[1]),
                    how=not_there(names, now, missing),
                    held=held,
                    more=more,
                    state="missing",
                    link=Link("task", task.pk if seen else None, task.name if seen else ""),
                )
            )
    return found


def _since(row: Instance) -> dt.datetime | None:
    if row.frozen_at is not None:
        return row.frozen_at
    if row.state in (State.RUNNING, State.TERMINATING):
        return row.start_time
    return row.end_time or row.ready_since or row.wait_since


def _sight(names: Names) -> list[int] | None:
    return None if names.visible is None else sorted(names.visible)


def _rows(statement: str, names: Names) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"counted": COUNTED, "shown": MOST_SHOWN, "projects": _sight(names)})
        return cursor.fetchall()


def _events(names: Names, user: AnyUser | None) -> list[Blocker]:
    rows = _rows(EVENTS, names)
    events = Event.objects.select_related("project").in_bulk({row[0] for row in rows})
    found = []
    for event_id, data_time, count in rows:
        event = events[event_id]
        seen = names.sees(event.project_id)
        name = event.name if seen else _("Event #%(id)d of another project") % {"id": event_id}
        link = Link("event", event_id if seen else None, name)
        able = seen and (user is None or Right.OPERATE in rights(user, event.project_id))
        found.append(
            Blocker(
                kind="event",
                title=f"{name} {data_time}",
                how=_("The event has not come."),
                held=count,
                link=link,
                fixes=(Fix("fire_event", _("Fire the event"), link, data_time),) if able else (),
            )
        )
    return found


def _groups(names: Names, user: AnyUser | None, now: dt.datetime) -> list[Blocker]:
    served: set[int] | None = set()
    for groups in alive(now).values_list("groups", flat=True):
        served = None if groups is None or served is None else served | set(groups)
    found = []
    for group_id, name, slots, enabled, taken, ready in _rows(GROUPS, names):
        link = Link("group", group_id, name)
        how = ""
        fixes: tuple[Fix, ...] = ()
        if not enabled:
            how, fixes = _("It is disabled."), (Fix("enable_group", _("Enable the resource group"), link),)
        elif served is not None and group_id not in served:
            how = _("No live worker serves it.")
        elif taken >= slots:
            how = _("All %(slots)d slots are taken.") % {"slots": slots}
            fixes = (Fix("more_slots", _("Give the group more slots"), link),)
        if how:
            administers = user is None or user.is_superuser
            title = _("Resource group %(name)s") % {"name": name}
            found.append(
                Blocker(
                    "group", title, how, ready, ready > 10_000, link=link, fixes=fixes if administers else ()
                )
            )
    return found


def _serial(names: Names) -> list[Blocker]:
    rows = _rows(SERIAL, names)
    tasks = Task.objects.select_related("workflow").defer("code").in_bulk([row[0] for row in rows])
    ids = list(tasks)
    on = {
        execution.serial_task_id: execution.instance
        for execution in holding(serial_task_id__in=ids).select_related("instance__task")
    }
    found = []
    for task_id, count in rows:
        task = tasks[task_id]
        holder = on.get(task_id)
        how = _("It runs one at a time.")
        if holder is not None and holder.start_time is not None:
            how = _("It runs one at a time; the present one since %(time)s.") % {
                "time": plain_time(holder.start_time)
            }
        link = names.instance(holder) if holder else Link("task", task_id, task.name)
        found.append(
            Blocker("serial", task.name, how, count, link=link, since=holder.start_time if holder else None)
        )
    return found


def _lanes(names: Names) -> list[Blocker]:
    found = []
    for plan_id, limit, count in _rows(LANES, names):
        title = _("Backfill plan #%(id)d") % {"id": plan_id} if plan_id else _("A rerun with a parallelism")
        how = _("It runs %(limit)d at a time.") % {"limit": limit}
        link = Link("plan", plan_id, title) if plan_id else None
        found.append(Blocker("lane", title, how, count, link=link))
    return found
