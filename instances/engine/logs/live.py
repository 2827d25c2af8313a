"""Live logs as server-sent events: one reader a process for all that is watched, however many watch.

    stream(execution_id, cursor, viewer=..., allowed=...)    an asynchronous iterator of bytes for a streaming response

Events: `lines` {"first": number, "lines": [[level, text], ...]} with the cursor behind them as the event's id, so that a
browser that lost its connection goes on where it was (Last-Event-ID); `partial` {"number", "level", "text"}, a last line
that has no end yet and will come again; `waiting` {"text"}, composed lines before the first real one; `end` {"reason"}:
done, rights, full, error or time. After `end` the stream is over.
"""

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import connection

from instances.engine.logs import reading
from instances.engine.logs.levels import Level, level_of
from instances.engine.logs.sources import source_of
from instances.models import Execution

log = logging.getLogger(__name__)
T = TypeVar("T")

# Seconds between two looks, between two signs of life, and between two questions whether the viewer may still see it: for so
# long, whatever else happens, it goes on for who may not any more. docs/api.md says so.
BEAT = 0.5
ALIVE = 15.0
RIGHTS = 5.0
# A stream ends after so long; browsers come again by themselves, and are asked for their rights again.
LONGEST = 6 * 3600.0
# Characters that one look reads of one log, and that are kept for viewers that are a little late.
PIECE = 256 * 1024
KEPT = 1024 * 1024
LINES_AN_EVENT = 500
MOST_VIEWERS, MOST_PER_LOG, MOST_PER_VIEWER = 500, 100, 12


@dataclass
class _Channel:
    """What the viewers of one log share. `end`: characters that were read so far, the last of them in `pieces`."""

    execution_id: int
    viewers: int = 0
    end: int | None = None
    done: bool = False
    error: str = ""
    waiting: str = ""
    seen: Any = None
    pieces: deque[tuple[int, str]] = field(default_factory=deque)
    held: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def add(self, text: str) -> None:
        assert self.end is not None
        self.pieces.append((self.end, text))
        self.end += len(text)
        self.held += len(text)
        while self.held > KEPT and len(self.pieces) > 1:
            self.held -= len(self.pieces.popleft()[1])

    def since(self, cursor: int) -> str | None:
        """The text from `cursor` on; None if it is no longer, or was never, kept here."""
        if self.end is None or cursor >= self.end:
            return ""
        if not self.pieces or cursor < self.pieces[0][0]:
            return None
        return "".join(
            text[max(0, cursor - start) :] for start, text in self.pieces if start + len(text) > cursor
        )


@dataclass(slots=True)
class _News:
    text: str = ""
    end: int | None = None
    done: bool = False
    error: str = ""
    waiting: str = ""


_LOOK = """
SELECT e.id, e.state, e.ended_at IS NOT NULL, e.log_file, e.log_bytes, c.seq, c.mark FROM instances_execution e
LEFT JOIN LATERAL (SELECT seq, c.xmin::text AS mark FROM instances_logchunk c
                   WHERE c.execution_id = e.id ORDER BY seq DESC LIMIT 1) c ON true
WHERE e.id = ANY(%s)
"""


def _look(known: dict[int, tuple[int | None, Any]]) -> dict[int, tuple[Any, _News]]:
    """{execution: (mark, news)} of the logs that have any; `known`: how far each was read, and its mark of then."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LOOK, [list(known)])
            marks = {row[0]: row[1:] for row in cursor.fetchall()}
        found: dict[int, tuple[Any, _News]] = {}
        for pk, (end, seen) in known.items():
            mark = marks.get(pk)
            if mark is None:
                found[pk] = None, _News(done=True)
            # One that has ended is looked at again: what its worker left unsaid is said a while later.
            elif mark != seen or mark[1] or mark[4] is None:
                found[pk] = mark, _news(pk, end)
        return found
    finally:
        connection.close()


def _news(pk: int, end: int | None) -> _News:
    execution = Execution.objects.select_related("instance").get(pk=pk)
    try:
        if end is None:
            end = source_of(execution).chars
            return _News(end=end, waiting=_waiting(execution, end))
        page = reading.read(execution, end, PIECE)
    except OSError as error:
        return _News(error=f"The stored log cannot be read: {error}.")
    return _News(page.text, done=page.done, waiting=_waiting(execution, end + len(page.text)))


def _waiting(execution: Execution, end: int) -> str:
    return "" if end else reading.waiting(execution)


class Hub:
    """The reader of one event loop, and the logs that are watched in it."""

    def __init__(self) -> None:
        self._channels: dict[int, _Channel] = {}
        self._viewers: Counter[Hashable] = Counter()
        self._reader: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="log-reader")

    def enter(self, execution_id: int, viewer: Hashable) -> _Channel | None:
        """The log's channel, with one more viewer; None when there are too many."""
        channel = self._channels.get(execution_id)
        full = self._viewers.total() >= MOST_VIEWERS or self._viewers[viewer] >= MOST_PER_VIEWER
        if full or (channel is not None and channel.viewers >= MOST_PER_LOG):
            return None
        if channel is None:
            channel = self._channels[execution_id] = _Channel(execution_id)
        channel.viewers += 1
        self._viewers[viewer] += 1
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        return channel

    def leave(self, channel: _Channel, viewer: Hashable) -> None:
        channel.viewers -= 1
        self._viewers[viewer] -= 1
        if not self._viewers[viewer]:
            del self._viewers[viewer]
        if not channel.viewers:
            self._channels.pop(channel.execution_id, None)

    async def ask(self, call: Callable[[], T]) -> T:
        """Runs it in a thread, whose connection goes back to the pool."""

        def run() -> T:
            try:
                return call()
            finally:
                connection.close()

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def _read(self) -> None:
        """Looks for news of all that is watched until nothing is."""
        while self._channels:
            open_ones = {pk: channel for pk, channel in self._channels.items() if not channel.done}
            more = False
            if open_ones:
                known = {pk: (channel.end, channel.seen) for pk, channel in open_ones.items()}
                try:
                    news = await self.ask(lambda known=known: _look(known))  # type: ignore[misc]
                    for pk, found in news.items():
                        more |= self._tell(open_ones[pk], *found)
                except Exception as error:  # the database is away: viewers wait, and see it when it is back
                    log.warning("watched logs cannot be read: %s", error)
            await asyncio.sleep(0.05 if more else BEAT)

    def _tell(self, channel: _Channel, mark: Any, news: _News) -> bool:
        """Gives news to the viewers; whether there may be more at once."""
        first = channel.end is None
        if news.end is not None:
            channel.end = news.end
        if news.text:
            channel.add(news.text)
        # There is more than one look reads: the mark stays, so that the next look reads on.
        more = first or len(news.text) >= PIECE
        channel.seen = None if more else mark
        changed = first or news.text or news.done or news.error or news.waiting != channel.waiting
        if news.error and channel.end is None:
            channel.end = 0
        channel.done = news.done or bool(news.error)
        channel.error, channel.waiting = news.error, news.waiting
        if changed:
            channel.tell()
        return more and not channel.done


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """Of the running event loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


async def stream(
    execution_id: int, cursor: int, *, viewer: Hashable, allowed: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The log from `cursor` on until it ends. `viewer` is counted against the limits; `allowed()` may ask the database and
    is called in a thread: now and then, False ends the stream. The caller has checked the first time."""
    own = hub()
    channel = own.enter(execution_id, viewer)
    if channel is None:
        yield _event("end", {"reason": "full"})
        return
    try:
        async for event in _Viewer(own, channel, cursor, allowed).events():
            yield event
    finally:
        own.leave(channel, viewer)


class _Viewer:
    def __init__(self, own: Hub, channel: _Channel, cursor: int, allowed: Callable[[], bool]) -> None:
        self._hub, self._channel, self._allowed = own, channel, allowed
        self._read = self._whole = cursor
        self._number = 0
        self._begun = ""
        self._level = Level.INFO
        self._waiting = ""

    async def events(self) -> AsyncIterator[bytes]:
        began = checked = spoke = time.monotonic()
        yield b"retry: 2000\n\n"
        try:
            if self._read:
                self._number = await self._hub.ask(self._lines_before)
            while True:
                channel, changed = self._channel, self._channel.changed
                for event in self._say(await self._more()):
                    spoke = time.monotonic()
                    yield event
                if channel.end is not None and self._read >= channel.end and channel.done:
                    reason = (
                        {"reason": "error", "message": channel.error} if channel.error else {"reason": "done"}
                    )
                    yield _event("end", reason)
                    return
                now = time.monotonic()
                if now - checked >= RIGHTS:
                    checked = now
                    if not await self._hub.ask(self._allowed):
                        yield _event("end", {"reason": "rights"})
                        return
                if now - began > LONGEST:
                    yield _event("end", {"reason": "time"})
                    return
                if now - spoke > ALIVE:
                    spoke = now
                    yield b": alive\n\n"
                if channel.end is None or self._read >= channel.end:
                    await _until(changed, max(0.0, checked + RIGHTS - time.monotonic()))
        except OSError as error:
            yield _event("end", {"reason": "error", "message": f"The stored log cannot be read: {error}."})

    async def _more(self) -> str:
        """What follows the characters that were read: shared, or for one that is late, read for it alone."""
        text = self._channel.since(self._read)
        if text is None:
            page = await self._hub.ask(self._page)
            text = page.text
        self._read += len(text)
        return text

    def _page(self) -> reading.LogPage:
        execution = Execution.objects.select_related("instance").get(pk=self._channel.execution_id)
        return reading.read(execution, self._read, PIECE)

    def _lines_before(self) -> int:
        execution = Execution.objects.select_related("instance").get(pk=self._channel.execution_id)
        return reading.line_ends_before(execution, self._read)

    def _say(self, text: str) -> list[bytes]:
        channel = self._channel
        if not text:
            if channel.waiting and not self._read and channel.waiting != self._waiting:
                self._waiting = channel.waiting
                return [_event("waiting", {"text": channel.waiting})]
            return []
        *whole, begun = (self._begun + text).split("\n")
        events = []
        for first in range(0, len(whole), LINES_AN_EVENT):
            some = whole[first : first + LINES_AN_EVENT]
            shown = []
            for line in some:
                self._level = level_of(line, self._level)
                shown.append([self._level.name.lower(), line])
            self._whole += sum(len(line) + 1 for line in some)
            data = {"first": self._number + 1, "lines": shown}
            self._number += len(some)
            events.append(_event("lines", data, self._whole))
        self._begun = begun
        if begun:
            level = level_of(begun, self._level).name.lower()
            events.append(_event("partial", {"number": self._number + 1, "level": level, "text": begun}))
        return events


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def _event(name: str, data: dict[str, Any], cursor: int | None = None) -> bytes:
    """JSON has no line end of its own, so that no text can begin another field of the event."""
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode()
