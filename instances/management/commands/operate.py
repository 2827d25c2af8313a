"""`manage.py operate`: the operations that the admin has, for scripts and for nights without a browser. docs/operations.md"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.management import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from instances import operations
from instances.engine.states import LABELS, State
from instances.models import Instance, OperationRecord
from instances.models.operation import ItemOutcome, OperationState

CANCEL, UNDO = "cancel", "undo"
# Of what was refused or has failed, so many are printed.
EXAMPLES = 20
EPILOG = """
Instances are chosen by --ids, or by filters that all must match. Without --yes or --preview it shows the preview and asks.
`undo` and `cancel` take the number of an operation: --operation 17. Exit code 0: every instance was done.
"""


class Command(BaseCommand):
    help = "Previews an operation on instances, does it and reports what became of each."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        kinds = [*operations.kinds(), CANCEL]
        parser.add_argument("kind", choices=kinds, metavar="KIND", help=f"one of {', '.join(kinds)}")
        parser.add_argument(
            "--user", required=True, metavar="NAME", help="the account that does it; its rights count"
        )
        parser.add_argument("--ids", type=_ids, metavar="1,2,3", help="ids of instances")
        parser.add_argument("--project", metavar="NAME")
        parser.add_argument("--workflow", metavar="NAME")
        parser.add_argument("--task", metavar="NAME")
        parser.add_argument(
            "--state", nargs="+", choices=list(State), metavar="STATE", help=f"of {', '.join(State)}"
        )
        zone = timezone.get_default_timezone_name()
        parser.add_argument(
            "--data-time-from", type=_moment, metavar="TIME", help=f"inclusive; {zone} without a zone"
        )
        parser.add_argument(
            "--data-time-to", type=_moment, metavar="TIME", help="inclusive; a date is its 00:00:00"
        )
        parser.add_argument("--operation", type=int, metavar="ID", help="what to undo or to cancel")
        parser.add_argument(
            "--options", type=_options, default={}, metavar="JSON", help="options of the operation"
        )
        parser.add_argument("--reason", default="", metavar="TEXT", help="is kept on record")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--preview", action="store_true", help="show what would happen, do nothing")
        how.add_argument("--yes", action="store_true", help="do it without asking")

    def handle(self, *args: Any, **given: Any) -> None:
        user = User.objects.filter(username=given["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account {given['user']!r}.")
        try:
            if given["kind"] == CANCEL:
                self._cancel(_operation(given), user)
            else:
                self._operate(given, user)
        except operations.StalePreview as error:
            raise CommandError("\n".join([str(error), *error.difference.sentences()])) from error
        except (
            operations.OptionError,
            operations.ReasonRequired,
            operations.NotUndoable,
            PermissionDenied,
        ) as error:
            raise CommandError(str(error)) from error

    def _cancel(self, record: OperationRecord, user: User) -> None:
        if not operations.cancel(record, user):
            raise CommandError(f"Operation #{record.pk} has ended, or is being cancelled already.")
        self._follow(record)

    def _operate(self, given: dict[str, Any], user: User) -> None:
        if given["kind"] == UNDO:
            preview = operations.preview_undo(_operation(given), user=user)
        else:
            preview = operations.preview(given["kind"], _chosen(given), user=user, options=given["options"])
        for line in overview(given["kind"], preview.summary):
            self._print(line)
        if given["preview"]:
            return
        if not preview.frozen.total:
            raise CommandError("Nothing to do.")
        if not given["yes"]:
            _ask(given["kind"], preview.frozen.total)
        # In the background as far as `apply` knows, so that this process can show how far it is.
        record = operations.apply(
            preview.token, user=user, reason=given["reason"], source="command", background=True
        )
        self._print(f"operation #{record.pk}")
        self._follow(record)
        if record.state != OperationState.SUCCESS:
            raise CommandError(f"Operation #{record.pk} ended as {record.state}.")

    def _follow(self, record: OperationRecord) -> None:
        """Applies what is left, with its progress, and says what came of it."""
        try:
            while not operations.work(record.pk, seconds=1):
                record.refresh_from_db()
                self._print(counts(record))
        except KeyboardInterrupt:
            message = f"Operation #{record.pk} goes on in the background; `operate cancel --operation {record.pk}` stops it."
            raise CommandError(message, returncode=130) from None
        record.refresh_from_db()
        self._print(counts(record))
        bad = record.items.filter(outcome__in=[ItemOutcome.REFUSED, ItemOutcome.FAILED])
        for item in bad.order_by("id")[:EXAMPLES]:
            self._print(f"  {item.outcome}: #{item.instance_id} {item.message}")
        if (hidden := record.refused + record.failed - EXAMPLES) > 0:
            self._print(f"  and {hidden:,} more")

    def _print(self, line: str) -> None:
        """Names and reasons are written by others: nothing of them may steer the terminal."""
        self.stdout.write("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))
        self.stdout.flush()


def counts(record: OperationRecord) -> str:
    """How far it is: `12,000 of 41,237: 11,900 done, 100 refused`."""
    by_outcome = [(getattr(record, name), name) for name in ItemOutcome.values]
    past = sum(count for count, _ in by_outcome)
    said = ", ".join(f"{count:,} {name}" for count, name in by_outcome if count)
    return f"{past:,} of {record.total:,}" + (f": {said}" if said else "")


def overview(kind: str, summary: dict[str, Any]) -> list[str]:
    """The preview as lines of text; `summary` is that of `operations.preview`."""
    lines = [
        f"{kind}: {summary['total']:,} instances, {summary['allowed']:,} allowed, {summary['refused']:,} refused"
    ]
    for name in ("state", "project", "workflow", "owner"):
        rows = summary[f"by_{name}"]
        if rows:
            said = ", ".join(f"{_label(name, value)} {count:,}" for value, count in rows)
            lines.append(f"by {name}: {said}")
    lines += [f"left out: {row['why']}" for row in summary["left_out"]]
    for refusal in summary["refusals"]:
        lines.append(f"refused, {refusal['count']:,}: {refusal['why']}")
        lines += [f"  #{one['id']} {one['name']} {one['data_time']}" for one in refusal["examples"]]
    for layer in summary["layers"]:
        tasks = ", ".join(f"{name} {count:,}" for name, count in layer["tasks"])
        more = f" and {layer['more_tasks']} more tasks" if layer["more_tasks"] else ""
        lines.append(f"layer {layer['layer']}, {layer['count']:,}: {tasks}{more}")
    return lines + summary["sentences"]


def _label(name: str, value: str) -> str:
    if name == "state":
        return LABELS[State(value)]
    return value


def _operation(given: dict[str, Any]) -> OperationRecord:
    if given["operation"] is None:
        raise CommandError(f"Say which: {given['kind']} --operation ID")
    record = OperationRecord.objects.filter(pk=given["operation"]).first()
    if record is None:
        raise CommandError(f"There is no operation #{given['operation']}.")
    return record


def _chosen(given: dict[str, Any]) -> "QuerySet[Instance] | list[int]":
    """What the arguments choose. Raises CommandError for none, and for ids and filters together."""
    columns = {
        "project": "project__name",
        "workflow": "workflow__name",
        "task": "task__name",
        "state": "state__in",
        "data_time_from": "data_time__gte",
        "data_time_to": "data_time__lte",
    }
    filters = {column: given[name] for name, column in columns.items() if given[name] is not None}
    ids: list[int] | None = given["ids"]
    if (ids is None) == (not filters):
        raise CommandError(
            "Choose instances by --ids, or by filters such as --task and --state; not by both."
        )
    return ids if ids is not None else Instance.objects.filter(**filters)


def _ask(kind: str, total: int) -> None:
    if not sys.stdin.isatty():
        raise CommandError("Nobody is there to be asked: say --yes to do it, --preview to only look.")
    if input(f"{kind} {total:,} instances? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.")


def _ids(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise ArgumentTypeError("write numbers, separated by commas")
    return [int(word) for word in words]


def _moment(text: str) -> datetime:
    try:
        day = parse_date(text)
        moment = datetime(day.year, day.month, day.day) if day else parse_datetime(text)  # noqa: DTZ001 - made aware below
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    if moment is None:
        raise ArgumentTypeError("write a time such as 2026-03-25 or 2026-03-25T08:00")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"this is no JSON: {error}") from error
    if not isinstance(options, dict):
        raise ArgumentTypeError('write an object such as {"scope": "with_downstream"}')
    return options
