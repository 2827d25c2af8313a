"""Projects and what belongs to them: members, folders, calendars, secrets (write-only), data sources."""

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget

from weops.console.present import NOTHING, stamp
from weops.console.scoped import ScopedAdmin, ScopedInline, VisibleFilter, signed_in
from weops.projects import access, audit, key_admin
from weops.projects.access import Right
from weops.projects.choices import visible_calendars
from weops.projects.definitions import CALENDARS, DATA_SOURCES, FOLDERS, MOST_DATES, PROJECTS, SECRETS
from weops.projects.models import Calendar, DataSource, Folder, Member, Project, Secret

# Importing it registers its admin.
_REGISTERED = (key_admin,)


class FixedProject(ScopedAdmin):
    """Rows that never move to another project once they are made."""

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), "project") if obj else ()


class MemberInline(ScopedInline):
    model = Member
    change_right = Right.ADMINISTER
    fields = ("user", "role")
    hide_title = True
    verbose_name_plural = _("Members")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("user", "project")


@admin.register(Project)
class ProjectAdmin(ScopedAdmin):
    project_path = "pk"
    rules = PROJECTS
    change_right = Right.ADMINISTER
    list_display = ("name", "display_name", "enabled", "member_count", "description")
    search_fields = ("name", "display_name")
    fields = (("name", "display_name"), "enabled", "description", "parameters")
    inlines = (MemberInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).annotate(members_in_it=Count("members"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_add_permission(request) and super().has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        audit.tell_of_all(obj, signed_in(request), "admin")
        super().delete_model(request, obj)

    @admin.display(description=_("Members"))
    def member_count(self, project: Any) -> int:
        return project.members_in_it


@admin.register(Folder)
class FolderAdmin(FixedProject):
    rules = FOLDERS
    list_display = ("path_cell", "project")
    list_display_links = ("path_cell",)
    list_filter = (("project", VisibleFilter),)
    list_select_related = ("project", "parent__parent__parent__parent")
    search_fields = ("name",)
    fields = ("project", "parent", "name")

    @admin.display(description=_("Folder"))
    def path_cell(self, folder: Folder) -> str:
        return folder.path()


class DatesField(forms.CharField):
    """Dates, one a line or separated by commas or spaces; kept sorted, each once."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 12, "placeholder": "2026-01-01\n2026-05-01"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(day.isoformat() for day in value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        words = [word for word in re.split(r"[\s,;]+", super().clean(value)) if word]
        if len(words) > MOST_DATES:
            raise ValidationError(gettext("At most %(most)s dates.") % {"most": f"{MOST_DATES:,}"})
        return sorted({self._day(word) for word in words})

    @staticmethod
    def _day(word: str) -> dt.date:
        try:
            return dt.date.fromisoformat(word)
        except ValueError:
            said = gettext("%(text)r is no date; write it as 2026-01-31.")
            raise ValidationError(said % {"text": word[:40]}) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class CalendarForm(forms.ModelForm):
    dates = DatesField(label=_("Dates"), required=False, help_text=_("One date a line, such as 2026-01-01."))

    class Meta:
        model = Calendar
        fields = ("project", "name", "description", "dates")


@admin.register(Calendar)
class CalendarAdmin(ScopedAdmin):
    rules = CALENDARS
    form = CalendarForm
    list_display = ("name", "project", "date_count", "next_date", "description")
    list_select_related = ("project",)
    search_fields = ("name",)
    fields = ("project", "name", "description", "dates")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not the base's filter by project: calendars of all projects have none.
        return visible_calendars(self.model._default_manager.order_by("name", "pk"), request.user)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        if isinstance(obj, Calendar) and obj.project_id is None:
            return access.has_anywhere(request.user, Right.VIEW)
        return super().has_view_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        if isinstance(obj, Calendar) and obj.project_id is None:
            return request.user.is_active and request.user.is_superuser
        return super().has_change_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ("project",) if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        # Only superusers make calendars for all projects.
        if "project" in form.base_fields:
            form.base_fields["project"].required = not request.user.is_superuser
        return form

    @admin.display(description=_("Dates"))
    def date_count(self, calendar: Calendar) -> int:
        return len(calendar.dates)

    @admin.display(description=_("Next date"))
    def next_date(self, calendar: Calendar) -> str:
        today = dt.datetime.now(dt.UTC).date()
        return next((day.isoformat() for day in sorted(calendar.dates) if day >= today), "–")


class SecretForm(forms.ModelForm):
    """The value goes in and never comes out: no page, message or log shows it."""

    value = forms.CharField(
        label=_("Value"),
        required=False,
        strip=False,
        max_length=100_000,
        widget=UnfoldAdminPasswordWidget(
            render_value=False, attrs={"autocomplete": "off", "spellcheck": "false"}
        ),
        help_text=_("Stored encrypted and never shown again. Leave it empty to keep the present value."),
    )

    class Meta:
        model = Secret
        fields = ("project", "name")

    def clean_value(self) -> str:
        value = self.cleaned_data["value"]
        if not value and not self.instance.pk:
            raise ValidationError(gettext("Write the secret's value."))
        return value

    def save(self, commit: bool = True) -> Secret:
        if self.cleaned_data["value"]:
            self.instance.write(self.cleaned_data["value"])
        return super().save(commit)


SECRET_FACTS = ("written", "tasks", "executions")
MOST_FACTS = 20


def _listed(lines: Iterable[SafeString]) -> SafeString:
    return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) or NOTHING


@admin.register(Secret)
class SecretAdmin(FixedProject):
    rules = SECRETS
    form = SecretForm
    view_right = change_right = Right.ADMINISTER
    list_display = ("name", "project", "updated_at")
    list_filter = (("project", VisibleFilter),)
    list_select_related = ("project",)
    search_fields = ("name",)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ("project", "name", "value", *(SECRET_FACTS if obj else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *(SECRET_FACTS if obj else ()))

    def save_model(self, request: HttpRequest, obj: Secret, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data:
            written = audit.Written(audit.WRITE, obj, signed_in(request), "admin", form.changed_data)
            audit.tell(written)

    def delete_model(self, request: HttpRequest, obj: Secret) -> None:
        # Before it is gone, and with it its number.
        audit.tell(audit.Written(audit.DELETE, obj, signed_in(request), "admin"))
        super().delete_model(request, obj)

    @admin.display(description=_("Written"))
    def written(self, secret: Secret) -> SafeString:
        """Who made and changed it, when and through which door, as it is on record; the value is in no record."""
        rows = apps.get_model("instances", "OperationRecord").objects.filter(
            kind__in=(audit.WRITE, audit.DELETE), options__secret=secret.pk
        )
        return _listed(
            format_html(
                '{} <a class="wo-link" href="{}">{}</a> {}',
                stamp(row.created_at),
                reverse("admin:instances_operationrecord_change", args=(row.pk,)),
                row.operator_name or _("(system)"),
                _("through %(door)s: %(columns)s")
                % {"door": row.source, "columns": ", ".join(row.options.get("changed", ()))},
            )
            for row in rows.order_by("-id")[:MOST_FACTS]
        )

    @admin.display(description=_("Tasks that get it"))
    def tasks(self, secret: Secret) -> SafeString:
        rows = apps.get_model("instances", "Task").objects.filter(
            Q(secrets=secret) | Q(data_source__url=secret)
        )
        found = rows.distinct().order_by("name").values_list("pk", "name")[:MOST_FACTS]
        return _listed(
            format_html(
                '<a class="wo-link" href="{}">{}</a>',
                reverse("admin:instances_task_change", args=(pk,)),
                name,
            )
            for pk, name in found
        )

    @admin.display(description=_("Executions that used it last"))
    def executions(self, secret: Secret) -> SafeString:
        uses = apps.get_model("instances", "SecretUse").objects.filter(secret=secret)
        rows = uses.select_related("execution__instance__task").order_by("-execution_id")[:MOST_FACTS]
        return _listed(
            format_html(
                '{} <a class="wo-link" href="{}?execution={}">{}</a>',
                stamp(use.at),
                reverse("admin:instances_instance_change", args=(use.execution.instance_id,)),
                use.execution_id,
                gettext("%(instance)s, execution %(id)d")
                % {"instance": use.execution.instance, "id": use.execution_id},
            )
            for use in rows
        )


class DataSourceForm(forms.ModelForm):
    class Meta:
        model = DataSource
        fields = ("project", "name", "description", "url")


@admin.register(DataSource)
class DataSourceAdmin(FixedProject):
    rules = DATA_SOURCES
    form = DataSourceForm
    view_right = change_right = Right.ADMINISTER
    list_display = ("name", "project", "url", "description")
    list_filter = (("project", VisibleFilter),)
    list_select_related = ("project", "url")
    search_fields = ("name",)
    fields = ("project", "name", "description", "url")
