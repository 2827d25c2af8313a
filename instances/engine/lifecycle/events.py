"""What events do to instances that wait for them. Called by `events` through `event_handler`, inside its transaction."""

from collections.abc import Sequence

from django.db import connection

from instances.engine.lifecycle import events_statements as statements
from instances.engine.lifecycle import verdicts
from instances.engine.lifecycle.common import Change, Touched
from instances.engine.lifecycle.ends import end
from instances.engine.states import Move, State


def still_waiting(ids: Sequence[int]) -> set[int]:
    """Locks those that wait for events now."""
    with connection.cursor() as cursor:
        cursor.execute(statements.STILL_WAITING, {"ids": list(ids)})
        return {row[0] for row in cursor.fetchall()}


def events_met(ids: Sequence[int]) -> Change:
    """The instances have got every event that they waited for: on to what comes next."""
    touched = Touched()
    with connection.cursor() as cursor:
        met = verdicts.events_met(cursor, ids, touched)
    return dict.fromkeys(met, State.WAIT_EVENT.value), touched


def event_timeout(ids: Sequence[int], message: str) -> Change:
    """Fails instances whose event did not come within its listener's limit; a frozen one's clock stands still."""
    with connection.cursor() as cursor:
        cursor.execute(statements.NOT_FROZEN, {"ids": list(ids)})
        due = [row[0] for row in cursor.fetchall()]
        return end(
            cursor, due, [State.WAIT_EVENT], State.FAILED, Move.WAIT_TIMEOUT, "EVENT_TIMEOUT", message, None
        )
