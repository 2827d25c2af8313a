"""Which instances a request means: ids, or all that match the filters of the list."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from instances.filters import InstanceFilter
from instances.models import Instance
from weops.api.fields import LARGEST
from weops.api.filtering import apply
from weops.api.views import user_of
from weops.projects import access

MOST_IDS = 10_000


class ChoiceSerializer(serializers.Serializer):
    """`instances` or `filter`, one of the two."""

    instances = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=LARGEST),
        required=False,
        min_length=1,
        max_length=MOST_IDS,
        help_text="Ids.",
    )
    filter = serializers.DictField(
        required=False, help_text="Names and values as the list of instances takes them; lists for several."
    )


def chosen(values: Mapping[str, Any], request: Request) -> "QuerySet[Instance] | list[int]":
    """Ids as they are, or the rows that match and that the user sees. Raises ValidationError."""
    ids, given = values.get("instances"), values.get("filter")
    if (ids is None) == (given is None):
        raise ValidationError({"instances": "Send either instances or filter."})
    if ids is not None:
        return list(ids)
    query = _query(given or {})
    if not any(query.values()):
        raise ValidationError(
            {"filter": "Write at least one filter; none would mean every instance there is."}
        )
    visible = access.within(Instance.objects.all(), user_of(request), "project_id")
    rows: QuerySet[Instance] = apply(InstanceFilter, request, visible, query)
    return rows


def _query(given: Mapping[str, Any]) -> QueryDict:
    query = QueryDict(mutable=True)
    for name, value in given.items():
        if name not in InstanceFilter.base_fields:
            known = ", ".join(sorted(InstanceFilter.base_fields))
            raise ValidationError({f"filter.{name}"[:100]: f"There is no such filter; there are {known}."})
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in values):
            raise ValidationError({f"filter.{name}": "Write a text, a number, or a list of them."})
        query.setlist(name, [str(one) for one in values])
    return query
