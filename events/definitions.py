"""The rules of events, whatever the door; `weops.projects.defining` carries them out."""

from typing import Any

from django.utils.translation import gettext as _

from events.models import Event, EventInstance
from weops.projects.access import Right
from weops.projects.defining import Definition


class _Events(Definition[Event]):
    model = Event
    columns = (
        "project",
        "name",
        "cycle",
        "delivery",
        "time_to_live",
        "time_to_live_unit",
        "owner",
        "description",
    )
    # Whoever fires it knows it by these; and what was fired under them is as it was.
    fixed = ("project", "name", "cycle", "delivery")
    choice_rights = {"owner": Right.AUTHOR}

    def held(self, row: Event) -> str:
        related: Any = row
        if related.listeners.exists() or related.emitters.exists():
            return _("tasks listen to it or fire it")
        if EventInstance.objects.filter(event=row).exists():
            return _("it was fired, and its event instances are still there")
        return _("instances wait for it") if related.waits.exists() else ""


EVENTS = _Events()
