"""Instances as NDJSON or CSV, streamed in constant memory by PostgreSQL's own COPY.

The rows are copied in portions by key, each a statement of its own that is read to its end before a byte of it is sent: no
transaction stays open while a slow client reads. PostgreSQL writes the lines; Python passes blocks of bytes on.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import EmptyResultSet
from django.core.handlers.asgi import ASGIRequest
from django.db import connection, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse

from instances.models import Instance
from weops.console.paging import mark_before, rows_before

PORTION = 50_000
SECONDS = 60
# Full-width forms too, which some spreadsheets read alike; a cell that begins so, or with a control character, is defused.
_RISKY = r"^\s*[-=+@\uff1d\uff0b\uff0d\uff20]|^[\x01-\x1f\x7f]"
_CONTROL = r"[\x01-\x08\x0b-\x1f\x7f]"

# Name -> SQL; None: a text that people write.
_FREE = ("error_message", "owner_name")
COLUMNS: dict[str, str] = {
    "id": "i.id",
    "project": "i.project_id",
    "project_name": "p.name",
    "workflow": "i.workflow_id",
    "workflow_name": "w.name",
    "task": "i.task_id",
    "task_name": "t.name",
    "timezone": "t.timezone",
    "data_time": "i.data_time",
    "planned_time": "i.planned_time",
    "state": "i.state",
    "instance_type": "i.instance_type",
    "cycle_type": "i.cycle_type",
    "task_type": "i.task_type",
    "owner_name": "u.username",
    "resource_group_name": "g.name",
    "priority": "i.priority",
    "life_round": "i.life_round",
    "retries": "i.tries",
    "total_runs": "i.total_runs",
    "start_time": "i.start_time",
    "end_time": "i.end_time",
    "error_code": "i.error_code",
    "error_message": "i.error_message",
}
FIELDS = tuple(COLUMNS)
# What is read of the instance itself, whatever the fields: the joins and the order need most of it.
_READ = tuple(dict.fromkeys([
    *(sql.removeprefix("i.") for sql in COLUMNS.values() if sql.startswith("i.")), "owner_id", "resource_group_id"
]))  # fmt: skip
# Small tables: few rows that every portion finds in memory.
JOINED = """
FROM ({rows}) i({read}) JOIN instances_task t ON t.id = i.task_id JOIN projects_project p ON p.id = i.project_id
JOIN instances_workflow w ON w.id = i.workflow_id JOIN projects_resourcegroup g ON g.id = i.resource_group_id
LEFT JOIN auth_user u ON u.id = i.owner_id ORDER BY i.data_time DESC, i.id DESC
"""
# Quoted by signs that JSON never holds, so that every line is JSON as it is.
_NDJSON = (
    r"COPY (SELECT row_to_json(r) FROM (SELECT {columns} {source}) r) TO STDOUT "
    r"(FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')"
)
_CSV = "COPY (SELECT {columns} {source}) TO STDOUT (FORMAT csv)"

TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
Portion = tuple[list[bytes], str | None]


def stream(
    request: HttpRequest, rows: QuerySet[Instance], kind: str, fields: tuple[str, ...]
) -> StreamingHttpResponse:
    """All of `rows`, newest data time first. `kind`: ndjson or csv."""
    copy = _Copy(rows, kind, fields)
    chunks: Any = _without_blocking(copy) if isinstance(request, ASGIRequest) else _one_by_one(copy)
    response = StreamingHttpResponse(chunks, content_type=TYPES[kind])
    response["Content-Disposition"] = f'attachment; filename="instances.{kind}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


class _Copy:
    def __init__(self, rows: QuerySet[Instance], kind: str, fields: tuple[str, ...]) -> None:
        self._rows = rows.order_by("-data_time", "-id")
        columns = ", ".join(f'{_cell(name, kind)} AS "{name}"' for name in fields)
        self._statement = (_CSV if kind == "csv" else _NDJSON).replace("{columns}", columns)
        self.head = (",".join(fields) + "\n").encode() if kind == "csv" else b""

    def portion(self, mark: str) -> Portion:
        """Blocks of bytes after `mark`, and the mark of the next portion; None: this was the last."""
        rows = rows_before(self._rows, mark) if mark else self._rows
        following = rows.values_list("data_time", "pk")[PORTION - 1 : PORTION].first()
        try:
            sql, values = rows.values_list(*_READ)[:PORTION].query.sql_with_params()
        except EmptyResultSet:
            return [], None
        source = JOINED.replace("{rows}", sql).replace("{read}", ", ".join(_READ))
        statement = self._statement.replace("{source}", source)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS}s"])
            plain: Any = cursor.cursor
            with plain.copy(statement, values) as copied:
                blocks = [bytes(block) for block in _gathered(copied)]
        return blocks, mark_before(*following) if following else None


def _cell(name: str, kind: str) -> str:
    sql = COLUMNS[name]
    if kind != "csv" or name not in _FREE:
        return sql
    risky, control = _RISKY.replace("'", "''"), _CONTROL
    clean = f"CASE WHEN {sql} ~ '{control}' THEN regexp_replace({sql}, '{control}', ' ', 'g') ELSE {sql} END"
    return f"CASE WHEN {sql} ~ '{risky}' THEN '''' || ({clean}) ELSE ({clean}) END"


def _gathered(copied: Any, size: int = 256 * 1024) -> Iterator[bytes]:
    """One block for many rows: the server sends one message a row."""
    held, length = [], 0
    for row in copied:
        held.append(row)
        length += len(row)
        if length >= size:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)


def _one_by_one(copy: _Copy) -> Iterator[bytes]:
    if copy.head:
        yield copy.head
    mark: str | None = ""
    while mark is not None:
        blocks, mark = copy.portion(mark)
        yield from blocks


async def _without_blocking(copy: _Copy) -> AsyncIterator[bytes]:
    read: Callable[[str], Any] = sync_to_async(_and_let_go(copy.portion), thread_sensitive=False)
    if copy.head:
        yield copy.head
    mark: str | None = ""
    while mark is not None:
        blocks, mark = await read(mark)
        for block in blocks:
            yield block


def _and_let_go(read: Callable[[str], Portion]) -> Callable[[str], Portion]:
    """Its thread's connection goes back to the pool."""

    def portion(mark: str) -> Portion:
        try:
            return read(mark)
        finally:
            if not connection.in_atomic_block:
                connection.close()

    return portion
