"""Operation records: the list with its filters, the page of one with cancel and undo, exports. Nothing is edited here."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, TooManyFieldsSent
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    QueryDict,
)
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from instances import operations
from instances.admin import record_export, record_page
from instances.admin.looks import OPERATION_LOOKS
from instances.admin.operate_words import in_a_line
from instances.admin.record_filter import RecordChangeList
from instances.kinds import look_up
from instances.models import OperationRecord
from instances.models.operation import ItemOutcome
from instances.record_filters import SOURCES, RecordFilter, operator_of, visible_items, visible_records
from weops.console.exports import kept_words
from weops.console.present import badge, clock, or_nothing, span, stamp, zone_name
from weops.console.row_pages import RowPageAdmin
from weops.console.scoped import signed_in


def _address(record: OperationRecord) -> str:
    return reverse("admin:instances_operationrecord_change", args=(record.pk,))


def _back(request: HttpRequest) -> str:
    """The list of instances that one came from, with its filter; empty if one came from elsewhere."""
    query = request.GET.get("list")
    if query is None:
        return ""
    address = reverse("admin:instances_instance_changelist")
    try:
        return f"{address}?{QueryDict(query).urlencode()}" if query else address
    except TooManyFieldsSent:
        return address


@admin.register(OperationRecord)
class OperationRecordAdmin(RowPageAdmin):
    project_path = None
    change_list_template = "instances/record_list.html"
    page_template = "instances/record_detail.html"
    absent = _("There is no such operation, or it is about projects that you cannot see.")
    list_display = (
        "kind_cell",
        "created_cell",
        "about_cell",
        "state_cell",
        "counts_cell",
        "operator_cell",
        "reason_cell",
        "took_cell",
    )
    list_select_related = ("operator",)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return visible_records(super().get_queryset(request), request.user)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RecordChangeList]:
        return RecordChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filter bar's own parameters never come here; any other lookup could scan the table."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {
            "title": gettext("Operation records"),
            "times_note": gettext("Times are in %(zone)s. Records are never changed or deleted by hand.")
            % {"zone": zone_name()},
            "query": request.GET.urlencode(),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # The list

    @admin.display(description=_("Operation"))
    def kind_cell(self, record: OperationRecord) -> SafeString:
        kind = look_up(record.kind)
        return format_html(
            '<span class="wo-two-lines"><a class="wo-link" href="{}">{}</a><span class="wo-dim">#{} · {}</span></span>',
            _address(record),
            kind.title,
            record.pk,
            SOURCES.get(record.source, record.source),
        )

    @admin.display(description=_("On"))
    def about_cell(self, record: Any) -> Any:
        subject = getattr(record, "subject", None)
        options = record.options if isinstance(record.options, dict) else {}
        details = in_a_line(record.options)
        if subject is not None:
            link = format_html(
                '<a class="wo-link" href="{}">{}</a> <span class="wo-dim">{}</span>',
                reverse("admin:instances_instance_change", args=(subject.pk,)),
                subject.task.name,
                clock(subject.data_time, subject.task.timezone),
            )
        elif isinstance(options.get("task"), int):
            address = reverse("admin:instances_task_change", args=(options["task"],))
            link = format_html(
                '<a class="wo-link" href="{}">{}</a>', address, options.get("name", gettext("its task"))
            )
        elif isinstance(options.get("plan"), int):
            address = reverse("admin:instances_backfillplan_change", args=(options["plan"],))
            link = format_html(
                '<a class="wo-link" href="{}">{}</a>', address, options.get("name", gettext("its plan"))
            )
        elif isinstance(options.get("secret"), int):
            link = format_html("{}", gettext("secret %(name)s") % {"name": options.get("name", "")})
        elif record.total:
            said = ngettext("%(count)s instance", "%(count)s instances", record.total)
            link = format_html("{}", said % {"count": f"{record.total:,}"})
        else:
            link = SafeString("")
        if not link and not details:
            return or_nothing("")
        dim = format_html('<span class="wo-dim" title="{}">{}</span>', details, details[:120])
        return format_html('<span class="wo-two-lines"><span>{}</span>{}</span>', link, dim)

    @admin.display(description=_("State"))
    def state_cell(self, record: OperationRecord) -> SafeString:
        shown = badge(OPERATION_LOOKS, record.state)
        progress = record_page.progress(record)
        if not progress.live:
            return shown
        percent = format_html('<span class="wo-dim">{}%</span>', progress.percent)
        return format_html('<span class="wo-two-lines"><span>{}</span>{}</span>', shown, percent)

    @admin.display(description=_("Instances"))
    def counts_cell(self, record: OperationRecord) -> Any:
        counts = [
            f"{getattr(record, name):,} {said}"
            for name, said in record_page.COUNTED.items()
            if getattr(record, name)
        ]
        return format_html('<span class="wo-time">{}</span>', ", ".join(counts)) if counts else or_nothing("")

    @admin.display(description=pgettext_lazy("who did it", "Operator"))
    def operator_cell(self, record: OperationRecord) -> str:
        return operator_of(record)

    @admin.display(description=_("Reason"))
    def reason_cell(self, record: OperationRecord) -> Any:
        if not record.reason:
            return or_nothing("")
        return format_html('<span title="{}">{}</span>', record.reason[:1000], record.reason[:120])

    @admin.display(description=_("At"))
    def created_cell(self, record: OperationRecord) -> SafeString:
        return stamp(record.created_at)

    @admin.display(description=_("Took"))
    def took_cell(self, record: OperationRecord) -> str:
        return span(record.finished_at - record.created_at) if record.finished_at else "–"

    # One record

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("export/", view(self.export), name="instances_operationrecord_export"),
            path("<int:pk>/progress/", view(self.progress), name="instances_operationrecord_progress"),
            path("<int:pk>/cancel/", view(self.cancel), name="instances_operationrecord_cancel"),
            path("<int:pk>/undo/", view(self.undo), name="instances_operationrecord_undo"),
            path("<int:pk>/export/", view(self.export_items), name="instances_operationrecord_items"),
            *super().get_urls(),
        ]

    def page_rows(self, request: HttpRequest) -> QuerySet[Any]:
        return super().page_rows(request).select_related("operator", "cancel_requested_by", "undoes")

    def page_context(self, request: HttpRequest, record: OperationRecord) -> dict[str, Any]:
        return {
            "title": f"{look_up(record.kind).title} #{record.pk}",
            "page": record_page.build(record, request.user, request.GET),
            "back": _back(request),
        }

    @method_decorator([require_GET, never_cache])
    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The bar and the counts alone, for the page that looks again every second."""
        context = {"progress": record_page.progress(self.visible(request, pk))}
        return TemplateResponse(request, "instances/record_progress.html", context)

    @method_decorator(require_POST)
    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        record = self.visible(request, pk)
        try:
            asked = operations.cancel(record, signed_in(request))
        except PermissionDenied as error:
            messages.error(request, str(error))
        else:
            if asked:
                messages.success(request, gettext("It stops after the batch that is being applied."))
            else:
                messages.warning(request, gettext("There was nothing left to cancel."))
        query = request.GET.urlencode()
        return redirect(f"{_address(record)}?{query}" if query else _address(record))

    @method_decorator(require_POST)
    def undo(self, request: HttpRequest, pk: int) -> HttpResponse:
        record = self.visible(request, pk)
        if not record_page.may_undo(record, request.user):
            why_not = operations.why_not_undoable(record)
            messages.error(request, why_not or gettext("You have the right to undo it nowhere."))
            return redirect(_address(record))
        try:
            undone = operations.undo(
                record, user=signed_in(request), reason=request.POST.get("reason", ""), source="admin"
            )
        except (operations.NotUndoable, operations.ReasonRequired) as error:
            messages.error(request, str(error))
            return redirect(_address(record))
        return redirect(_address(undone))

    # Exports

    @method_decorator(require_POST)
    def export(self, request: HttpRequest) -> HttpResponse:
        """CSV of all records that match the filters of the list's address."""
        form = RecordFilter(request)
        if not form.is_valid():
            return HttpResponseBadRequest(gettext("The filters cannot be read."), content_type="text/plain")
        rows = form.apply(self.get_queryset(request))
        return record_export.export_records(request, rows, kept_words(form.in_words))

    @method_decorator(require_POST)
    def export_items(self, request: HttpRequest, pk: int) -> HttpResponse:
        """CSV of the outcomes of a record on the instances that the user sees."""
        record = self.visible(request, pk)
        rows, outcome = visible_items(request.user).filter(operation=record), request.GET.get("outcome", "")
        if outcome in ItemOutcome.values:
            return record_export.export_items(request, record, rows.filter(outcome=outcome), outcome)
        return record_export.export_items(request, record, rows, "")
