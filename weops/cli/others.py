"""`weops tasks`, `weops backfill`, `weops events`, `weops login`."""

import argparse
import getpass
import sys
import time
from typing import Any

from weops.cli import operations
from weops.cli.client import FAILED, USAGE, Client, Stop, ask, id_of, save
from weops.cli.lists import add_limit, show_list
from weops.cli.output import line, show_json, show_row, show_rows

TASK_COLUMNS = (
    "id",
    "project_name",
    "workflow_name",
    "name",
    "status",
    "task_type",
    "cycle_type",
    "next_due_at",
)
PLAN_COLUMNS = ("id", "name", "state", "percent_complete", "percent_successful", "failed", "created_by")


def add_login(nouns: Any) -> None:
    parser = nouns.add_parser("login", help="keep an address and a token for the next commands")
    parser.add_argument("url", metavar="URL", help="such as https://weops.example.com")
    parser.set_defaults(run=None)


def login(url: str) -> None:
    token = getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline()
    client = Client(url, token.strip())
    projects = list(client.rows("projects/", 500))
    path = save(client.url, token.strip())
    line(f"{len(projects)} projects are in sight; kept in {path}")


# Tasks


def add_tasks(nouns: Any, common: argparse.ArgumentParser) -> None:
    parser = nouns.add_parser("tasks", help="list, show, pause, resume, run")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser("list", parents=[common], help="tasks by name")
    listed.add_argument("--name", metavar="PART")
    listed.add_argument("--project", metavar="PROJECT", help="NAME or id")
    listed.add_argument("--status", choices=["scheduling", "paused", "offline"])
    add_limit(listed, 50)
    listed.set_defaults(run=list_tasks)
    show = verbs.add_parser("show", parents=[common], help="one task with its code and what it waits for")
    show.add_argument("task", type=int, metavar="ID")
    show.set_defaults(run=show_task)
    for name, words in (("pause", "generate nothing more"), ("resume", "go on from now")):
        steer = verbs.add_parser(name, parents=[common], help=words)
        steer.add_argument("task", type=int, nargs="+", metavar="ID")
        steer.add_argument("--reason", default="", metavar="TEXT")
        steer.set_defaults(run=steer_tasks)
        if name == "pause":
            steer.add_argument("--kill", action="store_true", help="terminate what is on, too")
        else:
            steer.add_argument("--missed", action="store_true", help="generate what was missed")
    run = verbs.add_parser("run", parents=[common], help="run it once, now, outside its schedule")
    run.add_argument("task", type=int, metavar="ID")
    run.add_argument("--data-time", metavar="TIME", help="with its zone; by default now")
    run.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter for this run"
    )
    run.add_argument("--reason", default="", metavar="TEXT")
    run.set_defaults(run=run_task)


def list_tasks(client: Client, given: argparse.Namespace) -> None:
    query = {"q": given.name, "status": given.status}
    if given.project:
        query["project"] = id_of(client, "projects/", given.project)
    show_list(client, "tasks/", TASK_COLUMNS, given, **query)


def show_task(client: Client, given: argparse.Namespace) -> None:
    show_row(client.get(f"tasks/{given.task}/"), given, TASK_COLUMNS)


def steer_tasks(client: Client, given: argparse.Namespace) -> None:
    body: dict[str, Any] = {"kind": given.verb, "tasks": given.task, "reason": given.reason}
    if getattr(given, "kill", False):
        body["kill"] = True
    if getattr(given, "missed", False):
        body["generate_missed"] = True
    found = client.post("tasks/operations/", body)
    show_rows(found["outcomes"], ("task", "name", "done", "message"), given)
    if found["refused"]:
        raise Stop(f"{found['refused']} of {len(found['outcomes'])} tasks were refused.", FAILED)


def run_task(client: Client, given: argparse.Namespace) -> None:
    pairs = [one.partition("=") for one in given.set]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise Stop(f"--set takes NAME=VALUE, not {wrong[0]!r}.", USAGE)
    body: dict[str, Any] = {"reason": given.reason, "parameters": {name: value for name, _, value in pairs}}
    if given.data_time:
        body["data_time"] = given.data_time
    begun = client.post(f"tasks/{given.task}/run/", body)
    # Its number is what `instances show` and `instances log` take.
    made = list(client.rows(f"operations/{begun['operation']}/outcomes/", 1))
    show_row({"instance": made[0]["instance"] if made else None, **begun}, given)


# Backfill plans


def add_backfill(nouns: Any, common: argparse.ArgumentParser) -> None:
    parser = nouns.add_parser("backfill", help="create, list, show, pause, resume, stop, wait")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    create = verbs.add_parser(
        "create", parents=[common], help="run tasks over dates", epilog=operations.EPILOG
    )
    create.add_argument("task", type=int, nargs="+", metavar="TASK_ID")
    create.add_argument("--first", required=True, metavar="DATE", help="such as 2026-01-01")
    create.add_argument("--last", metavar="DATE", help="included; by default the first")
    create.add_argument(
        "--wait", action="store_true", help="until it is over; exit code 1 unless all succeeded"
    )
    operations.add_choices(create)
    create.set_defaults(run=create_plan)
    listed = verbs.add_parser("list", parents=[common], help="the newest first")
    add_limit(listed, 20)
    listed.set_defaults(run=list_plans)
    for name, run, words in (
        ("show", show_plan, "one, and how far it is"),
        ("wait", wait_for_plan, "until it is over; exit code 1 unless all succeeded"),
        ("pause", steer_plan, "begin no more of its runs"),
        ("resume", steer_plan, "go on with a paused one"),
        ("stop", steer_plan, "begin no more for good; what runs goes on"),
    ):
        one = verbs.add_parser(name, parents=[common], help=words)
        one.add_argument("plan", type=int, metavar="ID")
        if run is steer_plan:
            one.add_argument("--reason", default="", metavar="TEXT", help="is kept on record")
        one.set_defaults(run=run)


def create_plan(client: Client, given: argparse.Namespace) -> None:
    dates = {"first": given.first, "last": given.last or given.first}
    options = {"tasks": given.task, "ranges": [dates], **given.options}
    preview = client.post("backfills/preview/", {"options": options})
    if given.preview and given.json:
        show_json(preview)
        return
    summary = preview["summary"]
    if not given.json:
        for text in summary["sentences"]:
            line(text)
    if given.preview:
        return
    ask(f"Begin {summary['new'] + summary['again']:,} runs?", given.yes)
    body = {"options": options, "token": preview["token"], "reason": given.reason}
    plan = client.post("backfills/", body)
    if given.wait:
        plan = _until_over(client, plan)
    show_row(plan, given, PLAN_COLUMNS)
    if given.wait:
        _judge(plan)


def list_plans(client: Client, given: argparse.Namespace) -> None:
    show_list(client, "backfills/", PLAN_COLUMNS, given)


def show_plan(client: Client, given: argparse.Namespace) -> None:
    show_row(client.get(f"backfills/{given.plan}/"), given, PLAN_COLUMNS)


def wait_for_plan(client: Client, given: argparse.Namespace) -> None:
    plan = _until_over(client, client.get(f"backfills/{given.plan}/"))
    show_row(plan, given, PLAN_COLUMNS)
    _judge(plan)


def _until_over(client: Client, plan: dict[str, Any]) -> dict[str, Any]:
    while not plan["finished"]:
        time.sleep(1)
        plan = client.get(f"backfills/{plan['id']}/")
    return plan


def _judge(plan: dict[str, Any]) -> None:
    if plan["success"] != plan["total"]:
        raise Stop(f"{plan['success']:,} of {plan['total']:,} runs succeeded.", FAILED)


def steer_plan(client: Client, given: argparse.Namespace) -> None:
    plan = client.post(f"backfills/{given.plan}/{given.verb}/", {"reason": given.reason})
    show_row(plan, given, PLAN_COLUMNS)


# Events


def add_events(nouns: Any, common: argparse.ArgumentParser) -> None:
    parser = nouns.add_parser("events", help="fire")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    fire = verbs.add_parser(
        "fire", parents=[common], help="fire an event for one data time, or a range of them"
    )
    fire.add_argument("project", help="NAME or id")
    fire.add_argument("event", metavar="EVENT")
    fire.add_argument("data_time", metavar="DATA_TIME", help="in the event's format, such as 20260325")
    fire.add_argument("--last", metavar="DATA_TIME", help="all from the first to this one")
    fire.add_argument(
        "--request-id", default="", metavar="ID", help="repeated under it, nothing is fired again"
    )
    fire.set_defaults(run=fire_event)


def fire_event(client: Client, given: argparse.Namespace) -> None:
    entry = {"event": given.event, "data_time": given.data_time}
    if given.last:
        entry["last"] = given.last
    body = {
        "project": id_of(client, "projects/", given.project),
        "firings": [entry],
        "request_id": given.request_id,
    }
    found = client.post("events/fire/", body)
    if given.json:
        show_json(found)
    elif found["repeated"]:
        line("Fired before under this request id; nothing was fired again.")
    else:
        line(f"{len(found['event_instances']):,} fired")
    if found["refused"]:
        raise Stop("\n".join(one["message"] for one in found["refused"][:5]), FAILED)
