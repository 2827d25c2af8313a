"""Firings that nobody listened to, next to waits that look like what they meant: another name, another format, one cycle
off, too early. Only reads, except `fire_as_meant` and `dismiss`.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, QuerySet, Window
from django.db.models.functions import Now, RowNumber
from django.utils import timezone
from django.utils.translation import gettext as _

from events import firing, formats
from events.firing import Fired
from events.formats import EventCycle, Reading
from events.models import Event, EventInstance, EventState, Firing, Source, Stray
from weops.projects import access
from weops.projects.access import Right

# How far back the inbox looks, and how many firings of each kind it looks at.
DAYS = 14
MOST = 200
# Strays of one name in one project: a task that misspells an event does so at every run, and must not hide all others.
MOST_ALIKE = 3
# Suggestions for one event, and near names of one firing.
_MOST_TEXTS = 3
_MOST_NAMES = 4
_EVER = ("", "9" * 14)

STRAY, IDLE = "stray", "idle"


@dataclass(frozen=True, slots=True)
class Meant:
    """What the firing may have meant: `waits` instances wait for it, `instance_id` is one of them."""

    event: Event
    data_time: str
    why: str
    waits: int
    instance_id: int


@dataclass(slots=True)
class NearMiss:
    """`kind` and `pk` name it: a stray, or an event instance that nobody consumed. `problem`: why nobody heard it.

    `alike`: open strays of its project and name, itself among them; of others 1.
    """

    kind: str
    pk: int
    name: str
    data_time: str
    problem: str
    firing: Firing
    meant: list[Meant] = field(default_factory=list)
    alike: int = 1


@dataclass(frozen=True, slots=True)
class _Look:
    """Where to look for waits: an event, and the data times from `low` to `high`."""

    place: int
    event: Event
    low: str
    high: str
    why: str


def find(project_ids: Sequence[int] | None) -> list[NearMiss]:
    """The inbox of these projects (None: of all), the newest first. Strays are there until they are resolved, others as
    long as something that looks like them is waited for."""
    events = Event.objects.select_related("project").order_by("id")
    known = list(events if project_ids is None else events.filter(project__in=project_ids))
    by_name: dict[str, list[Event]] = {}
    for event in known:
        by_name.setdefault(event.name, []).append(event)
    found: list[NearMiss] = []
    looks: list[_Look] = []
    for stray in _strays(project_ids):
        found.append(_of_stray(stray))
        looks += _looks_of_stray(len(found) - 1, stray, by_name)
    for idle in _idle([event.pk for event in known]):
        found.append(_of_idle(idle))
        looks += _looks_of_idle(len(found) - 1, idle, by_name)
    for look, data_time, waits, instance_id in _waiting(looks):
        found[look.place].meant.append(Meant(look.event, data_time, look.why, waits, instance_id))
    shown = [one for one in found if one.meant or one.kind == STRAY]
    return sorted(shown, key=lambda one: (one.firing.created_at, one.pk), reverse=True)


def _strays(project_ids: Sequence[int] | None) -> QuerySet[Stray]:
    rows = Stray.objects.filter(resolved_at__isnull=True, firing__created_at__gte=_since())
    if project_ids is not None:
        rows = rows.filter(firing__project__in=project_ids)
    same = (F("firing__project"), F("name"))
    rows = rows.annotate(
        place=Window(RowNumber(), partition_by=same, order_by=F("id").desc()),
        alike=Window(Count("id"), partition_by=same),
    ).filter(place__lte=MOST_ALIKE)
    return rows.select_related("firing__project", "firing__user").order_by("-id")[:MOST]


def _idle(event_ids: list[int]) -> list[EventInstance]:
    """Settled firings that nobody consumed, unless another of the same data time was consumed: that one was heard."""
    heard = EventInstance.objects.filter(
        event=OuterRef("event"), data_time=OuterRef("data_time"), consumers__gt=0
    )
    found: list[EventInstance] = []
    # One state at a time: each is read in the order of its index.
    for state in (EventState.TO_BE_CONSUMED, EventState.EXPIRED):
        rows = EventInstance.objects.filter(
            ~Exists(heard), state=state, settled=True, event__in=event_ids, triggered_at__gte=_since()
        )
        found += rows.select_related("event__project", "firing__project", "firing__user").order_by("-id")[
            :MOST
        ]
    return found


def _since() -> dt.datetime:
    return timezone.now() - dt.timedelta(days=DAYS)


def _of_stray(stray: Stray) -> NearMiss:
    problem = stray.get_reason_display()
    return NearMiss(
        STRAY, stray.pk, stray.name, stray.data_time, problem, stray.firing, alike=getattr(stray, "alike", 1)
    )


def _of_idle(idle: EventInstance) -> NearMiss:
    problem = _("Expired") if idle.state == EventState.EXPIRED else _("Nobody listens to this data time")
    return NearMiss(IDLE, idle.pk, idle.event.name, idle.data_time, problem, idle.firing)


def _looks_of_stray(place: int, stray: Stray, by_name: dict[str, list[Event]]) -> Iterable[_Look]:
    reading = formats.read(stray.data_time)
    named = by_name.get(stray.name, [])
    for event in named:
        same_project = event.project_id == stray.firing.project_id
        if same_project or stray.reason == Stray.Reason.UNKNOWN:
            why = (
                _("the data time in the event's format") if same_project else _("an event of another project")
            )
            yield from _texts(place, event, reading, why)
    if stray.reason == Stray.Reason.UNKNOWN:
        for event in _near(stray.name, by_name):
            yield from _texts(place, event, reading, _("a name nearly the same"))


def _looks_of_idle(place: int, idle: EventInstance, by_name: dict[str, list[Event]]) -> Iterable[_Look]:
    cycle = EventCycle(idle.event.cycle)
    if idle.state == EventState.EXPIRED:
        yield _Look(
            place, idle.event, idle.data_time, idle.data_time, _("it expired before the instance was there")
        )
    for steps, why in ((-1, _("one cycle earlier")), (1, _("one cycle later"))):
        text = formats.shifted(idle.data_time, cycle, steps)
        if text:
            yield _Look(place, idle.event, text, text, why)
    reading = formats.read(idle.data_time)
    for event in _near(idle.event.name, by_name):
        yield from _texts(place, event, reading, _("a name nearly the same"))


def _near(name: str, by_name: dict[str, list[Event]]) -> list[Event]:
    names = firing.near_names(name, (one for one in by_name if one != name), _MOST_NAMES)
    return [event for one in names for event in by_name[one]]


def _texts(place: int, event: Event, reading: Reading | None, why: str) -> Iterable[_Look]:
    """Data times of the event that a reading may stand for: the one that holds it, or all of those inside it."""
    if reading is None:
        yield _Look(place, event, *_EVER, why)
        return
    text = formats.format_clock(reading.clock, EventCycle(event.cycle))
    written = formats.format_clock(reading.clock, reading.cycle)
    if len(written) < len(text):
        yield _Look(place, event, written, written.ljust(len(text), "9"), why)
    else:
        yield _Look(place, event, text, text, why)


_WAITING = """
SELECT look.place::int, w.data_time, w.waits, w.instance_id
FROM unnest(%s::bigint[], %s::text[], %s::text[]) WITH ORDINALITY AS look(event_id, low, high, place)
CROSS JOIN LATERAL (
    SELECT data_time, count(*) AS waits, min(instance_id) AS instance_id FROM events_wait
    WHERE event_id = look.event_id AND data_time BETWEEN look.low AND look.high
      AND satisfied_at IS NULL AND withdrawn_at IS NULL
    GROUP BY data_time ORDER BY data_time LIMIT %s) w
ORDER BY look.place, w.data_time
"""


def _waiting(looks: list[_Look]) -> list[tuple[_Look, str, int, int]]:
    """(look, data time, how many wait, one of them) of everything that is waited for."""
    if not looks:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            _WAITING,
            [
                [look.event.pk for look in looks],
                [look.low for look in looks],
                [look.high for look in looks],
                _MOST_TEXTS,
            ],
        )
        return [(looks[place - 1], *row) for place, *row in cursor.fetchall()]


def fire_as_meant(kind: str, pk: int, event: Event, data_time: str, user: User | None) -> Fired:
    """Fires what somebody says was meant, once, and resolves a stray, if `user` may dismiss it. Raises FiringError."""
    fired = firing.fire(
        event.project,
        [(event.name, data_time)],
        source=Source.INBOX,
        user=user,
        request_id=f"near-miss:{kind}:{pk}:{data_time}",
    )
    if kind == STRAY and fired.event_instances and _may_dismiss(pk, user):
        dismiss(pk, user)
    return fired


def _may_dismiss(stray_id: int, user: User | None) -> bool:
    """Whether the stray is of a project where `user` (None: the system) may operate; the number came from outside."""
    if user is None:
        return True
    rows = Stray.objects.filter(pk=stray_id)
    return access.within(rows, user, "firing__project_id", Right.OPERATE).exists()


def dismiss(stray_id: int, user: User | None) -> bool:
    """Takes a stray out of the inbox; False: it was not in it."""
    open_strays = Stray.objects.filter(pk=stray_id, resolved_at__isnull=True)
    return bool(open_strays.update(resolved_at=Now(), resolved_by=user))


def dismiss_alike(stray: Stray, user: User | None) -> int:
    """Takes all open strays of its project and name out of the inbox that came up to now; how many."""
    alike = Stray.objects.filter(
        firing__project=stray.firing.project_id, name=stray.name, resolved_at__isnull=True
    )
    return alike.update(resolved_at=Now(), resolved_by=user)
