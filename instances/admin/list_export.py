"""Downloads of the instance list, as CSV or XLSX: what matches the filter, with the chosen columns; put on record."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from instances.admin import list_columns as columns
from instances.admin.listing import COLUMNS as READ
from instances.admin.listing import RELATED
from instances.filters import InstanceFilter
from instances.models import Instance
from instances.operations import records
from weops.console import exports, layouts
from weops.console.folders import folder_paths
from weops.console.paging import mark_before, rows_before
from weops.console.present import zone_name
from weops.console.scoped import signed_in

FORMATS = ("csv", "xlsx")


def download(request: HttpRequest, visible: QuerySet[Instance]) -> HttpResponseBase:
    """POST: `format`, `columns` (mine | all), `generated` (any | before_today); the filter is in the address."""
    form, kind = InstanceFilter(request), request.POST.get("format", "csv")
    if not form.is_valid() or kind not in FORMATS:
        return HttpResponseBadRequest(_("The filters cannot be read."), content_type="text/plain")
    rows = form.apply(visible)
    asked = exports.kept_words(form.in_words)
    if request.POST.get("generated") == "before_today":
        rows = rows.filter(created_at__lt=columns.midnight(timezone.localtime()))
        asked["generated"] = f"before 00:00 today, {zone_name()}"
    user = signed_in(request)
    keys = columns.KEYS
    if request.POST.get("columns") == "mine":
        keys = layouts.columns_of(user, columns.PAGE, columns.KEYS, columns.PINNED)
    shown = [columns.BY_KEY[key] for key in keys]
    options = {
        "format": kind,
        "columns": list(keys),
        "filter": asked,
    }
    records.note("export_instances", user=user, source="admin", options=options)
    head = [f"{name} ({zone_name()})" if name in _ZONED else name for name in columns.headers(shown)]
    portion = _portions(rows, shown)
    if kind == "csv":
        return exports.stream_csv(request, "instances.csv", head, portion)
    try:
        return exports.workbook("instances.xlsx", "Instances", head, portion)
    except exports.TooManyRows as error:
        messages.error(request, " ".join((str(error), _("Narrow the filter, or download CSV."))))
        return redirect(f"{request.path.removesuffix('download/')}?{request.GET.urlencode()}")


_ZONED = {"start time", "end time", "planned time"}


def _portions(rows: QuerySet[Instance], shown: list[columns.Column]) -> exports.Portion:
    rows = rows.select_related(*RELATED).only(*READ, "created_at").order_by("-data_time", "-id")

    def portion(last: str | None) -> tuple[list[list[Any]], str | None]:
        found = list((rows if last is None else rows_before(rows, last))[: exports.PORTION])
        paths = folder_paths(one.folder_id for one in found)
        for one in found:
            one.folder_path = paths.get(one.folder_id, "")
        with translation.override(settings.LANGUAGE_CODE):
            cells = [columns.cells(shown, one) for one in found]
        return cells, mark_before(found[-1].data_time, found[-1].pk) if found else None

    return portion
