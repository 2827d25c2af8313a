"""A choice among rows that may be many: a text field that finds them by name while one types, in place of a list of all."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import Model, Q
from django.http import HttpRequest, JsonResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

# Rows that are offered at once, and rows of which an exact name is looked for.
MOST_FOUND = 20
_MOST_SAME = 200


class FinderInput(forms.TextInput):
    """The field with the first names to choose from; console/finder.js asks `address` for others as one types."""

    input_type = "search"
    address = ""

    def __init__(self, attrs: Any = None) -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false", **(attrs or {})})
        self.offered: Sequence[str] = ()

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        names = f"{(attrs or {}).get('id', name)}_found"
        given = {**(attrs or {}), "list": names, "data-find": self.address}
        options = format_html_join("", '<option value="{}"></option>', ((one,) for one in self.offered))
        field = super().render(name, value, given, renderer)
        return format_html('{}<datalist id="{}">{}</datalist>', field, names, options)


class FoundChoice(forms.ModelChoiceField):
    """A row by its label, or by its id, which addresses hold. `name_field`: the column that names it; `words`: columns in which
    each word that one types is looked for."""

    name_field = "name"
    words: tuple[str, ...] = ("name",)
    widget = FinderInput

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._read: dict[str, Model | None] = {}
        super().__init__(*args, **kwargs)

    def __deepcopy__(self, memo: Any) -> "FoundChoice":
        copied: FoundChoice = super().__deepcopy__(memo)
        copied._read = {}
        return copied

    def labels(self, rows: Sequence[Any]) -> list[str]:
        """Of many rows at once."""
        return [str(self.label_from_instance(row)) for row in rows]

    def last_word(self, label: str) -> str:
        """What the column `name_field` of the row with this label holds."""
        return label

    def search(self, text: str, most: int = MOST_FOUND) -> list[str]:
        """Labels of the first rows that hold every word of `text`."""
        assert self.queryset is not None
        rows = self.queryset
        for word in text.split():
            found = Q()
            for column in self.words:
                found |= Q(**{f"{column}__icontains": word})
            rows = rows.filter(found)
        return self.labels(list(rows[:most]))

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        found = self._row(str(value).strip())
        if found is None:
            raise forms.ValidationError(self._why_not(str(value)), code="invalid_choice")
        return found

    def prepare_value(self, value: Any) -> Any:
        """What stands in the field: the label of the row that an address names by its id."""
        row = self._row(str(value).strip()) if value not in self.empty_values else None
        return self.labels([row])[0] if row else value

    def _row(self, text: str) -> Model | None:
        if text not in self._read:
            self._read[text] = self._by_id(text) or self._by_label(text)
        return self._read[text]

    def _why_not(self, text: str) -> str:
        """That no row is called so, and which ones nearly are."""
        text = text[:100].replace("\x00", "")
        if self.queryset is not None and (near := self.search(text, 3)):
            return _("“%(text)s” is not a whole name. Choose one, such as: %(names)s") % {
                "text": text,
                "names": ", ".join(near),
            }
        return _("There is nothing called “%(text)s” that you can see.") % {"text": text}

    def _by_id(self, text: str) -> Model | None:
        if self.queryset is None or not text.isdecimal() or len(text) > 18:
            return None
        return self.queryset.filter(pk=int(text)).first()

    def _by_label(self, text: str) -> Model | None:
        if self.queryset is None or "\x00" in text:
            return None
        rows = list(self.queryset.filter(**{self.name_field: self.last_word(text)})[:_MOST_SAME])
        return next((row for row, label in zip(rows, self.labels(rows), strict=True) if label == text), None)


def offer(form: forms.Form, addresses: dict[str, str]) -> None:
    """Tells the fields of the form that find where to ask; {name: address}. Their first names are offered without asking."""
    for name, address in addresses.items():
        field: Any = form.fields[name]
        field.widget.address = address
        field.widget.offered = field.search("")


def answer(request: HttpRequest, field: FoundChoice) -> JsonResponse:
    """The labels that `q` finds, and whether there may be more."""
    found = field.search(request.GET.get("q", "")[:200].replace("\x00", ""), MOST_FOUND + 1)
    return JsonResponse({"found": found[:MOST_FOUND], "more": len(found) > MOST_FOUND})
