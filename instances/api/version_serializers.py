"""What is done with versions of a task: comparing two, restoring one, running one to test it."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from instances.models import Task
from instances.trial_run import Edited, check_shape
from weops.api.fields import WithReason


class RestoreSerializer(WithReason):
    number = serializers.IntegerField(min_value=1, max_value=2**31 - 1, help_text="Of the version.")


class ChangesSerializer(serializers.Serializer):
    """What is tested in place of what is saved."""

    task_type = serializers.CharField(required=False, max_length=16)
    code = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    settings = serializers.DictField(required=False)
    parameters = serializers.DictField(required=False)
    outputs = serializers.ListField(child=serializers.CharField(max_length=128), required=False)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (unknown := sorted(set(data) - set(self.fields))):
            raise serializers.ValidationError({str(unknown[0]): [f"There are {', '.join(self.fields)}."]})
        return super().to_internal_value(data)


class TrialSerializer(WithReason):
    version = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The number of a submitted one, in place of what is saved; `changes` do not count then.",
    )
    changes = ChangesSerializer(required=False)
    data_time = serializers.DateTimeField(
        required=False, allow_null=True, help_text="With its zone; by default that of the latest instance."
    )
    parameters = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False), required=False
    )


def edited_by(task: Task, changes: Mapping[str, Any]) -> Edited:
    """What is saved of the task, with the changes. Raises ValidationError."""
    return check_shape(
        {
            "task_type": task.task_type,
            "code": task.code,
            "settings": task.settings,
            "parameters": task.parameters,
            "outputs": list(task.outputs),
            **changes,
        }
    )


class LineSerializer(serializers.Serializer):
    """A line of the code: its number in the old and in the new one."""

    kind = serializers.ChoiceField(choices=["same", "removed", "added", "skipped"])
    old = serializers.IntegerField(allow_null=True)
    new = serializers.IntegerField(allow_null=True)
    text = serializers.CharField()


class DifferenceSerializer(serializers.Serializer):
    """Null: it was not there."""

    name = serializers.CharField()
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)


class PartSerializer(serializers.Serializer):
    name = serializers.CharField()
    values = DifferenceSerializer(many=True)

    def to_representation(self, part: Any) -> Any:
        name, rows = part
        return super().to_representation({"name": name, "values": rows})


class ComparisonSerializer(serializers.Serializer):
    """`code`: empty if it is the same; `parts`: those of the definition that differ."""

    old = serializers.CharField()
    new = serializers.CharField()
    code = LineSerializer(many=True)
    parts = PartSerializer(many=True)
