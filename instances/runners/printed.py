"""What a task says by printing it: lines such as `events="EventA,20260325;EventB,20260325;"`.

Reads the output as it comes, before the log's caps cut it. Bounded in memory, whatever is printed.
"""

from __future__ import annotations

import re
from typing import Final

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
# Bytes: of one line, and of all values together. Ten thousand events take a third of the first.
_LONGEST_LINE: Final = 1024 * 1024
_MOST: Final = 4 * 1024 * 1024


class PrintedVariable:
    """Collects the values of `name="value"` or `name=value` lines. Used by one thread."""

    def __init__(self, name: str) -> None:
        # Nothing in it can be divided in two ways: a long line would take for ever, and stop all runs of the worker.
        pattern = rf"^[ \t]*{re.escape(name)}=([^\r\n]*)\r?$"
        self._line = re.compile(pattern.encode(), re.MULTILINE)
        self._name = name.encode()
        self._rest = b""  # of a line that has not ended
        self._skipping = False  # the present line is too long to be one of ours
        self._values: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        if not end:
            self._keep(data)
            return
        lines = data[data.find(b"\n") + 1 : end] if self._skipping else self._rest + data[:end]
        self._rest, self._skipping = b"", False
        self._read(lines)
        self._keep(data[end:])

    def value(self) -> str:
        """All values, joined by `;`. Call once, when the output has ended."""
        self._read(self._rest)
        return b";".join(self._values).decode("utf-8", "replace")

    def _keep(self, data: bytes) -> None:
        if self._skipping:
            return
        self._rest += data
        if len(self._rest) > _LONGEST_LINE:
            self._rest, self._skipping = b"", True

    def _read(self, lines: bytes) -> None:
        # Most output has nothing of ours: this is a search in C.
        if self._name not in lines:
            return
        for match in self._line.finditer(lines):
            value = _unquoted(match[1])
            if value and self._size + len(value) <= _MOST:
                self._values.append(value)
                self._size += len(value)


def _unquoted(said: bytes) -> bytes:
    """What stands in the quotes, or all of it: `echo events="A,1"` prints none, the shell takes them. Empty for anything else."""
    inner = said.rstrip(b" \t")
    if len(inner) >= 2 and inner.startswith(b'"') and inner.endswith(b'"'):
        said = inner[1:-1]
    return b"" if b'"' in said else said
