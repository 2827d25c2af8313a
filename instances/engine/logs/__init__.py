"""Logs of executions: written by workers, read by every door. The design is in docs/adr/0015-logs.md.

Callers check rights: whoever may view the execution's project may read its log. All of these raise OSError when the
stored file cannot be read, and ValueError for an unknown level; each answer is bounded.

    read(execution, cursor, limit)          characters from a cursor on          -> LogPage
    lines(execution, first, count, level)   lines from a number on               -> LinesPage
    before(execution, line, count, level)   the last lines before a number       -> LinesPage
    tail(execution, count, level)           the last lines                       -> LinesPage
    search(execution, text, first, ...)     lines that hold a text               -> LinesPage
    first_error(execution, first, level)    the next line of at least a level    -> LinesPage
    pieces(execution)                       the whole log, for a download        -> iterator of texts
    waiting(execution)                      what is known before the first line  -> text
    raw.size(execution), raw.part(...)      any bytes of it, for ranges           -> number, iterator of bytes
    live.stream(...)                        server-sent events, for many viewers (instances/engine/logs/live.py)

A cursor is a number of characters from the log's beginning; lines count from 1. Both stay right after the log is sealed:
who asks on at `next_cursor` or `next_line` neither misses nor gets again a character or a line. Levels are all, debug,
info, warn, error: a filter shows its level and those above it. Log text is hostile: show it as text.
"""

from instances.engine.logs import raw
from instances.engine.logs.levels import FILTERS, Level, level_of
from instances.engine.logs.reading import (
    MOST_LINES,
    Line,
    LinesPage,
    LogPage,
    before,
    first_error,
    lines,
    pieces,
    read,
    search,
    tail,
    waiting,
)
from instances.engine.logs.sealing import remove, seal
from instances.engine.logs.sources import SETTLED
from instances.engine.logs.timeline import diagnosis, heads, of_waiting
from instances.engine.logs.writer import CHUNK, FLUSH_SECONDS, LogWriter, Sink

__all__ = [
    "CHUNK",
    "FILTERS",
    "FLUSH_SECONDS",
    "MOST_LINES",
    "SETTLED",
    "Level",
    "Line",
    "LinesPage",
    "LogPage",
    "LogWriter",
    "Sink",
    "before",
    "diagnosis",
    "first_error",
    "heads",
    "level_of",
    "lines",
    "of_waiting",
    "pieces",
    "raw",
    "read",
    "remove",
    "seal",
    "search",
    "tail",
    "waiting",
]
