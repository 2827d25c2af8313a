"""Operating on tasks: pages that say which tasks it will be done to and what follows, then the operation itself.

The pages decide nothing: `instances.task_operations` judges each task when a page is shown and again when it is sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from instances import task_operations
from instances.admin.looks import TASK_LOOKS
from instances.engine.states import Operation, sources
from instances.models import Instance, Task
from instances.task_operations import (
    ChangeOwner,
    Missed,
    Outcome,
    Pause,
    Resume,
    Submit,
    TakeOffline,
    TaskOperation,
)
from weops.console.paging import COUNT_CAP, capped_count
from weops.console.present import badge, capped
from weops.console.scoped import signed_in
from weops.projects import access

if TYPE_CHECKING:
    from instances.admin.task import TaskAdmin

MOST = 10_000
SHOWN = 200
# What a page counts at most, over all its tasks.
MOST_MISSED = 20_000
MOST_REASON = 2_000
# Refusals that a message names.
MOST_SAID = 10


class ReasonForm(forms.Form):
    """What every step asks for."""

    reason = forms.CharField(
        label=_("Reason (kept in the operation record)"),
        required=False,
        max_length=MOST_REASON,
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class StopForm(ReasonForm):
    kill = forms.BooleanField(required=False)

    field_order = ("kill", "reason")


class ResumeForm(ReasonForm):
    generate_missed = forms.BooleanField(required=False)

    field_order = ("generate_missed", "reason")


class OwnerForm(ReasonForm):
    owner = forms.ModelChoiceField(User.objects.none(), label=_("New owner"), empty_label=_("Choose"))

    field_order = ("owner", "reason")


@dataclass(frozen=True)
class Step:
    """A button. `make`: the operation from what its form holds; `probe`: one without options, to ask who is barred from it.
    `said`: of a task when it is done."""

    name: str
    title: Any
    icon: str
    operation: type[TaskOperation]
    form: type[ReasonForm]
    make: Callable[[dict[str, Any]], TaskOperation]
    probe: TaskOperation
    warning: Any
    said: Any
    danger: bool = False


STEPS = {
    step.name: step
    for step in (
        Step(
            "pause",
            _("Pause"),
            "pause_circle",
            Pause,
            StopForm,
            lambda sent: Pause(kill=sent["kill"]),
            Pause(),
            _(
                "Nothing new is generated until it is resumed. Instances that exist go on, unless they are ended here."
            ),
            _("paused: no new instances are generated"),
        ),
        Step(
            "resume",
            _("Resume"),
            "play_circle",
            Resume,
            ResumeForm,
            lambda sent: Resume(generate_missed=sent["generate_missed"]),
            Resume(),
            _(
                "Scheduled again from now on. What was planned during the pause is left out, unless it is chosen here."
            ),
            _("scheduled again"),
        ),
        Step(
            "offline",
            _("Take offline"),
            "cloud_off",
            TakeOffline,
            StopForm,
            lambda sent: TakeOffline(kill=sent["kill"]),
            TakeOffline(),
            _(
                "Its scheduling ends until it is submitted again. Instances that exist go on, unless they are ended here."
            ),
            _("taken offline"),
            danger=True,
        ),
        Step(
            "owner",
            _("Change owner"),
            "person_edit",
            ChangeOwner,
            OwnerForm,
            lambda sent: ChangeOwner(sent["owner"]),
            ChangeOwner(User()),
            _(
                "Instances that have not ended go to the new owner, too; what has ended keeps the one that it had."
            ),
            _("given to the new owner"),
        ),
        Step(
            "submit",
            _("Submit"),
            "upload",
            Submit,
            ReasonForm,
            lambda sent: Submit(),
            Submit(),
            _("What is saved becomes the current version, and the task is scheduled from now on."),
            _("submitted and scheduled"),
        ),
    )
}
# Of the page of one task, which is submitted by its own form.
BUTTONS = ("pause", "resume", "offline", "owner")


def buttons(task: Task, user: User) -> list[Step]:
    """The steps that the task's page offers: those that neither the user's rights nor the task's status bar."""
    steps = (STEPS[name] for name in BUTTONS)
    return [step for step in steps if not task_operations.barred(step.probe, task, user)]


def task_view(task_admin: "TaskAdmin", request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """The step on one task: GET asks, POST carries it out."""
    task = (
        task_admin.get_queryset(request)
        .select_related("workflow__project", "owner", "calendar")
        .filter(pk=pk)
        .first()
    )
    if task is None or name not in BUTTONS:
        raise Http404(gettext("There is no such task or step."))
    if STEPS[name].operation.right not in access.rights(request.user, task.workflow.project):
        raise PermissionDenied
    return _Page(task_admin, request, STEPS[name], [task]).answer(sent=request.method == "POST")


def list_view(task_admin: "TaskAdmin", request: HttpRequest, name: str) -> HttpResponse:
    """POST carries the step out on the tasks that its page showed (`ids`, separated by commas)."""
    if name not in STEPS:
        raise Http404(gettext("There is no such step."))
    words = [word for word in request.POST.get("ids", "").split(",") if word]
    if not words or len(words) > MOST or not all(word.isdecimal() and len(word) <= 18 for word in words):
        said = gettext("Choose 1 to %(most)s tasks by their ids, separated by commas.")
        return HttpResponseBadRequest(said % {"most": f"{MOST:,}"}, content_type="text/plain")
    rows = task_admin.get_queryset(request).filter(pk__in=[int(word) for word in words])
    return _Page(task_admin, request, STEPS[name], _in_order(rows), request.POST.get("query", "")).answer(
        sent=True
    )


def chosen_view(
    task_admin: "TaskAdmin", request: HttpRequest, name: str, chosen: QuerySet[Task]
) -> HttpResponse | None:
    """What an action of the list leads to: the page of the step for the chosen tasks."""
    tasks = _in_order(chosen, MOST + 1)
    if len(tasks) > MOST:
        messages.error(
            request,
            gettext("At most %(most)s tasks at once; narrow the list by its filters.")
            % {"most": f"{MOST:,}"},
        )
        return None
    return _Page(task_admin, request, STEPS[name], tasks, request.GET.urlencode()).answer(sent=False)


def _in_order(rows: QuerySet[Task], most: int = MOST) -> list[Task]:
    named = rows.select_related("workflow__project", "owner", "calendar")
    return list(named.order_by("workflow__project__name", "workflow__name", "name")[:most])


@dataclass
class _Page:
    """`query` of the list that one came from; None: one task, from its own page."""

    task_admin: "TaskAdmin"
    request: HttpRequest
    step: Step
    tasks: Sequence[Task]
    query: str | None = None

    def answer(self, *, sent: bool) -> HttpResponse:
        form = self.form(self.request.POST if sent else None)
        if sent and form.is_valid():
            return self.carry_out(form)
        context = {
            **self.task_admin.admin_site.each_context(self.request),
            "opts": self.task_admin.opts,
            "title": self.step.title,
            "step": self.step,
            "form": form,
            "allowed": self.allowed,
            "shown": [self.row(task) for task in self.allowed[:SHOWN]],
            "refused": self.refused,
            "refused_shown": self.refused[:SHOWN],
            "ids": ",".join(str(task.pk) for task in self.tasks),
            "query": self.query or "",
            "address": self.address,
            "back": self.back,
        }
        return TemplateResponse(self.request, "instances/task_step.html", context)

    @cached_property
    def refused(self) -> list[tuple[Task, str]]:
        """Those whose status, or the user's right, does not allow it; the operation itself may refuse more."""
        user, probe = signed_in(self.request), self.step.probe
        return [(task, why) for task in self.tasks if (why := task_operations.barred(probe, task, user))]

    @cached_property
    def allowed(self) -> list[Task]:
        refused = {task.pk for task, _ in self.refused}
        return [task for task in self.tasks if task.pk not in refused]

    @cached_property
    def missed(self) -> dict[int, Missed]:
        """What a resume would generate of each, until there is more than a page counts."""
        left, found = MOST_MISSED, {}
        for task in self.allowed if self.step.form is ResumeForm else ():
            if left <= 0:
                break
            found[task.pk] = task_operations.missed(task, limit=left)
            left -= found[task.pk].count
        return found

    def form(self, sent: Any) -> ReasonForm:
        form = self.step.form(sent)
        if isinstance(form, StopForm):
            rows = Instance.objects.filter(
                task_id__in=[task.pk for task in self.allowed], state__in=sources(Operation.TERMINATE)
            )
            count = capped(capped_count(rows), COUNT_CAP)
            form.fields["kill"].label = gettext(
                "Terminate the instances that have not ended: %(count)s now"
            ) % {"count": count}
        elif isinstance(form, ResumeForm):
            form.fields["generate_missed"].label = gettext("Generate what was missed: %(instances)s") % {
                "instances": self.missed_words
            }
        elif isinstance(form, OwnerForm):
            projects = {task.workflow.project_id for task in self.tasks}
            owners = task_operations.possible_owners(projects).values("pk")
            choices = access.colleagues(self.request.user).filter(pk__in=owners)
            field = form.fields["owner"]
            assert isinstance(field, forms.ModelChoiceField)
            field.queryset = choices
        return form

    @property
    def missed_words(self) -> str:
        count = sum(one.count for one in self.missed.values())
        more = len(self.missed) < len(self.allowed) or any(one.more for one in self.missed.values())
        said = (
            ngettext("more than %(count)s instance", "more than %(count)s instances", count)
            if more
            else ngettext("%(count)s instance", "%(count)s instances", count)
        )
        return said % {"count": f"{count:,}"}

    def row(self, task: Task) -> dict[str, Any]:
        missed = self.missed.get(task.pk)
        said = "" if missed is None else f"{missed.count:,}{'+' if missed.more else ''}"
        return {"task": task, "status": badge(TASK_LOOKS, task.status), "missed": said}

    @property
    def address(self) -> str:
        if self.query is None:
            return reverse("admin:instances_task_step", args=(self.tasks[0].pk, self.step.name))
        return reverse("admin:instances_task_steps", args=(self.step.name,))

    @property
    def back(self) -> str:
        if self.query is None:
            return reverse("admin:instances_task_change", args=(self.tasks[0].pk,))
        return f"{reverse('admin:instances_task_changelist')}?{self.query}".removesuffix("?")

    def carry_out(self, form: ReasonForm) -> HttpResponse:
        outcomes = task_operations.apply(
            self.step.make(form.cleaned_data),
            [task.pk for task in self.tasks],
            user=signed_in(self.request),
            source="admin",
            reason=form.cleaned_data["reason"],
        )
        self.report(outcomes)
        return redirect(self.back)

    def report(self, outcomes: Sequence[Outcome]) -> None:
        done = [outcome for outcome in outcomes if outcome.done]
        refused = [outcome.message for outcome in outcomes if not outcome.done]
        if done:
            tasks = ngettext("%(count)s task", "%(count)s tasks", len(done)) % {"count": f"{len(done):,}"}
            who = done[0].name if len(done) == 1 else tasks
            messages.success(self.request, f"{who}: {self.step.said}.")
        for kill in sorted(
            {outcome.record.options.get("kill") for outcome in done if outcome.record} - {None}
        ):
            address = reverse("admin:instances_operationrecord_change", args=(kill,))
            link = gettext(
                '<a href="{address}">Operation #{id}</a> terminates the instances that have not ended.'
            )
            messages.info(self.request, format_html(link, address=address, id=kill))
        if refused:
            said = refused[:MOST_SAID]
            if len(outcomes) > 1:
                said.insert(0, gettext("%(count)s refused.") % {"count": f"{len(refused):,}"})
            if len(refused) > MOST_SAID:
                said.append(gettext("And %(count)s more.") % {"count": f"{len(refused) - MOST_SAID:,}"})
            messages.warning(self.request, " ".join(said))
