"""Event instances meet the waits of instances: the only writer of either's state, with `expiry.py` (ADR 12).

Set-based, in short transactions. Locks: rows of events by id, then the waiting instances (their owner takes those locks),
then waits and event instances.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import connection

from weops.database.transactions import retried

# Bounds of one transaction.
FIRINGS_A_BATCH = 1_000
WAITS_A_BATCH = 5_000


class Waiters(Protocol):
    """What the owner of the waiting instances does for events. All but `wake` run in the caller's transaction.

    What `release` and `time_out` give is for `wake` alone: what they may have made ready.
    """

    def still_waiting(self, instance_ids: Sequence[int]) -> set[int]:
        """Locks in order of id those that wait for events now; their ids."""

    def release(self, instance_ids: Sequence[int]) -> Any:
        """These have nothing left to wait for, and are locked: they go on."""

    def time_out(self, instance_ids: Sequence[int], message: str) -> tuple[int, Any]:
        """Ends these, which are locked, unless their clock stands still: an event did not come in time. How many it
        ended; their waits are withdrawn."""

    def wake(self, touched: Sequence[Any]) -> None:
        """After the commit: hands out what became ready. Never raises for a database that is away."""


_waiters: Waiters | None = None


def register(waiters: Waiters) -> None:
    global _waiters
    _waiters = waiters


def waiters() -> Waiters:
    if _waiters is None:
        raise LookupError("nobody has registered what waits for events")
    return _waiters


@dataclass(frozen=True, slots=True)
class Waiting:
    """A wait that begins: `data_time` is a text in the event's format, `max_wait` None for no limit."""

    instance_id: int
    event_id: int
    data_time: str
    planned_time: dt.datetime
    max_wait: dt.timedelta | None


_OPEN = "satisfied_at IS NULL AND withdrawn_at IS NULL"
_LIVING = "state IN ('to_be_consumed', 'consuming')"

_FOR_FIRED = f"""
-- Who gets what of these firings. SINGLE: as many waits as firings, the first planned first. BROADCAST: every wait.
WITH fired AS (
    SELECT ei.id, ei.event_id, ei.data_time, e.delivery = 'SINGLE' AS single,
           row_number() OVER (PARTITION BY ei.event_id, ei.data_time ORDER BY ei.id) AS place
    FROM events_eventinstance ei JOIN events_event e ON e.id = ei.event_id
    WHERE ei.id = ANY(%(ids)s) AND NOT ei.settled AND ei.{_LIVING}
), asked AS (
    SELECT event_id, data_time, single, count(*) AS firings FROM fired GROUP BY event_id, data_time, single
)
SELECT waiting.instance_id, asked.event_id, fired.id
FROM asked CROSS JOIN LATERAL (
    SELECT w.instance_id, row_number() OVER (ORDER BY w.planned_time, w.instance_id) AS place
    FROM events_wait w WHERE w.event_id = asked.event_id AND w.data_time = asked.data_time AND {_OPEN}
    ORDER BY w.planned_time, w.instance_id LIMIT CASE WHEN asked.single THEN asked.firings END) waiting
JOIN fired ON fired.event_id = asked.event_id AND fired.data_time = asked.data_time
          AND fired.place = CASE WHEN asked.single THEN waiting.place ELSE 1 END
LIMIT %(limit)s
"""  # noqa: S608 - constants

_FOR_WAITING = f"""
-- What these instances find living. Unsettled firings are left to their batch: older waits come before these.
WITH waiting AS (
    SELECT w.instance_id, w.event_id, w.data_time,
           row_number() OVER (PARTITION BY w.event_id, w.data_time ORDER BY w.planned_time, w.instance_id) AS place
    FROM events_wait w WHERE w.instance_id = ANY(%(ids)s) AND {_OPEN}
), living AS (
    SELECT ei.id, ei.event_id, ei.data_time, e.delivery = 'SINGLE' AS single,
           row_number() OVER (PARTITION BY ei.event_id, ei.data_time ORDER BY ei.id) AS place
    FROM (SELECT DISTINCT event_id, data_time FROM waiting) asked
    JOIN events_eventinstance ei ON ei.event_id = asked.event_id AND ei.data_time = asked.data_time
    JOIN events_event e ON e.id = ei.event_id
    WHERE ei.{_LIVING} AND ei.settled AND ei.expires_at > now()
)
SELECT waiting.instance_id, waiting.event_id, living.id
FROM waiting JOIN living ON living.event_id = waiting.event_id AND living.data_time = waiting.data_time
    AND living.place = CASE WHEN living.single THEN waiting.place ELSE 1 END
"""  # noqa: S608 - constants

_CONSUME = f"""
WITH given AS (
    SELECT * FROM unnest(%(instances)s::bigint[], %(events)s::bigint[], %(taken)s::bigint[]) AS g(instance_id, event_id, taken_id)
), met AS (
    UPDATE events_wait w SET satisfied_at = now(), event_instance_id = given.taken_id FROM given
    WHERE w.instance_id = given.instance_id AND w.event_id = given.event_id AND {_OPEN}
    RETURNING w.instance_id, w.event_id, w.event_instance_id
), log AS (
    INSERT INTO events_consumption (event_instance_id, instance_id, single)
    SELECT met.event_instance_id, met.instance_id, e.delivery = 'SINGLE' FROM met JOIN events_event e ON e.id = met.event_id
), counted AS (
    SELECT event_id, event_instance_id, count(*) AS consumers FROM met GROUP BY event_id, event_instance_id
), consumed AS (
    UPDATE events_eventinstance ei
    SET state = CASE e.delivery WHEN 'SINGLE' THEN 'consumed' ELSE 'consuming' END,
        consumed_at = coalesce(ei.consumed_at, now()), consumers = ei.consumers + counted.consumers
    FROM counted JOIN events_event e ON e.id = counted.event_id WHERE ei.id = counted.event_instance_id
)
SELECT DISTINCT instance_id FROM met
"""  # noqa: S608 - constants

_BEGIN = """
INSERT INTO events_wait (instance_id, event_id, data_time, planned_time, max_wait, deadline, withdrawn_at)
SELECT w.*, now() + w.max_wait, CASE WHEN %s THEN now() END
FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::timestamptz[], %s::interval[])
    AS w(instance_id, event_id, data_time, planned_time, max_wait)
"""

_BEGIN_AGAIN = """
-- What was consumed stays consumed; everything else is waited for anew, with the whole time, or not at all.
UPDATE events_wait
SET withdrawn_at = CASE WHEN %(ignored)s THEN now() END, deadline = CASE WHEN %(ignored)s THEN deadline ELSE now() + max_wait END
WHERE instance_id = ANY(%(ids)s) AND satisfied_at IS NULL
"""


def lock_events(event_ids: Iterable[int]) -> None:
    """Locks events in order of id, to the end of the transaction: nobody else matches them meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM events_event WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            [sorted(set(event_ids))],
        )


def settle(event_instance_ids: Sequence[int]) -> int:
    """Serves everything that waits for these firings, batch by batch; how many instances it released."""
    released = 0
    for start in range(0, len(event_instance_ids), FIRINGS_A_BATCH):
        batch = list(event_instance_ids[start : start + FIRINGS_A_BATCH])
        more = True
        while more:
            found, touched, more = _settle_batch(batch)
            released += found
            if touched:
                waiters().wake(touched)
    return released


def settle_left(limit: int = FIRINGS_A_BATCH) -> int:
    """Goes on with firings that a crash left unsettled; how many they were. One index probe when there are none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM events_eventinstance WHERE NOT settled ORDER BY id LIMIT %s", [limit])
        ids = [row[0] for row in cursor.fetchall()]
    settle(ids)
    return len(ids)


@retried
def _settle_batch(ids: list[int]) -> tuple[int, list[Any], bool]:
    """(instances released, what that touched, whether more may wait)"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT event_id FROM events_eventinstance WHERE id = ANY(%s) AND NOT settled", [ids]
        )
        events = [row[0] for row in cursor.fetchall()]
        if not events:
            return 0, [], False
        lock_events(events)
        cursor.execute(_FOR_FIRED, {"ids": ids, "limit": WAITS_A_BATCH})
        pairs = cursor.fetchall()
        waiting = waiters().still_waiting(sorted({row[0] for row in pairs})) if pairs else set()
        released, touched = _serve(cursor, [row for row in pairs if row[0] in waiting])
        stale = [row for row in pairs if row[0] not in waiting]
        if stale:
            _withdraw_pairs(cursor, stale)
        if stale or len(pairs) == WAITS_A_BATCH:
            return released, touched, True
        cursor.execute(
            "UPDATE events_eventinstance SET settled = true WHERE id = ANY(%s) AND NOT settled", [ids]
        )
        return released, touched, False


def _serve(cursor: Any, pairs: list[tuple[int, int, int]]) -> tuple[int, list[Any]]:
    """Consumes, and releases the instances that wait for nothing else; how many, and what that touched."""
    met = _consume(cursor, pairs)
    done = sorted(set(met) - open_waits(met)) if met else []
    return len(done), [waiters().release(done)] if done else []


def _consume(cursor: Any, pairs: list[tuple[int, int, int]]) -> list[int]:
    """(instance, event, event instance) each, under the locks of their events; ids of the instances."""
    if not pairs:
        return []
    instances, events, taken = (list(column) for column in zip(*pairs, strict=True))
    cursor.execute(_CONSUME, {"instances": instances, "events": events, "taken": taken})
    return [row[0] for row in cursor.fetchall()]


def _withdraw_pairs(cursor: Any, pairs: list[tuple[int, int, int]]) -> None:
    """Their instances have ended since the pairs were read; nothing can begin to wait while we hold the events."""
    cursor.execute(
        f"UPDATE events_wait w SET withdrawn_at = now() FROM unnest(%s::bigint[], %s::bigint[]) AS p(instance_id, event_id) "  # noqa: S608
        f"WHERE w.instance_id = p.instance_id AND w.event_id = p.event_id AND {_OPEN}",
        [[row[0] for row in pairs], [row[1] for row in pairs]],
    )


# The waiting side. All of these run in the caller's transaction.


def open_waits(instance_ids: Sequence[int]) -> set[int]:
    """Those of the instances that have an event to wait for."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT instance_id FROM events_wait WHERE instance_id = ANY(%s) AND {_OPEN}",  # noqa: S608
            [list(instance_ids)],
        )
        return {row[0] for row in cursor.fetchall()}


def begin(waits: Sequence[Waiting], *, withdrawn: bool = False) -> set[int]:
    """Instances begin to wait; their ids. What lives already they take by `take`, in the same transaction.

    Locks the events first, so call it before any instance is locked. The instances may not be written yet. `withdrawn`:
    nothing is waited for before `begin_again`.
    """
    lock_events(wait.event_id for wait in waits)
    with connection.cursor() as cursor:
        cursor.execute(
            _BEGIN,
            [
                withdrawn,
                [wait.instance_id for wait in waits],
                [wait.event_id for wait in waits],
                [wait.data_time for wait in waits],
                [wait.planned_time for wait in waits],
                [wait.max_wait for wait in waits],
            ],
        )
    return set() if withdrawn else {wait.instance_id for wait in waits}


def lock_awaited(instance_ids: Sequence[int]) -> bool:
    """Locks every event that the instances have a wait for; whether there is any. To be called before the instances
    themselves are locked, by whoever will call `begin_again`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT event_id FROM events_wait WHERE instance_id = ANY(%s)", [list(instance_ids)]
        )
        events = [row[0] for row in cursor.fetchall()]
    if events:
        lock_events(events)
    return bool(events)


def begin_again(instance_ids: Sequence[int], *, ignored: bool = False) -> set[int]:
    """New lives of instances, which are locked, as their events are; ids of those that have something to wait for. What
    lives already they take by `take`, in the same transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN_AGAIN, {"ids": list(instance_ids), "ignored": ignored})
        return open_waits(instance_ids) if not ignored and cursor.rowcount else set()


def take(instance_ids: Collection[int]) -> set[int]:
    """Instances that have just begun to wait consume what lives; ids of those that still wait."""
    if not instance_ids:
        return set()
    ids = sorted(instance_ids)
    with connection.cursor() as cursor:
        cursor.execute(_FOR_WAITING, {"ids": ids})
        _consume(cursor, cursor.fetchall())
    return open_waits(ids)


def withdraw(instance_ids: Sequence[int]) -> None:
    """The instances, which are locked, do not wait for events any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE events_wait SET withdrawn_at = now() WHERE instance_id = ANY(%s) AND {_OPEN}",  # noqa: S608
            [list(instance_ids)],
        )


def reopen(instance_ids: Sequence[int]) -> set[int]:
    """The end of the instances' waiting is taken back: they wait on, as long as they still had. They and their events
    are locked. Ids of those that have something to wait for."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_wait SET withdrawn_at = NULL, deadline = deadline + (now() - withdrawn_at) "
            "WHERE instance_id = ANY(%s) AND withdrawn_at IS NOT NULL",
            [list(instance_ids)],
        )
    return take(instance_ids)


def postpone(delays: Mapping[int, dt.timedelta]) -> None:
    """Moves the limits of open waits: {instance id: how long its clock stood still}. None gets more than the whole time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_wait w SET deadline = least(w.deadline + d.delay, now() + w.max_wait) "  # noqa: S608
            "FROM unnest(%s::bigint[], %s::interval[]) AS d(instance_id, delay) "
            f"WHERE w.instance_id = d.instance_id AND w.deadline IS NOT NULL AND {_OPEN}",
            [list(delays), list(delays.values())],
        )


def forget(instance_ids: Sequence[int]) -> None:
    """The instances are being removed for good: their waits and consumptions go with them."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM events_wait WHERE instance_id = ANY(%s)", [list(instance_ids)])
        cursor.execute("DELETE FROM events_consumption WHERE instance_id = ANY(%s)", [list(instance_ids)])
