"""Operating on chosen instances: a page that says what is allowed and what is refused, then the operation itself.

The page decides nothing: rights are checked per row when it is shown and again when it is sent; states are judged by
the operation, which lists what it refused.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from instances import operations
from instances.admin.looks import state_badge
from instances.engine.states import LABELS, OPERATIONS, Operation, State, refusal, sources
from instances.models import Instance, OperationRecord
from weops.console.present import plain_time
from weops.console.scoped import signed_in
from weops.projects import access
from weops.projects.access import Right

if TYPE_CHECKING:
    from instances.admin.instance import InstanceAdmin

MOST = 1_000


@dataclass(frozen=True)
class Button:
    kind: Operation
    title: str
    right: Right
    icon: str
    tone: str
    warning: str

    @property
    def allowed_from(self) -> str:
        return ", ".join(LABELS[state] for state in sources(self.kind))

    @property
    def effect(self) -> str:
        return OPERATIONS[self.kind].why

    def allows(self, state: str) -> bool:
        return State(state) in sources(self.kind)


BUTTONS = (
    Button(
        Operation.RERUN,
        "Rerun",
        Right.OPERATE,
        "replay",
        "main",
        "Each instance begins a new life: it runs again, and its retries start from 0.",
    ),
    Button(
        Operation.TERMINATE,
        "Terminate",
        Right.OPERATE,
        "stop_circle",
        "danger",
        "Running processes are killed; the instances end as failed.",
    ),
    Button(
        Operation.MARK_SUCCESS,
        "Mark as successful",
        Right.OVERRIDE,
        "check_circle",
        "danger",
        "Downstream instances are released as if the data were there. Running processes are killed.",
    ),
)
_BY_KIND = {str(button.kind): button for button in BUTTONS}


@dataclass(frozen=True)
class Row:
    instance: Instance
    badge: SafeString
    data_time: str
    refusal: str
    permitted: bool


def operate_view(model_admin: "InstanceAdmin", request: HttpRequest, kind: str) -> HttpResponse:
    """GET shows the chosen instances (`ids`, separated by commas), POST carries the operation out on them."""
    button = _BY_KIND.get(kind)
    if button is None:
        raise Http404("There is no such operation.")
    sent = request.POST if request.method == "POST" else request.GET
    try:
        ids = chosen(sent.get("ids", ""))
    except ValueError as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain")
    rows = _rows(model_admin, request, button, ids)
    if request.method == "POST":
        return _carry_out(request, button, rows)
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": button.title,
        "button": button,
        "ids": ",".join(str(row.instance.pk) for row in rows),
        "allowed": [row for row in rows if not row.refusal],
        "refused": [row for row in rows if row.refusal],
        "missing": len(ids) - len(rows),
        "query": sent.get("query", ""),
        "back": _back(rows, sent.get("query", "")),
    }
    return TemplateResponse(request, "instances/operate.html", context)


def chosen(text: str) -> list[int]:
    """Ids from `1,2,3`; raises ValueError for anything else, for none, and for too many."""
    words = [word for word in text.split(",") if word]
    if not all(word.isdecimal() and len(word) <= 18 for word in words):
        raise ValueError("Instance ids are numbers, separated by commas.")
    ids = sorted({int(word) for word in words})
    if not ids:
        raise ValueError("No instance is chosen.")
    if len(ids) > MOST:
        raise ValueError(f"At most {MOST:,} instances at once.")
    return ids


def _rows(model_admin: "InstanceAdmin", request: HttpRequest, button: Button, ids: list[int]) -> list[Row]:
    """The visible ones of `ids`, each with the reason why it would be refused, if any."""
    found = (
        model_admin.get_queryset(request).filter(pk__in=ids).select_related("task", "project").order_by("pk")
    )
    return [_row(request, button, instance) for instance in found]


def _row(request: HttpRequest, button: Button, instance: Instance) -> Row:
    permitted = button.right in access.rights(request.user, instance.project_id)
    why_not = ""
    if not permitted:
        why_not = f"You do not have the right to {button.right} in project {instance.project}."
    elif not button.allows(instance.state):
        why_not = refusal(button.kind, instance.state, instance.task.name)
    data_time = f"{plain_time(instance.data_time, instance.task.timezone)} {instance.task.timezone}"
    return Row(instance, state_badge(instance.state, instance.error_code), data_time, why_not, permitted)


def _carry_out(request: HttpRequest, button: Button, rows: list[Row]) -> HttpResponse:
    permitted = [row.instance.pk for row in rows if row.permitted]
    if not permitted:
        messages.error(request, f"Nothing was done: you may {button.title.lower()} none of these instances.")
        return redirect(_back(rows, request.POST.get("query", "")))
    if len(permitted) < len(rows):
        messages.warning(
            request,
            f"{len(rows) - len(permitted)} instances were left out: you lack the right in their projects.",
        )
    reason = request.POST.get("reason", "").replace("\0", "").strip()[:2000]
    record = operations.run(button.kind, permitted, user=signed_in(request), reason=reason, source="admin")
    _report(request, button, record)
    if record.refused or record.failed:
        return redirect("admin:instances_operationrecord_change", record.pk)
    return redirect(_back(rows, request.POST.get("query", "")))


def _report(request: HttpRequest, button: Button, record: OperationRecord) -> None:
    counts = [f"{record.done} done"]
    counts += [f"{record.refused} refused"] if record.refused else []
    counts += [f"{record.failed} failed"] if record.failed else []
    level = messages.SUCCESS if record.done == record.total else messages.WARNING
    messages.add_message(request, level, f"{button.title}: {', '.join(counts)}.")


def _back(rows: list[Row], query: str) -> str:
    """Where one comes from: the filtered list, or the instance itself if it is the only one."""
    if len(rows) == 1 and not query:
        return reverse("admin:instances_instance_change", args=(rows[0].instance.pk,))
    address = reverse("admin:instances_instance_changelist")
    return f"{address}?{query}" if query else address
