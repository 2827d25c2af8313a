"""Secrets are replaced by *** in everything a run prints, also when one spans two reads.

A mask is a safety net against accidents, not a wall: a task that means to can always print its secret
reversed.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = b"***"
MIN_SECRET = 4  # masking shorter values would riddle every log with stars
_MIN_DERIVED = 8  # lines and base64 pieces shorter than this match by chance
_PERCENT = re.compile("%[0-9A-F]{2}")
_LINE_END = b"(?:\\r?\\n)?"
_KEY = 4  # bytes that needles are found by; none is shorter
_HEAD = 8  # bytes that the pattern looks for, so that it rarely stops in vain
_ONE_LINE = re.compile(rb"[^\r\n]+")
_LINE_ENDS = b"\r\n"
# What bash escapes in a word that it prints for being read again.
_SHELL = re.compile(r"([^\w%+,./:=@-])")
# How quotes look in HTML and XML: as they are, and as Python, Django, Go and XML libraries write them.
_QUOTES = (
    ('"', "'"),
    ("&quot;", "'"),
    ("&quot;", "&#x27;"),
    ("&quot;", "&#39;"),
    ("&#34;", "&#39;"),
    ("&quot;", "&apos;"),
)


class Masker:
    """Finds the given secrets, their percent-, JSON-, HTML-, Python- and shell-escaped and their hex forms, the lines of
    multi-line ones, and their base64 forms at any alignment (so also inside `user:secret`), broken into lines too."""

    def __init__(self, secrets: Iterable[str]) -> None:
        secrets = list(secrets)
        plain = _Needles(form for secret in secrets for form in _forms(secret))
        encoded = _Needles(form for secret in secrets for form in _encoded(secret))
        self._plain, self._encoded = plain, encoded
        patterns = [re.escape(head) for head in plain.heads] + [_wrappable(head) for head in encoded.heads]
        # No groups: they cost it the quick search for a first character.
        self._pattern = re.compile(b"|".join(patterns)) if patterns else None
        self._pending = b""

    def mask(self, data: bytes) -> bytes:
        """A whole text at once."""
        done, position = self._masked(data, len(data))
        return b"".join((*done, data[position:]))

    def mask_text(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def feed(self, data: bytes) -> bytes:
        """The next piece of a stream; what may be the start of a secret is held back until it is decided."""
        if self._pattern is None:
            return data
        data = self._pending + data
        hold = len(data) - self._partial_end(data)
        # A match inside the held part may be the start of a longer secret: decide when more is known.
        done, position = self._masked(data, hold)
        hold = max(hold, position)
        done.append(data[position:hold])
        self._pending = data[hold:]
        return b"".join(done)

    def _masked(self, data: bytes, stop: int) -> tuple[list[bytes], int]:
        """Pieces of `data` with every secret that begins before `stop` replaced, and where the last of them ends."""
        done: list[bytes] = []
        position = 0
        for start, end in self._found(data):
            if start >= stop:
                break
            done += (data[position:start], MASK)
            position = end
        return done, position

    def _found(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(start, end) of the secrets in it, the leftmost first, of those that begin together the longest."""
        position = 0
        while self._pattern and (match := self._pattern.search(data, position)):
            start = match.start()
            end = self._end(data, start)
            if end > start:
                yield start, end
            position = max(end, start + 1)

    def _end(self, data: bytes, start: int) -> int:
        """Where the longest secret that begins at `start` ends; -1 if only the head of one stands there."""
        end = -1
        for needle in self._plain.by_key.get(data[start : start + _KEY], ()):
            if data.startswith(needle, start):
                end = start + len(needle)
                break
        if self._encoded.by_key:
            key = data[start : start + 3 * _KEY].translate(None, _LINE_ENDS)[:_KEY]
            for needle in self._encoded.by_key.get(key, ()):
                end = max(end, _wrapped_end(needle, data, start))
        return end

    def take_pending(self) -> bytes:
        """What is held back, raw, for a caller that goes on by other means."""
        pending, self._pending = self._pending, b""
        return pending

    def flush(self) -> bytes:
        """The end of the stream: what was held back was no secret after all, or one in full."""
        return self.mask(self.take_pending())

    def break_off(self) -> bytes:
        """What was held back, when the stream goes on but not for us: the start of a secret stays hidden."""
        pending = self.take_pending()
        cut = self._partial_end(pending)
        return self.mask(pending[: len(pending) - cut]) + (MASK if cut else b"")

    def cut_start(self, data: bytes) -> bytes:
        """`data` begins somewhere in a stream: drops what may be the end of a secret that began before."""
        longest = 0
        for needle in (*self._plain.all, *self._encoded.all):
            for position in _occurrences(needle, data[:1]):
                if position and data.startswith(needle[position:]):
                    longest = max(longest, len(needle) - position)
                    break
        return data[longest:]

    def _partial_end(self, data: bytes) -> int:
        """Length of the longest end of `data` that is a proper start of a secret."""
        longest = self._plain.partial(data[1 - self._plain.longest :]) if self._plain.longest > 1 else 0
        return max(longest, self._partial_wrapped(data)) if self._encoded.longest else longest

    def _partial_wrapped(self, data: bytes) -> int:
        """The same for base64 that may be broken into lines."""
        tail = data[-2 * self._encoded.longest :]
        compact = tail.translate(None, _LINE_ENDS)[1 - self._encoded.longest :]
        found = self._encoded.partial(compact)
        ends_line = tail.endswith(b"\n")
        if not found or (ends_line and found < _KEY):
            # A character or two at the end of a line say nothing, and whoever follows the log wants to see the line.
            return 0
        begins = len(tail)
        while found:
            begins -= 1
            found -= tail[begins] not in _LINE_ENDS
        return len(tail) - begins


class _Needles:
    """What is looked for: `all` of it, the longest first; the same by its first bytes; the `heads` a pattern needs."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self.all = sorted(set(needles), key=lambda needle: (-len(needle), needle))
        self.longest = len(self.all[0]) if self.all else 0
        self.by_key: dict[bytes, list[bytes]] = {}
        for needle in self.all:
            self.by_key.setdefault(needle[:_KEY], []).append(needle)
        self.heads = sorted({needle[:_HEAD] for needle in self.all})
        self._keys = re.compile(b"|".join(map(re.escape, self.by_key)))
        self._starts = {needle[:length] for needle in self.all for length in range(1, _KEY)}

    def partial(self, tail: bytes) -> int:
        """Length of the longest end of `tail` that is a proper start of one; `tail` is shorter than the longest."""
        position = 0
        while match := self._keys.search(tail, position):
            rest = tail[match.start() :]
            if any(len(rest) < len(needle) and needle.startswith(rest) for needle in self.by_key[match[0]]):
                return len(rest)
            position = match.start() + 1
        return next(
            (length for length in range(min(_KEY - 1, len(tail)), 0, -1) if tail[-length:] in self._starts), 0
        )


def _occurrences(data: bytes, byte: bytes) -> Iterator[int]:
    position = data.find(byte) if byte else -1
    while position >= 0:
        yield position
        position = data.find(byte, position + 1)


def _forms(secret: str) -> Iterator[bytes]:
    """The secret as it is, and escaped as programs print it."""
    raw = secret.encode("utf-8", "surrogateescape")
    if len(raw.strip()) < MIN_SECRET:
        return
    yield raw
    # In an address, in a part of its path, as a browser's script does, in a form.
    for percent in (quote(raw, safe=""), quote(raw), quote(raw, safe="!'()*"), quote_plus(raw)):
        yield percent.encode()
        yield _PERCENT.sub(lambda found: found[0].lower(), percent).encode()
    if len(raw) >= _MIN_DERIVED:
        yield raw.hex().encode()
        yield raw.hex().upper().encode()
    yield repr(raw)[2:-1].encode()
    plain = html.escape(secret, quote=False)
    for text in (
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        # `set -x` and `printf %q` of bash, and how Python quotes for a shell.
        secret.replace("'", r"'\''"),
        secret.replace("'", "'\"'\"'"),
        _SHELL.sub(r"\\\1", secret),
        *(plain.replace('"', double).replace("'", single) for double, single in _QUOTES),
    ):
        yield text.encode("utf-8", "surrogateescape")
    lines = [line.strip() for line in raw.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _MIN_DERIVED)


def _encoded(secret: str) -> Iterator[bytes]:
    """Its base64 forms."""
    raw = secret.encode("utf-8", "surrogateescape")
    if len(raw.strip()) < MIN_SECRET:
        return
    # `echo` adds a line end.
    for text in {raw, raw.strip(), raw.strip() + b"\n"}:
        for form in _base64_forms(text):
            yield form
            yield form.replace(b"+", b"-").replace(b"/", b"_")


def _wrappable(needle: bytes) -> bytes:
    return _LINE_END.join(re.escape(needle[place : place + 1]) for place in range(len(needle)))


def _wrapped_end(needle: bytes, data: bytes, start: int) -> int:
    """Where `needle`, which may be broken into lines, ends if it begins at `start`; -1 if it does not."""
    known = 0
    position = start
    while line := _ONE_LINE.match(data, position):
        piece = needle[known : known + line.end() - position]
        if not data.startswith(piece, position):
            return -1
        known += len(piece)
        position += len(piece)
        if known == len(needle):
            return position
        # One line end, as a tool that breaks lines writes it.
        position += 1 + data.startswith(b"\r\n", position)
    return -1


def _base64_forms(raw: bytes) -> Iterator[bytes]:
    """For each of the three places it may start at in a group: the characters that depend on the secret alone, and all of them
    where the encoded text ends with the secret."""
    for shift, skip in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * shift + raw)
        whole = (shift + len(raw)) // 3 * 4  # the last, incomplete group depends on what follows
        for form in (encoded[skip:whole], encoded[skip:], encoded[skip:].rstrip(b"=")):
            if len(form) >= _MIN_DERIVED:
                yield form
