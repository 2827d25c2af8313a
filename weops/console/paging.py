"""Lists of any length: counting stops at a cap, and no list query may run for long."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.core.paginator import Page, Paginator
from django.db import connection, transaction
from django.db.models import Lookup, Q, QuerySet
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property

COUNT_CAP = 10_000


class Among(Lookup):
    """`Among(F("task_id"), [1, 2, 3])`: one of these whole numbers, sent as one value: thousands of them cost little in a
    statement that asks for them several times."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        if not self.rhs:
            raise EmptyResultSet
        sql, values = self.process_lhs(compiler, connection)
        return f"{sql} = ANY(%s::bigint[])", [*values, self.rhs]


def capped_count(queryset: QuerySet[Any], cap: int = COUNT_CAP) -> int:
    """The number of rows, or `cap` + 1 for any more: the database stops reading there."""
    return queryset.order_by()[: cap + 1].count()


class CappedPaginator(Paginator):
    """Pages of the first `COUNT_CAP` rows; `capped` tells that there are more of them.

    A list that has counted its rows already says so on the queryset, by the attribute `known_count`; that there are
    more, though their number is not known, by `known_more`; that it holds the rows of its page alone, by `is_page`.
    """

    template_name = "console/pagination.html"
    cap = COUNT_CAP

    @cached_property
    def found(self) -> int:
        known: int | None = getattr(self.object_list, "known_count", None)
        return capped_count(self.object_list, self.cap) if known is None else known  # type: ignore[arg-type]

    @cached_property
    def count(self) -> int:
        return min(self.found, self.cap)

    @property
    def capped(self) -> bool:
        return self.found > self.cap or bool(getattr(self.object_list, "known_more", False))

    def page(self, number: int | str) -> Page:
        if getattr(self.object_list, "is_page", False):
            return Page(self.object_list, self.validate_number(number), self)
        return super().page(number)


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Queries inside are cancelled by the database after `seconds` each (django.db.OperationalError)."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{seconds}s"])
        yield


def mark_before(data_time: dt.datetime, pk: int) -> str:
    """Where the next page begins in a list ordered by -data_time, -id; text for an address."""
    return f"{data_time.astimezone(dt.UTC).isoformat()}~{pk}"


def rows_before(queryset: QuerySet[Any], mark: str) -> QuerySet[Any]:
    """The rows that come after `mark` in the order -data_time, -id. Raises ValueError for a broken mark."""
    text, _, number = mark.partition("~")
    data_time = parse_datetime(text)
    if data_time is None or data_time.tzinfo is None or not number.isdecimal() or len(number) > 18:
        raise ValueError(f"{mark!r} is no mark of a page.")
    # The first condition alone is what the index can seek by.
    return queryset.filter(data_time__lte=data_time).filter(
        Q(data_time__lt=data_time) | Q(data_time=data_time, id__lt=int(number))
    )
