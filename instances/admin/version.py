"""The page of one version of a task: all that it defined."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from instances.admin.looks import language_of
from instances.admin.task_versions import restorable
from instances.insight import versions
from instances.models import TaskVersion
from instances.task_operations import barred
from instances.trial_run import TrialRun
from weops.console.changelist import LeanChangeList
from weops.console.scoped import ReadOnlyAdmin, signed_in


class VersionChangeList(LeanChangeList):
    unread = ("code", "parameters", "definition", "task__code")


@admin.register(TaskVersion)
class TaskVersionAdmin(ReadOnlyAdmin):
    """What was submitted; reached from its task's page."""

    project_path = "task__workflow__project_id"
    change_form_template = "instances/task_version.html"
    list_display = ("__str__", "task", "task_type", "created_by", "created_at", "note")
    list_select_related = ("task", "created_by")
    search_fields = ("task__name", "note")
    fields = (("task", "number"), ("created_by", "created_at"), "note")
    readonly_fields = ("task", "number", "created_by", "created_at", "note")
    ordering = ("-id",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[VersionChangeList]:
        return VersionChangeList

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        version = context.get("original")
        if isinstance(version, TaskVersion):
            task = version.task
            context["code"], context["parts"] = versions.described(task, versions.of(version), request.user)
            context["language"] = language_of(version.task_type)
            context["current"] = task.current_version_id == version.pk
            before = task.versions.filter(number__lt=version.number).order_by("-number").first()
            context["before"] = before.number if before else None
            context["may_test"] = not barred(TrialRun(), task, signed_in(request))
            context["may_restore"] = restorable(task, version, signed_in(request))
        return super().render_change_form(request, context, *args, **kwargs)
