"""REST: backfill plans: preview, create, steer, progress, runs."""

import datetime as dt
from typing import Any

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from instances.models import BackfillPlan, BackfillRun
from instances.operations import backfill
from weops.api.errors import Wrong
from weops.api.fields import RowSerializer, WithReason, name_of
from weops.api.views import SOURCE, Listed, Rows, read_body, user_of
from weops.projects import access
from weops.projects.access import Right

MOST_DATA_TIMES = 500


class PlanSerializer(RowSerializer):
    created_by = serializers.CharField(source="created_by_name", read_only=True)
    total = serializers.IntegerField(read_only=True)
    percent_complete = serializers.FloatField(read_only=True)
    percent_successful = serializers.FloatField(read_only=True)
    finished = serializers.SerializerMethodField()
    operation = serializers.IntegerField(source="operation_id", read_only=True, allow_null=True)

    class Meta:
        model = BackfillPlan
        fields = (
            "id",
            "name",
            "state",
            "finished",
            "message",
            "created_by",
            "reason",
            "options",
            "task_ids",
            "data_times",
            "total",
            "percent_complete",
            "percent_successful",
            "pending",
            "active",
            "blocked",
            "success",
            "failed",
            "refused",
            "stopped",
            "skipped",
            "operation",
            "created_at",
            "finished_at",
        )
        read_only_fields = fields

    def get_finished(self, plan: BackfillPlan) -> bool:
        return not plan.unfinished


class PlanPreviewRequestSerializer(serializers.Serializer):
    options = serializers.DictField(help_text="tasks, ranges and all else of docs/backfill.md.")


class PlanCreateSerializer(PlanPreviewRequestSerializer, WithReason):
    name = serializers.CharField(required=False, allow_blank=True, max_length=200, default="")
    token = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=200,
        default="",
        help_text="Of a preview; then exactly that is done, or nothing.",
    )


class PlanPreviewSerializer(serializers.Serializer):
    token = serializers.CharField()
    summary = serializers.DictField()


class StopSerializer(WithReason):
    running = serializers.BooleanField(required=False, default=False, help_text="Terminate what runs, too.")


class RunSerializer(RowSerializer):
    task_name = name_of("task.name")
    instance = serializers.IntegerField(source="instance_id", read_only=True, allow_null=True)

    class Meta:
        model = BackfillRun
        fields = (
            "id",
            "task",
            "task_name",
            "data_time",
            "planned_time",
            "wave",
            "state",
            "instance",
            "life_round",
            "message",
            "started_at",
            "ended_at",
        )
        read_only_fields = fields


class ProgressSerializer(serializers.Serializer):
    data_time = serializers.DateTimeField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="{state: runs}")


class Backfills(Rows):
    """Tasks run again, or for the first time, over ranges of dates."""

    queryset = BackfillPlan.objects.all()
    serializer_class = PlanSerializer
    order = ("-id",)
    filterset_fields = ("state", "created_by")
    http_method_names = ("get", "post", "head", "options")

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows & backfill.visible(user_of(self.request))

    @extend_schema(request=PlanPreviewRequestSerializer, responses=PlanPreviewSerializer)
    @action(methods=["post"], detail=False)
    def preview(self, request: Request) -> Response:
        """Says what a plan would do; nothing is written down."""
        sent = read_body(PlanPreviewRequestSerializer, request).validated_data
        made, token = backfill.preview(sent["options"], user=user_of(request))
        return Response({"token": str(token), "summary": made.summary})

    @extend_schema(request=PlanCreateSerializer, responses={201: PlanSerializer})
    def create(self, request: Request) -> Response:
        """Makes a plan and begins it."""
        sent = read_body(PlanCreateSerializer, request).validated_data
        plan = backfill.create(
            sent["options"],
            user=user_of(request),
            source=SOURCE,
            reason=sent["reason"],
            name=sent["name"],
            token=sent["token"],
        )
        return Response(PlanSerializer(plan).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=WithReason, responses=PlanSerializer)
    @action(methods=["post"], detail=True)
    def pause(self, request: Request, **kwargs: Any) -> Response:
        """Starts nothing new until it is resumed."""
        return self._steer(backfill.pause, read_body(WithReason, request).validated_data)

    @extend_schema(request=WithReason, responses=PlanSerializer)
    @action(methods=["post"], detail=True)
    def resume(self, request: Request, **kwargs: Any) -> Response:
        """Goes on."""
        return self._steer(backfill.resume, read_body(WithReason, request).validated_data)

    @extend_schema(request=StopSerializer, responses=PlanSerializer)
    @action(methods=["post"], detail=True)
    def stop(self, request: Request, **kwargs: Any) -> Response:
        """Ends the plan and terminates what waits."""
        return self._steer(backfill.stop, read_body(StopSerializer, request).validated_data)

    def _steer(self, how: Any, given: dict[str, Any]) -> Response:
        plan = self.get_object()
        if not how(plan, user=user_of(self.request), source=SOURCE, **given):
            raise Wrong(
                409, "refused", f"The plan is {plan.get_state_display().lower()}.", "Read its state again."
            )
        plan.refresh_from_db()
        return Response(PlanSerializer(plan).data)

    @extend_schema(
        responses=ProgressSerializer(many=True),
        filters=False,
        parameters=[
            OpenApiParameter("after", OpenApiTypes.DATETIME, description="Data times after this one.")
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def progress(self, request: Request, **kwargs: Any) -> Response:
        """Runs by state of up to 500 data times, ascending."""
        self._check_parameters({"after"})
        rows = backfill.by_data_time(self.get_object(), _moment(request), MOST_DATA_TIMES)
        return Response(ProgressSerializer(rows, many=True).data)


def _moment(request: Request) -> dt.datetime | None:
    text = request.query_params.get("after")
    if text is None:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValidationError({"after": "Write a time with its zone, such as 2026-03-25T00:00:00Z."})
    return found


class BackfillRuns(Listed):
    """The runs of a plan, in the order of starting; each with its instance once there is one."""

    queryset = BackfillRun.objects.select_related("task")
    serializer_class = RunSerializer
    filterset_fields = ("state", "task", "data_time")
    http_method_names = ("get", "head", "options")

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        user = user_of(self.request)
        plan = get_object_or_404(backfill.visible(user), pk=self.kwargs["plan"])
        return access.within(rows.filter(plan=plan), user, "task__workflow__project_id", Right.VIEW)
