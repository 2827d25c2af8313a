"""The page of a task's test runs: what to run, for which data time, with which parameters; and the log as it comes in.

The form of the task sends what stands in its fields here; nothing of it is saved.
"""

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from instances.admin.looks import language_of, state_badge
from instances.admin.setting_fields import START_OF_FIELD
from instances.admin.task_form import TaskForm
from instances.admin.task_run import ParametersForm
from instances.admin.task_versions import task_of, version_of
from instances.engine.states import FINAL, InstanceType
from instances.models import Execution, Instance, Task
from instances.trial_run import Edited, TrialRun, check_shape, default_data_time, raw_parameters, start
from weops.console.present import stamp
from weops.console.scoped import signed_in
from weops.projects import access

if TYPE_CHECKING:
    from instances.admin.task import TaskAdmin

SHOWN = 5
_TESTED = ("task_type", "code", "parameters", "outputs")


class TrialForm(ParametersForm):
    """`edited`: what stood in the form of the task, as JSON; `version`: the number of a submitted one in its place."""

    edited = forms.CharField(required=False, widget=forms.HiddenInput)
    version = forms.CharField(required=False, widget=forms.HiddenInput)


def test_view(task_admin: "TaskAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows what would run, or how the test run `run` goes. POST comes from the form of the task, with its fields; or from
    this page's own, with `edited` or `version`, and starts a test run."""
    task = task_of(task_admin, request, pk)
    if TrialRun().rights() - access.rights(request.user, task.workflow.project):
        raise PermissionDenied
    shown = _run_of(task, request.GET.get("run", ""))
    sent = request.POST if request.method == "POST" else None
    starting = sent is not None and bool(sent.get("edited") or sent.get("version"))
    edited, number, wrong = _asked(task, request, shown)
    form = _form(task, edited, number, sent if starting else None, shown)
    if starting and not wrong and form.is_valid():
        outcome = start(
            TrialRun(
                edited=None if number else edited,
                number=number,
                data_time=form.cleaned_data["data_time"],
                parameters=form.overrides(),
            ),
            task.pk,
            user=signed_in(request),
            source="admin",
            reason=form.cleaned_data["reason"],
        )
        if outcome.record is not None:
            instance_id = outcome.record.items.values_list("instance_id", flat=True).get()
            address = reverse("admin:instances_task_test", args=(task.pk,))
            return redirect(f"{address}?run={instance_id}")
        form.add_error(None, outcome.message)
    context: dict[str, Any] = {
        **task_admin.admin_site.each_context(request),
        "opts": task_admin.opts,
        "original": task,
        "title": _("Test run of %(task)s") % {"task": task.name},
        "task": task,
        "form": form,
        "number": number,
        "edited": edited,
        "language": language_of(edited.task_type),
        "wrong": wrong,
        "instance": shown,
        "state": state_badge(shown.state, shown.error_code, shown.error_message) if shown else "",
        "live": shown is not None and shown.state not in FINAL,
        "execution": _execution_of(shown),
        "data_time": stamp(shown.data_time, task.timezone, named=True) if shown else "",
        "latest": _latest(task),
        "address": reverse("admin:instances_task_test", args=(task.pk,)),
    }
    return TemplateResponse(request, "instances/task_test.html", context)


def _run_of(task: Task, text: str) -> Instance | None:
    if not text:
        return None
    tests = Instance.objects.filter(task=task, instance_type=InstanceType.TEST)
    found = tests.filter(pk=int(text)).first() if text.isdecimal() and len(text) <= 18 else None
    if found is None:
        raise Http404("The task has no such test run.")
    found.task = task
    return found


def _execution_of(instance: Instance | None) -> Execution | None:
    if instance is None:
        return None
    return Execution.objects.filter(instance=instance).select_related("version").order_by("-id").first()


def _asked(task: Task, request: HttpRequest, shown: Instance | None) -> tuple[Edited, int | None, list[str]]:
    """(what would run, the number of the version if it is a submitted one, what is wrong with the fields that were sent)"""
    asked = request.POST if request.method == "POST" else request.GET
    if number := asked.get("version", ""):
        version = version_of(task, number)
        return Edited.of(version), version.number, []
    if request.method == "POST":
        return _sent(task, request)
    if shown is not None:
        ran = _execution_of(shown)
        used = (ran.version if ran else None) or shown.version
        if used is not None:
            return Edited.of(used), used.number, []
    return Edited.of(task), None, []


def _sent(task: Task, request: HttpRequest) -> tuple[Edited, None, list[str]]:
    if text := request.POST.get("edited"):
        try:
            return check_shape(json.loads(text)), None, []
        except (ValueError, ValidationError, RecursionError):
            return (
                Edited.of(task),
                None,
                [_("What was sent cannot be read; send it again from the form of the task.")],
            )
    return of_form(task, request.POST)


def of_form(task: Task, sent: Any) -> tuple[Edited, None, list[str]]:
    """What the fields of the task's form say, whatever is wrong with those that a test run does not take."""
    copy = Task.objects.select_related("workflow__project", "calendar", "for_each").get(pk=task.pk)
    form = TaskForm(sent, instance=copy)
    form.is_valid()
    wrong = [
        str(message)
        for name, messages in form.errors.items()
        if name in _TESTED or name.startswith(START_OF_FIELD)
        for message in messages
    ]
    known = form.cleaned_data
    edited = Edited(
        known.get("task_type") or task.task_type,
        known.get("code", ""),
        copy.settings,
        known.get("parameters") or {},
        tuple(known.get("outputs") or ()),
    )
    return edited, None, wrong


def _form(task: Task, edited: Edited, number: int | None, sent: Any, shown: Instance | None) -> TrialForm:
    """After a test run it offers the same once more."""
    form = TrialForm(sent)
    now = timezone.now()
    data_time = shown.data_time if shown else default_data_time(task, now)
    raw = raw_parameters(task, edited)
    form.lay_out(task, raw, data_time)
    for name, field in zip(form.names, form.parameter_fields, strict=True):
        if shown is not None and name in shown.overrides:
            form.fields[field.name].initial = shown.overrides[name]
            # What it differs from is the task's own value still.
            form.fields[field.name].show_hidden_initial = False
    said = {
        "task_type": edited.task_type,
        "code": edited.code,
        "settings": dict(edited.settings),
        "parameters": dict(edited.parameters),
        "outputs": list(edited.outputs),
    }
    form.fields["version"].initial = number or ""
    form.fields["edited"].initial = "" if number else json.dumps(said)
    return form


def _latest(task: Task) -> list[dict[str, Any]]:
    rows = Instance.objects.filter(task=task, instance_type=InstanceType.TEST).order_by("-id")[:SHOWN]
    return [
        {
            "pk": one.pk,
            "at": stamp(one.created_at),
            "data_time": stamp(one.data_time, task.timezone),
            "badge": state_badge(one.state, one.error_code, one.error_message),
        }
        for one in rows
    ]
