"""The engine's side of events: what new instances wait for, and what those that succeed fire.

Each function costs one look at an index where no task listens and none fires.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from django.db import connection

from events import firing, formats, matching
from events.firing import Call, Entry
from events.formats import EventCycle
from events.matching import Waiting
from events.models import Source
from instances.engine.zone import wall, zone


class New(Protocol):
    """An instance that is being generated."""

    @property
    def task_id(self) -> int: ...
    @property
    def instance_id(self) -> int: ...
    @property
    def data_time(self) -> datetime: ...
    @property
    def planned_time(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Success:
    """An instance that has just become successful. `printed`: what its run wants fired. `execution_id` None: it was marked
    as successful."""

    instance_id: int
    execution_id: int | None = None
    printed: str = ""


@lru_cache(maxsize=50_000)
def _asked(data_time: datetime, timezone: str, cycle: str) -> str:
    """A data time on its task's clock, in the format of an event's cycle."""
    return formats.format_clock(wall(zone(timezone), data_time), EventCycle(cycle))


_LISTENERS = """
SELECT l.task_id, l.event_id, e.cycle, l.max_wait, l.max_wait_unit, t.timezone
FROM events_listener l JOIN events_event e ON e.id = l.event_id JOIN instances_task t ON t.id = l.task_id
WHERE l.task_id = ANY(%s)
"""


def begin(new: Sequence[New], *, withdrawn: bool = False) -> set[int]:
    """Writes what the instances wait for; ids of those that have to, before they take what lives (`matching.take`).
    Before any instance is locked.

    `withdrawn`: their first life is decided by `lifecycle.rerun` later in this transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LISTENERS, [list({one.task_id for one in new})])
        rows = cursor.fetchall()
    if not rows:
        return set()
    listeners: defaultdict[int, list[tuple[int, str, timedelta | None, str]]] = defaultdict(list)
    for task_id, event_id, cycle, amount, unit, timezone in rows:
        max_wait = None if amount is None else formats.length(amount, unit)
        listeners[task_id].append((event_id, cycle, max_wait, timezone))
    waits = [
        Waiting(one.instance_id, event_id, _asked(one.data_time, timezone, cycle), one.planned_time, max_wait)
        for one in new
        for event_id, cycle, max_wait, timezone in listeners.get(one.task_id, ())
    ]
    return matching.begin(waits, withdrawn=withdrawn)


_FIRES = """
SELECT i.id, i.life_round, i.data_time, t.timezone, w.project_id, e.project_id, e.name, e.cycle
FROM instances_instance i JOIN instances_task t ON t.id = i.task_id JOIN instances_workflow w ON w.id = t.workflow_id
LEFT JOIN events_emitter m ON m.task_id = t.id LEFT JOIN events_event e ON e.id = m.event_id
WHERE i.id = ANY(%s) AND i.instance_type <> 'test' AND (m.id IS NOT NULL OR i.id = ANY(%s)) ORDER BY i.id, m.id
"""


def write_down(succeeded: Iterable[Success]) -> bool:
    """What instances fire that become successful in this transaction; whether there is anything to fire."""
    by_instance = {one.instance_id: one for one in succeeded}
    with connection.cursor() as cursor:
        cursor.execute(
            _FIRES, [list(by_instance), [one.instance_id for one in by_instance.values() if one.printed]]
        )
        rows = cursor.fetchall()
    # In one call goes what one run fires in one project through one door.
    calls: dict[tuple[int, int, Source], list[Entry]] = {}
    runs: dict[int, str] = {}
    for instance_id, life_round, data_time, timezone, own_project, project_id, event, cycle in rows:
        one = by_instance[instance_id]
        runs[instance_id] = str(one.execution_id) if one.execution_id else f"{instance_id}-{life_round}"
        if one.printed:
            calls[instance_id, own_project, Source.SHELL] = formats.pairs(one.printed)
        if event is not None:
            entries = calls.setdefault((instance_id, project_id, Source.SUCCESS), [])
            entries.append((event, _asked(data_time, timezone, cycle)))
    firing.write_down(
        [
            Call(
                project_id,
                entries[: firing.MOST_ENTRIES],
                source,
                request_id=f"{firing.OF_RUNS}{runs[instance_id]}:{source}",
                instance_id=instance_id,
                execution_id=by_instance[instance_id].execution_id,
            )
            for (instance_id, project_id, source), entries in calls.items()
        ]
    )
    return any(calls.values())
