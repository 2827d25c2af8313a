"""Measures WeOps beside the raw limits of the same servers.

    make bench                               all benchmarks, 3 runs each
    make bench ARGS="--only generation"      some of them
    make bench ARGS="--quick"                small, to see that everything works; no figure to quote

Needs DATABASE_URL and CELERY_BROKER_URL (`make bench` brings servers of its own): it works in a database of its own,
and on queues of its own, except that `memory` starts a whole stack and so wants a broker that nobody else uses.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.database import own_database, versions
from benchmarks.options import Options, say
from benchmarks.report import Section, as_markdown, as_text, machine

NAMES = (
    "api",
    "generation",
    "edges",
    "noop",
    "shell",
    "chain",
    "memory",
    "operations",
    "events",
    "blockers",
    "chatty",
    "children",
    "lists",
    "logs",
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="measured runs of each figure, after one to warm up"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, one run")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--rows", type=int, default=1_000_000, help="instances in the full table (generation)")
    size.add_argument(
        "--big", action="store_const", dest="rows", const=10_000_000, help="the same as --rows 10000000"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the results there, too")
    return parser.parse_args()


def _command() -> str:
    """What was asked for, as `make` takes it; the documentation shows it beside the figures."""
    words = sys.argv[1:]
    if "--markdown" in words:
        place = words.index("--markdown")
        del words[place : place + 2]
    return f'make bench ARGS="{" ".join(words)}"' if words else "make bench"


def _measure(arguments: argparse.Namespace) -> None:
    options = Options(runs=arguments.runs, rows=arguments.rows, quick=arguments.quick)
    if arguments.quick:
        options = Options(runs=1, rows=min(arguments.rows, 20_000), quick=True)
    head = machine(*versions())
    print("\n".join(head) + "\n", flush=True)
    found: list[Section] = []
    for name in arguments.only:
        began = time.monotonic()
        section: Section = importlib.import_module(f"benchmarks.{name}").run(options)
        say(f"{name} took {time.monotonic() - began:.0f} s")
        print(as_text(section), flush=True)
        found.append(section)
        if arguments.markdown:
            parts = [
                "\n".join(f"- {line}" for line in head),
                *(as_markdown(s, _command()) for s in found),
            ]
            arguments.markdown.write_text("\n\n".join(parts), encoding="utf-8")


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    arguments = _arguments()
    for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
        if not os.environ.get(name):
            print(f"{name} is not set: `make bench` starts servers and sets it", file=sys.stderr)
            return 2
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "weops.settings")
    os.environ.setdefault("WEOPS_LOG_LEVEL", "WARNING")
    # Every way to be ended runs the blocks that end what was started.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with own_database(), contextlib.suppress(BrokenPipeError):
        _measure(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
