"""Projects and what belongs to them, as JSON."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework import serializers

from weops.api.fields import RowSerializer, name_of
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Calendar, DataSource, Folder, Member, Project, ResourceGroup, Secret


class ParametersField(serializers.DictField):
    child = serializers.CharField(allow_blank=True, trim_whitespace=False)


class ProjectSerializer(RowSerializer):
    parameters = ParametersField(required=False)
    rights = serializers.SerializerMethodField()

    class Meta:
        model = Project
        fields = (
            "id",
            "name",
            "display_name",
            "description",
            "enabled",
            "parameters",
            "created_at",
            "rights",
        )
        read_only_fields = ("created_at",)

    def get_rights(self, project: Project) -> list[str]:
        """What you may do in it."""
        return [right for right in Right if right in access.rights(self.context["request"].user, project)]


class MemberSerializer(RowSerializer):
    project_name = name_of("project.name")
    username = name_of("user.username")

    class Meta:
        model = Member
        fields = ("id", "project", "project_name", "user", "username", "role")


class FolderSerializer(RowSerializer):
    project_name = name_of("project.name")
    path = serializers.SerializerMethodField()

    class Meta:
        model = Folder
        fields = ("id", "project", "project_name", "parent", "name", "path")

    def get_path(self, folder: Any) -> str:
        return folder.full_path


class ResourceGroupSerializer(RowSerializer):
    class Meta:
        model = ResourceGroup
        fields = ("id", "name", "description", "slots", "enabled")


class CalendarSerializer(RowSerializer):
    project_name = name_of("project.name")

    class Meta:
        model = Calendar
        fields = ("id", "project", "project_name", "name", "description", "dates")


class SecretSerializer(RowSerializer):
    project_name = name_of("project.name")
    value = serializers.CharField(
        write_only=True,
        max_length=100_000,
        trim_whitespace=False,
        help_text="Goes in and never comes out.",
    )

    class Meta:
        model = Secret
        fields = ("id", "project", "project_name", "name", "value", "updated_at")
        read_only_fields = ("updated_at",)


class DataSourceSerializer(RowSerializer):
    project_name = name_of("project.name")

    class Meta:
        model = DataSource
        fields = ("id", "project", "project_name", "name", "description", "url")


class UserSerializer(RowSerializer):
    class Meta:
        model = User
        fields = ("id", "username", "first_name", "last_name")
