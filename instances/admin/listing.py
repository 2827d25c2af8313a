"""The instance list's rows and counts: a page costs a page, with any number of instances in the table."""

import logging
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.views import ChangeList

from instances.admin.filters import ALL_STATES, InstanceFilter
from instances.admin.looks import STATE_LOOKS
from instances.admin.overlays import acknowledgements
from instances.models import Instance
from weops.console.filter_bar import FilterForm
from weops.console.folders import folder_paths
from weops.console.paging import COUNT_CAP, CappedPaginator, mark_before, rows_before, time_limit
from weops.console.present import Look, capped

log = logging.getLogger(__name__)

LIST_SECONDS = 15
# Only what the list shows: task code, parameters and overrides may be large.
COLUMNS = (
    "id",
    "data_time",
    "traversal",
    "planned_time",
    "instance_type",
    "cycle_type",
    "task_type",
    "state",
    "tries",
    "total_runs",
    "start_time",
    "end_time",
    "error_code",
    "error_message",
    "life_round",
    "frozen_at",
    "thaw_at",
    "folder_id",
    "project_id",
    "task__name",
    "task__timezone",
    "project__name",
    "workflow__name",
    "owner__username",
    "resource_group__name",
)
RELATED = ("task", "project", "workflow", "owner", "resource_group")


@dataclass(frozen=True)
class StateCount:
    """One tile of the strip: how many instances are in a state, and the address that shows them."""

    look: Look
    count: str
    some: bool
    address: str
    current: bool


class CappedChangeList(ChangeList):
    """A list of a big table: nothing is counted beyond the cap."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # The theme's header compares the two and would name a number that stops at the cap.
        self.full_result_count = self.result_count


class FilteredChangeList(CappedChangeList):
    """A list with a filter bar of its own (`filter_form`), newest first, that gives up on queries that take too long.

    `older` leads past the rows that are counted; the parameter `before` is where that page begins.
    """

    filter_class: type[FilterForm]
    filter_form: FilterForm
    queryset: QuerySet[Any]
    root_queryset: QuerySet[Any]
    result_list: list[Any]
    older = ""
    problem = ""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.filter_form = self.filter_class(request)
        super().__init__(request, *args, **kwargs)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        own = {*self.filter_class.base_fields, "before"}
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
            self.problem = "The address of this page is broken; begin at the first page."
            return rows.none()

    def before(self, rows: QuerySet[Any], mark: str) -> QuerySet[Any]:
        """The rows after `mark`, in the order of the list. Raises ValueError for a broken mark."""
        raise NotImplementedError

    def mark(self, row: Any) -> str:
        """Where the page after `row` begins."""
        raise NotImplementedError

    def get_results(self, request: HttpRequest) -> None:
        try:
            with time_limit(LIST_SECONDS):
                self.read(request)
        except OperationalError as error:
            log.warning("a list gave up: %s", error)
            self.problem = f"The database needed more than {LIST_SECONDS} seconds for these filters. {self.filter_form.advice}"
            self.queryset, self.root_queryset = self.queryset.none(), self.root_queryset.none()
            self.read(request)

    def read(self, request: HttpRequest) -> None:
        """Reads the page; called again with no rows at all when it took too long."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        pages = self.paginator
        if isinstance(pages, CappedPaginator) and pages.capped and self.page_num == pages.num_pages:
            self.older = self.get_query_string({"before": self.mark(self.result_list[-1])}, ["p"])


class InstanceChangeList(FilteredChangeList):
    """A page of instances by -data_time, -id."""

    filter_class = InstanceFilter
    filter_form: InstanceFilter
    queryset: QuerySet[Instance]
    root_queryset: QuerySet[Instance]
    # Instances, each with `seen_at` (the page's clock), `folder_path` and `acknowledgement` added.
    result_list: list[Any]

    def apply_select_related(self, qs: QuerySet[Instance]) -> QuerySet[Instance]:
        return qs.select_related(*RELATED).only(*COLUMNS)

    def before(self, rows: QuerySet[Instance], mark: str) -> QuerySet[Instance]:
        return rows_before(rows, mark)

    def mark(self, row: Instance) -> str:
        return mark_before(row.data_time, row.pk)

    def read(self, request: HttpRequest) -> None:
        counts = self._count(request)
        super().read(request)
        self._name_folders()
        now = timezone.now()
        seen = acknowledgements(self.result_list, now)
        for instance in self.result_list:
            instance.seen_at = now
            instance.acknowledgement = seen.get(instance.pk)
        self.strip = tiles(self, counts)

    def _count(self, request: HttpRequest) -> dict[str, int]:
        """{state: filtered rows in it, whatever states are chosen}; tells the paginator what it need not count again."""
        form = self.filter_form
        if not form.is_valid():
            return {}
        counts = count_states(form.apply(self.root_queryset.order_by(), with_state=False))
        if not request.GET.get("before"):
            chosen = form.cleaned_data["state"] or ALL_STATES
            self.queryset.known_count = sum(counts.get(state, 0) for state in chosen)  # type: ignore[attr-defined]
        return counts

    @property
    def all_matching(self) -> str:
        """How many match the filter, as `41` or `10,000+`; empty if the page shows all of them, `all` if not counted."""
        if "before" in self.params:
            return "all"
        paginator = self.paginator
        found = paginator.found if isinstance(paginator, CappedPaginator) else self.result_count
        return capped(found, COUNT_CAP) if found > len(self.result_list) else ""

    def _name_folders(self) -> None:
        paths = folder_paths(instance.folder_id for instance in self.result_list)
        for instance in self.result_list:
            instance.folder_path = paths.get(instance.folder_id, "")


def tiles(changelist: InstanceChangeList, counts: dict[str, int]) -> list[StateCount]:
    """The strip above the list: every state with its count, which stops at the cap."""
    form = changelist.filter_form
    chosen = set(form.cleaned_data.get("state", ())) if form.is_valid() else set()
    return [
        StateCount(
            look=STATE_LOOKS[state],
            count=capped(counts.get(state, 0), COUNT_CAP),
            some=counts.get(state, 0) > 0,
            address=changelist.get_query_string(
                {"state": None if chosen == {state} else state}, ["p", "before"]
            ),
            current=state in chosen,
        )
        for state in ALL_STATES
    ]


def count_states(rows: QuerySet[Instance], cap: int = COUNT_CAP) -> dict[str, int]:
    """{state: rows in it, at most cap + 1}, in one query that reads no more than that of each state."""
    # Each part is SQL that the ORM made; values stay parameters.
    parts: list[str] = []
    values: list[Any] = []
    for state in ALL_STATES:
        try:
            sql, parameters = rows.filter(state=state).values_list("pk")[: cap + 1].query.sql_with_params()
        except EmptyResultSet:
            return {}
        parts.append(f"SELECT %s::text AS state, count(*) FROM ({sql}) AS part")  # noqa: S608
        values += [state, *parameters]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        return {state: count for state, count in cursor.fetchall() if count}
