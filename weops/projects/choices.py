"""What a user may choose, for forms, filters and APIs: the rows of a model, by the user's rights in their projects."""

from typing import Any

from django.contrib.auth.models import User
from django.db import models
from django.db.models import QuerySet

from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Calendar, Folder, ResourceGroup

# How to reach the project of a model whose rows may be chosen.
PROJECT_PATHS: dict[str, str] = {
    "projects.Project": "pk",
    "projects.Folder": "project_id",
    "projects.Secret": "project_id",
    "projects.DataSource": "project_id",
    "instances.Workflow": "project_id",
    "instances.Task": "workflow__project_id",
    "events.Event": "project_id",
}


def visible_calendars(queryset: QuerySet[Any], user: Any, right: Right = Right.VIEW) -> QuerySet[Any]:
    """Calendars of all projects (those of no project) and of the user's own."""
    ids = access.project_ids(user, right)
    if ids is None:
        return queryset
    return queryset.filter(models.Q(project__isnull=True) | models.Q(project__in=ids))


def choosable(model: type[models.Model], user: Any, right: Right) -> QuerySet[Any]:
    """The rows of `model` that `user` may choose where `right` is needed."""
    if model is User:
        return access.colleagues(user) if right != Right.ADMINISTER else User.objects.filter(is_active=True)
    if model is Calendar:
        return visible_calendars(Calendar.objects.all(), user)
    if model is ResourceGroup:
        return ResourceGroup.objects.all()
    rows = model._default_manager.all()
    path = PROJECT_PATHS.get(model._meta.label)
    if path is None:
        return rows.none()
    if model is Folder:
        # Its text is the whole path; deeper levels are read one by one.
        rows = rows.select_related("parent__parent__parent__parent")
    return access.within(rows, user, path, right)
