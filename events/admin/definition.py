"""Definitions of events: who may fire what, how long it lives, and who listens."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from events import words
from events.definitions import EVENTS
from events.models import Event, Listener
from weops.console.present import NOTHING
from weops.console.scoped import ScopedAdmin, VisibleFilter
from weops.projects import access
from weops.projects.access import Right

MOST_LISTENERS = 200


@admin.register(Event)
class EventAdmin(ScopedAdmin):
    rules = EVENTS
    change_form_template = "events/event_form.html"
    list_display = (
        "name",
        "project",
        "cycle",
        "format_cell",
        "delivery",
        "lives_cell",
        "listeners_cell",
        "owner",
        "description",
    )
    list_filter = (("project", VisibleFilter), "cycle", "delivery")
    list_select_related = ("project", "owner")
    search_fields = ("name", "project__name")
    search_help_text = gettext_lazy("Name or project")
    sortable_by = ("name",)
    ordering = ("project__name", "name")
    fields = (
        ("project", "owner"),
        ("name", "cycle"),
        ("format_cell", "delivery"),
        ("time_to_live", "time_to_live_unit"),
        "description",
        "listeners_list",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).annotate(listening=Count("listeners"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("format_cell", "listeners_list", *(EVENTS.fixed if obj else ()))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        event = context.get("original")
        context["may_fire"] = bool(event) and self.has_right(request, Right.OPERATE, event)
        if event is not None:
            # On the object, not on this admin, which serves everybody.
            event.shown_listeners = _listeners(event, access.project_ids(request.user, Right.VIEW))
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=gettext_lazy("Time format"))
    def format_cell(self, event: Event) -> Any:
        return event.format if event.pk else NOTHING

    @admin.display(description=gettext_lazy("Time to live"))
    def lives_cell(self, event: Event) -> str:
        return event.lives

    @admin.display(description=gettext_lazy("Listening tasks"))
    def listeners_cell(self, event: Any) -> int:
        return event.listening

    @admin.display(description=gettext_lazy("Listening tasks"))
    def listeners_list(self, event: Any) -> Any:
        rows = getattr(event, "shown_listeners", [])
        return format_html_join("", "{} <span class='wo-dim'>{}</span><br>", rows) or _("No task listens.")


def _listeners(event: Event, visible: list[int] | None) -> list[tuple[SafeString, str]]:
    """(task, maximum wait) of each listener; tasks of projects that the user cannot see stay numbers."""
    rows = Listener.objects.filter(event=event).select_related("task__workflow__project").order_by("id")
    found = []
    for row in rows[:MOST_LISTENERS]:
        project = row.task.workflow.project
        if visible is not None and project.pk not in visible:
            link = format_html("{}", _("Task #%(id)d of another project") % {"id": row.task_id})
        else:
            address = reverse("admin:instances_task_change", args=(row.task_id,))
            link = format_html('<a class="wo-link" href="{}">{} / {}</a>', address, project, row.task)
        most = words.lasting(row.max_wait, row.max_wait_unit)
        found.append((link, _("waits at most: %(time)s") % {"time": most}))
    return found
