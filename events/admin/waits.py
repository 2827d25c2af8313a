"""What one instance waits for, or has got: shown on its page."""

import datetime as dt
from dataclasses import dataclass

from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from events import words
from events.models import Wait
from weops.console.present import Look, badge, plain_time, span, stamp
from weops.projects import access
from weops.projects.access import AnyUser, Right

MOST = 200
_LOOKS = {
    "open": Look("violet", "notifications_paused", gettext_lazy("Waited for")),
    "met": Look("green", "check_circle", gettext_lazy("Came")),
    "withdrawn": Look("grey", "do_not_disturb_on", gettext_lazy("Not waited for")),
}


@dataclass(frozen=True)
class WaitRow:
    """One event of the instance. `event_id` None: of a project that the user cannot see. `left`: how long it may take,
    for people; empty unless it is waited for with a limit."""

    name: str
    event_id: int | None
    data_time: str
    badge: SafeString
    met: SafeString
    event_instance_id: int | None
    is_open: bool
    left: str

    @property
    def line(self) -> str:
        return f"{self.name} {self.data_time}{f', {self.left}' if self.left else ''}"


def waits_of(instance_id: int, user: AnyUser) -> list[WaitRow]:
    """Those that are waited for first."""
    visible = access.project_ids(user, Right.VIEW)
    now = timezone.now()
    rows = Wait.objects.filter(instance=instance_id).select_related("event__project").order_by("event_id")
    found = [_row(row, visible, now) for row in rows[:MOST]]
    return sorted(found, key=lambda row: not row.is_open)


def _row(row: Wait, visible: list[int] | None, now: dt.datetime) -> WaitRow:
    hidden = visible is not None and row.event.project_id not in visible
    state = "met" if row.satisfied_at else "withdrawn" if row.withdrawn_at else "open"
    return WaitRow(
        name=_("Event #%(id)d of another project") % {"id": row.event_id}
        if hidden
        else f"{row.event.project} / {row.event.name}",
        event_id=None if hidden else row.event_id,
        data_time=row.data_time,
        badge=badge(_LOOKS, state),
        met=stamp(row.satisfied_at),
        event_instance_id=None if hidden else row.event_instance_id,
        is_open=state == "open",
        left=_left(row, now) if state == "open" else "",
    )


def _left(row: Wait, now: dt.datetime) -> str:
    if row.deadline is None:
        return words.lasting(None, "")
    ahead = span(row.deadline - now)
    if row.deadline <= now:
        return _("its time is over")
    return _("until %(time)s, %(left)s left") % {"time": plain_time(row.deadline), "left": ahead}
