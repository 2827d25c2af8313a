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

from instances.admin.filters import ALL_STATES, PARAMETERS, InstanceFilter
from instances.admin.looks import STATE_LOOKS
from instances.models import Instance
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


class InstanceChangeList(CappedChangeList):
    """A page of instances by -data_time, -id. `filter_form` holds the filters, `older` leads past the counted rows."""

    filter_form: InstanceFilter
    queryset: QuerySet[Instance]
    root_queryset: QuerySet[Instance]
    # Instances, each with `seen_at` (the page's clock) and `folder_path` added.
    result_list: list[Any]
    older = ""
    problem = ""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.filter_form = InstanceFilter(request)
        super().__init__(request, *args, **kwargs)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        return {
            key: value for key, value in super().get_filters_params(params).items() if key not in PARAMETERS
        }

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Instance]:
        rows = super().get_queryset(request, exclude_parameters)
        return self._from_mark(self.filter_form.apply(rows), request)

    def apply_select_related(self, qs: QuerySet[Instance]) -> QuerySet[Instance]:
        return qs.select_related(*RELATED).only(*COLUMNS)

    def _from_mark(self, rows: QuerySet[Instance], request: HttpRequest) -> QuerySet[Instance]:
        mark = request.GET.get("before", "")
        if not mark:
            return rows
        try:
            return rows_before(rows, mark)
        except ValueError:
            self.problem = "The address of this page is broken; begin at the first page."
            return rows.none()

    def get_results(self, request: HttpRequest) -> None:
        try:
            with time_limit(LIST_SECONDS):
                self._read(request)
        except OperationalError as error:
            log.warning("instance list gave up: %s", error)
            self.problem = (
                f"The database needed more than {LIST_SECONDS} seconds for these filters. Narrow the data time, or "
                "name the tasks."
            )
            self.queryset, self.root_queryset = self.queryset.none(), self.root_queryset.none()
            self._read(request)

    def _read(self, request: HttpRequest) -> None:
        counts = self._count(request)
        super().get_results(request)
        self.result_list = list(self.result_list)
        self._name_folders()
        now = timezone.now()
        for instance in self.result_list:
            instance.seen_at = now
        self.strip = tiles(self, counts)
        paginator = self.paginator
        if (
            isinstance(paginator, CappedPaginator)
            and paginator.capped
            and self.page_num == paginator.num_pages
        ):
            last = self.result_list[-1]
            self.older = self.get_query_string({"before": mark_before(last.data_time, last.pk)}, ["p"])

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
