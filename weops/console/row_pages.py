"""Base of the admins of large tables that the engine writes: a list, and a page of our own for each row."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from weops.console.paging import CappedPaginator
from weops.console.scoped import ReadOnlyAdmin


class RowPageAdmin(ReadOnlyAdmin):
    """A row that the user may not see is as absent as one that never was, and nothing is changed by its address."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    list_display_links = None
    sortable_by = ()

    page_template: str
    absent: Any  # what is said of a row that is not there, or not to be seen

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """The context of the row's page, its `title` among it."""
        raise NotImplementedError

    def page_rows(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows that the user sees, with all that their page shows of others."""
        return self.get_queryset(request)

    def visible(self, request: HttpRequest, pk: int | str) -> Any:
        """The row, if the user may see it; raises Http404 for every other number, existing or not."""
        try:
            return self.page_rows(request).get(pk=int(pk))
        except (ObjectDoesNotExist, ValueError, OverflowError):
            raise Http404(str(self.absent)) from None

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self.shown(request, self.visible(request, object_id), **(extra_context or {}))

    def shown(self, request: HttpRequest, row: Any, *, status: int = 200, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": row,
            **self.page_context(request, row),
            **more,
        }
        return TemplateResponse(request, self.page_template, context, status=status)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The row has no history of edits: its page tells all."""
        return redirect(self.address_of(object_id))

    def address_of(self, pk: int | str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=(pk,))
