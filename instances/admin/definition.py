"""Workflows, and resource groups with what they hold now."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.admin.graphs import workflow_data
from instances.admin.looks import TASK_LOOKS, type_cell
from instances.engine.states import HOLDING_SLOT, State
from instances.models import Execution, Instance, Task, Workflow
from instances.task_definitions import WORKFLOWS
from weops.console.paging import COUNT_CAP
from weops.console.present import badge, capped
from weops.console.scoped import ScopedAdmin, ScopedInline, VisibleFilter
from weops.projects.definitions import RESOURCE_GROUPS
from weops.projects.models import ResourceGroup


class TaskInline(ScopedInline):
    model = Task
    fields = ("link", "status_cell", "type_cell", "cycle_type", "owner")
    readonly_fields = fields
    hide_title = True
    can_delete = False
    max_num = 0
    verbose_name_plural = _("Tasks")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("Task"))
    def link(self, task: Task) -> SafeString:
        return format_html(
            '<a class="wo-link" href="{}">{}</a>',
            reverse("admin:instances_task_change", args=(task.pk,)),
            task.name,
        )

    @admin.display(description=_("Status"))
    def status_cell(self, task: Task) -> SafeString:
        return badge(TASK_LOOKS, task.status)

    @admin.display(description=_("Task type"))
    def type_cell(self, task: Task) -> SafeString:
        return type_cell(task.task_type)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return (
            super()
            .get_queryset(request)
            .select_related("owner", "workflow")
            .defer("code", "parameters", "settings")
        )


@admin.register(Workflow)
class WorkflowAdmin(ScopedAdmin):
    change_form_template = "instances/workflow_form.html"
    rules = WORKFLOWS
    list_display = ("name", "project", "folder_path", "owner", "task_count", "description")
    list_select_related = ("project", "folder__parent__parent", "owner")
    list_filter = (("project", VisibleFilter),)
    search_fields = ("name", "project__name")
    inlines = (TaskInline,)
    fields = (("project", "folder"), ("name", "owner"), "description", "parameters")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).annotate(tasks_in_it=Count("tasks"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # Tasks, instances and secrets stay where they are: a workflow never moves to another project.
        return ("project",) if obj else ()

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else ()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.graph)
        return [path("<int:pk>/graph/data/", view, name="instances_workflow_graph"), *super().get_urls()]

    def graph(self, request: HttpRequest, pk: int) -> HttpResponse:
        return workflow_data(request, get_object_or_404(self.get_queryset(request), pk=pk))

    @admin.display(description=_("Folder"))
    def folder_path(self, workflow: Workflow) -> str:
        return workflow.folder.path() if workflow.folder else "–"

    @admin.display(description=_("Tasks"))
    def task_count(self, workflow: Any) -> int:
        return workflow.tasks_in_it


def _holding(group: str = "pk") -> Any:
    """Executions that hold a slot of the group, counted by the database's index of taken slots."""
    held = Execution.objects.filter(resource_group=OuterRef(group), state__in=[s.value for s in HOLDING_SLOT])
    counted = held.order_by().values("resource_group").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))


@admin.register(ResourceGroup)
class ResourceGroupAdmin(ScopedAdmin):
    rules = RESOURCE_GROUPS
    project_path = None
    list_display = ("name", "enabled", "use_cell", "ready_cell", "queue_cell", "description")
    search_fields = ("name",)
    fields = (
        ("name", "slots"),
        "enabled",
        "description",
        ("memory_limit", "cpu_limit"),
        ("files_limit", "output_limit"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).annotate(taken=_holding())

    @admin.display(description=_("Slots in use"))
    def use_cell(self, group: Any) -> SafeString:
        share = min(100, round(100 * group.taken / group.slots)) if group.slots else 0
        meter = '<span class="wo-meter" aria-hidden="true"><span style="width:{}%"></span></span>{}'
        said = gettext("%(number)s of %(total)s") % {"number": group.taken, "total": group.slots}
        return format_html(meter, share, said)

    @admin.display(description=_("Queue"))
    def queue_cell(self, group: ResourceGroup) -> str:
        return group.queue

    @admin.display(description=_("Ready to run"))
    def ready_cell(self, group: ResourceGroup) -> str:
        """Few groups exist, so one short count each is cheap; the index of ready instances answers it."""
        ready = Instance.objects.filter(resource_group=group, state=State.WAIT_RUN, queue="ready")
        return capped(ready.order_by()[: COUNT_CAP + 1].count(), COUNT_CAP)
