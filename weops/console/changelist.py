"""Lists of big tables in the admin: counted up to a cap, read within a time limit, left by a mark past what is counted."""

import logging
from typing import Any

from django.db import OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from unfold.views import ChangeList

from weops.console.filter_bar import ZONE, FilterForm
from weops.console.paging import CappedPaginator, time_limit

log = logging.getLogger(__name__)

LIST_SECONDS = 15


class CappedChangeList(ChangeList):
    """A list of a big table: nothing is counted beyond the cap."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # The theme's header compares the two and would name a number that stops at the cap.
        self.full_result_count = self.result_count


class LeanChangeList(ChangeList):
    """A list that does not read `unread`: long columns of its rows, or of rows beside them, that it does not show."""

    unread: tuple[str, ...] = ()
    queryset: QuerySet[Any]

    def get_results(self, request: HttpRequest) -> None:
        self.queryset = self.queryset.defer(*self.unread)
        super().get_results(request)


class FilteredChangeList(CappedChangeList):
    """A list with a filter bar of its own (`filter_form`), newest first, that gives up on queries that take too long.

    `older` leads past the rows that are counted; the parameter `before` is where that page begins.
    """

    filter_class: type[FilterForm]
    filter_form: FilterForm
    queryset: QuerySet[Any]
    root_queryset: QuerySet[Any]
    result_list: list[Any]
    # Parameters of the address that are no filters.
    own_parameters: tuple[str, ...] = ("before",)
    older = ""
    problem = ""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.filter_form = self.filter_class(request)
        super().__init__(request, *args, **kwargs)

    def address(self, **changes: str | list[str] | None) -> str:
        """The address of the first page with these parameters; None leaves one out.

        Django's `get_query_string` removes every parameter that begins with a name: `p` takes `project` along.
        """
        wanted: dict[str, Any] = {**self.filter_params, **changes}
        kept = {key: value for key, value in wanted.items() if value and key not in ("p", "before")}
        kept |= {key: value for key, value in changes.items() if value}
        return f"?{urlencode(kept, doseq=True)}"

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        own = {*self.filter_class.base_fields, ZONE, *self.own_parameters}
        return {key: value for key, value in super().get_filters_params(params).items() if key not in own}

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters)
        return self._from_mark(self.filter_form.apply(rows), request)

    def _from_mark(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        mark = request.GET.get("before", "")
        if not mark:
            return rows
        try:
            return self.before(rows, mark)
        except ValueError:
            self.problem = _("The address of this page is broken; begin at the first page.")
            return rows.none()

    def before(self, rows: QuerySet[Any], mark: str) -> QuerySet[Any]:
        """The rows after `mark`, in the order of the list. Raises ValueError for a broken mark."""
        raise TypeError(f"{type(self).__name__} does not say what stands after a mark")

    def mark(self, row: Any) -> str:
        """Where the page after `row` begins."""
        raise TypeError(f"{type(self).__name__} does not say where a page begins")

    def get_results(self, request: HttpRequest) -> None:
        try:
            with time_limit(LIST_SECONDS):
                self.read(request)
        except OperationalError as error:
            log.warning("a list gave up: %s", error)
            slow = _("The database needed more than %(seconds)d seconds for these filters.")
            self.problem = f"{slow % {'seconds': LIST_SECONDS}} {self.filter_form.advice}"
            self.queryset, self.root_queryset = self.queryset.none(), self.root_queryset.none()
            self.read(request)

    def read(self, request: HttpRequest) -> None:
        """Reads the page; called again with no rows at all when it took too long."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        pages = self.paginator
        if isinstance(pages, CappedPaginator) and pages.capped and self.page_num == pages.num_pages:
            self.older = self.address(before=self.mark(self.result_list[-1]))
