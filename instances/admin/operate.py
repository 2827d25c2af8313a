"""Operating on chosen instances: options, a preview of exactly what will happen, then the operation itself.

    GET                    the options as they are by default; nothing is frozen yet
    POST                   freezes what is chosen now and shows the preview; with JavaScript, after each change
    POST with `token`      applies that preview, unless something has changed since: then the difference and a new one

The page decides nothing: `instances.operations` judges options, states and rights, of each row, and again when it is applied.
"""

import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext

from instances import operations
from instances.admin import graphs, operate_choice, operate_offers
from instances.admin.operate_choice import Choice, ChoiceError
from instances.admin.operate_form import RemoveForm, RerunForm, form_of
from instances.admin.operate_page import PAGE, PreviewPage, preview_page, set_rows
from instances.insight.picking import instances_downstream
from instances.kinds import ON_INSTANCES
from instances.models import FrozenSet, OperationRecord
from instances.models.operation import OperationState
from instances.operations import OptionError
from weops.console.paging import time_limit
from weops.console.scoped import signed_in
from weops.projects.access import Right

if TYPE_CHECKING:
    from instances.admin.instance import InstanceAdmin

log = logging.getLogger(__name__)

SECONDS = 30
_BY_KIND = {one.kind: one for one in ON_INSTANCES}


def operate_view(model_admin: "InstanceAdmin", request: HttpRequest, kind: str) -> HttpResponse:
    """The page of one kind of operation, for `ids` (separated by commas) or `all` that match the filter `query`."""
    if kind not in _BY_KIND:
        raise Http404(gettext("There is no such operation."))
    sent = request.POST if request.method == "POST" else request.GET
    try:
        choice = operate_choice.read(request, model_admin.get_queryset(request), sent)
    except ChoiceError as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
    page = Page(model_admin, request, kind, choice)
    try:
        with time_limit(SECONDS):
            if request.method != "POST":
                return page.show()
            if "apply" not in request.POST:
                return page.preview()
        return page.apply()
    except OperationalError as error:
        log.warning("a preview of %s gave up: %s", kind, error)
        return HttpResponse(
            gettext(
                "The database needed more than %(seconds)s seconds for these instances, and nothing was done. "
                "Go back and narrow the filter."
            )
            % {"seconds": SECONDS},
            content_type="text/plain; charset=utf-8",
            status=503,
        )


class Page:
    """One request for the page. `show` is the last step of all others."""

    def __init__(self, model_admin: "InstanceAdmin", request: HttpRequest, kind: str, choice: Choice) -> None:
        self.model_admin = model_admin
        self.request = request
        self.user = signed_in(request)
        self.kind = _BY_KIND[kind]
        self.operation = operations.get(kind)
        self.choice = choice
        self.form = form_of(kind, self._sent, user=self.user, initial=request.GET.dict())
        self.shown: PreviewPage | None = None
        self.problem = ""
        self.reason_problem = ""
        self.difference: Any = None

    @property
    def _sent(self) -> QueryDict | None:
        return self.request.POST if self.request.method == "POST" else None

    @cached_property
    def options(self) -> Any:
        """The options as the operation reads them; None if they cannot be, which the form says then."""
        if not self.form.is_valid():
            return None
        try:
            parsed = self.operation.parse(self.form.given())
            self.operation.check(parsed)
        except OptionError as error:
            self.form.refuse(error)
            return None
        return parsed

    def preview(self) -> HttpResponse:
        """Freezes what is chosen now, and shows what would happen to it."""
        if self.options is not None:
            try:
                options = self.operation.as_json(self.options)
                found = operations.preview(self.kind.kind, self.choice.rows, user=self.user, options=options)
            except OptionError as error:
                self.form.refuse(error)
            else:
                self.shown = preview_page(found.frozen, self.user)
        return self.show()

    def apply(self) -> HttpResponse:
        """Does what the sent token stands for, if it is what the page shows and still so."""
        frozen = self._frozen()
        if frozen is None or self.options is None:
            self.problem = gettext("This preview is too old to be applied. Look at the new one.")
            return self._preview_again()
        if self.options != self.operation.parse(frozen.options):
            self.problem = gettext("The options have changed since the preview. Look at the new one.")
            return self._preview_again()
        reason = self.request.POST.get("reason", "")
        try:
            record = operations.apply(frozen.token, user=self.user, reason=reason, source="admin")
        except operations.StalePreview as stale:
            self.difference = stale.difference
            return self._preview_again()
        except operations.UnknownPreview as error:
            self.problem = str(error)
            return self._preview_again()
        except operations.ReasonRequired as error:
            self.reason_problem = str(error)
            self.shown = preview_page(frozen, self.user)
            return self.show()
        return self._leave(record)

    def _preview_again(self) -> HttpResponse:
        with time_limit(SECONDS):
            return self.preview()

    def _frozen(self) -> FrozenSet | None:
        """The set that the sent token stands for, if it is the user's own and of this operation."""
        try:
            token = UUID(self.request.POST.get("token", ""))
        except ValueError:
            return None
        return FrozenSet.objects.filter(token=token, user=self.user, kind=self.kind.kind).first()

    def _leave(self, record: OperationRecord) -> HttpResponse:
        """To the record; back to the instance if it was one, and all went well."""
        address = reverse("admin:instances_operationrecord_change", args=(record.pk,))
        if record.total == 1 and record.state == OperationState.SUCCESS and self.choice.only:
            said = format_html(
                gettext('{title}: done, see <a href="{address}">operation #{id}</a>.'),
                title=self.kind.title,
                address=address,
                id=record.pk,
            )
            messages.success(self.request, said)
            return redirect(self.choice.back)
        return redirect(f"{address}?{urlencode({'list': self.choice.query})}")

    def show(self) -> HttpResponse:
        context = {
            **self.model_admin.admin_site.each_context(self.request),
            "opts": self.model_admin.opts,
            "original": self.choice.only,
            "title": self.kind.title,
            "kind": self.kind,
            "choice": self.choice,
            "form": self.form,
            "offers": self._offers(),
            "preview": self.shown,
            "problem": self.problem,
            "difference": self.difference,
            "reason": self.request.POST.get("reason", ""),
            "reason_problem": self.reason_problem,
            "reason_required": self.operation.reason_required,
            "layers": graphs.PICKING_LAYERS,
        }
        return TemplateResponse(self.request, "instances/operate.html", context).render()

    def _offers(self) -> dict[str, Any]:
        """What the form of this kind offers to choose from."""
        form = self.form
        if isinstance(form, RemoveForm) and self.choice.only:
            return {"edges": operate_offers.edges(self.choice.only, self.user, form.picked)}
        if not isinstance(form, RerunForm):
            return {}
        offers: dict[str, Any] = {
            "parameters": operate_offers.parameters(self.choice),
            "for_each": operate_offers.any_for_each(self.choice),
            "may_override": self.model_admin.has_right(self.request, Right.OVERRIDE, self.choice.only),
        }
        if form.by_hand:
            offers["candidates"], offers["more_candidates"] = operate_offers.candidates(
                self.choice, self.user, form.picked
            )
        return offers


def downstream_view(model_admin: "InstanceAdmin", request: HttpRequest) -> HttpResponse:
    """What follows the chosen instances, as a graph to pick from; it takes the form of the page of a rerun."""
    try:
        choice = operate_choice.read(request, model_admin.get_queryset(request), request.POST)
    except ChoiceError as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
    try:
        with time_limit(SECONDS):
            roots = operate_offers.root_ids(choice)
            graph = instances_downstream(roots, signed_in(request), graphs.opened_of(request))
    except OperationalError as error:
        log.warning("a graph to pick from gave up: %s", error)
        return HttpResponse(status=503)
    return graphs.picking_data(graph, "admin:instances_instance_change")


def set_view(model_admin: "InstanceAdmin", request: HttpRequest, token: UUID) -> HttpResponse:
    """The instances of a previewed set, page by page in the order of applying, for whoever asked for the preview."""
    frozen = FrozenSet.objects.filter(token=token, user=signed_in(request)).first()
    if frozen is None or frozen.kind not in _BY_KIND:
        raise Http404(gettext("There is no such preview: it was somebody else's, or is too old."))
    text = request.GET.get("from", "0")
    start = int(text) // PAGE * PAGE if text.isdecimal() and len(text) <= 9 else 0
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": gettext("%(title)s: all %(count)s instances")
        % {"title": _BY_KIND[frozen.kind].title, "count": f"{frozen.total:,}"},
        "frozen": frozen,
        "rows": set_rows(frozen, start, PAGE, request.user),
        "start": start,
        "before": start - PAGE if start else None,
        "after": start + PAGE if start + PAGE < frozen.total else None,
    }
    return TemplateResponse(request, "instances/operate_set.html", context)
