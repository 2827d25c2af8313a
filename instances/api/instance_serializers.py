"""Instances, executions and what happened to them, as JSON. Times are ISO 8601 in UTC, lengths of time in seconds."""

import datetime as dt
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from instances.engine import errors, secrets
from instances.models import Execution, Instance
from weops.api.fields import RowSerializer, Sparse, name_of


def seconds(start: dt.datetime | None, end: dt.datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None


class InstanceSerializer(RowSerializer):
    # It reads nothing of the request, so that one serves all.
    stateless = True
    task_name = name_of("task.name")
    timezone = name_of("task.timezone")
    project_name = name_of("project.name")
    workflow_name = name_of("workflow.name")
    folder_path = serializers.CharField(read_only=True)
    owner_name = name_of("owner.username")
    resource_group_name = name_of("resource_group.name")
    retries = serializers.IntegerField(source="tries", read_only=True)
    duration_seconds = serializers.SerializerMethodField()
    acknowledged = serializers.SerializerMethodField()
    execution = serializers.IntegerField(source="execution_id", read_only=True, allow_null=True)
    plan = serializers.IntegerField(source="plan_id", read_only=True, allow_null=True)

    class Meta:
        model = Instance
        fields: Any = (
            "id",
            "task",
            "task_name",
            "project",
            "project_name",
            "workflow",
            "workflow_name",
            "folder",
            "folder_path",
            "owner",
            "owner_name",
            "data_time",
            "timezone",
            "traversal",
            "planned_time",
            "state",
            "instance_type",
            "run_type",
            "cycle_type",
            "task_type",
            "resource_group",
            "resource_group_name",
            "priority",
            "life_round",
            "retries",
            "total_runs",
            "start_time",
            "end_time",
            "duration_seconds",
            "error_code",
            "error_message",
            "acknowledged",
            "frozen_at",
            "thaw_at",
            "plan",
            "execution",
            "created_at",
        )
        read_only_fields = fields

    def get_duration_seconds(self, instance: Instance) -> float | None:
        """Of what has ended."""
        return seconds(instance.start_time, instance.end_time)

    def get_acknowledged(self, instance: Any) -> bool:
        return instance.is_acknowledged


class ErrorSerializer(serializers.Serializer):
    """What made it fail, as diagnosed, from the catalogue of errors."""

    code = serializers.CharField()
    title = serializers.CharField()
    message = serializers.CharField(help_text="What was said this time.")
    causes = serializers.ListField(child=serializers.CharField())
    advice = serializers.CharField()
    retryable = serializers.BooleanField()


class InstanceDetailSerializer(InstanceSerializer):
    error = serializers.SerializerMethodField()
    for_each = serializers.IntegerField(
        source="for_each_id",
        read_only=True,
        allow_null=True,
        help_text="Of an inner one: whose traversal it is in.",
    )
    overrides = serializers.SerializerMethodField()

    class Meta(InstanceSerializer.Meta):
        fields = (
            *InstanceSerializer.Meta.fields,
            "error",
            "for_each",
            "trigger_policy",
            "fails_with_upstream",
            "not_taken",
            "pending_upstream",
            "not_before",
            "wait_since",
            "wait_deadline",
            "ready_since",
            "overrides",
            "self_dependency",
        )
        read_only_fields = fields

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_error(self, instance: Instance) -> Any:
        """What the error code means, its possible causes and what to do."""
        return errors.told(instance.error_code, instance.error_message)

    @extend_schema_field(serializers.DictField())
    def get_overrides(self, instance: Instance) -> Any:
        """Parameters that an operation set for this life, without the values of secrets."""
        if not instance.overrides:
            return {}
        return secrets.masked(instance.overrides, secrets.masker_of(instance.task_id))


class ExecutionSerializer(RowSerializer):
    stateless = True
    number = serializers.IntegerField(source="try_number", read_only=True, help_text="0 is no retry.")
    version_number = serializers.IntegerField(
        source="version.number", read_only=True, default=None, allow_null=True
    )
    duration_seconds = serializers.SerializerMethodField()

    class Meta:
        model = Execution
        fields = (
            "id",
            "instance",
            "life_round",
            "number",
            "run_type",
            "dry_run",
            "state",
            "version",
            "version_number",
            "wait_started_at",
            "queue_started_at",
            "run_started_at",
            "run_ended_at",
            "ended_at",
            "duration_seconds",
            "worker",
            "exit_code",
            "signal",
            "error_code",
            "error_message",
            "log_lines",
            "log_bytes",
        )
        read_only_fields = fields

    def get_duration_seconds(self, execution: Execution) -> float | None:
        return seconds(execution.run_started_at, execution.run_ended_at)


class ExecutionDetailSerializer(ExecutionSerializer):
    """With what it ran and what it gave, without the values of secrets."""

    error = serializers.SerializerMethodField()
    code = serializers.CharField(
        source="ran.code", read_only=True, help_text="As it ran, parameters filled in."
    )
    parameters = serializers.DictField(source="ran.parameters", read_only=True)
    written_parameters = serializers.DictField(source="ran.written", read_only=True)
    code_problem = serializers.CharField(
        source="ran.problem", read_only=True, help_text="Why parameters cannot be filled in; else empty."
    )
    outputs = serializers.DictField(
        source="ran.outputs", read_only=True, help_text="Output parameters that it gave its children."
    )

    class Meta(ExecutionSerializer.Meta):
        fields: Any = (
            *ExecutionSerializer.Meta.fields,
            "error",
            "code",
            "code_problem",
            "parameters",
            "written_parameters",
            "outputs",
        )
        read_only_fields = fields

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_error(self, execution: Execution) -> Any:
        """What made it fail, its possible causes and what to do."""
        return errors.told(execution.error_code, execution.error_message)


class ChangeSerializer(Sparse):
    """One change of state."""

    at = serializers.DateTimeField()
    move = serializers.CharField()
    from_state = serializers.CharField()
    to_state = serializers.CharField()
    error_code = serializers.CharField()
    execution = serializers.IntegerField(source="execution_id", allow_null=True)
    operation = serializers.IntegerField(source="operation_id", allow_null=True)


class LogPageSerializer(serializers.Serializer):
    text = serializers.CharField()
    next_cursor = serializers.IntegerField(help_text="Read on here.")
    done = serializers.BooleanField(help_text="No more will ever come.")
