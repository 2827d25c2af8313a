"""REST: alarm rules, the channels that they tell, and messages. What is right and who may is said by `weops.alarms`."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from weops.alarms import channels, messages, rules
from weops.alarms.api import serializers as shapes
from weops.alarms.filters import MessageApiFilter
from weops.alarms.groups import GroupSpec, specs_of
from weops.alarms.models import Channel, Message, Rule
from weops.alarms.rules import RuleSpec
from weops.alarms.testing import send_test, send_test_to
from weops.api.filtering import FormFilters
from weops.api.throttling import Bucket, Seldom
from weops.api.views import SOURCE, Defined, Rows, read_body, user_of
from weops.projects import access
from weops.projects.access import Right
from weops.projects.defining import require
from weops.projects.models import Project

# Messages that go out at once, to whatever address a rule names.
SELDOM = [Bucket, Seldom]


class _Alarms(Defined):
    """Rows that plain functions write; their project stays as it was made."""

    def _project(self, values: dict[str, Any]) -> Project:
        """Takes it out of the values. Raises ValidationError."""
        seen = access.projects_with(self.request.user, Right.VIEW)
        if (found := seen.filter(pk=values.pop("project")).first()) is None:
            raise ValidationError({"project": "There is no such project, or you may not see it."})
        return found

    def _same_project(self, row: Any, values: dict[str, Any]) -> None:
        if values.pop("project", row.project_id) != row.project_id:
            raise ValidationError({"project": "It stays as it was made; make a new one instead."})


class AlarmRules(_Alarms):
    """What is alarmed about which tasks, and whom it tells. `groups` and `limits` are replaced as a whole."""

    queryset = Rule.objects.select_related("project", "creator")
    serializer_class = shapes.RuleSerializer
    filterset_fields = ("project", "name", "enabled", "level")

    def rows(self) -> QuerySet[Any]:
        return super().rows().prefetch_related("targets", "groups__people", "groups__channels")

    def decorate(self, page: list[Any]) -> list[Any]:
        for rule in page:
            rule.object_ids = sorted(target.object_id for target in rule.targets.all())
            rule.told = specs_of(rule)
        return page

    def make(self, values: dict[str, Any]) -> Rule:
        project = self._project(values)
        spec = RuleSpec(**{"object_ids": [], **_spec(values)})
        return rules.create(user_of(self.request), project, spec, source=SOURCE)

    def change(self, row: Rule, values: dict[str, Any]) -> None:
        self._same_project(row, values)
        rules.update(user_of(self.request), row.pk, source=SOURCE, **_spec(values))

    def remove(self, row: Rule) -> None:
        rules.delete(user_of(self.request), row.pk, source=SOURCE)

    @extend_schema(request=None, responses=shapes.TestedSerializer(many=True), filters=False)
    @action(methods=["post"], detail=True, filter_backends=[], pagination_class=None, throttle_classes=SELDOM)
    def test(self, request: Request, **kwargs: Any) -> Response:
        """Sends a message to all receivers of the rule, now, and says how it went. Owners of tasks are not told."""
        rule = self.get_object()
        require(user_of(request), rule.project, Right.AUTHOR)
        return Response(_tested(send_test(rule, user_of(request), SOURCE)))


def _spec(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of RuleSpec."""
    if "told" in values:
        values["groups"] = [GroupSpec(**one) for one in values.pop("told")]
    return values


class AlarmChannels(_Alarms):
    """Group chats and webhooks. An address goes in and never comes out; writing needs the right to administer."""

    queryset = Channel.objects.select_related("project").defer("ciphertext")
    serializer_class = shapes.ChannelSerializer
    # Who writes rules chooses from them.
    view_right = Right.AUTHOR
    filterset_fields = ("project", "name", "kind", "enabled")

    def make(self, values: dict[str, Any]) -> Channel:
        project = self._project(values)
        return channels.save(user_of(self.request), project, source=SOURCE, **values)

    def change(self, row: Channel, values: dict[str, Any]) -> None:
        self._same_project(row, values)
        present = {"name": row.name, "kind": row.kind, "enabled": row.enabled}
        changed = {**present, **values}
        channels.save(user_of(self.request), row.project, channel=row, source=SOURCE, **changed)

    def remove(self, row: Channel) -> None:
        channels.delete(user_of(self.request), row, source=SOURCE)

    @extend_schema(request=None, responses=shapes.TestedSerializer(many=True), filters=False)
    @action(methods=["post"], detail=True, filter_backends=[], pagination_class=None, throttle_classes=SELDOM)
    def test(self, request: Request, **kwargs: Any) -> Response:
        """Sends a message to the channel, now, and says how it went."""
        # With the address, which rows that are shown are read without.
        channel = Channel.objects.select_related("project").get(pk=self.get_object().pk)
        require(user_of(request), channel.project, Right.ADMINISTER)
        return Response(_tested([(channel.name, send_test_to(channel, user_of(request), SOURCE))]))


def _tested(found: list[tuple[str, str]]) -> Any:
    rows = [{"receiver": where, "sent": not error, "error": error} for where, error in found]
    return shapes.TestedSerializer(rows, many=True).data


class AlarmMessages(Rows):
    """What was told, the newest first. The filters are those of the list in the admin, and ids."""

    queryset = Message.objects.select_related("project", "acknowledged_by")
    serializer_class = shapes.MessageSerializer
    filter_backends = [FormFilters]
    filter_form = MessageApiFilter
    order = ("-id",)
    slow = True
    http_method_names = ("get", "head", "options", "post")

    @extend_schema(request=None, responses=shapes.MessageSerializer)
    @action(methods=["post"], detail=True, url_path="acknowledge")
    def acknowledge(self, request: Request, **kwargs: Any) -> Response:
        """Somebody takes care of it: no more repeats, no escalation. Who did so first stays on record."""
        row = self.get_object()
        if Right.OPERATE not in access.rights(request.user, row.project_id):
            raise PermissionDenied(f"You do not have the right to operate in project {row.project}.")
        messages.acknowledge(user_of(request), [row.pk])
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        operation_id="alarm_messages_acknowledge_many",
        request=shapes.AcknowledgeSerializer,
        responses=shapes.AcknowledgedSerializer,
        filters=False,
    )
    @action(methods=["post"], detail=False, url_path="acknowledge", pagination_class=None)
    def acknowledge_many(self, request: Request) -> Response:
        """The same for up to 1,000 of them; those that are not yours to acknowledge are left as they are."""
        sent = read_body(shapes.AcknowledgeSerializer, request).validated_data
        return Response({"acknowledged": messages.acknowledge(user_of(request), sent["messages"])})
