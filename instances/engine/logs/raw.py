"""A log as bytes: any part of it in constant memory, at the price of that part."""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async

from instances.engine.logs.sources import source_of
from instances.engine.logs.timeline import heads
from instances.models import Execution


def size(execution: Execution) -> int:
    """Bytes of the log as it is now, UTF-8. Raises OSError."""
    found = source_of(execution)
    return len(_waiting(execution)) if not found.chars and not found.complete else found.size()


def part(execution: Execution, start: int, stop: int) -> Iterator[bytes]:
    """Bytes `start` to `stop`, the latter not included, of a log that has so many. Raises OSError."""
    position = start
    while position < stop:
        # Sealed meanwhile, the chunks are gone: the same bytes are in the file.
        before, segments = source_of(execution).from_byte(position)
        began = position
        for segment in segments:
            data = segment.load().encode()
            piece = data[position - before : stop - before]
            before += len(data)
            if piece:
                position += len(piece)
                yield piece
            if position >= stop:
                return
        if position == began:
            yield _waiting(execution)[position:stop]
            return


def _waiting(execution: Execution) -> bytes:
    """The composed lines of an execution that has written nothing yet."""
    return heads([execution.pk]).get(execution.pk, "").encode()


async def in_threads(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """For a server that streams: each piece is read in a thread."""
    following = sync_to_async(lambda: next(chunks, None))
    while (chunk := await following()) is not None:
        yield chunk
