"""Workflows, tasks, versions and dependencies, as JSON."""

from typing import Any, ClassVar

from rest_framework import serializers

from events.models import Emitter, Listener
from instances.engine.schedule import ScheduleError, describe
from instances.models import Dependency, Task, TaskVersion, Workflow
from instances.task_definitions import TASKS
from weops.api.fields import LARGEST, RowSerializer, name_of
from weops.projects import access
from weops.projects.access import Right
from weops.projects.api.serializers import ParametersField


class WorkflowSerializer(RowSerializer):
    project_name = name_of("project.name")
    owner_name = name_of("owner.username")
    parameters = ParametersField(required=False)

    class Meta:
        model = Workflow
        fields = (
            "id",
            "project",
            "project_name",
            "folder",
            "name",
            "description",
            "owner",
            "owner_name",
            "parameters",
            "created_at",
        )
        read_only_fields = ("created_at",)


class DependencySerializer(RowSerializer):
    """What a task waits for."""

    upstream_name = serializers.SerializerMethodField()

    class Meta:
        model = Dependency
        fields = (
            *(one.name for one in Dependency._meta.concrete_fields if one.name not in ("id", "task")),
            "upstream_name",
        )

    def get_upstream_name(self, dependency: Dependency) -> str | None:
        """Null for a task of a project that you do not see."""
        upstream = dependency.upstream
        return upstream.name if _is_seen(self, upstream.workflow.project_id) else None


def _is_seen(serializer: serializers.BaseSerializer, project_id: int) -> bool:
    """Whether who asks sees the project."""
    visible = access.project_ids(serializer.context["request"].user, Right.VIEW)
    return visible is None or project_id in visible


class _OfEvent(RowSerializer):
    event_name = serializers.SerializerMethodField()

    def get_event_name(self, row: Any) -> str | None:
        """Null for an event of a project that you do not see."""
        return row.event.name if _is_seen(self, row.event.project_id) else None


class TaskListenerSerializer(_OfEvent):
    class Meta:
        model = Listener
        fields = ("event", "event_name", "max_wait", "max_wait_unit")


class TaskEmitterSerializer(_OfEvent):
    class Meta:
        model = Emitter
        fields = ("event", "event_name")


class TaskSerializer(RowSerializer):
    """What is saved of a task. What runs is its submitted version. Lists leave `code` out unless `fields` names it."""

    on_request: ClassVar[tuple[str, ...]] = ("code",)
    parameters = ParametersField(required=False)
    settings = serializers.DictField(required=False, help_text="Settings of the task type.")
    project = serializers.IntegerField(source="workflow.project_id", read_only=True)
    project_name = name_of("workflow.project.name")
    workflow_name = name_of("workflow.name")
    owner_name = name_of("owner.username")
    resource_group_name = name_of("resource_group.name")
    status = serializers.CharField(read_only=True)
    version = serializers.IntegerField(
        source="current_version.number", read_only=True, default=None, allow_null=True
    )
    next_due_at = serializers.DateTimeField(read_only=True, allow_null=True)
    schedule = serializers.SerializerMethodField()

    class Meta:
        model = Task
        fields: Any = (
            "id",
            "name",
            "project",
            "project_name",
            "workflow",
            "workflow_name",
            "status",
            "version",
            "next_due_at",
            "schedule",
            "owner",
            "owner_name",
            "resource_group_name",
            *(
                name
                for name in TASKS.columns
                if name not in ("name", "workflow", "owner", "generation_error")
            ),
            "created_at",
            "updated_at",
        )
        read_only_fields = ("created_at", "updated_at")

    def get_schedule(self, task: Task) -> str:
        """The schedule in words."""
        try:
            return describe(task.schedule())
        except (ScheduleError, ValueError) as error:
            return str(error)


class SecretIds(serializers.ListField):
    child = serializers.IntegerField(min_value=1, max_value=LARGEST)

    def get_attribute(self, instance: Any) -> Any:
        return [secret.pk for secret in instance.secrets.all()]


class TaskDetailSerializer(TaskSerializer):
    """With what belongs to it. What is given of the lists replaces all of them."""

    on_request: ClassVar[tuple[str, ...]] = ()
    secrets = SecretIds(required=False, max_length=1000)
    dependencies = DependencySerializer(many=True, required=False)
    listeners = TaskListenerSerializer(many=True, required=False)
    emitters = TaskEmitterSerializer(many=True, required=False)
    submit = serializers.BooleanField(
        write_only=True, required=False, default=False, help_text="Make it a version and schedule it."
    )
    note = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        max_length=500,
        help_text="What the version changes.",
    )

    class Meta(TaskSerializer.Meta):
        fields = (
            *TaskSerializer.Meta.fields,
            "secrets",
            "dependencies",
            "listeners",
            "emitters",
            "submit",
            "note",
        )


class VersionSerializer(RowSerializer):
    created_by_name = name_of("created_by.username")
    number = serializers.IntegerField(read_only=True)

    class Meta:
        model = TaskVersion
        fields = (
            "id",
            "task",
            "number",
            "task_type",
            "code",
            "parameters",
            "definition",
            "note",
            "created_by",
            "created_by_name",
            "created_at",
        )


class TaskDependencySerializer(DependencySerializer):
    task_name = name_of("task.name")

    class Meta:
        model = Dependency
        fields = ("id", "task", "task_name", *DependencySerializer.Meta.fields)


class OccurrenceSerializer(serializers.Serializer):
    planned_time = serializers.DateTimeField()
    data_time = serializers.DateTimeField()
