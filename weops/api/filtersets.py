"""Filters by columns, for nouns that have no list with filters of its own in the console."""

from typing import Any

import django_filters
from django import forms
from django.db import models
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework.exceptions import ValidationError

from weops.api.fields import LARGEST
from weops.api.filtering import said


class IdFilter(django_filters.NumberFilter):
    """The id of a row, whether or not there is one: which exist is not for a filter to tell."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name in ("queryset", "to_field_name", "null_label"):
            kwargs.pop(name, None)
        super().__init__(*args, **{"min_value": 1, "max_value": LARGEST, **kwargs})

    def get_max_validator(self) -> None:
        # The field's own bounds are enough.
        return None


class ByColumn(FilterSet):
    FILTER_DEFAULTS = {**FilterSet.FILTER_DEFAULTS, models.ForeignKey: {"filter_class": IdFilter}}


class PartOfName(django_filters.CharFilter):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__("name", lookup_expr="icontains", label="Part of its name", **kwargs)


class ColumnFilters(DjangoFilterBackend):
    """`view.filterset_fields` names the columns."""

    filterset_base = ByColumn

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        found = self.get_filterset(request, queryset, view)
        if found is None:
            return queryset
        if not found.is_valid():
            raise ValidationError(said(found.form))
        return found.qs

    def names(self, view: Any) -> list[str]:
        """The parameters that it reads."""
        found = self.get_filterset_class(view, view.queryset)
        return list(found.base_filters) if found else []
