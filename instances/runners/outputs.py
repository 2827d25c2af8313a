"""Output parameters of a run: `name=value` lines that it appended to the file $WEOPS_OUTPUT in its own directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

VARIABLE = "WEOPS_OUTPUT"
FILE = "output"
MOST_BYTES = 128 * 1024


class TooLarge(ValueError):
    """More was written than a run may hand over."""


def read(directory: Path, declared: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """({name: value} of what the task declares, what is to be said of the rest). Raises TooLarge.

    The last line of a name counts. Whatever stands in a value stays text. What is no plain file is not read: a link could
    lead to what only the worker may read.
    """
    try:
        text = _text(directory / FILE)
    except FileNotFoundError:
        text = ""
    except OSError as error:
        return {}, [f"the output parameters cannot be read: {error.strerror}"]
    found: dict[str, str] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        name, equals, value = line.removesuffix("\r").partition("=")
        name = name.strip()
        if name in declared and equals:
            found[name] = value
        elif line.strip():
            what = f"{name[:60]!r} is not declared by the task" if equals else "it is not name=value"
            wrong.append(f"line {number} of ${VARIABLE} was left out: {what}")
    wrong = [*wrong[:10], f"and {len(wrong) - 10} more lines"] if len(wrong) > 10 else wrong
    unset = [name for name in declared if name not in found]
    if unset:
        wrong.append(f"not set: the output parameter {', '.join(unset)}")
    return found, wrong


def read_plain(path: Path, most: int) -> bytes:
    """At most `most` bytes of a file that a run has left. Raises OSError for a link, and for what would keep one waiting."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no file")
        return file.read(most)


def _text(path: Path) -> str:
    data = read_plain(path, MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise TooLarge(
            f"More than {MOST_BYTES // 1024} KiB were written to ${VARIABLE}; "
            "write a file's or a table's name in place of the data."
        )
    # A NUL is nothing that a database keeps.
    return data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
