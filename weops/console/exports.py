"""Downloads of long lists: streamed in constant memory, portion by portion; cells that no spreadsheet takes for a formula.

Rows are read in portions by keyset, each in a query of its own: no transaction stays open while a slow client reads.
"""

import csv
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import xlsxwriter
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

PORTION = 2_000
# With their full-width forms, which some spreadsheets read alike.
RISKY = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# What a sheet of a workbook holds below its header.
SHEET_ROWS = 1_048_575
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

# Rows after a key, and the key of the last of them; None: there are no more.
Portion = Callable[[Any], tuple[list[list[Any]], Any]]


def kept_words(words: Callable[[], Iterable[tuple[Any, Any]]]) -> dict[str, str]:
    """What was asked for, as it is put on record: English, whoever asks."""
    with translation.override(settings.LANGUAGE_CODE):
        return {str(label): str(value) for label, value in words()}


class TooManyRows(ValueError):
    """There are more rows than a sheet of a workbook can hold."""


def defused(value: Any) -> str:
    """The text of a cell that no spreadsheet takes for a formula, and no control character hides in."""
    text = "" if value is None else str(value)
    if text.lstrip().startswith(RISKY) or any(ord(sign) < 32 or ord(sign) == 127 for sign in text[:1]):
        text = f"'{text}"
    return "".join(sign if sign in "\t\n" or (ord(sign) >= 32 and ord(sign) != 127) else " " for sign in text)


class _Echo:
    """What `csv.writer` writes to; hands each line back."""

    @staticmethod
    def write(line: str) -> str:
        return line


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    writer = csv.writer(_Echo())
    return "".join(writer.writerow([defused(cell) for cell in row]) for row in rows)


def stream_csv(
    request: HttpRequest, name: str, columns: Sequence[str], portion: Portion
) -> StreamingHttpResponse:
    """A file called `name` with a header and all rows, in the zone and the language of now."""
    portion = _as_of_now(portion)
    # The servers want an iterator of their own kind; the other one would be read to its end first.
    chunks = (
        _without_blocking(columns, portion)
        if isinstance(request, ASGIRequest)
        else _one_by_one(columns, portion)
    )
    return _guarded(StreamingHttpResponse(chunks, content_type="text/csv; charset=utf-8"), name)


def workbook(name: str, title: str, columns: Sequence[str], portion: Portion) -> FileResponse:
    """The same as an XLSX workbook of one sheet, written row by row to a file on disk first: its directory comes last.

    Every cell is text. Raises TooManyRows.
    """
    # It goes with the response, which closes what it sends.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        _write(file, title, columns, portion)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return _guarded(FileResponse(file, content_type=XLSX), name)


def _write(file: IO[bytes], title: str, columns: Sequence[str], portion: Portion) -> None:
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(file, options) as book:
        sheet = book.add_worksheet(title[:31])
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, columns, book.add_format({"bold": True}))
        number, last = 0, None
        while True:
            rows, last = portion(last)
            if last is None:
                return
            if number + len(rows) > SHEET_ROWS:
                raise TooManyRows(_("A sheet holds %(most)s rows at most.") % {"most": f"{SHEET_ROWS:,}"})
            for row in rows:
                number += 1
                for column, cell in enumerate(row):
                    sheet.write_string(number, column, defused(cell))


def _as_of_now(portion: Portion) -> Portion:
    """The same while the answer is sent, when the zone and the language of the request are put back already."""
    zone, language = timezone.get_current_timezone(), translation.get_language()

    def read(last: Any) -> tuple[list[list[Any]], Any]:
        with timezone.override(zone), translation.override(language):
            return portion(last)

    return read


def _guarded(response: Any, name: str) -> Any:
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "no-store"
    return response


def _one_by_one(columns: Sequence[str], portion: Portion) -> Iterator[str]:
    yield _lines([columns])
    rows, last = portion(None)
    while last is not None:
        yield _lines(rows)
        rows, last = portion(last)


async def _without_blocking(columns: Sequence[str], portion: Portion) -> AsyncIterator[str]:
    read = sync_to_async(portion)
    yield _lines([columns])
    rows, last = await read(None)
    while last is not None:
        yield _lines(rows)
        rows, last = await read(last)
