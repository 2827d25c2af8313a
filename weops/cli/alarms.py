"""`weops alarms`: what was told, and that somebody takes care of it."""

import argparse
from typing import Any

from weops.cli.client import FAILED, Client, Stop
from weops.cli.lists import add_limit, show_list
from weops.cli.output import show_row, show_rows

COLUMNS = (
    "id",
    "created_at",
    "level",
    "kind",
    "project_name",
    "task_name",
    "data_time",
    "instance",
    "reason",
)
DONE_COLUMNS = (*COLUMNS[:7], "acknowledged_by_name", "acknowledged_at")
LEVELS = {"normal": 1, "important": 2, "urgent": 3}


def add(nouns: Any, common: argparse.ArgumentParser) -> None:
    parser = nouns.add_parser("alarms", help="list, show, ack")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser(
        "list", parents=[common], help="the newest first, that nobody takes care of yet"
    )
    listed.add_argument("--all", action="store_true", help="those that are acknowledged, too")
    listed.add_argument("--level", choices=list(LEVELS))
    listed.add_argument("--task", metavar="PART", help="of the task's or the rule's name")
    add_limit(listed, 20)
    listed.set_defaults(run=list_alarms)
    show = verbs.add_parser("show", parents=[common], help="one, with whom it told")
    show.add_argument("alarm", type=int, metavar="ID")
    show.set_defaults(run=show_alarm)
    ack = verbs.add_parser("ack", parents=[common], help="you take care: no more repeats, no escalation")
    ack.add_argument("alarm", type=int, nargs="+", metavar="ID")
    ack.set_defaults(run=acknowledge)


def list_alarms(client: Client, given: argparse.Namespace) -> None:
    query = {
        "care": None if given.all else "open",
        "level": LEVELS.get(given.level),
        "q": given.task,
    }
    show_list(client, "alarm-messages/", COLUMNS, given, _in_words, **query)


def _in_words(alarm: dict[str, Any]) -> dict[str, Any]:
    """Its level as one asks for it."""
    words = {number: word for word, number in LEVELS.items()}
    return {**alarm, "level": words.get(alarm["level"], alarm["level"])}


def show_alarm(client: Client, given: argparse.Namespace) -> None:
    alarm = client.get(f"alarm-messages/{given.alarm}/")
    show_row(alarm if given.json else _in_words(alarm), given, COLUMNS)


def acknowledge(client: Client, given: argparse.Namespace) -> None:
    """Each by itself, so that one that is refused is named. Raises Stop."""
    done, refused = [], []
    for alarm in dict.fromkeys(given.alarm):
        try:
            done.append(client.post(f"alarm-messages/{alarm}/acknowledge/"))
        except Stop as stop:
            # The only one ends the command with its own exit code.
            if len(given.alarm) == 1:
                raise
            refused.append(f"#{alarm}: {stop}")
    if done:
        show_rows(done if given.json else map(_in_words, done), DONE_COLUMNS, given)
    if refused:
        raise Stop("\n".join([f"Not acknowledged: {len(refused)}.", *refused]), FAILED)
