"""REST: instances, what they wait for, why they do not run; executions and their logs."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from instances.api import export, lineage, logs
from instances.api import instance_serializers as shapes
from instances.filters import InstanceFilter
from instances.insight.why import why
from instances.models import Execution, Instance, StateChange, TaskVersion
from instances.operations import records
from instances.operations.acknowledging import acknowledgements
from weops.api.filtering import FormFilters
from weops.api.views import SOURCE, Rows, user_of
from weops.console.folders import folder_paths

READ = ("get", "head", "options")
# The columns of related rows that are shown; code and parameters of tasks may be large.
_RELATED = ("task", "project", "workflow", "owner", "resource_group")
_OF_RELATED = (
    "task__name",
    "task__timezone",
    "project__name",
    "workflow__name",
    "owner__username",
    "resource_group__name",
)
_COLUMNS = [one.name for one in Instance._meta.concrete_fields if one.name not in ("application_parameters",)]


class NodeSerializer(serializers.Serializer):
    """Hidden: of a project that you do not see."""

    id = serializers.IntegerField()
    level = serializers.IntegerField(help_text="0 is the instance itself, negative is upstream.")
    task = serializers.IntegerField()
    task_name = serializers.CharField(allow_null=True)
    project_name = serializers.CharField(allow_null=True)
    data_time = serializers.DateTimeField()
    state = serializers.CharField()
    error_code = serializers.CharField()
    hidden = serializers.BooleanField()


class LineageEdgeSerializer(serializers.Serializer):
    """`instance` waits for `upstream`, which is null as long as it is not generated."""

    instance = serializers.IntegerField()
    upstream = serializers.IntegerField(allow_null=True)
    upstream_task = serializers.IntegerField()
    upstream_task_name = serializers.CharField(allow_null=True)
    upstream_data_time = serializers.DateTimeField()
    is_self = serializers.BooleanField()
    satisfied_at = serializers.DateTimeField(allow_null=True)
    waived = serializers.BooleanField()
    removed_at = serializers.DateTimeField(allow_null=True)


class LineageSerializer(serializers.Serializer):
    nodes = NodeSerializer(many=True)
    edges = LineageEdgeSerializer(many=True)
    cut = serializers.BooleanField(help_text="There is more than is shown.")


class Instances(Rows):
    """One task at one data time each. The filters are those of the list in the admin."""

    queryset = Instance.objects.select_related(*_RELATED).only(*_COLUMNS, *_OF_RELATED)
    filter_backends = [FormFilters]
    filter_form = InstanceFilter
    order = ("-data_time", "-id")
    slow = True
    http_method_names = READ

    def get_serializer_class(self) -> Any:
        return shapes.InstanceSerializer if self.action == "list" else shapes.InstanceDetailSerializer

    def decorate(self, page: list[Any]) -> list[Any]:
        paths = folder_paths(instance.folder_id for instance in page)
        failed = [instance.pk for instance in page if instance.error_code]
        seen = acknowledgements(failed) if failed else {}
        for instance in page:
            instance.folder_path = paths.get(instance.folder_id, "")
            instance.is_acknowledged = instance.pk in seen
        return page

    @extend_schema(
        responses={(200, "application/x-ndjson"): OpenApiTypes.STR, (200, "text/csv"): OpenApiTypes.STR},
        parameters=[
            OpenApiParameter("as", enum=["ndjson", "csv"], default="ndjson", description="Its format."),
            OpenApiParameter("fields", str, description="Names, separated by commas."),
        ],
    )
    @action(detail=False, pagination_class=None)
    def export(self, request: Request) -> StreamingHttpResponse:
        """All that match the filters, as NDJSON or CSV, newest data time first. The export is put on record."""
        self._check_parameters({"as", "fields", *self._filter_names()})
        kind = request.query_params.get("as", "ndjson")
        if kind not in export.TYPES:
            raise ValidationError({"as": f"Write {' or '.join(export.TYPES)}."})
        fields = tuple(dict.fromkeys(self._wanted() or export.FIELDS))
        if unknown := [name for name in fields if name not in export.FIELDS]:
            known = ", ".join(export.FIELDS)
            raise ValidationError({"fields": f"There is no field {unknown[0][:100]!r}; there are {known}."})
        rows = self.filter_queryset(self.visible(Instance.objects.all()))
        asked = {name: request.query_params.getlist(name) for name in request.query_params}
        options = {"format": kind, "fields": list(fields), "filter": asked}
        records.note("export_instances", user=user_of(request), source=SOURCE, options=options)
        return export.stream(request._request, rows, kind, fields)

    @extend_schema(
        responses={(200, "application/json"): OpenApiTypes.OBJECT},
        filters=False,
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def why(self, request: Request, **kwargs: Any) -> Response:
        """Why it is not running: everything that keeps it, in order, up to the topmost blocker."""
        self._check_parameters(())
        return Response(why(self.get_object(), user_of(request)).as_json())

    @extend_schema(
        responses=LineageSerializer,
        filters=False,
        parameters=[
            OpenApiParameter("direction", enum=["upstream", "downstream"], default="upstream"),
            OpenApiParameter(
                "levels",
                {"type": "integer", "minimum": 1, "maximum": lineage.MOST_LEVELS, "default": 1},
            ),
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def lineage(self, request: Request, **kwargs: Any) -> Response:
        """What it waits for, or what waits for it, level by level."""
        self._check_parameters({"direction", "levels"})
        direction = request.query_params.get("direction", "upstream")
        levels = request.query_params.get("levels", "1")
        if direction not in ("upstream", "downstream"):
            raise ValidationError({"direction": "Write upstream or downstream."})
        if not (levels.isascii() and levels.isdecimal() and 1 <= int(levels[:6]) <= lineage.MOST_LEVELS):
            raise ValidationError({"levels": f"Write a whole number from 1 to {lineage.MOST_LEVELS}."})
        found = lineage.walk(self.get_object(), user_of(request), direction, int(levels))
        return Response({"nodes": list(found.nodes.values()), "edges": found.edges, "cut": found.cut})

    @extend_schema(responses=shapes.ChangeSerializer(many=True), filters=False)
    @action(detail=True, filter_backends=[], pagination_class=None)
    def history(self, request: Request, **kwargs: Any) -> Response:
        """Its last thousand changes of state, newest first."""
        self._check_parameters(())
        rows = StateChange.objects.filter(instance_id=self.get_object().pk).order_by("-id")[:1000]
        return Response(shapes.ChangeSerializer(rows, many=True).data)


class Executions(Rows):
    """Attempts of instances: one for each first run, retry, rerun and backfill."""

    queryset = Execution.objects.select_related("instance")
    project_path = "instance__project_id"
    order = ("-id",)
    filterset_fields = ("instance",)
    http_method_names = READ

    def get_serializer_class(self) -> Any:
        return shapes.ExecutionSerializer if self.action == "list" else shapes.ExecutionDetailSerializer

    def rows(self) -> Any:
        versions = TaskVersion.objects.only("number", "code")
        if self.action == "list":
            versions = TaskVersion.objects.only("number")
        return super().rows().prefetch_related(Prefetch("version", versions))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if not request.query_params.get("instance"):
            raise ValidationError({"instance": "Say of which instance: ?instance=17."})
        return super().list(request, *args, **kwargs)

    @extend_schema(
        responses=shapes.LogPageSerializer,
        filters=False,
        parameters=[
            OpenApiParameter("cursor", {"type": "integer", "minimum": 0, "default": 0}),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": logs.MOST}),
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def log(self, request: Request, **kwargs: Any) -> Response:
        """The log from `cursor` on, in characters. Ask again at `next_cursor` until it is done."""
        self._check_parameters({"cursor", "limit"})
        return Response(logs.page(self.get_object(), request.query_params))

    @extend_schema(
        responses={(200, "text/plain"): OpenApiTypes.STR, (206, "text/plain"): OpenApiTypes.STR},
        filters=False,
        parameters=[
            OpenApiParameter(
                "Range", str, OpenApiParameter.HEADER, description="One range of bytes, as `bytes=0-999`."
            )
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None, url_path="log/raw")
    def raw_log(self, request: Request, **kwargs: Any) -> HttpResponse:
        """The whole log as plain text, or a range of its bytes."""
        return logs.raw(self.get_object(), request.headers.get("Range", ""))

    @extend_schema(
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
        filters=False,
        parameters=[
            OpenApiParameter("cursor", {"type": "integer", "minimum": 0}),
            OpenApiParameter(
                "Last-Event-ID",
                {"type": "string", "pattern": "^[0-9]{1,13}$"},
                OpenApiParameter.HEADER,
                description="A cursor.",
            ),
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None, url_path="log/stream")
    def stream_log(self, request: Request, **kwargs: Any) -> Any:
        """The log as server-sent events while it is written: `lines`, `partial`, `waiting`, `end`; an id is a cursor."""
        return logs.stream(self.get_object(), request)
