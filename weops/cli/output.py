"""What commands print: tables for people, JSON for programs. Nothing that others wrote may steer the terminal."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDEST = 60
# What says why something was refused is of no use in part.
WHOLE = ("message",)
_FRACTION = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+")


def clean(text: Any) -> str:
    """In one line, without signs that a terminal obeys."""
    plain = "" if text is None else str(text)
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in plain)


def line(text: str) -> None:
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """ASCII only, so that nothing in it steers a terminal."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], given: argparse.Namespace) -> None:
    """One object a line with --json, else a table."""
    if given.json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    cells = [[_cell(name, row.get(name)) for name in columns] for row in rows]
    heads = [name.replace("_", " ").upper() for name in columns]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for one in [heads, *cells]:
        text = "  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)).rstrip()
        sys.stdout.write(text + "\n")


def _cell(name: str, value: Any) -> str:
    """In one line of bounded length; times to the second."""
    text = "-" if value in (None, "") else _FRACTION.sub(r"\1", clean(value))
    return text if len(text) <= WIDEST or name in WHOLE else f"{text[: WIDEST - 1]}…"


def show_row(row: Mapping[str, Any], given: argparse.Namespace, names: Sequence[str] = ()) -> None:
    """`names` first; nothing that is empty. Texts of several lines, such as code, keep them."""
    if given.json:
        show_json(row)
        return
    width = max(map(len, row), default=0)
    for name in dict.fromkeys([*names, *row]):
        value = row.get(name)
        if value in (None, "", [], {}):
            continue
        if isinstance(value, str) and "\n" in value.strip():
            lines = "".join(f"  {clean(one)}\n" for one in value.rstrip().split("\n"))
            sys.stdout.write(f"{name}\n{lines}")
            continue
        text = json.dumps(value) if isinstance(value, dict | list) else clean(value)
        sys.stdout.write(f"{name.ljust(width)}  {text}\n")
