"""Every address of the API, with everybody: all roles, an outsider, nobody, and a browser without the CSRF token.

An address that is missing from the table fails a test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from tests.api.things import things
from tests.factories import CAST, DANA, EVE, OMAR, PETRA, SUSAN, VERA
from weops.api.urls import router

EVERYBODY = set(CAST)
MEMBERS = EVERYBODY - {EVE}
OPERATORS = {OMAR, DANA, PETRA, SUSAN}
AUTHORS = {DANA, PETRA, SUSAN}
ADMINS = {PETRA, SUSAN}
SUPER = {SUSAN}
ROW, LIST = "row", "list"


@dataclass(frozen=True)
class Case:
    """`may`: who is let in. `row`: the attribute of `things` that the address names. `also`: answers that let in, besides
    success, such as a refusal for what the row is."""

    may: set[str]
    row: str = ""
    body: Callable[[Any], Any] = lambda t: {}
    query: Callable[[Any], str] = lambda t: ""
    also: tuple[int, ...] = ()


def _reading(noun: str, may: set[str] = MEMBERS) -> dict[str, Case]:
    """Lists are open to everybody and show what one sees; tests/api/test_nouns.py looks into them."""
    return {
        f"GET {noun}-list": Case(EVERYBODY),
        f"GET {noun}-detail": Case(may, noun.replace("-", "_")),
    }


def _defined(
    noun: str,
    may: set[str],
    new: Callable[[Any], Any],
    change: dict[str, Any],
    free: str = "",
    *,
    see: set[str] = MEMBERS,
    make: set[str] | None = None,
    delete: set[str] | None = None,
) -> dict[str, Case]:
    row = noun.replace("-", "_")
    return {
        **_reading(noun, see),
        f"POST {noun}-list": Case(may if make is None else make, body=new),
        f"PATCH {noun}-detail": Case(may, row, lambda t: change),
        f"DELETE {noun}-detail": Case(may if delete is None else delete, free or row, also=(409,)),
    }


TABLE: dict[str, Case] = {
    **_defined(
        "projects",
        ADMINS,
        lambda t: {"name": "brand_new"},
        {"description": "x"},
        make=SUPER,
        delete=SUPER,
    ),
    **_defined(
        "members",
        ADMINS,
        lambda t: {"project": t.projects, "user": t.newcomer, "role": "viewer"},
        {"role": "operator"},
    ),
    **_defined(
        "folders", AUTHORS, lambda t: {"project": t.projects, "name": "n"}, {"name": "m"}, "empty_folder"
    ),
    **_defined("resource-groups", SUPER, lambda t: {"name": "n"}, {"slots": 3}, "empty_group"),
    **_defined(
        "calendars", AUTHORS, lambda t: {"project": t.projects, "name": "n"}, {"dates": ["2026-01-01"]}
    ),
    **_defined(
        "secrets",
        ADMINS,
        lambda t: {"project": t.projects, "name": "n", "value": "v"},
        {"value": "w"},
        "free_secret",
        see=ADMINS,
    ),
    **_defined(
        "data-sources",
        ADMINS,
        lambda t: {"project": t.projects, "name": "n", "url": t.free_secret},
        {"description": "w"},
        see=ADMINS,
    ),
    **_reading("users"),
    **_defined(
        "workflows",
        AUTHORS,
        lambda t: {"project": t.projects, "name": "n"},
        {"description": "w"},
        "empty_workflow",
    ),
    **_defined(
        "tasks",
        AUTHORS,
        lambda t: {"workflow": t.workflows, "name": "n", "code": "echo", "resource_group": t.resource_groups},
        {"description": "w"},
        "draft",
    ),
    # Each task is judged by itself; what is refused is told in the answer.
    "POST tasks-operations-list": Case(EVERYBODY, body=lambda t: {"kind": "pause", "tasks": [t.tasks]}),
    "POST tasks-run": Case(OPERATORS, "tasks"),
    "GET tasks-schedule": Case(MEMBERS, "tasks"),
    # It is what the task is already.
    "POST tasks-restore": Case(AUTHORS, "tasks", body=lambda t: {"number": 1}, also=(409,)),
    "POST tasks-test": Case(
        AUTHORS, "tasks", body=lambda t: {"changes": {"task_type": "SHELL", "code": "true"}}
    ),
    **_reading("versions"),
    # There is none before it.
    "GET versions-diff": Case(MEMBERS, "versions", query=lambda t: "?with=1"),
    **_reading("dependencies"),
    **_reading("instances"),
    "GET instances-export": Case(EVERYBODY),
    "GET instances-why": Case(MEMBERS, "instances"),
    "GET instances-history": Case(MEMBERS, "instances"),
    "GET instances-lineage": Case(MEMBERS, "instances"),
    "GET instances-timeline": Case(EVERYBODY),
    "GET instances-traversals": Case(MEMBERS, "instances"),
    "GET instances-traversal": Case(MEMBERS, "for_each_instances"),
    "GET tasks-grid": Case(EVERYBODY),
    "GET executions-list": Case(EVERYBODY, query=lambda t: f"?instance={t.instances}"),
    "GET executions-detail": Case(MEMBERS, "executions"),
    "GET executions-changes": Case(MEMBERS, "executions"),
    "GET executions-log": Case(MEMBERS, "executions"),
    "GET executions-raw-log": Case(MEMBERS, "executions"),
    "GET executions-stream-log": Case(MEMBERS, "executions", also=(501,)),
    **_reading("operations"),
    "GET operations-outcomes-list": Case(MEMBERS, "operations"),
    "GET operations-kinds": Case(EVERYBODY),
    # Row by row again.
    "POST operations-preview": Case(EVERYBODY, body=lambda t: {"kind": "rerun", "instances": [t.failed]}),
    "POST operations-run": Case(
        EVERYBODY, body=lambda t: {"kind": "rerun", "instances": [t.failed], "reason": "x"}
    ),
    "POST operations-list": Case(SUPER, body=lambda t: {"token": t.token, "reason": "x"}),
    "POST operations-cancel": Case(OPERATORS, "operations"),
    "POST operations-preview-undo": Case(MEMBERS, "operations", also=(409,)),
    "POST operations-undo": Case(MEMBERS, "operations", lambda t: {"reason": "x"}, also=(409,)),
    **_reading("backfills"),
    "POST backfills-list": Case(OPERATORS, body=lambda t: {"options": t.plan}),
    "POST backfills-preview": Case(OPERATORS, body=lambda t: {"options": t.plan}),
    "GET backfills-runs-list": Case(MEMBERS, "backfills"),
    "GET backfills-progress": Case(MEMBERS, "backfills"),
    "POST backfills-pause": Case(OPERATORS, "backfills", also=(409,)),
    "POST backfills-resume": Case(OPERATORS, "backfills", also=(409,)),
    "POST backfills-stop": Case(OPERATORS, "backfills", also=(409,)),
    "GET overview-list": Case(EVERYBODY),
    "GET blockers-list": Case(EVERYBODY),
    **_defined(
        "events", AUTHORS, lambda t: {"project": t.projects, "name": "n"}, {"description": "w"}, "free_event"
    ),
    "POST events-fire": Case(
        OPERATORS,
        body=lambda t: {"project": t.projects, "firings": [{"event": "ready", "data_time": "20260325"}]},
    ),
    **_reading("listeners"),
    **_reading("event-instances"),
    "GET event-instances-consumptions-list": Case(MEMBERS, "event_instances"),
    "GET near-misses-list": Case(EVERYBODY),
    "POST near-misses-fire": Case(
        OPERATORS,
        body=lambda t: {"kind": "stray", "id": t.stray, "event": t.events, "data_time": "20260325"},
    ),
    "POST near-misses-dismiss": Case(OPERATORS, body=lambda t: {"id": t.stray}),
    **_defined(
        "alarm-rules",
        AUTHORS,
        lambda t: {
            "project": t.projects,
            "name": "n",
            "object_kind": "task",
            "object_ids": [t.tasks],
            "kinds": ["failure"],
            "groups": [{"receivers": "owner"}],
        },
        {"enabled": False},
    ),
    "POST alarm-rules-test": Case(AUTHORS, "alarm_rules"),
    "POST alarm-channels-test": Case(ADMINS, "alarm_channels"),
    # Authors choose from them, admins write them.
    **_defined(
        "alarm-channels",
        ADMINS,
        lambda t: {"project": t.projects, "name": "n", "kind": "webhook", "address": "https://a.example/b"},
        {"enabled": False},
        see=AUTHORS,
    ),
    **_reading("alarm-messages"),
    "POST alarm-messages-acknowledge": Case(OPERATORS, "alarm_messages"),
    # One by one again; how many it were is told.
    "POST alarm-messages-acknowledge-many": Case(EVERYBODY, body=lambda t: {"messages": [t.alarm_messages]}),
}


def _endpoints() -> set[str]:
    return {
        f"{method.upper()} {pattern.name}"
        for pattern in router.urls
        for method in pattern.callback.actions
        if method != "head"
    }


def test_the_table_knows_every_endpoint() -> None:
    assert set(TABLE) == _endpoints()


@pytest.fixture
def ours(world: SimpleNamespace, api: Callable[..., APIClient]) -> SimpleNamespace:
    from tests.factories import make_user

    found = things(world, world.ours)
    found.newcomer = make_user("newcomer").pk
    found.plan = {"tasks": [found.tasks], "ranges": [{"first": "2014-01-01", "last": "2014-01-01"}]}
    ask = {"kind": "rerun", "instances": [found.failed]}
    found.token = api(SUSAN).post("/api/v1/operations/preview/", ask).json()["token"]
    return found


def _address(name: str, case: Case, ours: Any) -> str:
    pattern = next(one for one in router.urls if one.name == name)
    keys = list(pattern.pattern.regex.groupindex)
    named = {key: 0 if key == "number" else getattr(ours, case.row) for key in keys}
    return reverse(f"api:{name}", kwargs=named) + case.query(ours)


def _ask(client: Any, method: str, address: str, body: Any) -> Any:
    send = getattr(client, method.lower())
    return send(address) if method == "GET" else send(address, body, format="json")


def _wrong(who: str, method: str, name: str, case: Case, answer: Any) -> bool:
    if who in case.may:
        return answer.status_code >= 400 and answer.status_code not in case.also
    # Of ids in a body that one does not see there is no such row.
    by_body = who == EVE
    if method != "GET" and who in MEMBERS and case.row and case.may != ADMINS:
        return answer.status_code != 403
    refused = answer.status_code in (403, 404) or (by_body and answer.status_code == 400)
    return not refused or answer["Content-Type"] != "application/problem+json"


def test_everybody_at_every_endpoint(ours: SimpleNamespace, api: Callable[..., APIClient]) -> None:
    clients = {who: api(who) for who in CAST}
    wrong = []
    for key, case in TABLE.items():
        method, name = key.split()
        address, body = _address(name, case, ours), case.body(ours)
        for who, client in clients.items():
            # Each finds everything as it was.
            with transaction.atomic():
                answer = _ask(client, method, address, body)
                transaction.set_rollback(True)
            if _wrong(who, method, name, case, answer):
                wrong.append((key, who, answer.status_code, answer.content))
    assert not wrong


def test_nobody_and_a_browser_without_the_csrf_token(ours: SimpleNamespace, world: SimpleNamespace) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(world.cast[SUSAN])
    for key, case in TABLE.items():
        method, name = key.split()
        address = _address(name, case, ours)
        assert _ask(APIClient(), method, address, case.body(ours)).status_code == 401, key
        if method != "GET":
            answer = browser.generic(method, address, "{}", content_type="application/json")
            assert answer.status_code == 403, key
            assert "CSRF" in answer.json()["detail"]


def test_nothing_of_a_foreign_project(world: SimpleNamespace, api: Callable[..., APIClient]) -> None:
    theirs = things(world, world.foreign)
    client = api(PETRA)
    for key, case in TABLE.items():
        method, name = key.split()
        if case.row and case.row not in ("resource_groups", "users", "empty_group"):
            # Not even an admin of another project.
            answer = _ask(client, method, _address(name, case, theirs), {})
            assert answer.status_code == 404, (key, answer.content)


def test_lists_show_nothing_of_a_foreign_project(
    ours: SimpleNamespace, world: SimpleNamespace, api: Callable[..., APIClient]
) -> None:
    theirs = things(world, world.foreign)
    for key, case in TABLE.items():
        method, name = key.split()
        if method != "GET" or case.may != EVERYBODY or name in ("operations-kinds", "users-list"):
            continue
        theirs_too = case.query(theirs)
        for query in (case.query(ours), theirs_too):
            address = reverse(f"api:{name}") + query
            for who in (EVE, VERA, PETRA):
                answer = api(who).get(address)
                assert answer.status_code == 200
                said = b"".join(answer) if answer.streaming else answer.content
                assert b"foreign_" not in said, (who, address)
                if who == EVE:
                    assert b"ours_" not in said, address
