"""Secrets are replaced by *** in everything a run prints, also when one spans two reads.

A mask is a safety net against accidents, not a wall: a task that means to can always print its secret
reversed.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = b"***"
MIN_SECRET = 4  # masking shorter values would riddle every log with stars
_MIN_DERIVED = 8  # lines and base64 pieces shorter than this match by chance
_WRAPS_FROM = 60  # base64 tools break lines at 64 or 76 characters
_PERCENT = re.compile("%[0-9A-F]{2}")
_LINE_END = b"(?:\\r?\\n)?"
_HEAD = 24  # characters of a long base64 form that the pattern looks for; the rest is compared line by line
_ONE_LINE = re.compile(rb"[^\r\n]+")


class Masker:
    """Finds the given secrets, their percent-, JSON- and hex-escaped forms, the lines of multi-line ones, and
    their base64 forms at any alignment (so also inside `user:secret`), long ones broken into lines too."""

    def __init__(self, secrets: Iterable[str]) -> None:
        secrets = list(secrets)
        needles = {form for secret in secrets for form in _forms(secret)}
        self._needles = sorted(needles, key=lambda needle: (-len(needle), needle))
        encoded = {form for secret in secrets for form in _long_base64(secret)}
        self._wrapped = sorted(encoded, key=lambda needle: (-len(needle), needle))
        self._longest_wrapped = max(map(len, self._wrapped), default=0)
        patterns = [
            _wrappable(needle[:_HEAD]) if needle in encoded else re.escape(needle) for needle in self._needles
        ]
        whole = [re.escape(needle) for needle in self._needles if needle not in encoded]
        self._heads = {needle[:_HEAD] for needle in encoded}
        # No groups: they cost it the quick search for a first character.
        self._pattern = re.compile(b"|".join(patterns)) if patterns else None
        self._whole = re.compile(b"|".join(whole)) if whole else None
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
            start, end = match.span()
            if match[0].translate(None, b"\r\n") in self._heads:
                # Only the head of a long form is known to be there.
                end = max((_wrapped_end(needle, data, start) for needle in self._wrapped), default=-1)
                if end < 0 and self._whole and (whole := self._whole.match(data, start)):
                    end = whole.end()
            if end > start:
                yield start, end
            position = max(end, start + 1)

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
        for needle in self._needles:
            for position in _occurrences(needle, data[:1]):
                if position and data.startswith(needle[position:]):
                    longest = max(longest, len(needle) - position)
                    break
        return data[longest:]

    def _partial_end(self, data: bytes) -> int:
        """Length of the longest end of `data` that is a proper start of a secret."""
        longest = 0
        for needle in self._needles:
            if len(needle) - 1 <= longest:
                break  # sorted by length: no later one can do better
            tail = data[-(len(needle) - 1) :]
            for position in _occurrences(tail, needle[:1]):
                if needle.startswith(tail[position:]):
                    longest = max(longest, len(tail) - position)
                    break
        return max(longest, self._partial_wrapped(data)) if self._wrapped else longest

    def _partial_wrapped(self, data: bytes) -> int:
        """The same for base64 that may be broken into lines."""
        tail = data[-2 * self._longest_wrapped :]
        places = [place for place, byte in enumerate(tail) if byte not in b"\r\n"]
        compact = bytes(tail[place] for place in places)
        longest = 0
        for needle in self._wrapped:
            end = compact[-(len(needle) - 1) :]
            for position in _occurrences(end, needle[:1]):
                if needle.startswith(end[position:]):
                    begins = places[len(compact) - len(end) + position]
                    longest = max(longest, len(tail) - begins)
                    break
        return longest


def _occurrences(data: bytes, byte: bytes) -> Iterator[int]:
    position = data.find(byte) if byte else -1
    while position >= 0:
        yield position
        position = data.find(byte, position + 1)


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode("utf-8", "surrogateescape")
    if len(raw.strip()) < MIN_SECRET:
        return
    yield raw
    percent = quote(raw, safe="")
    yield percent.encode()
    yield _PERCENT.sub(lambda found: found[0].lower(), percent).encode()
    yield quote_plus(raw).encode()
    if len(raw) >= _MIN_DERIVED:
        yield raw.hex().encode()
        yield raw.hex().upper().encode()
    yield json.dumps(secret)[1:-1].encode()
    yield json.dumps(secret, ensure_ascii=False)[1:-1].encode("utf-8", "surrogateescape")
    lines = [line.strip() for line in raw.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _MIN_DERIVED)
    yield from _base64_forms(raw)
    if raw.strip() != raw:
        yield from _base64_forms(raw.strip())


def _long_base64(secret: str) -> Iterator[bytes]:
    raw = secret.encode("utf-8", "surrogateescape")
    if len(raw.strip()) < MIN_SECRET:
        return
    for form in (*_base64_forms(raw), *_base64_forms(raw.strip())):
        if len(form) > _WRAPS_FROM:
            yield form


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
    """The characters that depend on the secret alone, for each of the three places it may start at in a
    group."""
    for shift, skip in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * shift + raw)
        whole = (shift + len(raw)) // 3 * 4  # the last, incomplete group depends on what follows
        core = encoded[skip:whole]
        if len(core) >= _MIN_DERIVED:
            yield core
            yield core.replace(b"+", b"-").replace(b"/", b"_")
