"""Pages by number, as the API has them: PageNumber from 1 on, PageSize, TotalCount, TotalPageNumber.

Counting stops at a cap, as in the console's lists: beyond it TotalCount is the cap, and one narrows the filter.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db.models import QuerySet

from weops.console.paging import COUNT_CAP, capped_count
from weops.wedata.dispatch import Call
from weops.wedata.errors import bad_value
from weops.wedata.fields import Field, Whole


def fields(default: int = 10, most: int = 200, type: str = "int") -> dict[str, Field]:
    """The fields PageNumber and PageSize."""
    return {
        "PageNumber": Whole(least=1, most=1_000_000, default=1, type=type),
        "PageSize": Whole(least=1, most=most, default=default, type=type),
    }


def _part(rows: QuerySet[Any] | Sequence[Any], start: int, size: int) -> Sequence[Any]:
    return list(rows[start : start + size])


def page(
    call: Call,
    rows: QuerySet[Any] | Sequence[Any],
    show: Callable[[Any], dict[str, Any]],
    *,
    load: Callable[[Sequence[Any]], Iterable[Any]] | None = None,
    count: Callable[[QuerySet[Any]], int] = capped_count,
    part: Callable[[Any, int, int], Sequence[Any]] = _part,
) -> dict[str, Any]:
    """The page that the request asks for. `load` may fetch what its rows need, for all of them at once.

    Of a table of any size, `count` does what `capped_count` does, and `part` reads so many rows from a place on."""
    number, size = call["PageNumber"], call["PageSize"]
    start = (number - 1) * size
    if start >= COUNT_CAP:
        raise bad_value(
            "PageNumber",
            f"Lists are paged up to row {COUNT_CAP:,}; narrow the filter to see what comes after it.",
        )
    total = min(count(rows), COUNT_CAP) if isinstance(rows, QuerySet) else len(rows)
    found = part(rows, start, size) if start < total else []
    items = load(found) if load else found
    return {
        "PageNumber": number,
        "PageSize": size,
        "TotalCount": total,
        "TotalPageNumber": -(-total // size),
        "Items": [show(one) for one in items],
    }
