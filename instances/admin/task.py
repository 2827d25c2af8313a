"""Tasks: editing and submitting, and where operations on them begin. What a task may be is judged by
`instances.definitions` alone, what may be done to it by `instances.task_operations`."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from events.admin.inlines import EmitterInline, ListenerInline
from instances import definitions
from instances.admin import (
    rerun_offer,
    setting_fields,
    task_inner,
    task_run,
    task_steps,
    task_test,
    task_versions,
    waits,
)
from instances.admin.dependency_inline import DependencyInline
from instances.admin.looks import TASK_LOOKS, source_of, type_cell
from instances.admin.task_form import TaskForm
from instances.engine import secrets
from instances.engine.schedule import ScheduleError, describe
from instances.engine.schedule_types import CYCLE_FIELDS
from instances.engine.states import TaskStatus
from instances.inner_tasks import FOR_EACH
from instances.models import Task
from instances.operations.backfill_options import MOST_TASKS
from instances.run_once import RunOnce
from instances.runners import registry
from instances.task_definitions import TASKS
from instances.task_operations import barred
from instances.trial_run import TrialRun
from weops.console.changelist import LeanChangeList
from weops.console.present import NOTHING, badge, stamp
from weops.console.scoped import ScopedAdmin, signed_in
from weops.projects.access import Right

NEXT_RUNS = 5
SHOWN_VERSIONS = 5


class TaskChangeList(LeanChangeList):
    unread = ("code", *(f"current_version__{name}" for name in ("code", "parameters", "definition")))


@admin.register(Task)
class TaskAdmin(ScopedAdmin):
    project_path = "workflow__project_id"
    rules = TASKS
    form = TaskForm
    change_form_template = "instances/task_form.html"
    inlines = (DependencyInline, ListenerInline, EmitterInline)
    list_display = (
        "name",
        "status_cell",
        "workflow_cell",
        "type_cell",
        "cycle_type",
        "schedule_cell",
        "resource_group",
        "owner",
        "next_due_cell",
        "version_cell",
    )
    list_filter = ("status", "task_type", "cycle_type", task_inner.InnerFilter)
    list_select_related = ("workflow__project", "resource_group", "owner", "calendar", "current_version")
    search_fields = ("name", "workflow__name", "=id")
    search_help_text = _("Name, workflow or id")
    sortable_by = ("name",)
    ordering = ("workflow__project__name", "workflow__name", "name")
    actions = (
        "pause_tasks",
        "resume_tasks",
        "submit_tasks",
        "take_tasks_offline",
        "change_owner_of_tasks",
        "backfill_tasks",
    )
    readonly_fields = (
        "status_cell",
        "schedule_words",
        "next_runs",
        "versions_list",
        "code_text",
        "owner_cell",
        "inner_list",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "status_cell"),
                    "for_each",
                    ("workflow", "folder"),
                    ("owner", "resource_group"),
                    "description",
                )
            },
        ),
        (
            task_inner.WHAT_RUNS,
            {
                "fields": (
                    "task_type",
                    *setting_fields.made(),
                    "code",
                    ("data_source", "secrets"),
                    "parameters",
                )
            },
        ),
        (
            _("Schedule"),
            {
                "fields": (
                    ("cycle_type", "timezone"),
                    ("at", "step"),
                    "hours",
                    "weekdays",
                    "month_days",
                    "months",
                    "crontab",
                    "run_at",
                    ("effective_from", "effective_to"),
                    ("window_start", "window_end"),
                    ("calendar", "calendar_mode"),
                    ("generation", "catch_up"),
                    "schedule_words",
                    "next_runs",
                )
            },
        ),
        (
            pgettext_lazy("settings", "Running"),
            {
                "fields": (
                    ("priority", "self_dependency"),
                    ("trigger_policy", "upstream_failure"),
                    ("outputs", "allow_downstream"),
                    ("retry_limit", "retry_wait"),
                    ("run_timeout", "wait_timeout"),
                    ("memory_limit", "cpu_limit"),
                    ("files_limit", "output_limit"),
                    ("rerun_allowed", "dry_run"),
                )
            },
        ),
        (_("Versions"), {"fields": ("note", "versions_list")}),
    )

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TaskChangeList]:
        return TaskChangeList

    @admin.display(description=_("Status"))
    def status_cell(self, task: Task) -> SafeString:
        return task_inner.status_badge(task) if task.for_each_id else badge(TASK_LOOKS, task.status)

    @admin.display(description=_("Task type"))
    def type_cell(self, task: Task) -> SafeString:
        return type_cell(task.task_type)

    @admin.display(description=_("Workflow"))
    def workflow_cell(self, task: Task) -> SafeString:
        address = reverse("admin:instances_workflow_change", args=(task.workflow_id,))
        return format_html(
            '<a class="wo-link" href="{}">{} / {}</a>', address, task.workflow.project, task.workflow
        )

    @admin.display(description=_("Schedule"))
    def schedule_cell(self, task: Task) -> str:
        try:
            return describe(task.schedule())
        except (ScheduleError, ValueError) as error:
            return str(error)

    @admin.display(description=_("Next due"))
    def next_due_cell(self, task: Task) -> SafeString:
        return stamp(task.next_due_at if task.status == TaskStatus.SCHEDULING else None)

    @admin.display(description=_("Version"))
    def version_cell(self, task: Task) -> Any:
        return f"v{task.current_version.number}" if task.current_version else NOTHING

    # The page

    def project_id_of(self, obj: models.Model) -> int | None:
        # A task that is being added may have no workflow yet.
        return obj.workflow.project_id if isinstance(obj, Task) and obj.workflow_id else None

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = task_inner.fieldsets(super().get_fieldsets(request, obj), request, obj)
        if obj is None:
            return fieldsets
        # The owner of a task that exists is changed by an operation, which its instances and the record know of.
        shown: dict[str, Any] = {"owner": "owner_cell"}
        if not self.has_change_permission(request, obj):
            # Readers see the code with its lines.
            shown["code"] = "code_text"
            shown |= dict.fromkeys(setting_fields.made(), "")
            shown["parameters"] = ("parameters", "settings")
        return [
            (title, {**options, "fields": _replaced(options["fields"], shown)})
            for title, options in fieldsets
        ]

    @admin.display(description=_("Owner"))
    def owner_cell(self, task: Task) -> Any:
        return task.owner.get_username() if task.owner else NOTHING

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return (DependencyInline,) if task_inner.is_inner(request, obj) else self.inlines

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "for_each" and field is not None and field.queryset is not None:
            field.queryset = field.queryset.filter(task_type=FOR_EACH)
        return field

    @admin.display(description=_("Inner tasks"))
    def inner_list(self, task: Task) -> Any:
        return task_inner.inner_list(task) if task.pk else NOTHING

    @admin.display(description=_("Code"))
    def code_text(self, task: Task) -> SafeString:
        return source_of(secrets.masker_of(task.pk).mask_text(task.code), task.task_type)

    @admin.display(description=_("In words"))
    def schedule_words(self, task: Task) -> str:
        return self.schedule_cell(task) if task.pk else gettext("Shown once the task is saved.")

    @admin.display(description=format_lazy(_("Next {number} runs"), number=NEXT_RUNS))
    def next_runs(self, task: Task) -> Any:
        if not task.pk:
            return NOTHING
        try:
            found = definitions.preview(task, NEXT_RUNS)
        except ValidationError as error:
            return "; ".join(error.messages)
        rows = [
            (stamp(run.planned_time, task.timezone, named=True), stamp(run.data_time, task.timezone))
            for run in found
        ]
        said = gettext("data time")
        lines = ((planned, said, data_time) for planned, data_time in rows)
        return format_html_join("", "{} <span class='wo-dim'>{}</span> {}<br>", lines) or gettext(
            "The schedule has ended."
        )

    @admin.display(description=_("Submitted versions"))
    def versions_list(self, task: Task) -> Any:
        if not task.pk:
            return NOTHING
        versions = task.versions.select_related("created_by").defer("code", "definition")[:SHOWN_VERSIONS]
        rows = [
            (
                reverse("admin:instances_taskversion_change", args=(version.pk,)),
                version.number,
                stamp(version.created_at),
                gettext("by"),
                version.created_by or "WeOps",
                version.note,
            )
            for version in versions
        ]
        line = '<a class="wo-link" href="{}">v{}</a> {} <span class="wo-dim">{}</span> {} {}<br>'
        if not rows:
            return gettext("Never submitted.")
        address = reverse("admin:instances_task_versions", args=(task.pk,))
        words = gettext("All versions, and what differs")
        link = format_html('<a class="wo-link" href="{}">{}</a>', address, words)
        return format_html("{}{}", format_html_join("", line, rows), link)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}

    def _changeform_view(
        self, request: HttpRequest, object_id: str | None, form_url: str, extra_context: dict[str, Any] | None
    ) -> HttpResponse:
        if request.method == "POST":
            definitions.lock_dependencies()
        return super()._changeform_view(request, object_id, form_url, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except ValidationError as error:
            # Everything was checked by the forms under the same lock; whatever is left was changed by somebody else.
            messages.error(request, gettext("Nothing was saved. %(why)s") % {"why": " ".join(error.messages)})
            return HttpResponseRedirect(request.get_full_path())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        task = context.get("original")
        status = task.status if task else TaskStatus.OFFLINE
        context["cycle_fields"] = {cycle.value: sorted(fields) for cycle, fields in CYCLE_FIELDS.items()}
        context["type_fields"] = setting_fields.shown_for()
        context["type_codes"] = setting_fields.help_of_code()
        context["type_languages"] = setting_fields.languages()
        context["type_icons"] = {runner.type: runner.icon for runner in registry.runners()}
        context["steps"] = task_steps.buttons(task, signed_in(request)) if task else []
        context["may_run"] = bool(task) and not barred(RunOnce(), task, signed_in(request))
        context["may_test"] = bool(task) and not barred(TrialRun(), task, signed_in(request))
        context["may_draft"] = status == TaskStatus.OFFLINE
        context["add_inner"] = (
            task_inner.add_address(task) if task and self.has_change_permission(request, task) else ""
        )
        context["drifted"] = bool(task and definitions.drifted(task))
        return super().render_change_form(request, context, *args, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        task = form.instance
        if "_draft" in request.POST and task.status == TaskStatus.OFFLINE:
            messages.info(request, gettext("Saved as a draft: it is not scheduled until it is submitted."))
            return
        note = form.cleaned_data.get("note", "")
        version = definitions.submit(task, user=signed_in(request), note=note, source="admin")
        if task.for_each is None:
            messages.info(
                request, gettext("Submitted: version %(number)s is scheduled.") % {"number": version.number}
            )
            rerun_offer.offer(request, task)
            return
        messages.info(
            request,
            gettext(
                "Submitted: version %(number)s. A new step, or another order, holds once %(name)s is submitted."
            )
            % {"number": version.number, "name": task.for_each.name},
        )

    def response_post_save_add(self, request: HttpRequest, obj: Task) -> HttpResponse:
        return redirect("admin:instances_task_change", obj.pk)

    def response_post_save_change(self, request: HttpRequest, obj: Task) -> HttpResponse:
        return redirect("admin:instances_task_change", obj.pk)

    # Operations

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/step/<str:name>/", wrap(self.step), name="instances_task_step"),
            path("<int:pk>/run/", wrap(self.run), name="instances_task_run"),
            path("<int:pk>/test/", wrap(self.test), name="instances_task_test"),
            path("<int:pk>/versions/", wrap(self.versions), name="instances_task_versions"),
            path(
                "<int:pk>/versions/<int:number>/restore/", wrap(self.restore), name="instances_task_restore"
            ),
            path("<int:pk>/waits/", wrap(self.waits), name="instances_task_waits"),
            path("waits/", wrap(self.waits), name="instances_task_new_waits"),
            path("steps/<str:name>/", wrap(self.steps), name="instances_task_steps"),
        ]
        return [*own, *super().get_urls()]

    @method_decorator(require_http_methods(["GET", "POST"]))
    def step(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        return task_steps.task_view(self, request, pk, name)

    @method_decorator(require_http_methods(["POST"]))
    def steps(self, request: HttpRequest, name: str) -> HttpResponse:
        return task_steps.list_view(self, request, name)

    @method_decorator(require_http_methods(["GET", "POST"]))
    def run(self, request: HttpRequest, pk: int) -> HttpResponse:
        return task_run.run_view(self, request, pk)

    @method_decorator(require_http_methods(["GET", "POST"]))
    def test(self, request: HttpRequest, pk: int) -> HttpResponse:
        return task_test.test_view(self, request, pk)

    @method_decorator(require_http_methods(["GET"]))
    def versions(self, request: HttpRequest, pk: int) -> HttpResponse:
        return task_versions.list_view(self, request, pk)

    @method_decorator(require_http_methods(["GET", "POST"]))
    def restore(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        return task_versions.restore_view(self, request, pk, number)

    @method_decorator(require_http_methods(["GET"]))
    def waits(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        return waits.view(self, request, pk)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return self.has_right(request, Right.OPERATE)

    @admin.action(description=_("Pause"), permissions=["operate"])
    def pause_tasks(self, request: HttpRequest, chosen: QuerySet[Task]) -> HttpResponse | None:
        return task_steps.chosen_view(self, request, "pause", chosen)

    @admin.action(description=_("Resume"), permissions=["operate"])
    def resume_tasks(self, request: HttpRequest, chosen: QuerySet[Task]) -> HttpResponse | None:
        return task_steps.chosen_view(self, request, "resume", chosen)

    @admin.action(description=_("Submit"), permissions=["change"])
    def submit_tasks(self, request: HttpRequest, chosen: QuerySet[Task]) -> HttpResponse | None:
        return task_steps.chosen_view(self, request, "submit", chosen)

    @admin.action(description=_("Take offline"), permissions=["change"])
    def take_tasks_offline(self, request: HttpRequest, chosen: QuerySet[Task]) -> HttpResponse | None:
        return task_steps.chosen_view(self, request, "offline", chosen)

    @admin.action(description=_("Backfill"), permissions=["operate"])
    def backfill_tasks(self, request: HttpRequest, chosen: QuerySet[Task]) -> HttpResponse:
        ids = chosen.order_by("pk").values_list("pk", flat=True)[:MOST_TASKS]
        return redirect(
            f"{reverse('admin:instances_backfillplan_add')}?{urlencode({'tasks': list(ids)}, doseq=True)}"
        )

    @admin.action(description=_("Change owner"), permissions=["change"])
    def change_owner_of_tasks(self, request: HttpRequest, chosen: QuerySet[Task]) -> HttpResponse | None:
        return task_steps.chosen_view(self, request, "owner", chosen)


def _replaced(fields: Any, names: dict[str, Any]) -> list[Any]:
    """The fields of a fieldset, which may stand in rows, under other names; without those whose new name is empty."""
    found = [
        names.get(one, one) if isinstance(one, str) else tuple(names.get(name, name) for name in one)
        for one in fields
    ]
    return [one for one in found if one]
