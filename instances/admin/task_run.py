"""The page that runs a task once: for which data time, whether parents are checked, with which parameters."""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.admin.task_steps import ReasonForm
from instances.engine.parameters import ParameterError, resolve
from instances.engine.zone import first_instant, zone
from instances.models import Task
from instances.run_once import RunOnce, data_time_now, raw_parameters, run_once
from instances.task_operations import barred
from weops.console.present import plain_time
from weops.console.scoped import signed_in
from weops.projects import access
from weops.projects.access import Right

if TYPE_CHECKING:
    from instances.admin.task import TaskAdmin

MOST_CHARS = 128 * 1024
MOST_ROWS = 8


class ParametersForm(ReasonForm):
    """A data time, and one field for each parameter, prefilled with its value of now; those that are changed override."""

    data_time = forms.CharField(max_length=40)

    def lay_out(
        self, task: Task, raw: dict[str, str], data_time: dt.datetime, *, may_override: bool = True
    ) -> None:
        """Makes the fields. `raw`: the parameters with their expressions, to be filled in for `data_time`."""
        self.task = task
        self.broken = ""
        self.fields["data_time"].initial = plain_time(data_time, task.timezone)
        self.fields["data_time"].label = gettext("Data time (%(zone)s)") % {"zone": task.timezone}
        self.names = sorted(raw)
        for place, (name, value) in enumerate(self._values(raw, data_time)):
            self.fields[f"parameter_{place}"] = forms.CharField(
                label=name,
                initial=value,
                required=False,
                strip=False,
                max_length=MOST_CHARS,
                disabled=not may_override,
                show_hidden_initial=may_override,
                widget=forms.Textarea(
                    attrs={"rows": min(value.count("\n") + 1, MOST_ROWS), "spellcheck": "false"}
                ),
            )

    def _values(self, raw: dict[str, str], data_time: dt.datetime) -> Iterator[tuple[str, str]]:
        clock: dict[str, Any] = {"timezone": self.task.timezone, "scheduled_time": timezone.now()}
        values = raw
        try:
            values = resolve(raw, data_time=data_time, **clock)
        except ParameterError as error:
            self.broken = str(error)
        return ((name, values[name]) for name in self.names)

    def _places(self) -> list[str]:
        return [f"parameter_{place}" for place in range(len(self.names))]

    @property
    def parameter_fields(self) -> list[forms.BoundField]:
        return [self[place] for place in self._places()]

    def clean_data_time(self) -> dt.datetime:
        text = self.cleaned_data["data_time"].strip()
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            raise ValidationError(gettext("Write it as 2026-03-25 08:00:00.")) from None
        try:
            if moment.tzinfo is not None:
                return moment.astimezone(dt.UTC)
            instant, exists = first_instant(zone(self.task.timezone), moment.replace(microsecond=0))
        except (ValueError, OverflowError):
            raise ValidationError(gettext("There is no such time.")) from None
        if not exists:
            raise ValidationError(
                gettext("The clocks of %(zone)s skip that time.") % {"zone": self.task.timezone}
            )
        return instant

    def overrides(self) -> dict[str, str]:
        """The parameters that were changed. A browser sends line ends of its own, which change nothing."""
        return {
            name: self.cleaned_data[place].replace("\r\n", "\n")
            for name, place in zip(self.names, self._places(), strict=True)
            if place in self.changed_data and not self._only_line_ends(place)
        }

    def _only_line_ends(self, place: str) -> bool:
        shown = self.data.get(self.add_initial_prefix(place), "")
        return shown.replace("\r\n", "\n") == self.cleaned_data[place].replace("\r\n", "\n")


class RunForm(ParametersForm):
    check_parents = forms.BooleanField(
        required=False,
        label=_("Wait for its parents"),
        help_text=_(
            "Otherwise it runs at once. What it depends on is shown as not checked; no parent is changed."
        ),
    )

    def __init__(self, task: Task, sent: Any, *, may_override: bool) -> None:
        super().__init__(sent)
        data_time = data_time_now(task, timezone.now())
        self.lay_out(task, raw_parameters(task), data_time, may_override=may_override)
        self.order_fields(["data_time", "check_parents", *self._places(), "reason"])

    def operation(self) -> RunOnce:
        """What was asked for."""
        return RunOnce(self.cleaned_data["data_time"], self.cleaned_data["check_parents"], self.overrides())


def run_view(task_admin: "TaskAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """GET asks what to run, POST runs it and leads to the instance."""
    task = (
        task_admin.get_queryset(request)
        .select_related("workflow__project", "current_version", "calendar")
        .filter(pk=pk)
        .first()
    )
    if task is None:
        raise Http404(gettext("There is no such task."))
    held = access.rights(request.user, task.workflow.project)
    if Right.OPERATE not in held:
        raise PermissionDenied
    back = reverse("admin:instances_task_change", args=(task.pk,))
    if why := barred(RunOnce(), task, signed_in(request)) or RunOnce().refusal(task):
        messages.warning(request, why)
        return redirect(back)
    form = RunForm(task, request.POST or None, may_override=Right.OVERRIDE in held)
    if request.method == "POST" and form.is_valid():
        answer = _run(request, form)
        if answer is not None:
            return answer
    context = {
        **task_admin.admin_site.each_context(request),
        "opts": task_admin.opts,
        "title": gettext("Run %(name)s once") % {"name": task.name},
        "task": task,
        "form": form,
        "back": back,
    }
    return TemplateResponse(request, "instances/task_run.html", context)


def _run(request: HttpRequest, form: RunForm) -> HttpResponse | None:
    """None: it was refused, which the form says now."""
    outcome = run_once(
        form.operation(),
        form.task.pk,
        user=signed_in(request),
        source="admin",
        reason=form.cleaned_data["reason"],
    )
    if outcome.record is None:
        form.add_error(None, outcome.message)
        return None
    new_life = outcome.record.options["new_life"]
    said = (
        gettext("%(name)s had run for this data time: it begins a new life.")
        if new_life
        else gettext("%(name)s runs once.")
    )
    messages.success(request, said % {"name": outcome.name})
    instance_id = outcome.record.items.values_list("instance_id", flat=True).get()
    return redirect("admin:instances_instance_change", instance_id)
