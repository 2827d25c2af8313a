"""The filter bar above a list: a form read from the address, which narrows the rows and says in words what it does."""

import datetime as dt
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.forms.utils import flatatt
from django.http import HttpRequest, QueryDict
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from weops.console.present import known_zone, plain_time, zone_name

SELECTED = SafeString(" selected")
TIME_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"]


# The parameter of an address that names the zone of the times in it.
ZONE = "zone"
# Stands for "whatever the clock on the wall says" until the zone is known.
_WALL = dt.timezone(dt.timedelta(0), "wall")


class MomentField(forms.DateTimeField):
    """A browser's own date and time picker, read in the zone of the page.

    A time that clocks skip is as much later as they are put forward; one that they show twice is the first of the two.
    """

    # False: a wall clock that belongs to no zone.
    zoned = True

    def __init__(self, label: Any) -> None:
        widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})
        super().__init__(label=label, required=False, input_formats=TIME_FORMATS, widget=widget)

    def to_python(self, value: Any) -> dt.datetime | None:
        return self.read(value, timezone.get_current_timezone())

    def read(self, value: Any, in_zone: dt.tzinfo) -> dt.datetime | None:
        """The instant (UTC) of a time as it was typed in. Raises ValidationError."""
        try:
            with timezone.override(_WALL):
                found: dt.datetime | None = super().to_python(value)
            if found is not None and found.tzinfo is _WALL:
                found = found.replace(tzinfo=in_zone, fold=0)
            # In UTC: the database knows no zone that is sixteen hours off.
            found = found.astimezone(dt.UTC) if found else found
        except (ValueError, OverflowError):
            found = dt.datetime.min.replace(tzinfo=dt.UTC)
        if found and not 1900 <= found.year <= 9000:
            raise forms.ValidationError(_("Choose a time between the years 1900 and 9000."))
        return found

    def moved(self, value: str, told: dt.tzinfo) -> str:
        """The same time as the page tells it, for one that was typed in the zone `told`; anything else as it is."""
        try:
            found = self.read(value, told)
        except forms.ValidationError:
            return value
        return plain_time(found).replace(" ", "T").removesuffix(":00") if found else value


class PlainSelect(forms.Select):
    """A choice without groups, drawn without a template for each of what may be hundreds of options."""

    def listed(self) -> list[tuple[Any, Any]]:
        """(value, label) each; what stands in the database is read once."""
        if not isinstance(self.choices, list):
            # A comprehension, since `list` would have the database count them first.
            self.choices = [one for one in self.choices]  # noqa: C416
        return self.choices

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        chosen = "" if value is None else str(value)
        options = format_html_join(
            "",
            '<option value="{}"{}>{}</option>',
            ((one, SELECTED if str(one) == chosen else "", label) for one, label in self.listed()),
        )
        attributes = flatatt(self.build_attrs({**self.attrs, "name": name}, attrs))
        return format_html("<select{}>{}</select>", attributes, options)


class FilterForm(forms.Form):
    """The filter bar of a list, read from the parameters of the page's address, or from `data` in place of them."""

    # Fields that are always in view, and those under "More filters".
    FIRST: tuple[str, ...] = ()
    MORE: tuple[str, ...] = ()
    # Form field -> column that equals it, or lookup that it is compared by.
    COLUMNS: dict[str, str] = {}
    RANGES: dict[str, str] = {}
    advice: Any = _("Narrow them.")
    # Said above the list when it shows less than what was asked for.
    too_many: Any = ""

    def __init__(self, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(self._as_of_page(request.GET if data is None else data))
        self.user = request.user
        for field in self.fields.values():
            if type(field.widget) is forms.Select:
                field.widget = PlainSelect(field.widget.attrs, field.widget.choices)

    @property
    def zone(self) -> str:
        """What the bar writes into the address, so that it means the same to whoever opens it; empty for the server's zone."""
        return "" if zone_name() == timezone.get_default_timezone_name() else zone_name()

    def _as_of_page(self, data: QueryDict) -> QueryDict:
        """`data` with its times in the zone of the page. Those of an address that names no zone are in the server's."""
        told = known_zone(data.get(ZONE, "")) or timezone.get_default_timezone()
        if str(told) == zone_name():
            return data
        moved = data.copy()
        for key, field in self.base_fields.items():
            if isinstance(field, MomentField) and field.zoned and data.get(key):
                moved[key] = field.moved(str(data[key]), told)
        moved[ZONE] = zone_name()
        return moved

    def _choice(self, name: str) -> Any:
        return self.fields[name]

    @property
    def first_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.FIRST]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.MORE]

    @property
    def more_is_used(self) -> bool:
        return any(self.data.get(name) for name in self.MORE)

    @property
    def is_used(self) -> bool:
        return any(self.data.get(name) for name in self.fields)

    @property
    def hidden_values(self) -> list[tuple[str, str]]:
        """What the bar itself does not ask for, but keeps: (name, value)."""
        return []

    def apply(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows that the filters let through; none if a filter cannot be read (see `errors`)."""
        if not self.is_valid():
            return queryset.none()
        for name, lookup in (self.COLUMNS | self.RANGES).items():
            value = self.cleaned_data[name]
            if value:
                queryset = queryset.filter(**{lookup: getattr(value, "pk", value)})
        return queryset

    def in_words(self) -> list[tuple[str, str]]:
        """The filters in use, for people: (label, value)."""
        if not self.is_valid():
            return []
        return [
            (str(self[name].label), _word(self.fields[name], value))
            for name, value in self.cleaned_data.items()
            if value
        ]


def _word(field: forms.Field, value: Any) -> str:
    if isinstance(value, dt.datetime):
        return f"{plain_time(value)} {zone_name()}"
    if isinstance(field, forms.ModelChoiceField):
        return str(field.label_from_instance(value))
    names = dict(getattr(field, "choices", ()))
    return ", ".join(str(names.get(one, one)) for one in (value if isinstance(value, list) else [value]))
