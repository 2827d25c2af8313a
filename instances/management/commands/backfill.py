"""`manage.py backfill`: backfill plans from the shell. docs/backfill.md"""

import json
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.management import BaseCommand, CommandError

from instances.engine import plans
from instances.engine.plan_spec import OnFailure, Order, Reprocess
from instances.engine.states import SelfDependency
from instances.models import BackfillPlan, Task
from instances.models.backfill import PlanState, RunState
from instances.operations import backfill
from instances.operations.backfill_options import Downstream
from instances.operations.parsing import OptionError
from weops.projects import access

# Of what is left out and of what went wrong, so many rows are printed.
EXAMPLES = 20
EPILOG = """
Without --yes or --preview, create shows the preview and asks. Exit code 0: the plan was begun, and with --wait every run of it
succeeded.
"""


class Command(BaseCommand):
    help = "Makes backfill plans, shows how far they are, pauses, resumes and stops them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        create = actions.add_parser("create", help="preview a plan and begin it", epilog=EPILOG)
        _add_create(create)
        shown = actions.add_parser("list", help="the latest plans")
        shown.add_argument("--all", action="store_true", help="those that are over, too")
        one = {
            "show": actions.add_parser("show", help="one plan, by data time"),
            "wait": actions.add_parser("wait", help="follow a plan to its end"),
            "pause": actions.add_parser("pause", help="start nothing new"),
            "resume": actions.add_parser("resume", help="go on"),
            "stop": actions.add_parser("stop", help="end it, and what waits"),
        }
        one["stop"].add_argument("--running", action="store_true", help="terminate what runs, too")
        for name, action in one.items():
            action.add_argument("plan", type=int, metavar="ID")
            if name in ("pause", "resume", "stop"):
                action.add_argument("--reason", default="", metavar="TEXT", help="is kept on record")
        for action in (create, shown, *one.values()):
            action.add_argument(
                "--user", required=True, metavar="NAME", help="the account that does it; its rights count"
            )

    def handle(self, *args: Any, **given: Any) -> None:
        user = User.objects.filter(username=given["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account {given['user']!r}.")
        action: Callable[[dict[str, Any], User], None] = getattr(self, f"_{given['action']}")
        try:
            action(given, user)
        except OptionError as error:
            raise CommandError(f"{error.field}: {error}") from error
        except (PermissionDenied, backfill.StalePlan) as error:
            raise CommandError(str(error)) from error

    def _create(self, given: dict[str, Any], user: User) -> None:
        options = _options(given, user)
        preview, token = backfill.preview(options, user=user)
        for line in overview(preview.summary):
            self._print(line)
        if given["preview"]:
            return
        if not given["yes"]:
            _ask(preview.summary["new"] + preview.summary["again"])
        plan = backfill.create(
            options,
            user=user,
            source="command",
            reason=given["reason"],
            name=given["name"],
            token=str(token),
        )
        self._print(f"plan #{plan.pk}: {plan}")
        if given["wait"]:
            self._follow(plan)

    def _list(self, given: dict[str, Any], user: User) -> None:
        for plan in backfill.visible(user).order_by("-id")[: 1000 if given["all"] else 20]:
            if given["all"] or plan.unfinished:
                self._print(f"#{plan.pk} {plan}: {said(plan)}")

    def _show(self, given: dict[str, Any], user: User) -> None:
        plan = _plan(given, user)
        self._print(f"#{plan.pk} {plan}: {said(plan)}")
        if plan.message:
            self._print(plan.message)
        for one in backfill.by_data_time(plan, limit=1000):
            self._print(f"  {one.data_time:%Y-%m-%d %H:%M} UTC: {_counts(one.counts)}")
        self._print_bad(plan)

    def _wait(self, given: dict[str, Any], user: User) -> None:
        self._follow(_plan(given, user))

    def _pause(self, given: dict[str, Any], user: User) -> None:
        plan = _plan(given, user)
        self._steered(plan, backfill.pause(plan, user=user, source="command", reason=given["reason"]))

    def _resume(self, given: dict[str, Any], user: User) -> None:
        plan = _plan(given, user)
        self._steered(plan, backfill.resume(plan, user=user, source="command", reason=given["reason"]))

    def _stop(self, given: dict[str, Any], user: User) -> None:
        plan = _plan(given, user)
        self._steered(
            plan,
            backfill.stop(
                plan, user=user, source="command", reason=given["reason"], running=given["running"]
            ),
        )

    def _steered(self, plan: BackfillPlan, done: bool) -> None:
        if not done:
            raise CommandError(f"Nothing was done: plan #{plan.pk} is {plan.get_state_display().lower()}.")
        self._print(f"#{plan.pk} {plan}: {said(plan)}")

    def _follow(self, plan: BackfillPlan) -> None:
        """Looks after the plan itself, too, and says how far it is whenever that changes."""
        try:
            for line in _progress(plan):
                self._print(line)
        except KeyboardInterrupt:
            message = f"Plan #{plan.pk} goes on in the background; `backfill stop {plan.pk}` ends it."
            raise CommandError(message, returncode=130) from None
        self._print_bad(plan)
        if plan.state != PlanState.SUCCESS:
            raise CommandError(f"Plan #{plan.pk} ended: {plan.get_state_display().lower()}. {plan.message}")

    def _print_bad(self, plan: BackfillPlan) -> None:
        bad = plan.runs.filter(state__in=[RunState.FAILED, RunState.BLOCKED, RunState.REFUSED])
        for run in bad.select_related("task").order_by("wave", "id")[:EXAMPLES]:
            self._print(f"  {run.state}: {run.task} {run.data_time:%Y-%m-%d %H:%M} UTC {run.message}")
        if (hidden := plan.failed + plan.blocked + plan.refused - EXAMPLES) > 0:
            self._print(f"  and {hidden:,} more")

    def _print(self, line: str) -> None:
        """Names and reasons are written by others: nothing of them may steer the terminal."""
        self.stdout.write("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))
        self.stdout.flush()


def _add_create(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--task", nargs="+", required=True, metavar="TASK", help="an id, or project/workflow/task"
    )
    parser.add_argument(
        "--range",
        nargs="+",
        required=True,
        metavar="DAYS",
        help="such as 2026-01-01 or 2026-01-01..2026-01-31",
    )
    parser.add_argument("--downstream", choices=list(Downstream), default=Downstream.NONE.value)
    parser.add_argument(
        "--chosen", nargs="+", default=[], metavar="TASK", help="downstream tasks, hand-picked"
    )
    parser.add_argument("--timezone", default="", help="of the days; by default each task's own")
    parser.add_argument("--window", default="", metavar="HH:MM-HH:MM", help="for minute and hour tasks")
    parser.add_argument(
        "--first-of-month", action="store_true", help="day tasks on the 1st of each month only"
    )
    parser.add_argument("--order", choices=list(Order), default=Order.NORMAL.value)
    parser.add_argument("--parallelism", type=int, metavar="N", help="data times at once, by default 1")
    parser.add_argument("--self-dependency", choices=list(SelfDependency), default="", help="in its place")
    parser.add_argument("--resource-group", type=int, metavar="ID")
    parser.add_argument("--parameters", type=_texts, default={}, metavar="JSON")
    parser.add_argument("--application-parameters", type=_texts, default={}, metavar="JSON")
    parser.add_argument("--check-parents", action="store_true", help="wait for parents outside the plan, too")
    parser.add_argument("--wait-for-events", action="store_true")
    parser.add_argument("--reprocess", choices=list(Reprocess), default=Reprocess.ALL.value)
    parser.add_argument("--on-failure", choices=list(OnFailure), default=OnFailure.GO_ON.value)
    parser.add_argument("--name", default="", metavar="TEXT")
    parser.add_argument("--reason", default="", metavar="TEXT", help="is kept on record")
    parser.add_argument("--wait", action="store_true", help="follow it to its end")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--preview", action="store_true", help="show what would happen, do nothing")
    how.add_argument("--yes", action="store_true", help="do it without asking")


def _options(given: dict[str, Any], user: User) -> dict[str, Any]:
    """As `backfill_options.parse` takes them."""
    window_start, _, window_end = given["window"].partition("-")
    return {
        "tasks": [_task_id(one, user) for one in given["task"]],
        "ranges": [dict(zip(("first", "last"), _days(one), strict=True)) for one in given["range"]],
        "downstream": given["downstream"],
        "chosen": [_task_id(one, user) for one in given["chosen"]],
        "window_start": window_start.strip(),
        "window_end": window_end.strip(),
        "ignore_events": not given["wait_for_events"],
        **{
            name: given[name]
            for name in (
                "timezone", "first_of_month", "order", "parallelism", "self_dependency", "resource_group", "parameters",
                "application_parameters", "check_parents", "reprocess", "on_failure",
            )
        },
    }  # fmt: skip


def _task_id(text: str, user: User) -> int:
    """Whether it may be used is judged with the other options."""
    if text.isascii() and text.isdecimal():
        return int(text)
    project, _, rest = text.partition("/")
    workflow, _, name = rest.partition("/")
    rows = access.within(Task.objects.all(), user, "workflow__project_id")
    found = rows.filter(workflow__project__name=project, workflow__name=workflow, name=name).first()
    if found is None:
        raise CommandError(f"There is no task {text!r}; write its id, or project/workflow/task.")
    return int(found.pk)


def _days(text: str) -> tuple[str, str]:
    first, dots, last = text.partition("..")
    return first, last if dots else first


def _texts(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"this is no JSON: {error}") from error


def _plan(given: dict[str, Any], user: User) -> BackfillPlan:
    plan = backfill.visible(user).filter(pk=given["plan"]).first()
    if plan is None:
        raise CommandError(f"There is no plan #{given['plan']}.")
    return plan


def _ask(runs: int) -> None:
    if not sys.stdin.isatty():
        raise CommandError("Nobody is there to be asked: say --yes to begin it, --preview to only look.")
    if input(f"Begin {runs:,} runs? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.")


def _progress(plan: BackfillPlan, pause: float = 0.5) -> Iterator[str]:
    """A line whenever something has changed, until the plan is over."""
    last = ""
    while True:
        plans.work(plan.pk, seconds=1)
        plan.refresh_from_db()
        line = said(plan)
        if line != last:
            yield line
            last = line
        if not plan.unfinished:
            return
        time.sleep(pause)


def overview(summary: dict[str, Any]) -> list[str]:
    """The preview as lines of text; `summary` is that of `backfill.preview`."""
    lines = []
    for one in summary["tasks"]:
        counts = ", ".join(
            f"{one[name]:,} {name}" for name in ("new", "again", "skipped", "refused") if one[name]
        )
        lines.append(f"{one['name']}: {counts}")
        lines += [f"  {row['count']:,}: {row['why']}" for row in one["why"]]
    return lines[: 10 * EXAMPLES] + summary["sentences"]


def said(plan: BackfillPlan) -> str:
    """How far it is: `running, 41.9 % complete, 40.1 % successful: 3 active, 18 pending...`"""
    counts = {state: getattr(plan, state) for state in RunState.values}
    share = f"{plan.percent_complete:g} % complete, {plan.percent_successful:g} % successful"
    return f"{plan.get_state_display().lower()}, {share}: {_counts(counts)}"


def _counts(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{counts[state]:,} {state}" for state in RunState.values if counts.get(state)) or "no runs"
    )
