"""Inner tasks on the pages of tasks: the list on the page of a For-each task, and what the form of an inner one leaves out."""

from collections import defaultdict
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from instances.admin.looks import type_cell
from instances.inner_tasks import FOR_EACH
from instances.models import Dependency, Task
from weops.console.present import Look, badge

INNER_LOOKS: dict[str, Look] = {
    "scheduling": Look("green", "repeat", _("In the DAG")),
    "paused": Look("amber", "pause_circle", _("Paused")),
    "offline": Look("grey", "cloud_off", _("Not in the DAG")),
    "draft": Look("slate", "edit_note", _("Draft: joins with the next submit")),
}
# Fieldsets are known by their titles: lazy texts are equal if what they say is.
WHAT_RUNS = _("What runs")
# Of no use to a task that something else starts.
_NOT_OF_INNER = (_("Schedule"),)


class InnerFilter(admin.SimpleListFilter):
    """Inner tasks are listed on the page of their For-each task, and here when asked for."""

    title = _("inner tasks")
    parameter_name = "inner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("all", _("With those of For-each tasks")), ("only", _("Only those of For-each tasks"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        # Whoever searches for one by name or id, or chooses one in a form, is to find it.
        if self.value() == "all" or request.GET.get("q"):
            return queryset
        return queryset.filter(for_each__isnull=self.value() != "only")


def status_badge(task: Task) -> SafeString:
    draft = task.status == "offline" and task.current_version_id is None
    return badge(INNER_LOOKS, "draft" if draft else task.status)


def is_inner(request: HttpRequest, task: Task | None) -> bool:
    """Whether the page is that of an inner task, or of one that is being added."""
    return task.for_each_id is not None if task else bool(request.GET.get("for_each"))


def fieldsets(found: Any, request: HttpRequest, task: Task | None) -> Any:
    """The fieldsets of the page, with those of inner tasks or for them."""
    if is_inner(request, task):
        return [(title, options) for title, options in found if title not in _NOT_OF_INNER]
    shown = []
    for title, options in found:
        fields = [one for one in options["fields"] if one != "for_each"]
        shown.append((title, {**options, "fields": fields}))
        if title == WHAT_RUNS and task is not None and task.task_type == FOR_EACH:
            shown.append((_("Inner tasks"), {"fields": ("inner_list",)}))
    return shown


def inner_list(task: Task) -> SafeString:
    """The inner tasks with what each follows."""
    tasks = list(task.inner_tasks.select_related("current_version").order_by("name"))
    follows: defaultdict[int, list[str]] = defaultdict(list)
    rows = Dependency.objects.filter(task__in=[one.pk for one in tasks]).order_by("upstream__name")
    for pk, name in rows.values_list("task_id", "upstream__name"):
        follows[pk].append(name)
    lines = format_html_join(
        "",
        '<tr><td class="wo-name"><a class="wo-link" href="{}">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>',
        (
            (
                reverse("admin:instances_task_change", args=(one.pk,)),
                one.name,
                type_cell(one.task_type),
                ", ".join(follows[one.pk]) or "–",
                status_badge(one),
                f"v{one.current_version.number}" if one.current_version else "–",
            )
            for one in tasks
        ),
    )
    heads = format_html_join(
        "",
        '<th scope="col">{}</th>',
        ((head,) for head in (_("Name"), _("Type"), _("Follows"), _("Status"), _("Version"))),
    )
    table = format_html(
        '<div class="wo-scroll"><table class="wo-table"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>',
        heads,
        lines,
    )
    shown = (
        table
        if tasks
        else format_html('<p class="wo-dim">{}</p>', _("None yet: each traversal would do nothing."))
    )
    return format_html(
        '{}<p class="wo-dim">{}</p>',
        shown,
        _(
            "They run for each item: ${item} in their code is the item, ${index} its place from 0. "
            "New ones join when this task is submitted."
        ),
    )


def add_address(task: Task) -> str:
    """Where an inner task is added to the For-each task; empty for other types."""
    if task.task_type != FOR_EACH:
        return ""
    given = {"for_each": task.pk, "workflow": task.workflow_id, "resource_group": task.resource_group_id}
    return f"{reverse('admin:instances_task_add')}?{urlencode(given)}"
