"""Backfill plans: the list with how far each is, the form with a live preview, the page of one with pause, resume and stop.

    GET add/                   the options as they are by default; `tasks` in the address chooses tasks
    POST add/                  the preview; with JavaScript, after each change
    POST add/ with `apply`     begins what the sent `token` stands for, unless something has changed since

The pages decide nothing: `instances.operations.backfill` judges options, rights, and what has changed.
"""

import logging
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from instances.admin import backfill_page, graphs, operate_offers
from instances.admin.backfill_form import PlanForm
from instances.admin.backfill_page import PLAN_LOOKS, RUN_LOOKS
from instances.insight.picking import tasks_downstream
from instances.models import BackfillPlan, Task
from instances.models.backfill import RunState
from instances.operations import OptionError, backfill
from instances.operations.backfill import Token
from instances.operations.backfill_options import Downstream, downstream_of
from instances.operations.backfill_preview import PlanPreview
from weops.console.paging import time_limit
from weops.console.present import badge, or_nothing, span, stamp
from weops.console.row_pages import RowPageAdmin
from weops.console.scoped import signed_in
from weops.projects import access
from weops.projects.access import Right

log = logging.getLogger(__name__)

SECONDS = 30
# A larger plan is previewed anew only when one asks for it.
QUICK = 20_000
# Downstream tasks that are offered to be picked.
MOST_PICKS = 200


def _address(plan: BackfillPlan) -> str:
    return reverse("admin:instances_backfillplan_change", args=(plan.pk,))


@admin.register(BackfillPlan)
class BackfillPlanAdmin(RowPageAdmin):
    project_path = None
    change_list_template = "instances/backfill_list.html"
    page_template = "instances/backfill_detail.html"
    absent = _("There is no such plan, or it is about projects that you cannot see.")
    list_display = (
        "name_cell",
        "state_cell",
        "progress_cell",
        "runs_cell",
        "operator_cell",
        "created_cell",
        "took_cell",
    )
    list_filter = ("state",)
    search_fields = ("name", "created_by_name", "=id")
    search_help_text = _("Name, operator or id")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request) & backfill.visible(signed_in(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return access.has_anywhere(request.user, Right.OPERATE)

    # The list

    @admin.display(description=_("Plan"))
    def name_cell(self, plan: BackfillPlan) -> SafeString:
        return format_html(
            '<span class="wo-two-lines"><a class="wo-link" href="{}">{}</a><span class="wo-dim">#{} · {}</span></span>',
            _address(plan),
            plan.name,
            plan.pk,
            gettext("%(first)s to %(last)s")
            % {"first": plan.options["ranges"][0][0], "last": plan.options["ranges"][-1][1]},
        )

    @admin.display(description=_("State"))
    def state_cell(self, plan: BackfillPlan) -> SafeString:
        return badge(PLAN_LOOKS, plan.state, title=plan.message)

    @admin.display(description=_("Complete, successful"))
    def progress_cell(self, plan: BackfillPlan) -> SafeString:
        rows = (
            (plan.percent_complete, gettext("complete"), "blue"),
            (plan.percent_successful, gettext("successful"), "green"),
        )
        return format_html(
            '<span class="wo-two-lines">{}</span>',
            format_html_join(
                "",
                '<span class="wo-nowrap"><span class="wo-meter wo-{}" role="img" aria-label="{}% {}">'
                '<span style="width:{}%"></span></span><span class="wo-number">{}%</span> <span class="wo-dim">{}</span></span>',
                ((tone, f"{share:g}", word, f"{share:g}", f"{share:g}", word) for share, word, tone in rows),
            ),
        )

    @admin.display(description=pgettext_lazy("of a plan", "Runs"))
    def runs_cell(self, plan: BackfillPlan) -> Any:
        counts = [
            f"{getattr(plan, state):,} {RUN_LOOKS[state].text.lower()}"
            for state in RUN_LOOKS
            if state != RunState.SKIPPED and getattr(plan, state)
        ]
        said = ", ".join(counts)
        return format_html('<span class="wo-two-lines"><span>{}</span><span class="wo-dim">{}</span></span>',
                           f"{plan.total:,}", said) if said else or_nothing("")  # fmt: skip

    @admin.display(description=pgettext_lazy("who did it", "Operator"))
    def operator_cell(self, plan: BackfillPlan) -> str:
        return plan.created_by_name or gettext("(system)")

    @admin.display(description=_("At"))
    def created_cell(self, plan: BackfillPlan) -> SafeString:
        return stamp(plan.created_at)

    @admin.display(description=_("Took"))
    def took_cell(self, plan: BackfillPlan) -> str:
        return span(plan.finished_at - plan.created_at) if plan.finished_at else "–"

    # One plan

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("add/downstream/", view(self.downstream), name="instances_backfillplan_downstream"),
            path("<int:pk>/progress/", view(self.progress), name="instances_backfillplan_progress"),
            path("<int:pk>/pause/", view(self.pause), name="instances_backfillplan_pause"),
            path("<int:pk>/resume/", view(self.resume), name="instances_backfillplan_resume"),
            path("<int:pk>/stop/", view(self.stop), name="instances_backfillplan_stop"),
            *super().get_urls(),
        ]

    def page_context(self, request: HttpRequest, plan: BackfillPlan) -> dict[str, Any]:
        return {
            "title": gettext("Backfill plan #%(id)s") % {"id": plan.pk},
            "page": backfill_page.build(plan, request.user, request.GET),
        }

    @method_decorator([require_GET, never_cache])
    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The bar and the counts alone, for the page that looks again every second."""
        context = {"progress": backfill_page.progress(self.visible(request, pk))}
        return TemplateResponse(request, "instances/backfill_progress.html", context)

    @method_decorator(require_POST)
    def pause(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._steer(request, pk, backfill.pause, gettext("Paused: what is under way goes on."))

    @method_decorator(require_POST)
    def resume(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._steer(request, pk, backfill.resume, gettext("It goes on."))

    @method_decorator(require_POST)
    def stop(self, request: HttpRequest, pk: int) -> HttpResponse:
        running = request.POST.get("running") == "on"
        return self._steer(request, pk, backfill.stop, gettext("It is being stopped."), running=running)

    def _steer(self, request: HttpRequest, pk: int, step: Any, said: str, **options: Any) -> HttpResponse:
        plan = self.visible(request, pk)
        reason = request.POST.get("reason", "")
        try:
            done = step(plan, user=signed_in(request), source="admin", reason=reason, **options)
        except PermissionDenied as error:
            messages.error(request, str(error))
            return self.shown(request, plan, status=403)
        if done:
            messages.success(request, said)
        else:
            now = BackfillPlan.objects.get(pk=plan.pk).get_state_display()
            messages.warning(
                request, gettext("Nothing was done: the plan is %(state)s.") % {"state": now.lower()}
            )
        return redirect(_address(plan))

    # A new plan

    @method_decorator(require_POST)
    def downstream(self, request: HttpRequest) -> HttpResponse:
        """What follows the chosen tasks, as a graph to pick from; it takes the form of a new plan."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = PlanForm(request.POST, user=signed_in(request), query=request.GET)
        try:
            with time_limit(SECONDS):
                roots = list(form.operable().filter(pk__in=form.task_ids).values_list("pk", flat=True))
                graph = tasks_downstream(roots, signed_in(request), graphs.opened_of(request))
        except OperationalError as error:
            log.warning("a graph of tasks to pick from gave up: %s", error)
            return HttpResponse(status=503)
        return graphs.picking_data(graph, "admin:instances_task_change")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        page = _NewPlan(self, request)
        try:
            with time_limit(SECONDS):
                if request.method != "POST":
                    return page.show()
                if "apply" not in request.POST:
                    return page.preview()
            return page.begin()
        except OperationalError as error:
            log.warning("a preview of a backfill gave up: %s", error)
            return HttpResponse(
                gettext(
                    "The database needed more than %(seconds)s seconds for this plan, and nothing was done. "
                    "Choose fewer tasks or shorter ranges."
                )
                % {"seconds": SECONDS},
                content_type="text/plain; charset=utf-8",
                status=503,
            )


class _NewPlan:
    """One request for the page of a new plan. `show` is the last step of all others."""

    def __init__(self, model_admin: BackfillPlanAdmin, request: HttpRequest) -> None:
        self.model_admin = model_admin
        self.request = request
        self.user = signed_in(request)
        self.form = PlanForm(
            request.POST if request.method == "POST" else None, user=self.user, query=request.GET
        )
        self.shown: PlanPreview | None = None
        self.token: Token | None = None
        self.problem = ""

    def preview(self) -> HttpResponse:
        options = self._options()
        if options is not None:
            try:
                self.shown, self.token = backfill.preview(options, user=self.user)
            except OptionError as error:
                self.form.refuse(error)
        return self.show()

    def _options(self) -> dict[str, Any] | None:
        """None: they cannot be read, which the form says then."""
        if not self.form.is_valid():
            return None
        try:
            return self.form.given()
        except OptionError as error:
            self.form.refuse(error)
            return None

    def begin(self) -> HttpResponse:
        options = self._options()
        if options is None:
            return self.show()
        try:
            plan = backfill.create(
                options,
                user=self.user,
                source="admin",
                reason=self.request.POST.get("reason", ""),
                name=self.form.cleaned_data["name"],
                token=self.request.POST.get("token", "") or "none",
            )
        except backfill.StalePlan:
            self.problem = gettext(
                "Nothing was begun: options, tasks or instances have changed since the preview. This is the preview of "
                "now; look at it and go on."
            )
        except OptionError as error:
            if error.field != "token":
                self.form.refuse(error)
                return self.show()
            self.problem = str(error)
        else:
            return redirect(_address(plan))
        with time_limit(SECONDS):
            return self.preview()

    def show(self) -> HttpResponse:
        chosen = list(self.form.operable().filter(pk__in=self.form.task_ids))
        context = {
            **self.model_admin.admin_site.each_context(self.request),
            "opts": self.model_admin.opts,
            "title": gettext("New backfill plan"),
            "form": self.form,
            "chosen": chosen,
            "missing": len(self.form.task_ids) - len(chosen),
            "found": self.form.found(),
            "picks": self._picks(chosen),
            "parameters": operate_offers.parameters_of(chosen),
            "preview": self.shown,
            "started": self.shown.summary["new"] + self.shown.summary["again"] if self.shown else 0,
            "quick": self.shown is None or self.shown.summary["total"] <= QUICK,
            "token": str(self.token or ""),
            "problem": self.problem,
            "reason": self.request.POST.get("reason", ""),
            "layers": graphs.PICKING_LAYERS,
        }
        return TemplateResponse(self.request, "instances/backfill_new.html", context)

    def _picks(self, chosen: list[Task]) -> list[tuple[Task, bool]]:
        """(downstream task, whether it is picked), if they are to be picked by hand: some, and all that are picked."""
        if not self.form.by_hand or not chosen:
            return []
        picked = set(self.form.picked)
        found = downstream_of([task.pk for task in chosen], Downstream.ALL, user=self.user)
        offered = [*found[:MOST_PICKS], *(task for task in found[MOST_PICKS:] if task.pk in picked)]
        return [(task, task.pk in picked) for task in offered]
