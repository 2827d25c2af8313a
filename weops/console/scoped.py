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

from weops.console.choosing import FoundField, with_names
from weops.projects import access
from weops.projects.access import Right
from weops.projects.choices import choosable
from weops.projects.defining import Definition


def signed_in(request: HttpRequest) -> User:
    """The user of an admin page; the admin site lets nobody else in."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


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
        if db_field.name in getattr(self, "autocomplete_fields", ()):
            kwargs = {"form_class": FoundField, **kwargs, "queryset": with_names(kwargs["queryset"])}
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
    # What every door holds to: here, what keeps a row from being deleted, and what stays as it was made.
    rules: Definition[Any] | None = None
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
        """Whether other rows hold on to `obj`, so that it can only be deleted after them."""
        return bool(self.rules and self.rules.held(obj))

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

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """With a name of its own for those who listen: the head of the column is no label of a field."""
        found = super().formfield_for_dbfield(db_field, request, **kwargs)
        if found is not None:
            found.widget.attrs.setdefault("aria-label", found.label)
        return found

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
