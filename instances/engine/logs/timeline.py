"""Lines of a log that nobody wrote while it happened: composed from the rows of an execution (docs/adr/0015-logs.md).

Names of other projects do not appear: whoever may see the execution's own project may read its log.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import connection

from instances.engine import errors
from instances.engine.states import ExecutionState
from instances.engine.trigger_policies import EXCUSED_WORDS, Policy
from instances.models import Execution, Instance

# When it was, if that is known, and what to say.
_Line = tuple[dt.datetime | None, str]
# Upstream instances, events and moves told one by one; what is more is counted.
MOST = 50

_EXECUTIONS = """
SELECT e.id, e.instance_id, e.life_round, e.try_number, e.run_type, e.dry_run, e.wait_started_at, e.queue_started_at,
       e.run_started_at, e.ended_at, e.worker, g.name, i.project_id, i.trigger_policy
FROM instances_execution e JOIN instances_instance i ON i.id = e.instance_id
LEFT JOIN projects_resourcegroup g ON g.id = e.resource_group_id WHERE e.id = ANY(%s)
"""
_UPSTREAM = """
SELECT i.id, x.satisfied_at, x.removed_at, x.waived, x.is_self, x.upstream_data_time, t.id, t.name, t.timezone, w.project_id,
       x.excused
FROM unnest(%s::bigint[]) AS i(id) CROSS JOIN LATERAL (
    SELECT * FROM instances_edge e WHERE e.instance_id = i.id ORDER BY e.upstream_task_id, e.upstream_data_time LIMIT %s) x
JOIN instances_task t ON t.id = x.upstream_task_id JOIN instances_workflow w ON w.id = t.workflow_id
"""
_EVENTS = """
SELECT i.id, x.satisfied_at, x.withdrawn_at, x.data_time, x.deadline, v.id, v.name, v.project_id
FROM unnest(%s::bigint[]) AS i(id) CROSS JOIN LATERAL (
    SELECT * FROM events_wait w WHERE w.instance_id = i.id ORDER BY w.event_id LIMIT %s) x
JOIN events_event v ON v.id = x.event_id
"""
_MOVES = """
SELECT i.id, x.at, x.move, x.to_state, x.operation_id, x.error_code
FROM unnest(%s::bigint[], %s::timestamptz[]) AS i(id, since) CROSS JOIN LATERAL (
    SELECT * FROM instances_statechange s WHERE s.instance_id = i.id AND s.at >= i.since ORDER BY s.id LIMIT %s) x
"""


@dataclass(slots=True)
class _Life:
    """What is known of one execution, or of the waiting life of an instance."""

    instance_id: int
    life_round: int
    try_number: int
    run_type: str
    dry_run: bool
    waits_since: dt.datetime | None
    ready_since: dt.datetime | None
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    worker: str
    group: str
    project_id: int
    policy: str
    upstream: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    moves: list[tuple[Any, ...]] = field(default_factory=list)


def heads(execution_ids: Sequence[int]) -> dict[int, str]:
    """What comes before the output of each execution, lines with line ends: its waiting phases, up to the claim."""
    with connection.cursor() as cursor:
        cursor.execute(_EXECUTIONS, [list(execution_ids)])
        lives = {row[0]: _Life(*row[1:]) for row in cursor.fetchall()}
    _fill(list(lives.values()))
    return {execution_id: _text(_head(life)) for execution_id, life in lives.items()}


def of_waiting(instance: Instance) -> str:
    """The log so far of the present life of an instance that waits; its resource group is loaded."""
    life = _Life(
        instance.pk,
        instance.life_round,
        instance.tries,
        instance.run_type,
        False,
        instance.wait_since,
        instance.ready_since,
        None,
        None,
        "",
        instance.resource_group.name,
        instance.project_id,
        instance.trigger_policy,
    )
    _fill([life])
    return _text(_head(life))


def whole(execution: Execution) -> str:
    """The log of an execution that ended and wrote nothing."""
    return heads([execution.pk]).get(execution.pk, "") + ending(execution, at_line_start=True)


def ending(execution: Execution, *, at_line_start: bool) -> str:
    """How an execution ended, from its row: for a log whose own worker did not say it."""
    if execution.ended_at is None:
        return ""
    code, message = execution.error_code, execution.error_message
    if execution.state == ExecutionState.SUCCESS:
        said = "succeeded" + (" without running (dry run)" if execution.dry_run else "")
    else:
        said = f"{code}: {message}" if code and message else code or "ended"
    if execution.exit_code is not None and f"exit code {execution.exit_code}" not in message:
        said += f" (exit code {execution.exit_code})"
    elif execution.signal is not None:
        said += f" (signal {execution.signal})"
    lines: list[_Line] = [(execution.ended_at, one) for one in said.splitlines() or [""]]
    lines += [(None, line) for line in diagnosis(code)]
    return ("" if at_line_start else "\n") + _text(lines)


def diagnosis(code: str) -> list[str]:
    """Possible causes of an error code and what to do about it, a line each."""
    error = errors.entry(code)
    if error is None:
        return []
    lines = [f"possible cause: {cause}" for cause in error.causes]
    return [*lines, f"what to do: {error.advice}"] if error.advice else lines


def _fill(lives: list[_Life]) -> None:
    """Reads what the lives waited for: three statements, however many they are."""
    waited = [life for life in lives if life.waits_since is not None]
    if not waited:
        return
    first = [life.instance_id for life in waited if not life.try_number]
    with connection.cursor() as cursor:
        cursor.execute(_UPSTREAM, [first, MOST + 1])
        upstream = _by_first(cursor.fetchall())
        cursor.execute(_EVENTS, [first, MOST + 1])
        events = _by_first(cursor.fetchall())
        since = [life.waits_since for life in waited]
        cursor.execute(_MOVES, [[life.instance_id for life in waited], since, MOST])
        moves = _by_first(cursor.fetchall())
    for life in waited:
        # A retry waited for neither: its life's first try tells.
        if not life.try_number:
            life.upstream, life.events = upstream[life.instance_id], events[life.instance_id]
        life.moves = moves[life.instance_id]


def _by_first(rows: Iterable[tuple[Any, ...]]) -> defaultdict[int, list[tuple[Any, ...]]]:
    found: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row[1:])
    return found


def _head(life: _Life) -> list[_Line]:
    start = life.waits_since
    if start is None:
        return []
    until = life.started_at or life.ended_at
    begins = f"life {life.life_round} begins ({life.run_type.lower()}{', dry run' if life.dry_run else ''})"
    timed: list[_Line] = []
    still: list[_Line] = []
    if life.try_number:
        begins = (
            f"try {life.try_number} of life {life.life_round}; its first try tells what the life waited for"
        )
    for text, at, is_open in [*_of_events(life, start), *_of_upstream(life, start)]:
        if at is not None and (until is None or at <= until):
            timed.append((max(at, start), text))
        elif is_open:
            still.append((None, text))
    timed += [(at, text) for at, text in _of_moves(life) if until is None or at <= until]
    if life.ready_since is not None:
        timed.append((life.ready_since, f"ready; waits for a slot of resource group {life.group}"))
    if life.started_at is not None:
        timed.append((life.started_at, f"taken by worker {life.worker}"))
    timed.sort(key=lambda line: line[0] or start)
    first = start if not life.try_number else (life.ready_since or start)
    return [(first, begins), *timed, *still]


def _of_events(life: _Life, start: dt.datetime) -> Iterable[tuple[str, dt.datetime | None, bool]]:
    """(text, when it came, whether it is still waited for) of each event."""
    for satisfied, withdrawn, data_time, deadline, event_id, name, project_id in life.events[:MOST]:
        shown = name if project_id == life.project_id else f"#{event_id} of another project"
        if satisfied is not None:
            yield f"event {shown} {data_time} came{_earlier(satisfied, start)}", satisfied, False
        elif withdrawn is None:
            limit = f", until {_stamp(deadline)}" if deadline else ""
            yield f"waits for event {shown} {data_time}{limit}", None, True
    if len(life.events) > MOST:
        yield f"and more events than the {MOST} told here", None, True


def _of_upstream(life: _Life, start: dt.datetime) -> Iterable[tuple[str, dt.datetime | None, bool]]:
    for row in life.upstream[:MOST]:
        satisfied, removed, waived, is_self, data_time, task_id, name, zone, project_id, excused = row
        shown = name if project_id == life.project_id else f"task #{task_id} of another project"
        shown = f"{'its own previous period' if is_self else shown} {_local(data_time, zone)}"
        if removed is not None and (satisfied is None or removed <= satisfied):
            yield f"dependency on {shown} was removed", max(removed, start), False
        elif waived:
            yield f"dependency on {shown} is not checked in this life", start, False
        elif excused:
            yield f"upstream {shown} is not waited for: {EXCUSED_WORDS[excused]}", satisfied, False
        elif satisfied is not None:
            yield f"upstream {shown} succeeded{_earlier(satisfied, start)}", satisfied, False
        elif life.ready_since is not None:
            policy = life.policy or Policy.ALL_SUCCESS
            yield f"goes on without the success of upstream {shown}: its policy is {policy}", None, True
        elif life.ended_at is not None:
            yield f"upstream {shown} had not succeeded", None, True
        else:
            yield f"waits for upstream {shown}", None, True
    if len(life.upstream) > MOST:
        yield f"and more upstream instances than the {MOST} told here", None, True


# Moves that say something that the other lines do not.
_TOLD = {
    "events_met": "all events have come",
    "upstream_met": "nothing upstream is waited for any more",
    "retry_due": "the wait before the retry is over",
    "terminate": "asked to terminate",
    "mark_success": "marked as successful",
    "remove_dependency": "dependencies removed by hand",
    "freeze": "frozen by hand",
    "thaw": "thawed",
    "wait_timeout": "has waited too long",
}


def _of_moves(life: _Life) -> Iterable[tuple[dt.datetime, str]]:
    since = life.ready_since if life.try_number else None
    for at, move, _to, operation_id, _code in life.moves:
        text = _TOLD.get(move)
        if text and (since is None or at >= since):
            yield at, f"{text} (operation #{operation_id})" if operation_id else text


def _earlier(at: dt.datetime, start: dt.datetime) -> str:
    return f" before, at {_stamp(at)}" if at < start else ""


def _stamp(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _local(at: dt.datetime, zone: str) -> str:
    try:
        return f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S} ({zone})"
    except (ZoneInfoNotFoundError, ValueError, OSError, OverflowError):
        return f"{at:%Y-%m-%d %H:%M:%S} (UTC)"


def _text(lines: Iterable[_Line]) -> str:
    return "".join(
        f"[weops] {_stamp(at)}  {text}\n" if at is not None else f"[weops] {text}\n" for at, text in lines
    )
