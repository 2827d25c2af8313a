"""Firing events by hand: the form, and what is said afterwards."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from events import firing, formats, words
from events.firing import Fired, FiringError
from events.formats import DataTimeError, EventCycle
from events.models import Event, Source
from weops.console.scoped import signed_in
from weops.projects import access
from weops.projects.access import AnyUser, Right
from weops.projects.choices import choosable


class EventChoice(forms.ModelChoiceField):
    def label_from_instance(self, obj: Event) -> str:
        return f"{obj.project.name} / {obj.name} ({obj.format})"


class FireForm(forms.Form):
    """One data time, or all from `first` to `last`. `request` makes a form that is sent twice fire once."""

    event = EventChoice(Event.objects.none(), label=gettext_lazy("Event"), widget=UnfoldAdminSelectWidget())
    first = forms.CharField(
        label=gettext_lazy("Data time"),
        max_length=14,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric", "autocomplete": "off"}),
        help_text=gettext_lazy("In the event's format, such as 20260325."),
    )
    last = forms.CharField(
        label=gettext_lazy("Last data time"),
        max_length=14,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric", "autocomplete": "off"}),
        help_text=gettext_lazy("For a continuous range; empty: the one data time only."),
    )
    request = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, user: AnyUser, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"initial": {"request": uuid.uuid4()}, **kwargs})
        events = choosable(Event, user, Right.OPERATE).select_related("project")
        self._event_field.queryset = events.order_by("project__name", "name")

    @property
    def _event_field(self) -> Any:
        return self.fields["event"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        event, first = values.get("event"), values.get("first")
        if event and first:
            try:
                formats.span(first, values.get("last") or first, EventCycle(event.cycle))
            except DataTimeError as error:
                self.add_error("first", words.told(error))
        return values


def carry_out(request: HttpRequest, form: FireForm) -> bool:
    """Fires what the form says and tells how it went; False: nothing was fired."""
    values = form.cleaned_data
    event: Event = values["event"]
    try:
        fired = firing.fire_range(
            event,
            values["first"],
            values["last"] or values["first"],
            source=Source.ADMIN,
            user=signed_in(request),
            request_id=f"admin:{values['request']}",
        )
    except (FiringError, DataTimeError) as error:
        form.add_error(None, words.told(error) if isinstance(error, DataTimeError) else str(error))
        return False
    tell(request, event, fired)
    return True


def tell(request: HttpRequest, event: Event, fired: Fired) -> None:
    count = len(fired.event_instances)
    if fired.repeated:
        said = _("%(event)s was fired by this form already; nothing was fired again.")
        messages.warning(request, said % {"event": event.name})
    elif count:
        said = ngettext(
            "%(event)s was fired for %(count)s data time.",
            "%(event)s was fired for %(count)s data times.",
            count,
        )
        messages.success(request, said % {"event": event.name, "count": f"{count:,}"})
    for refusal in fired.refused[:5]:
        messages.error(request, refusal.message)


def may_fire(user: AnyUser, event: Event) -> None:
    """Raises PermissionDenied."""
    if Right.OPERATE not in access.rights(user, event.project_id):
        raise PermissionDenied(_("You do not have the right to operate in project %s.") % event.project)
