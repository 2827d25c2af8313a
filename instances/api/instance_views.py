"""REST: instances, what they wait for, why they do not run; executions and their logs."""

from __future__ import annotations

from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from instances.api import answer_serializers as answer_shapes
from instances.api import export, logs
from instances.api import insight_serializers as found_shapes
from instances.api import instance_serializers as shapes
from instances.engine.secrets import masker_of
from instances.filters import InstanceFilter
from instances.insight import changed, traversals
from instances.insight.gantt import of_rows
from instances.insight.lineage import MOST_LAYERS, lineage
from instances.insight.shown import shown
from instances.insight.why import why
from instances.models import Execution, Instance, StateChange, TaskVersion
from instances.models.traversal import TraversalState
from instances.operations import records
from instances.operations.acknowledging import acknowledgements
from instances.reading import page_ids, total
from weops.api.filtering import FormFilters
from weops.api.pagination import Keyset
from weops.api.prepared import Prepared
from weops.api.views import LIST_SECONDS, SOURCE, Rows, number, read, user_of
from weops.console.folders import PATH_OF_FOLDER, folder_paths
from weops.console.paging import time_limit
from weops.projects import access
from weops.projects.access import Right

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


class InstancePages(Keyset):
    """Pages that read a bounded number of rows, whatever the filter."""

    def count(self, queryset: QuerySet[Any]) -> int:
        return total(queryset)

    def first(self, queryset: QuerySet[Any], limit: int) -> list[Any]:
        ids = page_ids(queryset, limit)
        return list(queryset.filter(pk__in=ids)) if ids else []


class Instances(Rows):
    """One task at one data time each. The filters are those of the list in the admin."""

    queryset = Instance.objects.select_related(*_RELATED).only(*_COLUMNS, *_OF_RELATED)
    filter_backends = [FormFilters]
    filter_form = InstanceFilter
    pagination_class = InstancePages
    order = ("-data_time", "-id")
    slow = True
    http_method_names = READ

    prepared = Prepared(
        Instance.objects.annotate(folder_path=PATH_OF_FOLDER),
        shapes.InstanceDetailSerializer,
        reads=("start_time", "end_time", "error_code", "error_message", "overrides", "task_id", "project_id"),
    )

    def get_serializer_class(self) -> Any:
        return shapes.InstanceSerializer if self.action == "list" else shapes.InstanceDetailSerializer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.query_params:
            return super().retrieve(request, *args, **kwargs)
        row = self.prepared.find(int(kwargs["pk"]))
        if row is None or Right.VIEW not in access.rights(user_of(request), row.project_id):
            raise Http404
        row.is_acknowledged = bool(row.error_code) and row.pk in acknowledgements([row.pk])
        return read(request, self.prepared.show(row))

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
        filters=True,
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

    @extend_schema(responses=answer_shapes.WhySerializer, filters=False)
    @action(detail=True, filter_backends=[], pagination_class=None)
    def why(self, request: Request, **kwargs: Any) -> Response:
        """Why it is not running: everything that keeps it, in order, up to the topmost blocker."""
        self._check_parameters(())
        return Response(why(self.get_object(), user_of(request)).as_json())

    @extend_schema(
        responses=found_shapes.GraphSerializer,
        filters=False,
        parameters=[
            OpenApiParameter(name, {"type": "integer", "minimum": 0, "maximum": MOST_LAYERS, "default": 1})
            for name in ("up", "down")
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def lineage(self, request: Request, **kwargs: Any) -> Response:
        """The graph of what it waits for (`up` layers) and what waits for it (`down`), with places to draw it."""
        self._check_parameters({"up", "down"})
        up, down = (number(request, name, 1, MOST_LAYERS) for name in ("up", "down"))
        return Response(lineage(self.get_object(), user_of(request), up=up, down=down).as_json())

    @extend_schema(
        responses=found_shapes.TimelineSerializer,
        filters=True,
        parameters=[OpenApiParameter("page", {"type": "integer", "minimum": 1, "default": 1})],
    )
    @action(detail=False, pagination_class=None)
    def timeline(self, request: Request) -> Response:
        """The first 2,000 that match the filters by data time, on one time line, with the chain that ends last."""
        self._check_parameters({"page", *self._filter_names()})
        page = number(request, "page", 1, 1_000, least=1)
        with time_limit(LIST_SECONDS):
            rows = self.filter_queryset(self.visible(Instance.objects.all()))
            found = of_rows(rows, timezone.now(), page)
        return Response(found_shapes.TimelineSerializer(found).data)

    @extend_schema(
        responses=found_shapes.TraversalsSerializer,
        filters=False,
        parameters=[
            OpenApiParameter("after", {"type": "integer", "minimum": 0}, description="A traversal's number."),
            OpenApiParameter("state", enum=TraversalState.values),
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def traversals(self, request: Request, **kwargs: Any) -> Response:
        """Of a For-each instance: its items by number, fifty at a time, and how far each is. Others have none."""
        self._check_parameters({"after", "state"})
        after = number(request, "after", -1, 2**31 - 1)
        state = request.query_params.get("state", "")
        if state and state not in TraversalState.values:
            raise ValidationError({"state": f"Choose one of {', '.join(TraversalState.values)}."})
        instance = self.get_object()
        found = traversals.listed(instance.pk, after, [state] if state else [])
        if found is None:
            return Response({"counts": None, "results": [], "after": None})
        mask = masker_of(instance.task_id)
        return Response(found_shapes.TraversalsSerializer(found, context={"mask": mask}).data)

    @extend_schema(
        operation_id="instances_traversal_retrieve",
        responses=found_shapes.DrawnSerializer,
        filters=False,
        parameters=[OpenApiParameter("number", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH)],
    )
    @action(
        detail=True, filter_backends=[], pagination_class=None, url_path="traversals/(?P<number>[0-9]{1,9})"
    )
    def traversal(self, request: Request, **kwargs: Any) -> Response:
        """The inner tasks of one traversal, in an order in which each comes after those that it follows."""
        self._check_parameters(())
        instance = self.get_object()
        found = traversals.drawn(instance.pk, int(kwargs["number"]))
        if found is None:
            raise Http404
        row = found.row
        said = {
            "number": row.number,
            "item": masker_of(instance.task_id).mask_text(row.item),
            "state": row.state,
            "old": found.is_old,
            "steps": [step for layer in found.layers for step in layer],
        }
        return Response(found_shapes.DrawnSerializer(said).data)

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
        if self.action == "retrieve":
            return super().rows().select_related("version")
        return super().rows().prefetch_related(Prefetch("version", TaskVersion.every.only("number")))

    def decorate(self, page: list[Any]) -> list[Any]:
        if self.action == "retrieve":
            for execution in page:
                execution.ran = shown(execution.instance, execution)
        return page

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if not request.query_params.get("instance"):
            raise ValidationError({"instance": "Say of which instance: ?instance=17."})
        return super().list(request, *args, **kwargs)

    @extend_schema(responses=answer_shapes.ChangesSerializer, filters=False)
    @action(detail=True, filter_backends=[], pagination_class=None)
    def changes(self, request: Request, **kwargs: Any) -> Response:
        """What is different from the last run of the task that succeeded: code, parameters, upstream, operations, log."""
        self._check_parameters(())
        seen = self.get_object()
        execution = changed.of_failed(seen.pk, seen.instance)
        if execution is None:
            raise Http404
        return Response(changed.as_json(changed.compare(execution, user_of(request))))

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
    def raw_log(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        """The whole log as plain text, or a range of its bytes."""
        streams = isinstance(request._request, ASGIRequest)
        return logs.raw(self.get_object(), request.headers.get("Range", ""), streams=streams)

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
