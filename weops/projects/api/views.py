"""REST: projects and what belongs to them. The rules are those of `weops.projects.definitions`."""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from weops.api.filtersets import ByColumn, PartOfName
from weops.api.views import Defined, Rows
from weops.console.folders import folder_paths
from weops.projects import access, definitions
from weops.projects.access import Right
from weops.projects.api import serializers
from weops.projects.choices import visible_calendars
from weops.projects.models import Calendar, DataSource, Folder, Member, Project, ResourceGroup, Secret


class ProjectFilters(ByColumn):
    q = PartOfName()

    class Meta:
        model = Project
        fields = ("name", "enabled")


class Projects(Defined):
    """Projects that you are a member of. Only superusers make and delete them."""

    queryset = Project.objects.all()
    serializer_class = serializers.ProjectSerializer
    rules = definitions.PROJECTS
    project_path = "pk"
    filterset_class = ProjectFilters


class Members(Defined):
    """Who has which role in which project."""

    queryset = Member.objects.select_related("project", "user")
    serializer_class = serializers.MemberSerializer
    rules = definitions.MEMBERS
    filterset_fields = ("project", "user", "role")


class Folders(Defined):
    """Folders of projects."""

    queryset = Folder.objects.select_related("project")
    serializer_class = serializers.FolderSerializer
    rules = definitions.FOLDERS
    filterset_fields = ("project", "parent", "name")

    def decorate(self, page: list[Any]) -> list[Any]:
        paths = folder_paths(folder.pk for folder in page)
        for folder in page:
            folder.full_path = paths.get(folder.pk, folder.name)
        return page


class ResourceGroups(Defined):
    """Pools of slots, which serve all projects. Superusers make and change them."""

    queryset = ResourceGroup.objects.all()
    serializer_class = serializers.ResourceGroupSerializer
    rules = definitions.RESOURCE_GROUPS
    filterset_fields = ("name", "enabled")

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows if access.has_anywhere(self.request.user, Right.VIEW) else rows.none()


class Calendars(Defined):
    """Lists of dates; those of no project serve all of them."""

    queryset = Calendar.objects.select_related("project")
    serializer_class = serializers.CalendarSerializer
    rules = definitions.CALENDARS
    filterset_fields = ("project", "name")

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        if not access.has_anywhere(self.request.user, Right.VIEW):
            return rows.none()
        return visible_calendars(rows, self.request.user)


class Secrets(Defined):
    """Secrets, for admins of their project. A value goes in and never comes out."""

    queryset = Secret.objects.select_related("project").defer("ciphertext")
    serializer_class = serializers.SecretSerializer
    rules = definitions.SECRETS
    view_right = Right.ADMINISTER
    filterset_fields = ("project", "name")


class DataSources(Defined):
    """Databases that SQL tasks run on; the URL of each is a secret."""

    queryset = DataSource.objects.select_related("project")
    serializer_class = serializers.DataSourceSerializer
    rules = definitions.DATA_SOURCES
    view_right = Right.ADMINISTER
    filterset_fields = ("project", "name")


class Users(Rows):
    """Those whom you may name as an owner: the members of your projects."""

    queryset = User.objects.all()
    serializer_class = serializers.UserSerializer
    filterset_fields = ("username",)
    http_method_names = ("get", "head", "options")

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return access.colleagues(self.request.user)
