"""The filters of the console's lists, as parameters of an address."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError as FormError
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend

from weops.api.fields import none_of
from weops.console.filter_bar import FilterForm

_KINDS: tuple[tuple[type[forms.Field], dict[str, Any]], ...] = (
    (forms.ModelChoiceField, {"type": "integer", "minimum": 1}),
    (forms.IntegerField, {"type": "integer", "minimum": 1}),
    (forms.DateTimeField, {"type": "string", "format": "date-time"}),
    (forms.CharField, {"type": "string"}),
)


class FormFilters(BaseFilterBackend):
    """`view.filter_form` reads the address, as it does in the console. What it cannot read is an error, never all rows."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return apply(view.filter_form, request, queryset, request.query_params)

    def names(self, view: Any) -> list[str]:
        """The parameters that it reads."""
        return list(view.filter_form.base_fields)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        form: type[FilterForm] = view.filter_form
        return [_parameter(name, one) for name, one in form.base_fields.items()]


def apply(form_class: type[FilterForm], request: Any, queryset: Any, data: Any) -> Any:
    """The rows of `queryset` that the values in `data` (a QueryDict) let through. Raises ValidationError."""
    form = form_class(request, data)
    if not form.is_valid():
        raise ValidationError(said(form))
    found = form.apply(queryset)
    if form.too_many:
        # A part of what was asked for would look like all of it.
        raise ValidationError({"q": form.too_many})
    return found


def said(form: forms.BaseForm) -> dict[str, list[str]]:
    """What is wrong with the values in a form, by name; of a choice that is none, what there is to choose from."""
    found: dict[str, list[str]] = {}
    for name, errors in form.errors.as_data().items():
        found[name] = [_told(error, form.fields.get(name)) for error in errors]
    return found


def _told(error: FormError, one: forms.Field | None) -> str:
    if error.code == "invalid_choice" and one is not None and (choices := _choices(one)):
        return none_of((error.params or {}).get("value", ""), choices)
    if error.code == "invalid" and isinstance(one, forms.DateTimeField):
        return "Write a time such as 2026-03-25T00:00:00Z."
    return " ".join(error.messages)


def _choices(one: forms.Field) -> list[Any]:
    """The values of a field that has so many and no more."""
    if isinstance(one, forms.ModelChoiceField):
        return []
    return [value for value, _ in getattr(one, "choices", ()) if value != ""]


def _parameter(name: str, one: forms.Field) -> dict[str, Any]:
    many = isinstance(one, forms.MultipleChoiceField)
    schema = _schema(one)
    found = {
        "name": name,
        "in": "query",
        "required": False,
        "schema": {"type": "array", "items": schema} if many else schema,
        "description": str(one.help_text or one.label or name.replace("_", " ").capitalize()),
    }
    return {**found, "explode": True} if many else found


def _schema(one: forms.Field) -> dict[str, Any]:
    for kind, schema in _KINDS:
        if isinstance(one, kind):
            return dict(schema)
    choices = _choices(one)
    return {"type": "string", "enum": choices} if choices else {"type": "string"}
