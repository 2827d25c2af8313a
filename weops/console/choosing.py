"""Rows that are found by typing: what they are called where they are offered, and once they are chosen.

A name is told apart by its place: `choice_name` of a model, which reads its relations `choice_reads`.
"""

from typing import Any

from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.db.models import Model, QuerySet
from django.forms import ModelChoiceField


def name_of(row: Any) -> str:
    return getattr(row, "choice_name", None) or str(row)


def with_names(rows: QuerySet[Any]) -> QuerySet[Any]:
    """The rows with all that their names read."""
    return rows.select_related(*reads) if (reads := getattr(rows.model, "choice_reads", ())) else rows


class FoundView(AutocompleteJsonView):
    """In place of Django's, which calls a row by its name alone."""

    def get_queryset(self) -> QuerySet[Any]:
        return with_names(super().get_queryset())

    def serialize_result(self, obj: Model, to_field_name: str) -> dict[str, str]:
        return {**super().serialize_result(obj, to_field_name), "text": name_of(obj)}


class FoundField(ModelChoiceField):
    def label_from_instance(self, obj: Model) -> str:
        return name_of(obj)
