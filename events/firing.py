"""Firing events, whatever the door: writes down the firings, then has them matched.

    fire(project, [("orders_ready", "20260325")], user=user, source=Source.API, request_id="2026-03-25 nightly load")

Names are those of the project's events. What cannot be meant (an unknown event, a wrong data time) is refused
and kept for the near-miss inbox, and the rest is fired. Rights are the door's to check.
"""

import datetime as dt
import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.db import connection
from django.utils.translation import gettext as _

from events import formats, matching
from events.formats import DataTimeError, EventCycle
from events.models import Emission, Event, EventInstance, Firing, Stray
from weops.database.transactions import retried
from weops.projects.models import Project

MOST_ENTRIES = 100_000
MOST_REQUEST_ID = 128
# Request ids of runs begin so, and no other: nobody can take the place of what a run will fire.
OF_RUNS = "run:"
EMISSIONS_A_BATCH = 500
# Refusals of one call that are told which event may have been meant: looking for it takes a while.
MOST_ADVICE = 100
# (event name, data time)
Entry = tuple[str, str]


class FiringError(ValueError):
    """A call that cannot be carried out at all; nothing of it was fired. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that was not fired. `reason` is of Stray.Reason; the message says what to write instead."""

    name: str
    data_time: str
    reason: str
    message: str


@dataclass(slots=True)
class Fired:
    """What a call did, or, if `repeated`, what the first call under this request id did."""

    firing_id: int
    event_instances: list[int] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    repeated: bool = False


@dataclass(slots=True)
class Call:
    """Events of one project to be fired together. An entry that is there twice is fired once.

    `instance_id` and `execution_id` name the task's run that fires, if one does.
    """

    project_id: int
    entries: Sequence[Entry]
    source: str
    user: User | None = None
    request_id: str = ""
    instance_id: int | None = None
    execution_id: int | None = None
    firing_id: int = 0

    def __post_init__(self) -> None:
        # PostgreSQL's text holds no NUL.
        clean = ((name.replace("\0", " "), data_time.replace("\0", " ")) for name, data_time in self.entries)
        self.entries = list(dict.fromkeys(clean))

    def check(self) -> None:
        """Raises FiringError."""
        if not self.entries:
            raise FiringError(_("Name at least one event and its data time."))
        if len(self.entries) > MOST_ENTRIES:
            raise FiringError(
                _("Fire at most %(most)s events in one call; these are %(count)s.")
                % {"most": f"{MOST_ENTRIES:,}", "count": f"{len(self.entries):,}"}
            )
        if len(self.request_id) > MOST_REQUEST_ID or "\0" in self.request_id:
            raise FiringError(_("A request id has at most %(most)d characters.") % {"most": MOST_REQUEST_ID})
        if self.request_id.startswith(OF_RUNS):
            raise FiringError(
                _("Request ids that begin with %(start)r are those of runs; choose another.")
                % {"start": OF_RUNS}
            )

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.entries).encode("utf-8", "surrogatepass")).hexdigest()


def fire(
    project: Project,
    entries: Iterable[Entry],
    *,
    source: str,
    user: User | None = None,
    request_id: str = "",
) -> Fired:
    """Fires (event name, data time) pairs of a project and serves who waits. Safe to repeat under one `request_id`.

    Raises FiringError for an impossible call, among them another content under a request id that was used.
    """
    call = Call(project.pk, list(entries), source, user, request_id)
    call.check()
    fired = _write([call])[0]
    matching.settle(fired.event_instances)
    return fired


def fire_range(
    event: Event, first: str, last: str, *, source: str, user: User | None = None, request_id: str = ""
) -> Fired:
    """Fires an event for every data time from `first` to `last`, both included. Raises DataTimeError, FiringError."""
    entries = [(event.name, data_time) for data_time in formats.span(first, last, EventCycle(event.cycle))]
    return fire(event.project, entries, source=source, user=user, request_id=request_id)


# What successful runs fire


def write_down(calls: Sequence[Call]) -> None:
    """In the transaction that makes the runs successful: they will fire this, once. Request ids begin with OF_RUNS."""
    Emission.objects.bulk_create(
        [
            Emission(
                project_id=call.project_id,
                request_id=call.request_id,
                source=call.source,
                instance_id=call.instance_id or 0,
                execution_id=call.execution_id,
                entries=call.entries,
            )
            for call in calls
            if call.entries
        ],
        ignore_conflicts=True,
    )


def emit_left() -> int:
    """Fires what successful runs have written down; how many runs. One index probe when there is nothing."""
    total = 0
    while True:
        found, fired = _emit_batch()
        matching.settle(fired)
        total += found
        if found < EMISSIONS_A_BATCH:
            return total


@retried
def _emit_batch() -> tuple[int, list[int]]:
    """(emissions, event instances)"""
    rows = list(Emission.objects.select_for_update(skip_locked=True).order_by("id")[:EMISSIONS_A_BATCH])
    calls = [
        Call(
            row.project_id,
            [(str(name), str(data_time)) for name, data_time in row.entries[:MOST_ENTRIES]],
            row.source,
            request_id=row.request_id,
            instance_id=row.instance_id,
            execution_id=row.execution_id,
        )
        for row in rows
    ]
    fired = _write(calls) if calls else []
    Emission.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows), [pk for one in fired for pk in one.event_instances]


# Writing


_RECORD = """
INSERT INTO events_firing (id, project_id, request_id, digest, source, user_id, user_name, instance_id, execution_id, fired,
                           refused)
SELECT f.*, 0, 0 FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[],
                             %s::bigint[], %s::bigint[])
    AS f(id, project_id, request_id, digest, source, user_id, user_name, instance_id, execution_id)
ORDER BY f.id ON CONFLICT DO NOTHING RETURNING id
"""
_ADD = """
INSERT INTO events_eventinstance (event_id, firing_id, data_time, moment, state, settled, triggered_at, expires_at)
SELECT e.id, f.firing_id, f.data_time, f.moment, 'to_be_consumed', false, now(),
       now() + e.time_to_live * CASE e.time_to_live_unit WHEN 'SECONDS' THEN interval '1 second'
           WHEN 'MINUTES' THEN interval '1 minute' WHEN 'HOURS' THEN interval '1 hour' ELSE interval '24 hours' END
FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::timestamptz[]) WITH ORDINALITY
    AS f(event_id, firing_id, data_time, moment, place) JOIN events_event e ON e.id = f.event_id
ORDER BY f.place RETURNING id, firing_id
"""
_COUNT = """
UPDATE events_firing f SET fired = c.fired, refused = c.refused
FROM unnest(%s::bigint[], %s::int[], %s::int[]) AS c(id, fired, refused) WHERE f.id = c.id
"""


@retried
def _write(calls: Sequence[Call]) -> list[Fired]:
    """Writes the firings of the calls, each under its request id once; what each did, in order."""
    new = _record(calls)
    answers = [Fired(call.firing_id) if call.firing_id in new else _first_answer(call) for call in calls]
    fresh = {call.firing_id: call for call in calls if call.firing_id in new}
    if not fresh:
        return answers
    events = _events(fresh.values())
    by_firing = {answer.firing_id: answer for answer in answers}
    rows: list[tuple[int, int, str, dt.datetime]] = []
    strays: list[Stray] = []
    for firing_id, call in fresh.items():
        for name, data_time in call.entries:
            event = events.get((call.project_id, name))
            try:
                if event is None:
                    raise LookupError(name)
                clock = formats.parse(data_time, EventCycle(event.cycle))
            except (LookupError, DataTimeError):
                strays.append(_stray(firing_id, name, data_time, event))
                refused = by_firing[firing_id].refused
                known = events if len(refused) < MOST_ADVICE else {}
                refused.append(_refusal(strays[-1], call.project_id, known))
                continue
            rows.append((event.pk, firing_id, data_time, clock))
    with connection.cursor() as cursor:
        if rows:
            cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
            for event_instance_id, firing_id in cursor.fetchall():
                by_firing[firing_id].event_instances.append(event_instance_id)
        Stray.objects.bulk_create(strays, batch_size=5_000)
        done = [by_firing[firing_id] for firing_id in fresh]
        counts = [[len(one.event_instances) for one in done], [len(one.refused) for one in done]]
        cursor.execute(_COUNT, [list(fresh), *counts])
    return answers


def _record(calls: Sequence[Call]) -> set[int]:
    """Gives each call its firing; ids of those whose request id nobody used before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence('events_firing', 'id')) FROM generate_series(1, %s)",
            [len(calls)],
        )
        for call, (firing_id,) in zip(calls, cursor.fetchall(), strict=True):
            call.firing_id = firing_id
        rows = [
            (
                call.firing_id,
                call.project_id,
                call.request_id,
                call.digest,
                call.source,
                call.user.pk if call.user else None,
                call.user.get_username() if call.user else "",
                call.instance_id,
                call.execution_id,
            )
            for call in calls
        ]
        cursor.execute(_RECORD, [list(column) for column in zip(*rows, strict=True)])
        return {row[0] for row in cursor.fetchall()}


def _events(calls: Iterable[Call]) -> dict[tuple[int, str], Event]:
    """{(project, name): event} of the calls' projects: there are few events, and names that are near are told."""
    found = Event.objects.filter(project__in={call.project_id for call in calls}).only(
        "project_id", "name", "cycle"
    )
    return {(event.project_id, event.name): event for event in found}


def _stray(firing_id: int, name: str, data_time: str, event: Event | None) -> Stray:
    reason = Stray.Reason.UNKNOWN if event is None else Stray.Reason.FORMAT
    return Stray(firing_id=firing_id, name=_cut(name, 100), data_time=_cut(data_time, 40), reason=reason)


def _cut(text: str, most: int) -> str:
    # No half characters either: a task may print anything.
    return text[:most].encode("utf-8", "replace").decode()


def _refusal(stray: Stray, project_id: int, events: dict[tuple[int, str], Event]) -> Refusal:
    event = events.get((project_id, stray.name))
    facts = {"text": stray.data_time, "name": stray.name}
    if stray.reason == Stray.Reason.FORMAT:
        if event is None:
            message = _("%(text)r is no data time of event %(name)s; see the event's format.")
        else:
            facts["format"] = event.format
            message = _("%(text)r is no data time of event %(name)s; its format is %(format)s.")
    elif near := near_names(stray.name, [name for project, name in events if project == project_id], 1):
        facts["near"] = near[0]
        message = _("There is no event %(name)r in this project; did you mean %(near)s?")
    else:
        message = _("There is no event %(name)r in this project.")
    return Refusal(stray.name, stray.data_time, stray.reason, message % facts)


def near_names(name: str, names: Iterable[str], most: int = 5) -> list[str]:
    """Names that look like `name`, whatever their case, the nearest first."""
    folded: dict[str, list[str]] = {}
    for one in names:
        folded.setdefault(one.casefold(), []).append(one)
    close = difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=0.75)
    return [one for key in close for one in folded[key]][:most]


def _first_answer(call: Call) -> Fired:
    """What the first call under this request id did. Raises FiringError if it asked for something else."""
    first = Firing.objects.get(project=call.project_id, request_id=call.request_id)
    if first.digest != call.digest:
        raise FiringError(
            _("Request id %(id)r was used on %(time)s UTC for other events; use a new one for a new request.")
            % {"id": call.request_id, "time": f"{first.created_at:%Y-%m-%d %H:%M}"}
        )
    events = _events([call])
    return Fired(
        first.pk,
        list(EventInstance.objects.filter(firing=first).order_by("id").values_list("id", flat=True)),
        [
            _refusal(stray, call.project_id, events)
            for stray in Stray.objects.filter(firing=first).order_by("id")
        ],
        repeated=True,
    )
