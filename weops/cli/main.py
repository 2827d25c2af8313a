"""The command's arguments, and how it ends."""

import argparse
import sys
from collections.abc import Sequence

from weops.cli import alarms, instances, operations, others
from weops.cli.client import Client, Stop
from weops.cli.output import clean

EPILOG = """
Say where WeOps is by WEOPS_URL and WEOPS_TOKEN, or by `weops login`. A token comes from the admin (API tokens), or from
`manage.py create_token`.

  weops instances list --state failed --from 2026-03-25T00:00:00Z
  weops instances why 17
  weops instances log 17 -f
  weops instances rerun --state failed --project sales --reason "source mended" --preview
  weops operations undo 4
  weops alarms list --level urgent

Exit codes: 0 all done, 1 some refused or failed, 2 wrong use, 3 refused by WeOps, 4 WeOps does not answer.
"""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="weops",
        description="On-call work on scheduled data tasks, over the REST API.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="for programs: JSON in place of tables")
    nouns = found.add_subparsers(dest="noun", required=True, metavar="NOUN")
    others.add_login(nouns)
    instances.add(nouns, common)
    operations.add(nouns, common)
    others.add_tasks(nouns, common)
    others.add_backfill(nouns, common)
    others.add_events(nouns, common)
    alarms.add(nouns, common)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; errors go to stderr."""
    given = parser().parse_args(arguments)
    try:
        if given.noun == "login":
            others.login(given.url)
        else:
            given.run(Client(), given)
    except Stop as stop:
        for text in str(stop).split("\n"):
            sys.stderr.write(f"weops: {clean(text)}\n")
        return stop.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `weops ... | head` has seen enough.
        return 0
    return 0


def entry() -> None:
    sys.exit(main())
