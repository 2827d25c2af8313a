"""Alarm rules, channels and messages, as JSON."""

from typing import Any

from rest_framework import serializers

from weops.alarms.groups import MOST_GROUPS, MOST_QUIET, MOST_RECEIVERS
from weops.alarms.kinds import ChannelKind, Kind, Level, LimitKind, Measure, ObjectKind, Receivers, Trigger
from weops.alarms.models import Channel, Message, Rule
from weops.alarms.rules import MOST_LIMITS, MOST_OBJECTS
from weops.api.fields import LARGEST, Choice, RowSerializer, name_of
from weops.api.views import refuse_unknown
from weops.projects import access
from weops.projects.access import Right


class Exact(serializers.Serializer):
    """A part of a rule: a misspelt name in it is an error, too."""

    def to_internal_value(self, data: Any) -> Any:
        refuse_unknown(self, data)
        return super().to_internal_value(data)


def _ids(most: int, **kwargs: Any) -> serializers.ListField:
    child = serializers.IntegerField(min_value=1, max_value=LARGEST)
    return serializers.ListField(child=child, max_length=most, **kwargs)


class LimitSerializer(Exact):
    """One meaning of late. What does not count for its kind is left out when it is read."""

    kind = Choice(LimitKind.values)
    measure = Choice(Measure.values, required=False)
    minutes = serializers.IntegerField(
        required=False, min_value=1, max_value=44_640, help_text="Of a fixed running or waiting time."
    )
    clock = serializers.CharField(
        required=False, max_length=5, help_text="Of a fixed finish: HH:MM on the wall clock of `timezone`."
    )
    timezone = serializers.CharField(required=False, max_length=64)
    tolerance = serializers.IntegerField(
        required=False, min_value=0, max_value=1000, help_text="Percent above the average."
    )
    reruns = serializers.BooleanField(required=False, help_text="For reruns and backfills, not for others.")


class QuietSerializer(Exact):
    """Hours in which nobody is told; an end before its start is on the next day."""

    days = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=7),
        allow_empty=False,
        max_length=7,
        help_text="1 is Monday, 7 is Sunday.",
    )
    start = serializers.CharField(max_length=8, help_text="HH:MM:SS")
    end = serializers.CharField(max_length=8, help_text="HH:MM:SS")


class GroupSerializer(Exact):
    """Whom to tell, and when."""

    receivers = Choice(Receivers.values, required=False)
    people = _ids(MOST_RECEIVERS, required=False, help_text="Ids of members of the project.")
    emails = serializers.ListField(
        child=serializers.EmailField(),
        required=False,
        max_length=MOST_RECEIVERS,
        help_text="Other addresses.",
    )
    by_email = serializers.BooleanField(required=False)
    channels = _ids(MOST_RECEIVERS, required=False, help_text="Ids of channels of the project.")
    notify_count = serializers.IntegerField(required=False, min_value=1, max_value=100)
    notify_minutes = serializers.IntegerField(
        required=False, min_value=1, max_value=10_080, help_text="Between two messages."
    )
    quiet = QuietSerializer(many=True, required=False, max_length=MOST_QUIET)
    timezone = serializers.CharField(required=False, max_length=64, help_text="Of the quiet hours.")
    escalation = _ids(
        MOST_RECEIVERS, required=False, help_text="Ids of whom to tell besides, while nobody acknowledges."
    )
    escalation_minutes = serializers.IntegerField(required=False, min_value=1, max_value=10_080)


class RuleSerializer(RowSerializer):
    project_name = name_of("project.name")
    level = Choice(Level.values, required=False, help_text="1 normal, 2 important, 3 urgent.")
    object_kind = Choice(ObjectKind.values)
    object_ids = _ids(
        MOST_OBJECTS,
        required=False,
        help_text="Of tasks or workflows of the project; of a rule on the project itself, none.",
    )
    kinds = serializers.ListField(child=Choice(Kind.values), allow_empty=False)
    trigger = Choice(Trigger.values, required=False)
    rerun_trigger = Choice(Trigger.values, required=False)
    limits = LimitSerializer(many=True, required=False, max_length=MOST_LIMITS)
    groups = GroupSerializer(many=True, source="told", max_length=MOST_GROUPS)
    creator_name = name_of("creator.username")

    class Meta:
        model = Rule
        fields = (
            "id",
            "project",
            "project_name",
            "name",
            "description",
            "enabled",
            "level",
            "object_kind",
            "object_ids",
            "kinds",
            "trigger",
            "rerun_trigger",
            "limits",
            "groups",
            "creator_name",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("created_at", "updated_at")


class ChannelSerializer(RowSerializer):
    project_name = name_of("project.name")
    kind = Choice(ChannelKind.values)
    address = serializers.CharField(
        write_only=True, required=False, max_length=2000, help_text="Goes in and never comes out."
    )
    shown = serializers.SerializerMethodField()

    class Meta:
        model = Channel
        fields = (
            "id",
            "project",
            "project_name",
            "name",
            "kind",
            "enabled",
            "address",
            "shown",
            "updated_at",
        )
        read_only_fields = ("updated_at",)

    def get_shown(self, channel: Channel) -> str | None:
        """Scheme and host of the address, for admins of the project; null for others."""
        rights = access.rights(self.context["request"].user, channel.project_id)
        return channel.shown if Right.ADMINISTER in rights else None


class MessageSerializer(RowSerializer):
    project_name = name_of("project.name")
    instance = serializers.IntegerField(source="instance_id", read_only=True)
    task = serializers.IntegerField(source="task_id", read_only=True)
    execution = serializers.IntegerField(source="execution_id", read_only=True, allow_null=True)
    acknowledged_by_name = name_of("acknowledged_by.username")

    class Meta:
        model = Message
        fields = (
            "id",
            "project",
            "project_name",
            "rule",
            "rule_name",
            "instance",
            "task",
            "task_name",
            "data_time",
            "timezone",
            "life_round",
            "execution",
            "kind",
            "level",
            "reason",
            "predicted",
            "limit_at",
            "created_at",
            "state",
            "attempts",
            "error",
            "sent_at",
            "receivers",
            "ways",
            "acknowledged_at",
            "acknowledged_by",
            "acknowledged_by_name",
        )
        read_only_fields = fields


class AcknowledgeSerializer(serializers.Serializer):
    messages = _ids(1_000, allow_empty=False)


class AcknowledgedSerializer(serializers.Serializer):
    acknowledged = serializers.IntegerField(
        help_text="Those of them that nobody had acknowledged before, in projects where you may operate."
    )


class TestedSerializer(serializers.Serializer):
    """How a message that was tried went to one receiver."""

    receiver = serializers.CharField(help_text="An address of e-mail, or the name of a channel.")
    sent = serializers.BooleanField()
    error = serializers.CharField(help_text="Why it was not sent.")
