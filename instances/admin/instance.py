"""Instances: the list with its filters and actions, and the page of one. Nothing here writes a state."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from instances import operations
from instances.admin import changed, detail, graphs, list_columns, list_tools, logview, traversals
from instances.admin.blockers import blockers_page
from instances.admin.listing import InstanceChangeList
from instances.admin.looks import state_badge, type_cell
from instances.admin.operate import downstream_view, operate_view, set_view
from instances.admin.overlays import acknowledged_badge, frozen_badge
from instances.admin.timeline import gantt_page, grid_page
from instances.admin.why import why_view
from instances.engine.states import ACTIVE, FINAL, InstanceType, State
from instances.kinds import IN_BULK, KINDS
from instances.models import Instance
from weops.console import layouts
from weops.console.present import between, copy_button, or_nothing, page_of, stamp, zone_name
from weops.console.row_pages import RowPageAdmin
from weops.projects.access import Right


def _column(title: Any) -> Callable[[Callable[..., Any]], Any]:
    return admin.display(description=title)


def _leading_to(kind: str) -> Callable[..., HttpResponse]:
    """What Django calls for the button of this kind."""

    def lead(
        model_admin: "InstanceAdmin", request: HttpRequest, queryset: QuerySet[Instance]
    ) -> HttpResponse:
        return model_admin.lead_to_page(request, kind)

    return lead


def _asking_why(instance: Instance) -> SafeString:
    """The badge of its state, which tells why it does not run when the pointer or the focus rests on it."""
    shown = state_badge(instance.state, instance.error_code, instance.error_message)
    if State(instance.state) in FINAL:
        return shown
    address = page_of("admin:instances_instance_why", instance.pk)
    return format_html('<span class="wo-why-badge" tabindex="0" data-why="{}">{}</span>', address, shown)


@admin.register(Instance)
class InstanceAdmin(RowPageAdmin):
    change_list_template = "instances/instance_list.html"
    page_template = "instances/instance_detail.html"
    absent = _("There is no such instance, or it belongs to a project that you cannot see.")
    list_disable_select_all = True
    ordering = ("-data_time", "-id")
    list_horizontal_scrollbar_top = True
    list_display = list_columns.KEYS

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[InstanceChangeList]:
        return InstanceChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filter bar's own parameters never come here; any other lookup could scan the table."""
        return False

    def get_list_display(self, request: HttpRequest) -> Sequence[str]:
        """The columns that the user chose, in that order."""
        return layouts.columns_of(request.user, list_columns.PAGE, list_columns.KEYS, list_columns.PINNED)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {
            "layout": list_tools.layout(request.user),
            "views": list_tools.views(request),
            "title": gettext("Instances"),
            "times_note": gettext("Times are in %(zone)s; a data time is shown in its task's own zone.")
            % {"zone": zone_name()},
            "bar": [KINDS[kind] for kind in self.get_actions(request)],
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @_column(_("Task"))
    def task_cell(self, instance: Instance) -> SafeString:
        return format_html(
            '<span class="wo-two-lines"><span class="wo-copied"><a class="wo-link" href="{}">{}</a>{}</span>'
            '<span class="wo-dim wo-copied" title="{}">{} · {}{}{}</span></span>',
            page_of("admin:instances_instance_change", instance.pk),
            instance.task.name,
            copy_button(instance.task.name, gettext("Copy the task's name")),
            gettext("Task id %(task)s, instance id %(instance)s")
            % {"task": instance.task_id, "instance": instance.pk},
            instance.project.name,
            gettext("task #%(id)s") % {"id": instance.task_id},
            _aside(instance),
            copy_button(instance.task_id, gettext("Copy the task's id")),
        )

    @_column(_("Data time"))
    def data_time_cell(self, instance: Instance) -> SafeString:
        zone = instance.task.timezone
        return format_html(
            '<span class="wo-two-lines">{}<span class="wo-dim">{}</span></span>',
            stamp(instance.data_time, zone, named=False),
            zone,
        )

    @_column(_("Execution status"))
    def state_cell(self, instance: Instance) -> SafeString:
        lines = [_asking_why(instance)]
        if instance.error_code:
            lines.append(format_html('<span class="wo-error-code">{}</span>', instance.error_code))
        lines.append(frozen_badge(instance))
        lines.append(acknowledged_badge(getattr(instance, "acknowledgement", None)))
        shown = format_html_join("", "<span>{}</span>", ((line,) for line in lines if line))
        return format_html('<span class="wo-two-lines">{}</span>', shown)

    def cycle_type(self, instance: Instance) -> str:
        return instance.get_cycle_type_display()

    @_column(_("Instance type"))
    def type_cell(self, instance: Instance) -> str:
        return instance.get_instance_type_display()

    @_column(_("Task type"))
    def task_type_cell(self, instance: Instance) -> SafeString:
        return type_cell(instance.task_type)

    @_column(_("Owner"))
    def owner_cell(self, instance: Instance) -> Any:
        return or_nothing(instance.owner and instance.owner.get_username())

    @_column(_("Workflow"))
    def workflow_cell(self, instance: Instance) -> SafeString:
        address = page_of("admin:instances_workflow_change", instance.workflow_id)
        return format_html('<a class="wo-link" href="{}">{}</a>', address, instance.workflow.name)

    @_column(_("Planned time"))
    def planned_cell(self, instance: Instance) -> SafeString:
        return stamp(instance.planned_time)

    @_column(_("Start time"))
    def start_cell(self, instance: Instance) -> SafeString:
        return stamp(instance.start_time)

    @_column(_("End time"))
    def end_cell(self, instance: Instance) -> SafeString:
        return stamp(instance.end_time)

    @_column(_("Duration"))
    def duration_cell(self, instance: Instance) -> Any:
        running = State(instance.state) in ACTIVE
        now = getattr(instance, "seen_at", None) if running else None
        shown = between(instance.start_time, instance.end_time, now)
        return format_html('<span class="wo-time">{}</span>', shown) if shown else or_nothing("")

    @_column(_("Resource group"))
    def group_cell(self, instance: Instance) -> str:
        return instance.resource_group.name

    @_column(_("Retries"))
    def tries_cell(self, instance: Instance) -> int:
        return instance.tries

    @_column(_("Runs"))
    def runs_cell(self, instance: Instance) -> int:
        return instance.total_runs

    @_column(_("Folder"))
    def folder_cell(self, instance: Instance) -> Any:
        return or_nothing(getattr(instance, "folder_path", ""))

    # Actions: each leads to a page that shows what it will touch.

    def has_operate_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_right(request, Right.OPERATE, obj)

    def has_override_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_right(request, Right.OVERRIDE, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The operations of the bar below the list that the user may do anywhere at all."""
        if request.GET.get(IS_POPUP_VAR):
            return {}
        return {
            kind: (_leading_to(kind), kind, KINDS[kind].title)
            for kind in IN_BULK
            if self.has_right(request, operations.get(kind).right)
        }

    def lead_to_page(self, request: HttpRequest, kind: str) -> HttpResponse:
        """The page of the operation, for what is ticked, or for all that match the filter of the list."""
        query: dict[str, str] = {}
        if request.POST.get("select_across") == "1":
            query["all"] = "1"
        else:
            query["ids"] = ",".join(request.POST.getlist(ACTION_CHECKBOX_NAME))
        query["query"] = request.GET.urlencode()
        return redirect(f"{reverse('admin:instances_instance_operate', args=(kind,))}?{urlencode(query)}")

    # Pages of one instance

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            *list_tools.urls(self, view),
            path("operate/<str:kind>/", view(self.operate), name="instances_instance_operate"),
            path("operate/rerun/downstream/", view(self.downstream), name="instances_instance_downstream"),
            path("operate/set/<uuid:token>/", view(self.set), name="instances_instance_set"),
            path("blockers/", view(self.blockers), name="instances_instance_blockers"),
            path("gantt/", view(self.gantt), name="instances_instance_gantt"),
            path("grid/", view(self.grid), name="instances_instance_grid"),
            path("<int:pk>/why/", view(self.why), name="instances_instance_why"),
            path("<int:pk>/lineage/", view(self.lineage), name="instances_instance_lineage"),
            path("<int:pk>/lineage/data/", view(self.lineage_data), name="instances_instance_lineage_data"),
            path(
                "<int:pk>/traversals/<int:number>/graph/",
                view(self.traversal_graph),
                name="instances_instance_traversal_graph",
            ),
            path(
                "<int:pk>/traversals/<int:number>/",
                view(self.traversal),
                name="instances_instance_traversal",
            ),
            path(
                "<int:pk>/changed/<int:execution_id>/", view(self.changed), name="instances_instance_changed"
            ),
            path("<int:pk>/log/<int:execution_id>/", view(self.log), name="instances_instance_log"),
            path(
                "<int:pk>/log/<int:execution_id>/lines/",
                view(self.log_lines),
                name="instances_instance_log_lines",
            ),
            path(
                "<int:pk>/log/<int:execution_id>/live/",
                view(self.log_live),
                name="instances_instance_log_live",
            ),
            path(
                "<int:pk>/log/<int:execution_id>/download/",
                view(self.log_file),
                name="instances_instance_log_file",
            ),
            *super().get_urls(),
        ]

    def page_rows(self, request: HttpRequest) -> QuerySet[Any]:
        return (
            super()
            .page_rows(request)
            .select_related("task__workflow", "project", "workflow", "owner", "resource_group", "version")
        )

    def page_context(self, request: HttpRequest, instance: Instance) -> dict[str, Any]:
        return {
            "title": str(instance.task.name),
            "page": detail.build(instance, request.user, request.GET),
            "layers": graphs.layers_of(request),
        }

    def traversal(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return traversals.view(self, request, pk, number)

    @method_decorator(require_GET)
    def traversal_graph(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        return traversals.data(self.visible(request, pk), number)

    def operate(self, request: HttpRequest, kind: str) -> HttpResponse:
        return operate_view(self, request, kind)

    @method_decorator(require_POST)
    def downstream(self, request: HttpRequest) -> HttpResponse:
        return downstream_view(self, request)

    def set(self, request: HttpRequest, token: UUID) -> HttpResponse:
        return set_view(self, request, token)

    def why(self, request: HttpRequest, pk: int) -> HttpResponse:
        return why_view(request, self.visible(request, pk))

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        """What the pages beside the list share; they are for those who may see any instance."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return dict(self.admin_site.each_context(request))

    def blockers(self, request: HttpRequest) -> HttpResponse:
        return blockers_page(request, self._context(request))

    def gantt(self, request: HttpRequest) -> HttpResponse:
        return gantt_page(request, self._context(request))

    def grid(self, request: HttpRequest) -> HttpResponse:
        return grid_page(request, self._context(request))

    def lineage(self, request: HttpRequest, pk: int) -> HttpResponse:
        instance = self.visible(request, pk)
        context = {**self.admin_site.each_context(request), "opts": self.opts}
        return graphs.lineage_page(request, instance, context)

    def lineage_data(self, request: HttpRequest, pk: int) -> HttpResponse:
        return graphs.lineage_data(request, self.visible(request, pk))

    def changed(self, request: HttpRequest, pk: int, execution_id: int) -> HttpResponse:
        return changed.page(request, self.admin_site, self.opts, self.visible(request, pk), execution_id)

    def log(self, request: HttpRequest, pk: int, execution_id: int) -> HttpResponse:
        return logview.page(self.visible(request, pk), execution_id, request.GET.get("after", ""))

    def log_lines(self, request: HttpRequest, pk: int, execution_id: int) -> HttpResponse:
        return logview.lines(self.visible(request, pk), execution_id, request.GET.dict())

    def log_live(self, request: HttpRequest, pk: int, execution_id: int) -> HttpResponseBase:
        return logview.follow(request, self.visible(request, pk), execution_id)

    def log_file(self, request: HttpRequest, pk: int, execution_id: int) -> HttpResponseBase:
        return logview.download(request, self.visible(request, pk), execution_id)


def _aside(instance: Instance) -> str:
    """What its task's name does not say: that it is a test run, or in which traversal it is."""
    if instance.instance_type == InstanceType.TEST:
        return gettext(" · test run")
    return gettext(" · traversal %(number)s") % {"number": instance.traversal} if instance.traversal else ""
