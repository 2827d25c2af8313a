"""The filters of the list of event instances."""

import datetime as dt
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from events import words
from events.models import CYCLES, Event, EventInstance, EventState, Listener
from weops.console.filter_bar import FilterForm, MomentField
from weops.projects import access

MOST_EVENTS = 1_000
_ALL = ("", gettext_lazy("All"))


class ClockField(MomentField):
    """A wall clock, whatever zone the page is in: data times of events have none."""

    zoned = False

    def to_python(self, value: Any) -> dt.datetime | None:
        return self.read(value, dt.UTC)


class EventInstanceFilter(FilterForm):
    q = forms.CharField(
        label=gettext_lazy("Event names"),
        required=False,
        max_length=200,
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "autocomplete": "off",
                "placeholder": gettext_lazy("Several: comma or space"),
            }
        ),
    )
    data_from = ClockField(gettext_lazy("Data time from"))
    data_to = ClockField(gettext_lazy("Data time to"))
    fired_from = MomentField(gettext_lazy("Trigger time from"))
    fired_to = MomentField(gettext_lazy("Trigger time to"))
    cycle = forms.ChoiceField(label=gettext_lazy("Cycle type"), choices=[_ALL, *CYCLES], required=False)
    validity = forms.ChoiceField(label=gettext_lazy("Validity time"), required=False)
    state = forms.ChoiceField(
        label=gettext_lazy("Status"), choices=[_ALL, *EventState.choices], required=False
    )

    FIRST = ("q", "data_from", "data_to", "fired_from", "fired_to")
    IN_LIST = ("cycle", "validity", "state")
    COLUMNS = {"state": "state"}
    RANGES = {
        "data_from": "moment__gte",
        "data_to": "moment__lte",
        "fired_from": "triggered_at__gte",
        "fired_to": "triggered_at__lte",
    }
    advice = gettext_lazy("Narrow the trigger time, or name the events.")

    def __init__(self, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(request, data)
        self._events = access.within(Event.objects.all(), self.user, "project_id")
        self._choice("validity").choices = [_ALL, *self._validities()]
        for name in self.IN_LIST:
            # They stand in the list and belong to the form above it.
            self._choice(name).widget.attrs["form"] = "wo-filters"

    @property
    def in_list_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.IN_LIST]

    def _validities(self) -> list[tuple[str, str]]:
        """Every time to live of the events, and every maximum wait of their listeners."""
        lives = self._events.order_by().values_list("time_to_live", "time_to_live_unit").distinct()
        listeners = Listener.objects.filter(event__in=self._events)
        waits = listeners.order_by().values_list("max_wait", "max_wait_unit").distinct()
        return [
            *(
                (f"lives:{amount}:{unit}", _("lives %(time)s") % {"time": words.lasting(amount, unit)})
                for amount, unit in sorted(lives)
            ),
            *(
                (
                    f"waits:{amount or ''}:{unit if amount else ''}",
                    _("listeners wait %(time)s") % {"time": words.lasting(amount, unit)},
                )
                for amount, unit in sorted(
                    {(a, u if a else "") for a, u in waits}, key=lambda row: (row[0] or 0, row[1])
                )
            ),
        ]

    def apply(self, queryset: QuerySet[EventInstance]) -> QuerySet[EventInstance]:
        queryset = super().apply(queryset)
        if not self.is_valid() or not any(self.cleaned_data[name] for name in ("q", "cycle", "validity")):
            return queryset
        # Names, cycles and validities are those of few events; the list itself is read by their ids.
        ids = list(self._chosen_events().order_by("id").values_list("id", flat=True)[: MOST_EVENTS + 1])
        if len(ids) > MOST_EVENTS:
            said = _("More than %(most)s events match; the first %(most)s are shown.")
            self.too_many = said % {"most": f"{MOST_EVENTS:,}"}
        return queryset.filter(event__in=ids[:MOST_EVENTS])

    def _chosen_events(self) -> QuerySet[Event]:
        values, events = self.cleaned_data, self._events
        if values["cycle"]:
            events = events.filter(cycle=values["cycle"])
        if values["validity"]:
            kind, amount, unit = values["validity"].split(":")
            if kind == "lives":
                events = events.filter(time_to_live=amount, time_to_live_unit=unit)
            elif amount:
                events = events.filter(listeners__max_wait=amount, listeners__max_wait_unit=unit).distinct()
            else:
                events = events.filter(listeners__isnull=False, listeners__max_wait__isnull=True).distinct()
        wanted = values["q"].replace(",", " ").replace(";", " ").split()
        if wanted:
            named = Event.objects.none()
            for word in wanted:
                named = named | events.filter(name__icontains=word)
            events = named
        return events
