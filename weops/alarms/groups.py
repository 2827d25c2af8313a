"""Groups of receivers of a rule: what is said of one, its checks, and when it is quiet."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from instances.engine.zone import first_instant, wall, zone
from weops.alarms.kinds import Receivers
from weops.alarms.limits import zone_of
from weops.alarms.models import Channel, Group, Rule
from weops.projects.models import Project

MOST_GROUPS = 10
MOST_RECEIVERS = 100
MOST_QUIET = 20
MOST_TIMES = 100
MOST_MINUTES = 10_080


@dataclass(slots=True)
class GroupSpec:
    """Whom to tell and when. `people`, `escalation`: ids of users, who must be members of the project; `channels`: ids of
    its channels; `quiet`: see `models.Group`. Told `notify_count` times, `notify_minutes` apart, until acknowledged."""

    receivers: str = Receivers.PEOPLE
    people: Sequence[int] = field(default_factory=list)
    emails: Sequence[str] = field(default_factory=list)
    by_email: bool = True
    channels: Sequence[int] = field(default_factory=list)
    notify_count: int = 1
    notify_minutes: int = 30
    quiet: Sequence[dict[str, Any]] = field(default_factory=list)
    timezone: str = "UTC"
    escalation: Sequence[int] = field(default_factory=list)
    escalation_minutes: int = 30


def audience(project_id: int) -> QuerySet[User]:
    """Who may be told of a project: its active members and superusers."""
    return User.objects.filter(
        Q(is_superuser=True) | Q(memberships__project=project_id), is_active=True
    ).distinct()


def specs_of(rule: Rule) -> list[GroupSpec]:
    return [
        GroupSpec(
            receivers=group.receivers,
            people=sorted(person.pk for person in group.people.all()),
            emails=list(group.emails),
            by_email=group.by_email,
            channels=sorted(channel.pk for channel in group.channels.all()),
            notify_count=group.notify_count,
            notify_minutes=group.notify_minutes,
            quiet=list(group.quiet),
            timezone=group.timezone,
            escalation=list(group.escalation),
            escalation_minutes=group.escalation_minutes,
        )
        for group in rule.groups.all()
    ]


def checked_groups(project: Project, specs: Sequence[GroupSpec]) -> list[GroupSpec]:
    """In normal form. Raises ValidationError."""
    if not specs:
        raise ValidationError(_("Say whom to tell: add receivers."))
    if len(specs) > MOST_GROUPS:
        raise ValidationError(_("At most %d groups of receivers.") % MOST_GROUPS)
    named = {pk for spec in specs for pk in (*spec.people, *spec.escalation)}
    known = set(audience(project.pk).filter(pk__in=named).values_list("pk", flat=True))
    if strangers := named - known:
        raise ValidationError(
            _("No active members of the project: %s.") % ", ".join(f"#{pk}" for pk in sorted(strangers)[:10])
        )
    wanted = {pk for spec in specs for pk in spec.channels}
    found = set(Channel.objects.filter(project=project, pk__in=wanted).values_list("pk", flat=True))
    if missing := wanted - found:
        raise ValidationError(
            _("The project has no such channel: %s.") % ", ".join(f"#{pk}" for pk in sorted(missing)[:10])
        )
    return [_checked(spec) for spec in specs]


def _checked(spec: GroupSpec) -> GroupSpec:
    if spec.receivers not in Receivers.values:
        raise ValidationError(_("Receivers are one of: %s.") % ", ".join(Receivers.values))
    people = sorted(set(spec.people)) if spec.receivers == Receivers.PEOPLE else []
    emails = list(dict.fromkeys(str(email).strip() for email in spec.emails if str(email).strip()))
    for email in emails:
        validate_email(email)
    if max(len(people), len(emails), len(spec.channels), len(spec.escalation)) > MOST_RECEIVERS:
        raise ValidationError(_("At most %d receivers of a kind in a group.") % MOST_RECEIVERS)
    to_people = spec.by_email and (spec.receivers == Receivers.OWNER or people)
    if not (to_people or emails or spec.channels):
        raise ValidationError(_("Nobody would be told: choose people with e-mail, an address or a channel."))
    for value, most, name in (
        (spec.notify_count, MOST_TIMES, _("How often to tell")),
        (spec.notify_minutes, MOST_MINUTES, _("The minutes between two messages")),
        (spec.escalation_minutes, MOST_MINUTES, _("The minutes before escalation")),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValidationError(
                _("%(name)s is a whole number from 1 to %(most)d.") % {"name": name, "most": most}
            )
    return GroupSpec(
        receivers=spec.receivers,
        people=people,
        emails=emails,
        by_email=bool(spec.by_email),
        channels=sorted(set(spec.channels)),
        notify_count=spec.notify_count,
        notify_minutes=spec.notify_minutes,
        quiet=[_quiet(interval) for interval in spec.quiet[: MOST_QUIET + 1]],
        timezone=zone_of(spec.timezone),
        escalation=list(dict.fromkeys(spec.escalation)),
        escalation_minutes=spec.escalation_minutes,
    )


def _quiet(interval: Any) -> dict[str, Any]:
    example = '{"days": [6, 7], "start": "22:00:00", "end": "08:00:00"}'
    try:
        days = sorted({int(day) for day in interval["days"]})
        start, end = (dt.time.fromisoformat(str(interval[name])) for name in ("start", "end"))
    except (KeyError, TypeError, ValueError):
        raise ValidationError(_("Write quiet hours as %s: 1 is Monday, 7 is Sunday.") % example) from None
    if not days or not set(days) <= set(range(1, 8)) or start == end or start.tzinfo or end.tzinfo:
        raise ValidationError(_("Write quiet hours as %s: 1 is Monday, 7 is Sunday.") % example)
    return {"days": days, "start": f"{start:%H:%M:%S}", "end": f"{end:%H:%M:%S}"}


def write_groups(rule: Rule, specs: Sequence[GroupSpec]) -> None:
    """Groups keep their rows by position: what is left to tell of a message goes on with the group as it is now."""
    present = list(rule.groups.order_by("position", "id"))
    for position, spec in enumerate(specs):
        group = present[position] if position < len(present) else Group(rule=rule)
        group.position = position
        for name in (
            "receivers",
            "by_email",
            "notify_count",
            "notify_minutes",
            "timezone",
            "escalation_minutes",
        ):
            setattr(group, name, getattr(spec, name))
        group.emails, group.quiet, group.escalation = (
            list(spec.emails),
            list(spec.quiet),
            list(spec.escalation),
        )
        group.save()
        group.people.set(spec.people)
        group.channels.set(spec.channels)
    for group in present[len(specs) :]:
        group.delete()


def quiet_until(quiet: Iterable[dict[str, Any]], timezone: str, now: dt.datetime) -> dt.datetime | None:
    """The end of the quiet hours that `now` lies in; None if it lies in none. Intervals that touch count as one."""
    intervals, tz = list(quiet), zone(timezone)
    until: dt.datetime | None = None
    moment = now
    # Each step leaves an interval: after that many, all hours of the week would be quiet.
    for _step in range(8 * max(1, len(intervals))):
        end = max((end for interval in intervals if (end := _end_of(interval, tz, moment))), default=None)
        if end is None:
            return until
        until = moment = end
    return until


def _end_of(interval: dict[str, Any], tz: Any, now: dt.datetime) -> dt.datetime | None:
    start, end = (dt.time.fromisoformat(interval[name]) for name in ("start", "end"))
    today = wall(tz, now).date()
    # It may have begun yesterday.
    for day in (today, today - dt.timedelta(days=1)):
        if day.isoweekday() not in interval["days"]:
            continue
        begins, _shown = first_instant(tz, dt.datetime.combine(day, start))
        last = day + dt.timedelta(days=1) if end <= start else day
        ends, _shown = first_instant(tz, dt.datetime.combine(last, end))
        if begins <= now < ends:
            return ends
    return None
