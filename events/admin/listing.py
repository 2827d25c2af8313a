"""The list of event instances: what it reads besides the rows."""

from collections import defaultdict

from django.db.models import QuerySet
from django.http import HttpRequest

from events import words
from events.filters import EventInstanceFilter
from events.models import EventInstance, Listener
from weops.console.changelist import FilteredChangeList


class EventInstanceChangeList(FilteredChangeList):
    """A page of event instances, the last fired first; each gets `listeners_wait`, what its listeners wait at most."""

    filter_class = EventInstanceFilter

    def before(self, rows: QuerySet[EventInstance], mark: str) -> QuerySet[EventInstance]:
        if not mark.isdecimal() or len(mark) > 18:
            raise ValueError(f"{mark!r} is no mark of a page.")
        return rows.filter(pk__lt=int(mark))

    def mark(self, row: EventInstance) -> str:
        return str(row.pk)

    def read(self, request: HttpRequest) -> None:
        super().read(request)
        waits = listeners_wait({row.event_id for row in self.result_list})
        for row in self.result_list:
            row.listeners_wait = waits.get(row.event_id, "")


def listeners_wait(event_ids: set[int]) -> dict[int, str]:
    """{event id: what its listeners wait at most}, such as `2 hours, no limit`; events without listeners are left out."""
    rows = Listener.objects.filter(event__in=event_ids).order_by("max_wait", "id")
    found: defaultdict[int, dict[str, None]] = defaultdict(dict)
    for event_id, amount, unit in rows.values_list("event_id", "max_wait", "max_wait_unit"):
        found[event_id][words.lasting(amount, unit)] = None
    return {event_id: ", ".join(times) for event_id, times in found.items()}
