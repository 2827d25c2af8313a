"""`weops operations`, and how every operation is previewed, confirmed and followed."""

import argparse
import json
import time
from typing import Any

from weops.cli.client import FAILED, USAGE, Client, Stop, ask
from weops.cli.lists import add_limit, show_list
from weops.cli.output import line, show_json, show_row

EPILOG = """Without --yes or --preview the preview is shown and you are asked.
Exit codes: 0 all done, 1 some refused or failed, 2 wrong use, 3 refused by WeOps, 4 WeOps does not answer."""
COLUMNS = ("id", "kind", "state", "operator", "total", "done", "refused", "failed", "created_at", "reason")
COUNTS = ("done", "refused", "failed", "cancelled")
EXAMPLES = 20


def add(nouns: Any, common: argparse.ArgumentParser) -> None:
    parser = nouns.add_parser("operations", help="list, show, undo, cancel")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser("list", parents=[common], help="the newest first")
    listed.add_argument("--kind")
    add_limit(listed, 20)
    listed.set_defaults(run=list_operations)
    show = verbs.add_parser("show", parents=[common], help="one, and what was refused or failed")
    undo = verbs.add_parser("undo", parents=[common], help="put back what it did", epilog=EPILOG)
    cancel = verbs.add_parser("cancel", parents=[common], help="stop it after its present batch")
    for one, run in ((show, show_operation), (undo, undo_operation), (cancel, cancel_operation)):
        one.add_argument("operation", type=int, metavar="ID")
        one.set_defaults(run=run)
    add_confirmation(undo)


def add_confirmation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="is kept on record")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--preview", action="store_true", help="show what would happen, do nothing")
    how.add_argument("--yes", action="store_true", help="do it without asking")


def add_choices(parser: argparse.ArgumentParser) -> None:
    add_confirmation(parser)
    parser.add_argument(
        "--options",
        type=_options,
        default={},
        metavar="JSON",
        help='such as \'{"scope": "with_downstream"}\'',
    )


def _options(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"this is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('write an object such as {"scope": "with_downstream"}')
    return found


def carry_out(client: Client, given: argparse.Namespace, what: dict[str, Any]) -> None:
    """Previews, asks, applies exactly what was previewed, and says what came of it."""
    apply(client, given, client.post("operations/preview/", {**what, "options": given.options}))


def apply(client: Client, given: argparse.Namespace, preview: dict[str, Any]) -> None:
    if given.preview and given.json:
        show_json(preview)
        return
    if not given.json:
        for text in overview(preview):
            line(text)
    if given.preview:
        return
    if not preview["total"]:
        raise Stop("Nothing to do: no instance is chosen.")
    ask(f"{preview['kind'].replace('_', ' ')} {counted(preview['allowed'])}?", given.yes)
    record = client.post("operations/", {"token": preview["token"], "reason": given.reason})
    follow(client, given, record)
    asked = len(set(getattr(given, "instance", ())))
    if preview["total"] < asked:
        raise Stop(f"Of {counted(asked)}, {asked - preview['total']:,} left out.", FAILED)


def counted(number: int) -> str:
    return f"{number:,} instance" if number == 1 else f"{number:,} instances"


def overview(preview: dict[str, Any]) -> list[str]:
    summary = preview["summary"]
    lines = [
        f"{preview['kind']}: {counted(preview['total'])}, {preview['allowed']:,} allowed, "
        f"{preview['refused']:,} refused"
    ]
    for refusal in summary.get("refusals", ()):
        lines.append(f"refused, {refusal['count']:,}: {refusal['why']}")
        lines += [f"  #{one['id']} {one['name']} {one['data_time']}" for one in refusal["examples"][:3]]
    return lines + preview["sentences"]


def follow(client: Client, given: argparse.Namespace, record: dict[str, Any]) -> None:
    """Until it is finished. Raises Stop unless everything was done."""
    try:
        while not record["finished"]:
            time.sleep(1)
            record = client.get(f"operations/{record['id']}/")
    except KeyboardInterrupt:
        raise Stop(
            f"Operation #{record['id']} goes on; `weops operations cancel {record['id']}` stops it.", 130
        ) from None
    if given.json:
        show_json(record)
    else:
        said = ", ".join(f"{record[name]:,} {name}" for name in COUNTS if record[name])
        line(f"operation #{record['id']}: {said or 'nothing was done'}")
        _show_bad(client, record)
    if record["state"] != "SUCCESS":
        raise Stop(f"Not everything was done: see `weops operations show {record['id']}`.", FAILED)


def _show_bad(client: Client, record: dict[str, Any]) -> None:
    for outcome in ("refused", "failed"):
        if record[outcome]:
            rows = client.rows(f"operations/{record['id']}/outcomes/", EXAMPLES, outcome=outcome)
            for one in rows:
                line(f"  {outcome}: #{one['instance']} {one['message']}")


def list_operations(client: Client, given: argparse.Namespace) -> None:
    show_list(client, "operations/", COLUMNS, given, kind=given.kind)


def show_operation(client: Client, given: argparse.Namespace) -> None:
    record = client.get(f"operations/{given.operation}/")
    show_row(record, given, COLUMNS)
    if not given.json:
        _show_bad(client, record)


def undo_operation(client: Client, given: argparse.Namespace) -> None:
    apply(client, given, client.post(f"operations/{given.operation}/undo/preview/"))


def cancel_operation(client: Client, given: argparse.Namespace) -> None:
    record = client.post(f"operations/{given.operation}/cancel/")
    if not record["cancel_requested_at"]:
        raise Stop(f"Operation #{record['id']} has ended already.", USAGE)
    show_row(record, given, COLUMNS)
