"""What `formats` says, in the reader's language: cycles, units, durations, and what is wrong with a data time."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext_lazy

from events.formats import DataTimeError, EventCycle, Unit

CYCLES: dict[EventCycle, Any] = {
    EventCycle.DAY: pgettext_lazy("cycle type", "Day"),
    EventCycle.HOUR: pgettext_lazy("cycle type", "Hour"),
    EventCycle.MIN: pgettext_lazy("cycle type", "Minute"),
    EventCycle.SECOND: pgettext_lazy("cycle type", "Second"),
}
UNITS: dict[Unit, Any] = {
    Unit.SECONDS: pgettext_lazy("unit of time", "seconds"),
    Unit.MINUTES: pgettext_lazy("unit of time", "minutes"),
    Unit.HOURS: pgettext_lazy("unit of time", "hours"),
    Unit.DAYS: pgettext_lazy("unit of time", "days"),
}


def lasting(amount: int | None, unit: str) -> str:
    """`1 day`, `30 minutes`; `no limit` for None."""
    if amount is None:
        return _("no limit")
    match Unit(unit):
        case Unit.SECONDS:
            return ngettext("%d second", "%d seconds", amount) % amount
        case Unit.MINUTES:
            return ngettext("%d minute", "%d minutes", amount) % amount
        case Unit.HOURS:
            return ngettext("%d hour", "%d hours", amount) % amount
        case Unit.DAYS:
            return ngettext("%d day", "%d days", amount) % amount


def told(error: DataTimeError) -> str:
    """What `str(error)` says."""
    return _(error.message) % error.facts
