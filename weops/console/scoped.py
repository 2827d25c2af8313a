"""Base of every ModelAdmin: rows, choices and buttons are limited to the projects that give the user the right."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import RelatedFieldListFilter
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.forms import ModelChoiceField, ModelMultipleChoiceField
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Calendar, Folder, ResourceGroup

# How to reach the project of a model whose rows may be chosen in a form.
PROJECT_PATHS: dict[str, str] = {
    "projects.Project": "pk",
    "projects.Folder": "project_id",
    "projects.Secret": "project_id",
    "projects.DataSource": "project_id",
    "instances.Workflow": "project_id",
    "instances.Task": "workflow__project_id",
    "events.Event": "project_id",
}


def signed_in(request: HttpRequest) -> User:
    """The user of an admin page; the admin site lets nobody else in."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def visible_calendars(queryset: QuerySet[Any], user: Any, right: Right = Right.VIEW) -> QuerySet[Any]:
    """Calendars of all projects (those of no project) and of the user's own."""
    ids = access.project_ids(user, right)
    if ids is None:
        return queryset
    return queryset.filter(models.Q(project__isnull=True) | models.Q(project__in=ids))


def choosable(model: type[models.Model], user: Any, right: Right) -> QuerySet[Any]:
    """The rows of `model` that `user` may put into a form where `right` is needed."""
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


class VisibleFilter(RelatedFieldListFilter):
    """A list filter by a foreign key that names only what the user sees."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return [(row.pk, str(row)) for row in choosable(field.remote_field.model, request.user, Right.VIEW)]


class ChoiceLimits:
    """Mixin of admins and inlines: what a form offers and accepts in its foreign keys, by the user's rights."""

    change_right: Right = Right.AUTHOR
    # A field that needs another right for its choices than `change_right`, such as the upstream task of a dependency.
    choice_rights: dict[str, Right] = {}

    def limited(self, field: Any, request: HttpRequest) -> QuerySet[Any]:
        return choosable(
            field.remote_field.model, request.user, self.choice_rights.get(field.name, self.change_right)
        )

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> ModelChoiceField[Any] | None:
        kwargs.setdefault("queryset", self.limited(db_field, request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_manytomany(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> ModelMultipleChoiceField[Any] | None:
        kwargs.setdefault("queryset", self.limited(db_field, request))
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        # The pencil, plus and cross next to a choice lead to other pages in a popup; links do it better.
        for name in ("can_add_related", "can_change_related", "can_delete_related", "can_view_related"):
            if field is not None and hasattr(field.widget, name):
                setattr(field.widget, name, False)
        many_lines = isinstance(db_field, models.TextField | models.JSONField)
        if field is not None and many_lines and str(field.widget.attrs.get("rows")) == "10":
            field.widget.attrs["rows"] = 4  # instead of Django's own default
        return field


class ScopedAdmin(ChoiceLimits, ModelAdmin):
    """An admin of rows that belong to projects.

    `project_path` leads from a row to the id of its project; None marks rows that belong to no project: everybody
    with a membership sees them and superusers alone change them.
    """

    project_path: str | None = "project_id"
    view_right: Right = Right.VIEW
    list_fullwidth = True
    list_per_page = 100
    compressed_fields = False
    warn_unsaved_form = True

    def project_id_of(self, obj: models.Model) -> int | None:
        """The id of the project that `obj` belongs to."""
        value: Any = obj
        for name in (self.project_path or "").split("__"):
            value = getattr(value, name, None)
        return value

    def has_right(self, request: HttpRequest, right: Right, obj: models.Model | None = None) -> bool:
        if obj is None or self.project_path is None:
            return access.has_anywhere(request.user, right)
        return right in access.rights(request.user, self.project_id_of(obj))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        if self.project_path is None:
            return queryset
        return access.within(queryset, request.user, self.project_path, self.view_right)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_right(request, self.view_right, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        if self.project_path is None:
            return request.user.is_active and request.user.is_superuser
        return self.has_right(request, self.change_right)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        if self.project_path is None:
            return request.user.is_active and request.user.is_superuser
        return self.has_right(request, self.change_right, obj)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_change_permission(request, obj) and (obj is None or not self._in_use_now(obj))

    def in_use(self, obj: models.Model) -> bool:
        """Whether other rows hold on to `obj`, so that it can only be deleted after them.

        Asked before Django collects what a deletion would take along, which could be millions of instances.
        """
        return False

    def _in_use_now(self, obj: models.Model) -> bool:
        answer: bool | None = getattr(obj, "_answered_in_use", None)
        if answer is None:
            answer = self.in_use(obj)
            obj._answered_in_use = answer  # type: ignore[attr-defined]
        return answer

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        # Rows are deleted one at a time, on their own page: Django's bulk deletion checks no rights per row.
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


class ReadOnlyAdmin(ScopedAdmin):
    """Rows that the engine writes: neither added, edited nor deleted by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


class ScopedInline(ChoiceLimits, TabularInline):
    """Rows edited on their parent's page, by those who may change the parent."""

    extra = 0

    def _may(self, request: HttpRequest) -> bool:
        return access.has_anywhere(request.user, self.change_right)

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return access.has_anywhere(request.user, Right.VIEW)

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self._may_change_parent(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self._may_change_parent(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self._may_change_parent(request, obj)

    def _may_change_parent(self, request: HttpRequest, obj: models.Model | None) -> bool:
        parent_admin = self.admin_site._registry[self.parent_model]
        return parent_admin.has_change_permission(request, obj) if obj else self._may(request)
