"""Pages by key: a page costs a page, wherever it is, and rows that come or go meanwhile shift none of the others."""

import base64
import binascii
import json
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from weops.console.paging import COUNT_CAP, capped_count

DEFAULT, MOST = 50, 500


class Keyset(BasePagination):
    """`view.order` names columns that are unique together, such as ("-data_time", "-id"); all go the same way."""

    def paginate_queryset(self, queryset: QuerySet[Any], request: Any, view: Any = None) -> list[Any]:
        self._request, self._order = request, view.order
        limit = _whole(request, "limit", DEFAULT, MOST)
        self._count: int | None = None
        if request.query_params.get("count") == "true":
            self._count = self.count(queryset)
        queryset = queryset.order_by(*self._order)
        if cursor := request.query_params.get("cursor"):
            queryset = _after(queryset, self._order, _read(cursor, queryset, self._order))
        rows = self.first(queryset, limit + 1)
        self._next = _mark(rows[limit - 1], self._order) if len(rows) > limit else None
        return rows[:limit]

    def count(self, queryset: QuerySet[Any]) -> int:
        """How many rows there are; the cap and 1 for any more."""
        return capped_count(queryset)

    def first(self, queryset: QuerySet[Any], limit: int) -> list[Any]:
        """The first rows of an ordered queryset."""
        return list(queryset[:limit])

    def get_paginated_response(self, data: Any) -> Response:
        address = self._request.build_absolute_uri()
        found: dict[str, Any] = {
            "next": replace_query_param(address, "cursor", self._next) if self._next else None,
            "next_cursor": self._next,
        }
        if self._count is not None:
            found |= {"count": min(self._count, COUNT_CAP), "count_capped": self._count > COUNT_CAP}
        return Response({**found, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["next", "next_cursor", "results"],
            "properties": {
                "next": {"type": ["string", "null"], "format": "uri", "description": "The next page."},
                "next_cursor": {"type": ["string", "null"]},
                "count": {"type": "integer", "description": "With count=true; counting stops at 10,000."},
                "count_capped": {"type": "boolean", "description": "There are more than `count`."},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            _parameter(
                "cursor", {"type": "string"}, "Where the page begins: `next_cursor` of the one before."
            ),
            _parameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT},
                "Rows of a page.",
            ),
            _parameter(
                "count", {"type": "string", "enum": ["true", "false"]}, "Count the rows, up to 10,000."
            ),
        ]


def _parameter(name: str, schema: dict[str, Any], words: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": words}


def _whole(request: Any, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise ValidationError({name: f"Write a whole number from 1 to {most}."})
    return int(text)


def _mark(row: Any, order: tuple[str, ...]) -> str:
    values = [getattr(row, name.lstrip("-")) for name in order]
    plain = [value.isoformat() if hasattr(value, "isoformat") else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _read(cursor: str, queryset: QuerySet[Any], order: tuple[str, ...]) -> list[Any]:
    """The values of a mark, each as its column holds them."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(order):
            raise ValueError(cursor)
        return [
            _value(queryset.model._meta.get_field(name.lstrip("-")), value)
            for name, value in zip(order, values, strict=True)
        ]
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise ValidationError({"cursor": "This is no cursor; begin at the first page."}) from None


def _value(column: Any, value: Any) -> Any:
    if column.get_internal_type() == "DateTimeField":
        moment = parse_datetime(value)
        if moment is None or moment.tzinfo is None:
            raise ValueError(value)
        return moment
    if type(value) is not int or abs(value) >= 2**63:
        raise ValueError(value)
    return value


def _after(queryset: QuerySet[Any], order: tuple[str, ...], values: list[Any]) -> QuerySet[Any]:
    way = "lt" if order[0].startswith("-") else "gt"
    names = [name.lstrip("-") for name in order]
    later, same = Q(), Q()
    for name, value in zip(names, values, strict=True):
        later |= same & Q(**{f"{name}__{way}": value})
        same &= Q(**{name: value})
    # The first condition alone is what the index can seek by.
    return queryset.filter(**{f"{names[0]}__{way}e": values[0]}).filter(later)
