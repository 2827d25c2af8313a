"""REST: how things stand, in numbers."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from instances.api.insight_serializers import BoardSerializer
from instances.engine.states import State
from instances.insight import workers
from instances.insight.board import board
from instances.models import Instance, OperationRecord
from instances.operations import backfill
from instances.operations.records import UNFINISHED
from instances.reading import count
from instances.record_filters import visible_records
from weops.api.views import LIST_SECONDS, Actions, user_of
from weops.console.paging import COUNT_CAP, time_limit
from weops.projects import access


class OverviewSerializer(serializers.Serializer):
    states = serializers.DictField(
        child=serializers.IntegerField(), help_text=f"Instances by state; counting stops at {COUNT_CAP:,}."
    )
    capped = serializers.ListField(
        child=serializers.CharField(),
        help_text="States with more, as far as they could be counted.",
    )
    workers = serializers.IntegerField(help_text="Workers that take executions.")
    operations = serializers.IntegerField(help_text="That are not finished.")
    backfills = serializers.IntegerField(help_text="Plans that are not finished.")


class Overview(Actions):
    """How things stand in your projects."""

    @extend_schema(responses=forced_singular_serializer(OverviewSerializer))
    def list(self, request: Request) -> Response:
        """Instances by state, workers, operations and plans that are not finished."""
        user = user_of(request)
        rows = access.within(Instance.objects.filter(for_each_id=None).order_by(), user, "project_id")
        with time_limit(LIST_SECONDS):
            counts = count(rows, COUNT_CAP)
            found: dict[str, Any] = {
                "states": {state.value: min(counts.found.get(state, 0), COUNT_CAP) for state in State},
                "capped": [
                    state.value
                    for state in State
                    if state in counts.more or counts.found.get(state, 0) > COUNT_CAP
                ],
                "workers": workers.alive_workers(timezone.now()),
                "operations": visible_records(
                    OperationRecord.objects.filter(state__in=UNFINISHED), user
                ).count(),
                "backfills": sum(plan.unfinished for plan in backfill.visible(user).order_by("-id")[:200]),
            }
        return Response(found)


class Blockers(Actions):
    """What holds up everything that waits."""

    @extend_schema(responses=forced_singular_serializer(BoardSerializer))
    def list(self, request: Request) -> Response:
        """The topmost blockers, the one that holds up most instances first, with what helps."""
        with time_limit(LIST_SECONDS):
            return Response(board(user_of(request)).as_json())
