"""Moves the chunks of an ended run into one file, and removes files. No transaction is open while a file is written."""

import tempfile
from collections.abc import Iterator
from typing import IO

from django.core.files.base import File
from django.core.files.storage import storages
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Length

from instances.engine.logs import blocks, timeline
from instances.engine.logs.sources import Sealed, is_abandoned
from instances.models import Execution, LogChunk

# Bytes of a packed log that are kept in memory before they go to a temporary file.
_IN_MEMORY = 4 * 1024 * 1024
_BATCH = 16


class Overtaken(Exception):
    """Somebody else sealed the log meanwhile."""


def seal(execution_id: int) -> None:
    """Moves an execution's chunks into one compressed file. Safe to repeat, and to call twice at once: whoever names the
    file in the row first wins, the other removes its own. Raises what the storage raises; the chunks then stay."""
    execution = Execution.objects.filter(pk=execution_id).select_related("instance").first()
    if execution is None or not LogChunk.objects.filter(execution=execution).exists():
        return
    try:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            text = _Text(execution)
            chars = blocks.pack(text, file)  # type: ignore[arg-type]
            stored = store_file(execution_id, chars, file)
    except Overtaken:
        return
    _name(execution, stored, chars, text.end)


class _Text:
    """All of the log: what was sealed before, for a worker that was believed dead may write on; chunks; the ending.
    `end`: characters up to the end of the chunks."""

    def __init__(self, execution: Execution) -> None:
        self._execution, self.end = execution, 0

    def __iter__(self) -> Iterator[str]:
        for piece in _text(self._execution):
            yield piece
            self.end += len(piece)
        if is_abandoned(self._execution):
            yield timeline.ending(self._execution, at_line_start=piece.endswith("\n"))


def _text(execution: Execution) -> Iterator[str]:
    chunks = LogChunk.objects.filter(execution=execution).order_by("seq")
    seq, at = -1, None
    while rows := list(chunks.filter(seq__gt=seq).values_list("seq", "start", "text")[:_BATCH]):
        for found, start, text in rows:
            if at is None:
                yield from _sealed_before(execution.log_file, start)
            elif found != seq + 1 or start != at:
                raise Overtaken
            seq, at = found, start + len(text)
            yield text
    if at is None:
        raise Overtaken


def _sealed_before(name: str, end: int) -> Iterator[str]:
    if not end:
        return
    if not name:
        raise Overtaken
    for segment in Sealed(name).from_char(0):
        if segment.start >= end:
            return
        yield segment.load()[: end - segment.start]


def _name(execution: Execution, stored: str, chars: int, end: int) -> None:
    """Says in the row where the log is now, if nobody has said so since it was read; removes what is left over."""
    with transaction.atomic():
        won = Execution.objects.filter(pk=execution.pk, log_file=execution.log_file).update(log_file=stored)
        if won:
            # A chunk that grew after it was read stays, and is sealed next time.
            ends = LogChunk.objects.filter(execution=execution).annotate(end=F("start") + Length("text"))
            ends.filter(end__lte=end).delete()
    present = Execution.objects.filter(pk=execution.pk).values_list("log_file", flat=True).first()
    if not won:
        remove({stored} - {present or ""})
        return
    # Only when the row's new name is committed. The plain name may be left from one who died before he could say so.
    remove({execution.log_file, file_name(execution.pk, chars)} - {stored, present or "", ""})


def file_name(execution_id: int, chars: int) -> str:
    """Folders of a thousand, so that none grows without end. Another length is another name: what a name holds stays."""
    return f"{execution_id // 1_000_000}/{execution_id // 1000 % 1000:03}/{execution_id}-{chars}.log.gz"


def store_file(execution_id: int, chars: int, file: IO[bytes]) -> str:
    """Gives a packed log to the storage; the name that it got."""
    file.seek(0)
    return storages["logs"].save(file_name(execution_id, chars), File(file))


def remove(names: set[str] | list[str]) -> None:
    """Deletes sealed logs; one that is gone already is no error."""
    for name in names:
        storages["logs"].delete(name)
