"""The pages of a task's versions: all of them, what differs between two, and taking one back."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from instances import definitions
from instances.admin.task_steps import ReasonForm
from instances.insight import versions
from instances.insight.versions import Comparison, Side
from instances.models import Task, TaskVersion
from instances.task_operations import barred
from instances.task_versions import RestoreVersion, restore
from weops.console.present import stamp
from weops.console.scoped import signed_in
from weops.projects import access

if TYPE_CHECKING:
    from instances.admin.task import TaskAdmin

# In addresses, what is saved of the task.
SAVED = "saved"


def task_of(task_admin: "TaskAdmin", request: HttpRequest, pk: int) -> Task:
    """The task, if the user sees it."""
    task: Task | None = (
        task_admin.get_queryset(request)
        .select_related("workflow__project", "current_version", "owner", "calendar", "for_each")
        .filter(pk=pk)
        .first()
    )
    if task is None:
        raise Http404("There is no such task.")
    return task


def restorable(task: Task, version: TaskVersion, user: User) -> bool:
    """Whether the user may take the version back, and it is not what the task is already."""
    current = task.current_version_id == version.pk
    return not barred(RestoreVersion(), task, user) and (not current or definitions.drifted(task))


def list_view(task_admin: "TaskAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """The versions, the newest first; with `old` and `new` what differs between the two."""
    task = task_of(task_admin, request, pk)
    before = request.GET.get("before", "")
    listing = versions.listed(task, int(before) if _is_number(before) else None)
    may_restore = not barred(RestoreVersion(), task, signed_in(request))
    current = task.current_version
    drifted = definitions.drifted(task)
    old, new = _asked(request, task, listing, drifted=drifted)
    context = {
        **task_admin.admin_site.each_context(request),
        "opts": task_admin.opts,
        "original": task,
        "title": _("Versions of %(task)s") % {"task": task.name},
        "task": task,
        "rows": [
            {
                "version": row.version,
                "at": stamp(row.version.created_at),
                "words": row.words,
                "current": current is not None and row.version.pk == current.pk,
            }
            for row in listing.rows
        ],
        "earlier": listing.earlier,
        "drifted": drifted,
        "may_restore": may_restore,
        "comparison": versions.compare(task, old, new, request.user) if old and new else None,
        "old": _key(old),
        "new": _key(new),
        "saved": SAVED,
    }
    return TemplateResponse(request, "instances/task_versions.html", context)


def _asked(
    request: HttpRequest, task: Task, listing: versions.Listing, *, drifted: bool
) -> tuple[Side | None, Side | None]:
    """The two that the address names; else the newest with what came before it, or what is saved if that differs."""
    if "old" in request.GET or "new" in request.GET:
        return tuple(side_of(task, request.GET.get(name, "")) for name in ("old", "new"))  # type: ignore[return-value]
    if request.GET.get("before"):
        return None, None
    newest = [row.version.number for row in listing.rows[:2]]
    if newest and drifted:
        return side_of(task, str(newest[0])), versions.saved(task)
    if len(newest) == 2:
        return side_of(task, str(newest[1])), side_of(task, str(newest[0]))
    return None, None


def side_of(task: Task, text: str) -> Side:
    """A number, or `saved`. Raises Http404."""
    if text == SAVED:
        return versions.saved(task)
    return versions.of(version_of(task, text))


def version_of(task: Task, number: str) -> TaskVersion:
    """Raises Http404."""
    found = task.versions.filter(number=int(number)).first() if _is_number(number) else None
    if found is None:
        raise Http404("The task has no such version.")
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < len(text) <= 9


def _key(side: Side | None) -> str:
    if side is None:
        return ""
    return SAVED if side.number is None else str(side.number)


def restore_view(task_admin: "TaskAdmin", request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """GET shows what it would change and asks, POST carries it out."""
    task = task_of(task_admin, request, pk)
    operation = RestoreVersion(number)
    if operation.right not in access.rights(request.user, task.workflow.project):
        raise PermissionDenied
    version = version_of(task, str(number))
    back = reverse("admin:instances_task_versions", args=(task.pk,))
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        outcome = restore(
            operation, task.pk, user=signed_in(request), source="admin", reason=form.cleaned_data["reason"]
        )
        if outcome.record is not None:
            said = _("%(task)s is again as version %(number)d was: version %(new)d is scheduled.")
            made = outcome.record.options["version"]
            messages.success(request, said % {"task": task.name, "number": number, "new": made})
            return redirect(back)
        form.add_error(None, outcome.message)
    comparison: Comparison = versions.compare(task, versions.saved(task), versions.of(version), request.user)
    context: dict[str, Any] = {
        **task_admin.admin_site.each_context(request),
        "opts": task_admin.opts,
        "original": task,
        "title": _("Restore version %(number)d of %(task)s") % {"number": number, "task": task.name},
        "task": task,
        "version": version,
        "form": form,
        "comparison": comparison,
        "back": back,
    }
    return TemplateResponse(request, "instances/task_restore.html", context)
