"""`weops instances`: find them, see why one does not run, read its log, act on one or on all that match."""

import argparse
import json
import sys
import time
from typing import Any

from weops.cli import operations
from weops.cli.client import USAGE, Client, Stop, id_of
from weops.cli.lists import add_limit, show_list
from weops.cli.output import clean, line, show_json, show_row, show_rows

COLUMNS = ("id", "task_name", "data_time", "state", "start_time", "end_time", "error_code", "owner_name")
FIRST = (
    "id",
    "task_name",
    "project_name",
    "workflow_name",
    "data_time",
    "state",
    "error_code",
    "error_message",
)
_FILTERS = {
    "--project": ("project", "NAME or id"),
    "--workflow": ("workflow", "NAME or id"),
    "--task": ("q", "part of a task's name, or its id"),
    "--from": ("data_from", "data time from, such as 2026-03-25T00:00:00Z"),
    "--to": ("data_to", "data time to, inclusive"),
    "--type": ("task_type", "task type, such as SHELL"),
    "--cycle": ("cycle", "cycle type, such as DAY"),
    "--acknowledged": ("seen", "yes or no, of failures"),
}
# Command -> kind, what it is for.
ACTIONS = {
    "rerun": ("rerun", "begin a new life"),
    "terminate": ("terminate", "stop it; it ends as failed"),
    "mark-success": ("mark_success", "successful at once; downstream is released"),
    "freeze": ("freeze", "do not start it until it is thawed"),
    "thaw": ("thaw", "it may start again"),
    "acknowledge": ("acknowledge", "somebody takes care of the failure"),
    "remove-dependency": ("remove_dependency", "it stops waiting for chosen dependencies, for ever"),
}


def add(nouns: Any, common: argparse.ArgumentParser) -> None:
    parser = nouns.add_parser("instances", help="list, show, why, log, rerun, terminate, mark-success, ...")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser("list", parents=[common], help="those that match, newest data time first")
    add_filters(listed)
    add_limit(listed, 50)
    listed.set_defaults(run=list_instances)
    for name, run, words in (
        ("show", show, "all about one"),
        ("why", why, "why it does not run"),
        ("history", history, "its changes of state"),
    ):
        one = verbs.add_parser(name, parents=[common], help=words)
        one.add_argument("instance", type=int, metavar="ID")
        one.set_defaults(run=run)
    log = verbs.add_parser("log", parents=[common], help="the log of its last execution")
    log.add_argument("instance", type=int, metavar="ID")
    log.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    log.add_argument("--execution", type=int, metavar="ID", help="another execution than the last")
    log.set_defaults(run=show_log)
    for name, (kind, words) in ACTIONS.items():
        action = verbs.add_parser(name, parents=[common], help=words, epilog=operations.EPILOG)
        action.add_argument("instance", type=int, nargs="*", metavar="ID", help="or filters, below")
        add_filters(action)
        operations.add_choices(action)
        action.set_defaults(run=act, kind=kind)


def add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", action="append", metavar="STATE", help="may be given several times")
    for option, (name, words) in _FILTERS.items():
        parser.add_argument(option, dest=name, help=words)


def filters(client: Client, given: argparse.Namespace) -> dict[str, Any]:
    """What the options choose, as the API takes it."""
    found = {name: getattr(given, name) for name, _ in _FILTERS.values() if getattr(given, name)}
    for name, path in (("project", "projects/"), ("workflow", "workflows/")):
        if name in found:
            found[name] = id_of(client, path, found[name])
    if given.state:
        found["state"] = given.state
    return found


def list_instances(client: Client, given: argparse.Namespace) -> None:
    show_list(client, "instances/", COLUMNS, given, **filters(client, given))


def show(client: Client, given: argparse.Namespace) -> None:
    show_row(client.get(f"instances/{given.instance}/"), given, FIRST)


def why(client: Client, given: argparse.Namespace) -> None:
    found = client.get(f"instances/{given.instance}/why/")
    if given.json:
        show_json(found)
        return
    for cause in found["causes"] or [{"title": f"Nothing keeps it: it is {found['state']}."}]:
        line(cause["title"])
        for text in cause.get("lines", ()):
            line(f"  {text}")
        for fix in cause.get("fixes", ()):
            line(f"  to do: {fix['title']}")


def history(client: Client, given: argparse.Namespace) -> None:
    rows = client.get(f"instances/{given.instance}/history/")
    show_rows(rows, ("at", "from_state", "to_state", "move", "error_code", "operation"), given)


def show_log(client: Client, given: argparse.Namespace) -> None:
    execution, cursor = given.execution, 0
    while True:
        execution = execution or client.get(f"instances/{given.instance}/")["execution"]
        page = client.get(f"executions/{execution}/log/", cursor=cursor) if execution else None
        if page:
            _write(page["text"], given)
            cursor = page["next_cursor"]
            if page["done"] or (not given.follow and not page["text"]):
                return
        elif not given.follow:
            raise Stop("It has not run yet; --follow waits for it.")
        if not page or not page["text"]:
            time.sleep(1)


def _write(text: str, given: argparse.Namespace) -> None:
    if given.json:
        sys.stdout.write(json.dumps(text) + "\n" if text else "")
    else:
        # Lines stay lines; what would steer the terminal does not.
        sys.stdout.write("".join(sign if sign in "\n\t" else clean(sign) for sign in text))
    sys.stdout.flush()


def act(client: Client, given: argparse.Namespace) -> None:
    chosen = filters(client, given)
    if bool(given.instance) == bool(chosen):
        raise Stop("Choose instances by their ids, or by filters such as --state failed; not by both.", USAGE)
    what = {"instances": given.instance} if given.instance else {"filter": chosen}
    operations.carry_out(client, given, {"kind": given.kind, **what})
