"""The instance list's rows and counts: a page costs a page, with any number of instances in the table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from instances.admin import list_columns, list_rows
from instances.admin.looks import STATE_LOOKS
from instances.filters import InstanceFilter
from instances.models import Instance
from instances.operations.acknowledging import acknowledgements
from instances.reading import Counts, count, page_ids
from instances.reading_ways import ALL_STATES
from weops.console import finding
from weops.console.changelist import FilteredChangeList
from weops.console.filter_bar import PlainSelect
from weops.console.finding import FoundChoice
from weops.console.folders import folder_paths
from weops.console.paging import COUNT_CAP, CappedPaginator, mark_before, rows_before
from weops.console.present import Look, capped

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


# Ways into one column's filter that its head offers; more of them are a matter of the filter bar.
MOST_WAYS = 40


@dataclass(frozen=True)
class Way:
    """One entry in the head of a column: a value of its filter, and the address that takes it or gives it up."""

    label: str
    address: str
    current: bool


@dataclass(frozen=True)
class Head:
    """The head of a column. `sort`: the address that sorts by it, empty if it does not; `sorted`: "ascending",
    "descending" or empty. `ways`: its filter; `narrowed`: it is in use."""

    key: str
    title: Any
    sort: str = ""
    sorted: str = ""
    ways: tuple[Way, ...] = ()
    narrowed: bool = False


@dataclass(frozen=True)
class StateCount:
    """One tile of the strip: how many instances are in a state, and the address that shows them."""

    look: Look
    count: str
    some: bool
    address: str
    current: bool


class InstanceChangeList(FilteredChangeList):
    """A page of instances by -data_time, -id."""

    filter_class = InstanceFilter
    filter_form: InstanceFilter
    own_parameters = ("before", "sort")
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
        self._sort(request.GET.get("sort", ""))
        if self.sort in (list_columns.NEWEST_FIRST, list_columns.OLDEST_FIRST):
            self._read_page()
        super().read(request)
        if self.sort != list_columns.NEWEST_FIRST:
            # Marks are places in the order of the list itself.
            self.older = ""
        self._name_folders()
        now = timezone.now()
        seen = acknowledgements(instance.pk for instance in self.result_list)
        for instance in self.result_list:
            instance.seen_at = now
            instance.acknowledgement = seen.get(instance.pk)
        self.strip = tiles(self, counts)
        where = "admin:instances_instance_find"
        finding.offer(self.filter_form, {name: reverse(where, args=(name,)) for name in InstanceFilter.FOUND})

    def _sort(self, asked: str) -> None:
        """By data time in either direction, whatever there is; by anything else only what was counted to its end."""
        self.sort = list_columns.NEWEST_FIRST
        name = asked.removeprefix("-")
        if name not in list_columns.SORTS or "before" in self.params:
            return
        known = getattr(self.queryset, "known_count", None)
        more = getattr(self.queryset, "known_more", False)
        if name != "data_time" and (known is None or known > COUNT_CAP):
            self.problem = _(
                "More than %(cap)s instances match: narrow the filter to sort by this column."
            ) % {"cap": f"{COUNT_CAP:,}"}
            return
        if name != "data_time" and more:
            self.problem = _(
                "What matches could not be counted quickly: narrow the filter to sort by this column."
            )
            return
        self.sort = asked
        if name != "data_time":
            # Few enough to be found by the bounded ways, too, and then put in order.
            found = self.queryset.filter(pk__in=page_ids(self.queryset, COUNT_CAP))
            self.queryset = found.order_by(*list_columns.ordering(asked))
        self._know(known, more)

    def _know(self, known: int | None, more: bool) -> None:
        self.queryset.known_count = known  # type: ignore[attr-defined]
        self.queryset.known_more = more  # type: ignore[attr-defined]

    def _read_page(self) -> None:
        """Leaves the rows of the page alone in the queryset; what it saw of the list makes the count better."""
        known = getattr(self.queryset, "known_count", None)
        more = getattr(self.queryset, "known_more", False)
        offset = (self.page_num - 1) * self.list_per_page
        if not 0 <= offset < COUNT_CAP:
            return
        descending = self.sort == list_columns.NEWEST_FIRST
        ids = page_ids(self.queryset, self.list_per_page + 1, offset, descending=descending)
        seen = offset + len(ids) if ids else 0
        if known is None:
            # After a mark nothing was counted.
            more = len(ids) > self.list_per_page
        elif more:
            more = len(ids) > self.list_per_page or (not ids and offset > 0)
        page = self.queryset.filter(pk__in=ids[: self.list_per_page])
        self.queryset = page.order_by(*list_columns.ordering(self.sort))
        self.queryset.is_page = True  # type: ignore[attr-defined]
        self._know(max(known or 0, seen), more)

    @property
    def rows(self) -> Iterator[SafeString]:
        """The cells of each row."""
        return list_rows.rows(self)

    @property
    def toggle(self) -> str:
        """What ticks all rows; empty if there is nothing to do with them."""
        return list_rows.head_checkbox(self) if list_rows.has_checkbox(self) else ""

    @property
    def heads(self) -> list[Head]:
        """Of the columns in view, in their order."""
        return [
            self._head(list_columns.BY_KEY[key]) for key in self.list_display if key in list_columns.BY_KEY
        ]

    def _head(self, column: list_columns.Column) -> Head:
        ways = self._ways(column.filter) if column.filter else ()
        sort, state = "", ""
        if column.sort:
            down = f"-{column.sort}"
            state = {down: "descending", column.sort: "ascending"}.get(self.sort, "")
            sort = self.address(sort=column.sort if self.sort == down else down)
        return Head(column.key, column.title, sort, state, ways, any(way.current for way in ways))

    def _ways(self, name: str) -> tuple[Way, ...]:
        """Each value of a filter: a single one is exchanged, states are added and taken away."""
        field: Any = self.filter_form.fields[name]
        several = isinstance(field, forms.MultipleChoiceField)
        chosen = [str(value) for value in self.filter_params.get(name, [])]
        if isinstance(field, FoundChoice) and self.filter_form.is_valid():
            # An address may name it by its label.
            row = self.filter_form.cleaned_data[name]
            chosen = [str(row.pk)] if row else []
        offered = [(str(value), str(label)) for value, label in _options(field) if value != ""]
        return tuple(
            Way(label, self.address(**{name: _toggled(chosen, value, several)}), value in chosen)
            for value, label in offered
        )

    def _count(self, request: HttpRequest) -> Counts:
        """Filtered rows of every state, whatever states are chosen; tells the paginator what it need not count again."""
        form = self.filter_form
        if not form.is_valid():
            return Counts()
        counts = count(form.apply(self.root_queryset.order_by(), with_state=False), COUNT_CAP)
        if not request.GET.get("before"):
            chosen = form.cleaned_data["state"] or ALL_STATES
            self._know(sum(counts.found.get(state, 0) for state in chosen), bool(counts.more & {*chosen}))
        return counts

    @property
    def all_matching(self) -> str:
        """How many match the filter, as `41` or `10,000+`; empty if the page shows all of them, `all` if not counted."""
        if "before" in self.params:
            return "all"
        paginator = self.paginator
        found = paginator.found if isinstance(paginator, CappedPaginator) else self.result_count
        more = getattr(self.queryset, "known_more", False)
        return capped(found, COUNT_CAP, more) if found > len(self.result_list) else ""

    def _name_folders(self) -> None:
        paths = folder_paths(instance.folder_id for instance in self.result_list)
        for instance in self.result_list:
            instance.folder_path = paths.get(instance.folder_id, "")


def _options(field: Any) -> Iterable[tuple[Any, Any]]:
    """(value, label) of the first choices of a filter."""
    if isinstance(field, FoundChoice) and field.queryset is not None:
        rows = list(field.queryset[:MOST_WAYS])
        return [(row.pk, label) for row, label in zip(rows, field.labels(rows), strict=True)]
    return islice(
        field.widget.listed() if isinstance(field.widget, PlainSelect) else field.choices, MOST_WAYS
    )


def _toggled(chosen: list[str], value: str, several: bool) -> list[str]:
    if value in chosen:
        return [one for one in chosen if one != value]
    return [*chosen, value] if several else [value]


def tiles(changelist: InstanceChangeList, counts: Counts) -> list[StateCount]:
    """The strip above the list: every state with its count, which stops at the cap."""
    form = changelist.filter_form
    chosen = set(form.cleaned_data.get("state", ())) if form.is_valid() else set()
    return [
        StateCount(
            look=STATE_LOOKS[state],
            count=capped(counts.found.get(state, 0), COUNT_CAP, state in counts.more),
            some=counts.found.get(state, 0) > 0 or state in counts.more,
            address=changelist.address(state=None if chosen == {state} else state),
            current=state in chosen,
        )
        for state in ALL_STATES
    ]
