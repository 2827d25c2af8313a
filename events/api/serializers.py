"""Events, as JSON."""

from typing import Any

from rest_framework import serializers

from events import firing
from events.models import Consumption, Event, EventInstance, Listener
from weops.api.fields import LARGEST, RowSerializer, WithReason, name_of


class EventSerializer(RowSerializer):
    project_name = name_of("project.name")
    owner_name = name_of("owner.username")
    format = serializers.CharField(read_only=True, help_text="Of its data times.")

    class Meta:
        model = Event
        fields = (
            "id",
            "project",
            "project_name",
            "name",
            "cycle",
            "format",
            "delivery",
            "time_to_live",
            "time_to_live_unit",
            "owner",
            "owner_name",
            "description",
            "created_at",
        )
        read_only_fields = ("created_at",)


class ListenerSerializer(RowSerializer):
    task_name = serializers.SerializerMethodField()
    event_name = name_of("event.name")

    class Meta:
        model = Listener
        fields = ("id", "task", "task_name", "event", "event_name", "max_wait", "max_wait_unit")

    def get_task_name(self, listener: Listener) -> str | None:
        """Null for a task of a project that you do not see."""
        visible = self.context["visible"]
        project = listener.task.workflow.project_id
        return listener.task.name if visible is None or project in visible else None


class EventInstanceSerializer(RowSerializer):
    event_name = name_of("event.name")
    project = serializers.IntegerField(source="event.project_id", read_only=True)
    fired_by = name_of("firing.user_name")
    source = name_of("firing.source")

    class Meta:
        model = EventInstance
        fields = (
            "id",
            "event",
            "event_name",
            "project",
            "data_time",
            "state",
            "triggered_at",
            "consumed_at",
            "expires_at",
            "consumers",
            "fired_by",
            "source",
        )
        read_only_fields = fields


class ConsumptionSerializer(RowSerializer):
    """Which instance consumed it."""

    instance = serializers.IntegerField(source="instance_id", read_only=True)
    task_name = serializers.SerializerMethodField()

    class Meta:
        model = Consumption
        fields = ("instance", "task_name", "at")

    def get_task_name(self, row: Any) -> str | None:
        """Null for a task of a project that you do not see."""
        visible = self.context["visible"]
        known = visible is None or row.instance.project_id in visible
        return row.instance.task.name if known else None


class EntrySerializer(serializers.Serializer):
    """`last`: every data time from `data_time` to it, both included."""

    event = serializers.CharField(max_length=100, help_text="Its name.")
    data_time = serializers.CharField(max_length=40, help_text="In the event's format.")
    last = serializers.CharField(max_length=40, required=False)


class FireSerializer(serializers.Serializer):
    project = serializers.IntegerField(min_value=1, max_value=LARGEST)
    firings = EntrySerializer(many=True, allow_empty=False)
    request_id = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=firing.MOST_REQUEST_ID,
        default="",
        help_text="Repeated under the same id, nothing is fired again.",
    )


class RefusalSerializer(serializers.Serializer):
    event = serializers.CharField(source="name")
    data_time = serializers.CharField()
    reason = serializers.CharField(help_text="unknown or format")
    message = serializers.CharField()


class FiredSerializer(serializers.Serializer):
    firing = serializers.IntegerField(source="firing_id")
    event_instances = serializers.ListField(child=serializers.IntegerField())
    refused = RefusalSerializer(many=True)
    repeated = serializers.BooleanField()


class MeantSerializer(serializers.Serializer):
    event = serializers.IntegerField(source="event.pk")
    event_name = serializers.CharField(source="event.name")
    data_time = serializers.CharField()
    why = serializers.CharField()
    waits = serializers.IntegerField(help_text="So many instances wait for it.")
    instance = serializers.IntegerField(source="instance_id", help_text="One of them.")


class NearMissSerializer(serializers.Serializer):
    kind = serializers.CharField(help_text="stray: nobody could have meant it; idle: nobody consumed it.")
    id = serializers.IntegerField(source="pk")
    name = serializers.CharField()
    data_time = serializers.CharField()
    problem = serializers.CharField()
    fired_at = serializers.DateTimeField(source="firing.created_at")
    fired_by = serializers.CharField(source="firing.user_name")
    alike = serializers.IntegerField(
        help_text="Open strays of its project and name, itself among them; at most three of them are listed."
    )
    meant = MeantSerializer(many=True)


class FireAsMeantSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(choices=["stray", "idle"])
    id = serializers.IntegerField(min_value=1, max_value=LARGEST)
    event = serializers.IntegerField(min_value=1, max_value=LARGEST)
    data_time = serializers.CharField(max_length=14)


class DismissSerializer(WithReason):
    id = serializers.IntegerField(min_value=1, max_value=LARGEST)
    alike = serializers.BooleanField(default=False, help_text="All of its project and name.")
