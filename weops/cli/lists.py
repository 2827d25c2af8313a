"""`weops ... list`: so many rows, and word of it when there are more."""

import argparse
import itertools
import sys
from collections.abc import Sequence
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
    client: Client, path: str, columns: Sequence[str], given: argparse.Namespace, **query: Any
) -> None:
    """The rows of a list. Who has not said how many is told, beside them, that there are more."""
    most = given.limit or given.default_limit
    rows = client.rows(path, most if given.limit else most + 1, **query)
    show_rows(itertools.islice(rows, most), columns, given)
    if next(rows, None) is not None:
        sys.stderr.write(f"weops: These are the first {most:,}; --limit shows more.\n")
