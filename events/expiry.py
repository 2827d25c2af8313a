"""The clocks of events: firings past their time to live, waits past their limit, rows past their keeping.

Run-once functions with a batch limit; each is safe to run twice at once.
"""

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from events import formats, matching
from weops.database.transactions import retried

BATCH = 1_000


def expire() -> int:
    """Ends firings past their time to live: consumed if anybody consumed them, else expired. How many."""
    total = found = _expire_batch()
    while found == BATCH:
        found = _expire_batch()
        total += found
    return total


@retried
def _expire_batch() -> int:
    due = "state IN ('to_be_consumed', 'consuming') AND settled AND expires_at <= now()"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, event_id FROM events_eventinstance WHERE {due} ORDER BY expires_at LIMIT %s",  # noqa: S608
            [BATCH],
        )
        rows = cursor.fetchall()
        if not rows:
            return 0
        matching.lock_events(row[1] for row in rows)
        cursor.execute(
            "UPDATE events_eventinstance SET state = CASE state WHEN 'consuming' THEN 'consumed' ELSE 'expired' END "  # noqa: S608
            f"WHERE id = ANY(%s) AND {due}",
            [[row[0] for row in rows]],
        )
        return len(rows)


def end_overdue() -> int:
    """Ends instances that have waited longer than a listener's limit; how many."""
    total, after = 0, (dt.datetime.min.replace(tzinfo=dt.UTC), 0)
    while True:
        batch = _end_batch(after)
        total += batch.ended
        if batch.touched:
            matching.waiters().wake(batch.touched)
        if batch.last is None:
            return total
        after = batch.last


@dataclass(slots=True)
class _Ended:
    """`last`: the wait (deadline, instance id) after which the next batch begins; None when there is none."""

    last: tuple[dt.datetime, int] | None = None
    touched: list[Any] = field(default_factory=list)
    ended: int = 0


_OVERDUE = """
SELECT deadline, instance_id FROM events_wait
WHERE satisfied_at IS NULL AND withdrawn_at IS NULL AND deadline <= now() AND (deadline, instance_id) > (%s, %s)
ORDER BY deadline, instance_id LIMIT %s
"""
_WHY = """
SELECT DISTINCT ON (w.instance_id) w.instance_id, e.name, w.data_time, extract(epoch FROM w.max_wait)::bigint
FROM events_wait w JOIN events_event e ON e.id = w.event_id
WHERE w.instance_id = ANY(%s) AND w.satisfied_at IS NULL AND w.withdrawn_at IS NULL AND w.deadline <= now()
ORDER BY w.instance_id, w.deadline
"""
_LEFT_OVER = """
UPDATE events_wait SET withdrawn_at = now()
WHERE instance_id = ANY(%s) AND satisfied_at IS NULL AND withdrawn_at IS NULL AND deadline <= now()
"""


@retried
def _end_batch(after: tuple[dt.datetime, int]) -> _Ended:
    """Looks at each overdue wait once: a frozen instance stays overdue, and must not hide those behind it."""
    with connection.cursor() as cursor:
        cursor.execute(_OVERDUE, [*after, BATCH])
        rows = cursor.fetchall()
        found = _Ended(last=rows[-1] if len(rows) == BATCH else None)
        if not rows:
            return found
        ids = {row[1] for row in rows}
        # Under the locks of the instances: an event may have come since, or the life may have ended.
        waiting = matching.waiters().still_waiting(sorted(ids))
        cursor.execute(_WHY, [sorted(waiting)])
        late: defaultdict[str, list[int]] = defaultdict(list)
        for instance_id, event, data_time, seconds in cursor.fetchall():
            late[_message(event, data_time, seconds)].append(instance_id)
        for message, instance_ids in late.items():
            ended, touched = matching.waiters().time_out(instance_ids, message)
            found.ended += ended
            found.touched.append(touched)
        if ids - waiting:
            cursor.execute(_LEFT_OVER, [sorted(ids - waiting)])
    return found


def _message(event: str, data_time: str, seconds: int) -> str:
    unit, size = next(
        (unit, size)
        for unit in reversed(formats.Unit)
        if seconds % (size := int(formats.length(1, unit).total_seconds())) == 0
    )
    return f"Event {event} {data_time} did not come within {formats.words(seconds // size, unit)}."


def remove_old(before: dt.datetime, limit: int = 2_000) -> int:
    """Removes firings that ended and were triggered before `before`, with their consumptions; how many rows."""
    return _remove_event_instances(before, limit) + _remove_firings(before, limit)


@retried
def _remove_event_instances(before: dt.datetime, limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM events_eventinstance WHERE triggered_at < %s AND state IN ('consumed', 'expired') "
            "ORDER BY triggered_at, id LIMIT %s FOR UPDATE SKIP LOCKED",
            [before, limit],
        )
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute("DELETE FROM events_consumption WHERE event_instance_id = ANY(%s)", [ids])
        cursor.execute("DELETE FROM events_eventinstance WHERE id = ANY(%s)", [ids])
    return len(ids)


@retried
def _remove_firings(before: dt.datetime, limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT f.id FROM events_firing f WHERE f.created_at < %s AND NOT EXISTS (SELECT 1 FROM events_eventinstance ei "
            "WHERE ei.firing_id = f.id) ORDER BY f.created_at LIMIT %s FOR UPDATE SKIP LOCKED",
            [before, limit],
        )
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute("DELETE FROM events_stray WHERE firing_id = ANY(%s)", [ids])
        cursor.execute("DELETE FROM events_firing WHERE id = ANY(%s)", [ids])
    return len(ids)
