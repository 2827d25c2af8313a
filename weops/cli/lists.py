"""`weops ... list`: so many rows, and word of it when there are more."""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from weops.cli.client import Client
from weops.cli.output import show_rows


def add_limit(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--limit", type=_at_least_one, metavar="N", help=f"at most so many (default {default})"
    )
    parser.set_defaults(default_limit=default)


def _at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def show_list(
    client: Client,
    path: str,
    columns: Sequence[str],
    given: argparse.Namespace,
    for_people: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    **query: Any,
) -> None:
    """The rows of a list, those of a table as `for_people` makes them. Who has not said how many is told that there are more."""
    most = given.limit or given.default_limit
    rows = client.rows(path, most if given.limit else most + 1, **query)
    shown: Iterable[dict[str, Any]] = itertools.islice(rows, most)
    show_rows(map(for_people, shown) if for_people and not given.json else shown, columns, given)
    if next(rows, None) is not None:
        sys.stderr.write(f"weops: These are the first {most:,}; --limit shows more.\n")
