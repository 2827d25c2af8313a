"""REST: operations on instances: kinds, preview, apply by its token, progress, outcomes, cancel, undo."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from instances import operations
from instances.api.choice import ChoiceSerializer, chosen
from instances.insight.shown import hide_options
from instances.kinds import ON_INSTANCES
from instances.models import FrozenSet, OperationItem, OperationRecord
from instances.operations.records import UNFINISHED, projects_of
from instances.record_filters import RecordFilter, operator_of, visible_items, visible_records
from weops.api import tokens
from weops.api.fields import Choice, RowSerializer, WithReason
from weops.api.filtering import FormFilters
from weops.api.views import SOURCE, Listed, Rows, read_body, user_of
from weops.console.paging import time_limit
from weops.projects import access
from weops.projects.access import Right

PREVIEW_SECONDS = 30
_KINDS = [one.kind for one in ON_INSTANCES]


class KindSerializer(serializers.Serializer):
    kind = serializers.CharField()
    title = serializers.CharField()
    warning = serializers.CharField(allow_blank=True)
    right = serializers.CharField(help_text="What it takes in the instance's project.")
    reason_required = serializers.BooleanField()
    undoable = serializers.BooleanField()
    allowed_from = serializers.ListField(child=serializers.CharField(), help_text="States.")


class PreviewRequestSerializer(ChoiceSerializer):
    kind = Choice(choices=_KINDS)
    options = serializers.DictField(required=False, help_text="Of this kind; see docs/operations.md.")


class RunSerializer(PreviewRequestSerializer, WithReason):
    background = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="By default only for more than 1,000 instances.",
    )


class PreviewSerializer(serializers.Serializer):
    """What would happen, exactly; `token` applies it."""

    token = serializers.UUIDField()
    kind = serializers.CharField(source="frozen.kind")
    total = serializers.IntegerField(source="frozen.total")
    allowed = serializers.IntegerField(source="summary.allowed")
    refused = serializers.IntegerField(source="summary.refused")
    sentences = serializers.ListField(child=serializers.CharField(), source="summary.sentences")
    reason_required = serializers.SerializerMethodField()
    summary = serializers.DictField(
        help_text="Counts by state, project, workflow, owner and layer; refusals; what is left out; duration."
    )

    def get_reason_required(self, preview: Any) -> bool:
        return operations.get(preview.frozen.kind).reason_required


class ApplySerializer(WithReason):
    token = serializers.UUIDField()
    background = serializers.BooleanField(required=False, allow_null=True, default=None)


class OperationSerializer(RowSerializer):
    operator = serializers.SerializerMethodField()
    finished = serializers.SerializerMethodField()
    undoes = serializers.IntegerField(source="undoes_id", read_only=True, allow_null=True)

    class Meta:
        model = OperationRecord
        fields: Any = (
            "id",
            "kind",
            "state",
            "finished",
            "operator",
            "source",
            "reason",
            "options",
            "total",
            "done",
            "refused",
            "failed",
            "cancelled",
            "undoes",
            "created_at",
            "started_at",
            "finished_at",
            "cancel_requested_at",
        )
        read_only_fields = fields

    def get_operator(self, record: OperationRecord) -> str:
        return operator_of(record)

    def get_finished(self, record: OperationRecord) -> bool:
        return record.state not in UNFINISHED


class OperationDetailSerializer(OperationSerializer):
    why_not_undoable = serializers.SerializerMethodField()

    class Meta(OperationSerializer.Meta):
        fields = (*OperationSerializer.Meta.fields, "why_not_undoable")
        read_only_fields = fields

    def get_why_not_undoable(self, record: OperationRecord) -> str:
        """Empty: it can be undone."""
        return operations.why_not_undoable(record)


class ItemSerializer(RowSerializer):
    instance = serializers.IntegerField(source="instance_id", read_only=True)

    class Meta:
        model = OperationItem
        fields = ("instance", "outcome", "from_state", "to_state", "message", "at")
        read_only_fields = fields


class Operations(Rows):
    """Operations on record, and new ones: preview, then apply the preview's token; or run at once."""

    queryset = OperationRecord.objects.select_related("operator")
    filter_backends = [FormFilters]
    filter_form = RecordFilter
    order = ("-id",)
    slow = True
    http_method_names = ("get", "post", "head", "options")

    def get_serializer_class(self) -> Any:
        return OperationDetailSerializer if self.action == "retrieve" else OperationSerializer

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return visible_records(rows, self.request.user)

    def decorate(self, page: Any) -> Any:
        hide_options(page)
        return page

    @extend_schema(responses=KindSerializer(many=True), filters=False)
    @action(detail=False, filter_backends=[], pagination_class=None)
    def kinds(self, request: Request) -> Response:
        """The kinds of operation, each with its right and the states that it is allowed from."""
        self._check_parameters(())
        return Response([_kind(one) for one in ON_INSTANCES])

    @extend_schema(request=PreviewRequestSerializer, responses={201: PreviewSerializer})
    @action(methods=["post"], detail=False)
    def preview(self, request: Request) -> Response:
        """Says exactly what an operation would do, and writes down the set that its token stands for."""
        sent = read_body(PreviewRequestSerializer, request).validated_data
        user = user_of(request)
        with time_limit(PREVIEW_SECONDS):
            rows = chosen(sent, request)
            found = operations.preview(sent["kind"], rows, user=user, options=sent.get("options", {}))
        return Response(PreviewSerializer(found).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ApplySerializer, responses={201: OperationSerializer, 202: OperationSerializer})
    def create(self, request: Request) -> Response:
        """Does what was previewed, exactly that. The same token twice gives the same record."""
        sent = read_body(ApplySerializer, request).validated_data
        _check_token(request, FrozenSet.objects.filter(token=sent["token"], user=request.user.pk).first())
        record = operations.apply(
            sent["token"],
            user=user_of(request),
            reason=sent["reason"],
            source=SOURCE,
            background=sent["background"],
        )
        return self._answer(record)

    @extend_schema(request=RunSerializer, responses={201: OperationSerializer, 202: OperationSerializer})
    @action(methods=["post"], detail=False)
    def run(self, request: Request) -> Response:
        """Does it at once, without a preview; what cannot be done is refused row by row."""
        sent = read_body(RunSerializer, request).validated_data
        user, options = user_of(request), sent.get("options", {})
        with time_limit(PREVIEW_SECONDS):
            rows = chosen(sent, request)
            found = operations.preview(sent["kind"], rows, user=user, options=options)
        _check_token(request, found.frozen)
        record = operations.apply(
            found.token, user=user, reason=sent["reason"], source=SOURCE, background=sent["background"]
        )
        return self._answer(record)

    @extend_schema(request=None, responses=OperationSerializer)
    @action(methods=["post"], detail=True)
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Asks it to stop after the batch that is being applied; what is left gets the outcome `cancelled`."""
        record = self.get_object()
        if not access.has_anywhere(user_of(request), Right.OPERATE):
            raise PermissionDenied("You do not have the right to operate.")
        operations.cancel(record, user_of(request))
        record.refresh_from_db()
        return Response(OperationSerializer(record).data)

    @extend_schema(request=None, responses={201: PreviewSerializer})
    @action(methods=["post"], detail=True, url_path="undo/preview")
    def preview_undo(self, request: Request, **kwargs: Any) -> Response:
        """Says what an undo would put back; its token is applied like any other."""
        found = operations.preview_undo(self.get_object(), user=user_of(request))
        return Response(PreviewSerializer(found).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=WithReason, responses={201: OperationSerializer, 202: OperationSerializer})
    @action(methods=["post"], detail=True)
    def undo(self, request: Request, **kwargs: Any) -> Response:
        """Puts back what it did, where nothing irreversible has happened since."""
        record = self.get_object()
        sent = read_body(WithReason, request).validated_data
        _check_token(request, record.frozen_set)
        undone = operations.undo(record, user=user_of(request), reason=sent["reason"], source=SOURCE)
        return self._answer(undone)

    def _answer(self, record: OperationRecord) -> Response:
        """201 if it is finished, 202 while it goes on in the background."""
        code = status.HTTP_202_ACCEPTED if record.state in UNFINISHED else status.HTTP_201_CREATED
        response = Response(OperationSerializer(record).data, status=code)
        response["Location"] = self.reverse_action("detail", args=(record.pk,))
        return response


class Outcomes(Listed):
    """What became of each instance of an operation, in the order of their ids."""

    queryset = OperationItem.objects.all()
    serializer_class = ItemSerializer
    order = ("instance_id",)
    filterset_fields = ("outcome", "instance_id")
    http_method_names = ("get", "head", "options")

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        seen = visible_records(OperationRecord.objects.all(), self.request.user)
        record = get_object_or_404(seen, pk=self.kwargs["operation"])
        return visible_items(self.request.user).filter(operation=record)


def _kind(one: Any) -> dict[str, Any]:
    operation = operations.get(one.kind)
    return {
        "kind": one.kind,
        "title": one.title,
        "warning": one.warning,
        "right": operation.right,
        "reason_required": operation.reason_required,
        "undoable": operation.undoable,
        "allowed_from": list(operation.allowed_from()),
    }


def _check_token(request: Request, frozen: FrozenSet | None) -> None:
    """A token with fewer rights than its user may not apply what only the user may: batches in the background know the
    user alone."""
    if frozen is None or not tokens.is_limited(request.auth):
        return
    operation = operations.get(frozen.kind)
    needed = operation.rights(operation.parse(frozen.options))
    if not all(needed <= access.rights(request.user, pk) for pk in projects_of(frozen)):
        raise PermissionDenied(
            "Your token does not have the rights that this takes in every project of the set."
        )
