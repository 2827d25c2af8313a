"""What parents that did not succeed do to their children: excused, skipped, failed, or reconsidered (ADR 18).

A ripple is a row that says: the children of this instance are to be judged. Judging looks at what all parents are now, so
it may be done late, twice and by anybody; it is done under the locks of the parent (shared) and of the children.
"""

from collections.abc import Collection, Sequence
from typing import Any

from django.db import connection

from events import matching
from instances.engine import errors
from instances.engine.lifecycle import events_statements
from instances.engine.lifecycle import verdicts_statements as statements
from instances.engine.lifecycle.common import Touched, ripple_from
from instances.engine.lifecycle.ends import end
from instances.engine.states import Move, State
from instances.engine.transactions import retried
from instances.engine.trigger_policies import Verdict

# Bounds of one transaction.
RIPPLES, CHILDREN = 200, 1000


@retried
def ripple() -> Touched:
    """Judges the next children of instances that have changed, a thousand at most; `ripples` tells whether to go on.

    One look at an empty table when there is nothing to do. Whoever changes instances calls it afterwards
    (`dispatch.follow`), and the sweep does for those who died before.
    """
    touched = Touched()
    with connection.cursor() as cursor:
        # What a crash of the server loses is the whole of it, and the ripples are there again.
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(statements.TAKE, {"limit": RIPPLES})
        rows = cursor.fetchall()
        if not rows:
            return touched
        pairs = _children(cursor, rows)
        if pairs:
            children = sorted({child for _, child in pairs})
            matching.lock_awaited(children)
            parents = sorted({row[1] for row in rows})
            cursor.execute(statements.LOCK_SHARED, {"ids": parents})
            weigh(cursor, children, touched, parents)
        ids = [row[0] for row in rows]
        if len(pairs) == CHILDREN:
            # The last one may have more children: it goes on behind them.
            last, after = pairs[-1]
            cursor.execute(statements.GO_ON, {"id": last, "after": after})
            ids = [pk for pk in ids if pk < last]
        cursor.execute(statements.DONE, {"ids": ids})
        touched.ripples = True
    return touched


def _children(cursor: Any, rows: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(ripple, child) in order, CHILDREN of them at most."""
    ripples, parents, after = (list(column) for column in zip(*rows, strict=True))
    cursor.execute(
        statements.CHILDREN, {"ripples": ripples, "parents": parents, "after": after, "limit": CHILDREN}
    )
    return list(cursor.fetchall())


def weigh(cursor: Any, ids: Sequence[int], touched: Touched, parents: Sequence[int] = ()) -> None:
    """Judges those of the instances that have not started, by what their parents are now.

    To be called in a transaction that holds the events of those that may be reconsidered (`matching.lock_awaited`).
    `parents`: whose change is the reason.
    """
    if not ids:
        return
    cursor.execute(statements.LOCK_UNDECIDED, {"ids": list(ids)})
    undecided = [row[0] for row in cursor.fetchall()]
    if not undecided:
        return
    cursor.execute(statements.EXCUSE, {"ids": undecided})
    _freed(cursor.fetchall(), touched)
    again = _judge(cursor, undecided, touched, parents)
    if again:
        # What was skipped waits again, and may be told to fail.
        _judge(cursor, again, touched, ())


def begin_to_wait(cursor: Any, ids: Sequence[int], touched: Touched, listening: Collection[int] = ()) -> None:
    """Of instances that are new, or begin a life: the clocks of their parents start, and what is certain is decided.

    `listening`: those that have just begun to wait for events. Who is not skipped or failed takes what lives.
    """
    cursor.execute(statements.START_CLOCKS, {"ids": list(ids)})
    weigh(cursor, ids, touched)
    take_events(cursor, [pk for pk in ids if pk in listening], touched)


def take_events(cursor: Any, ids: Sequence[int], touched: Touched) -> None:
    """Instances that have just begun to wait for events consume what lives, and go on if that is all that they wait for."""
    if not ids:
        return
    cursor.execute(events_statements.STILL_WAITING, {"ids": list(ids)})
    waiting = {row[0] for row in cursor.fetchall()}
    events_met(cursor, sorted(waiting - matching.take(waiting)), touched)


def events_met(cursor: Any, ids: Sequence[int], touched: Touched) -> list[int]:
    """The instances, which are locked, have got every event that they waited for; those that go on."""
    if not ids:
        return []
    cursor.execute(events_statements.EVENTS_MET, {"ids": list(ids)})
    rows = cursor.fetchall()
    for _, state, group_id, lane, _ in rows:
        if state == State.WAIT_RUN:
            touched.freed(group_id, None, lane)
    weigh(cursor, [row[0] for row in rows if row[4]], touched)
    touched.instances += len(rows)
    return [row[0] for row in rows]


def _freed(rows: Sequence[tuple[int, int, int | None, bool]], touched: Touched) -> None:
    for _, group_id, lane, released in rows:
        if released:
            touched.freed(group_id, None, lane)


def _judge(cursor: Any, ids: Sequence[int], touched: Touched, parents: Sequence[int]) -> list[int]:
    """Carries verdicts out; those that were skipped and wait now."""
    cursor.execute(statements.JUDGE, {"ids": list(ids), "parents": list(parents)})
    run, skip, fail, on = [], [], [], list[int]()
    again: dict[int, bool] = {}
    for instance_id, state, verdict, previous_done, fails, hands_on in cursor.fetchall():
        if state == State.SKIPPED and verdict != Verdict.SKIP:
            again[instance_id] = verdict == Verdict.RUN and previous_done
        elif state == State.SKIPPED and hands_on:
            on.append(instance_id)
        elif state != State.SKIPPED and verdict == Verdict.SKIP:
            skip.append(instance_id)
        elif verdict == Verdict.FAIL and fails:
            fail.append(instance_id)
        elif state == State.WAIT_UPSTREAM and verdict == Verdict.RUN and previous_done:
            run.append(instance_id)
    if run:
        cursor.execute(statements.MET, {"ids": run})
        for group_id, lane in cursor.fetchall():
            touched.freed(group_id, None, lane)
    if skip:
        _skip(cursor, skip, touched)
    if fail:
        error = errors.CATALOGUE["UPSTREAM_FAILED"]
        waits = (State.WAIT_EVENT, State.WAIT_UPSTREAM)
        touched.add(
            end(cursor, fail, waits, State.FAILED, Move.UPSTREAM_FAILED, error.code, error.title, None)[1]
        )
    ripple_from(cursor, on, touched)
    return _reconsider(cursor, again, touched) if again else []


def _skip(cursor: Any, ids: Sequence[int], touched: Touched) -> None:
    cursor.execute(statements.SKIP, {"ids": list(ids)})
    waited = []
    for instance_id, old, plan_id, for_each_id in cursor.fetchall():
        touched.for_each |= {for_each_id} - {None}
        touched.instances += 1
        touched.plans |= {plan_id} - {None}
        if old == State.WAIT_EVENT:
            waited.append(instance_id)
    if waited:
        matching.withdraw(waited)
    ripple_from(cursor, ids, touched)


def _reconsider(cursor: Any, ready: dict[int, bool], touched: Touched) -> list[int]:
    """What was skipped goes back to waiting: for the event that it had waited for, for upstream, or for its turn."""
    ids = sorted(ready)
    cursor.execute(statements.SKIPPED_FROM, {"ids": ids})
    waited = [row[0] for row in cursor.fetchall()]
    awaiting = matching.reopen(waited) if waited else set()
    states = {pk: State.WAIT_RUN if ready[pk] else State.WAIT_UPSTREAM for pk in ids}
    states |= dict.fromkeys(awaiting, State.WAIT_EVENT)
    cursor.execute(statements.RECONSIDER, {"ids": ids, "states": [states[pk].value for pk in ids]})
    for _, state, group_id, lane in cursor.fetchall():
        touched.instances += 1
        if state == State.WAIT_RUN:
            touched.freed(group_id, None, lane)
    cursor.execute(statements.START_CLOCKS, {"ids": ids})
    cursor.execute(statements.REOPEN_BEHIND, {"ids": ids})
    ripple_from(cursor, ids, touched)
    return [pk for pk in ids if states[pk] == State.WAIT_UPSTREAM]


@retried
def parent_timeouts(limit: int = 1000) -> Touched:
    """Excuses parents that children have waited for longer than their dependency says; a frozen child's clock stands still."""
    touched = Touched()
    with connection.cursor() as cursor:
        cursor.execute(statements.OVERDUE_PARENTS, {"limit": limit})
        ids = sorted({row[0] for row in cursor.fetchall()})
        if not ids:
            return touched
        matching.lock_awaited(ids)
        cursor.execute(statements.LOCK_UNDECIDED, {"ids": ids})
        cursor.execute(statements.TIME_OUT, {"ids": [row[0] for row in cursor.fetchall()]})
        rows = cursor.fetchall()
        touched.instances = len(rows)
        _freed(rows, touched)
        weigh(cursor, ids, touched)
    return touched
