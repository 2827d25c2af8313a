"""Result rows as an aligned text table."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

CELL_WIDTH = 200  # longer values are cut; a log is for looking, not for exporting

_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})


def cell(value: str | None) -> str:
    """One line of at most CELL_WIDTH characters."""
    if value is None:
        return "NULL"
    text = value[: CELL_WIDTH + 1].translate(_ESCAPES)
    return text if len(text) <= CELL_WIDTH else text[: CELL_WIDTH - 1] + "…"


def format_table(names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """`right` says which columns stand to the right (numbers). Ends with a newline."""
    widths = [
        max(_width(name), *(_width(row[index]) for row in rows)) if rows else _width(name)
        for index, name in enumerate(names)
    ]
    lines = [" | ".join(_pad(name, width, False) for name, width in zip(names, widths, strict=True)).rstrip()]
    lines.append("-+-".join("-" * width for width in widths))
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        lines.append(" | ".join(_pad(text, width, to_right) for text, width, to_right in cells).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _width(text: str) -> int:
    """Columns on a terminal: Chinese, Japanese and Korean characters take two."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    combining = sum(unicodedata.combining(character) != 0 for character in text)
    return len(text) + wide - combining


def _pad(text: str, width: int, to_right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if to_right else text + blanks
