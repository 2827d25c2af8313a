"""Alarm rules, channels and messages over REST, and in the command."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from instances.models import OperationRecord
from tests.alarms.servers import Hook, hook
from tests.api.things import make_alarm
from tests.factories import DANA, OMAR, PETRA, SUSAN, VERA
from weops.alarms.models import Channel, Message, Rule
from weops.cli import client
from weops.cli.main import main

Api = Callable[..., APIClient]
SECRET = "https://hooks.example/services/very-secret"


def _channel(api: Api, world: Any, **values: Any) -> Any:
    body = {"project": world.ours.project.pk, "name": "chat", "kind": "webhook", "address": SECRET}
    return api(PETRA).post("/api/v1/alarm-channels/", {**body, **values})


def _rule(api: Api, world: Any, who: str = DANA, **values: Any) -> Any:
    body = {
        "project": world.ours.project.pk,
        "name": "nightly",
        "object_kind": "task",
        "object_ids": [world.ours.task.pk],
        "kinds": ["failure"],
        "groups": [{"receivers": "owner"}],
    }
    return api(who).post("/api/v1/alarm-rules/", {**body, **values})


def test_an_address_goes_in_and_never_comes_out(world: SimpleNamespace, api: Api) -> None:
    made = _channel(api, world)
    assert made.status_code == 201
    address = f"/api/v1/alarm-channels/{made.json()['id']}/"
    changed = api(PETRA).patch(address, {"name": "on call"})
    for answer in (made, changed, api(PETRA).get(address), api(PETRA).get("/api/v1/alarm-channels/")):
        assert "very-secret" not in answer.content.decode()
        assert "https://hooks.example" in answer.content.decode()
    # It is still there, for the sender.
    assert Channel.objects.get(name="on call").reveal() == SECRET
    # Those who write rules choose from the names, and learn not even the host.
    seen = api(DANA).get(address).json()
    assert (seen["name"], seen["shown"]) == ("on call", None)
    assert api(OMAR).get(address).status_code == 404
    refused = api(PETRA).patch(address, {"kind": "slack"})
    assert refused.json()["errors"][0]["field"] == "address"


def test_a_rule_is_made_read_changed_and_deleted(world: SimpleNamespace, api: Api) -> None:
    channel = _channel(api, world).json()["id"]
    quiet = {"days": [6, 7], "start": "22:00", "end": "08:00:00"}
    made = _rule(
        api,
        world,
        kinds=["failure", "overtime"],
        limits=[{"kind": "run", "minutes": 30}],
        groups=[{"receivers": "owner", "channels": [channel], "quiet": [quiet]}],
    )
    assert made.status_code == 201, made.content
    rule = made.json()
    assert rule["limits"] == [{"kind": "run", "measure": "fixed", "minutes": 30, "reruns": False}]
    assert rule["groups"][0]["quiet"] == [{**quiet, "start": "22:00:00"}]
    assert (rule["object_ids"], rule["creator_name"]) == ([world.ours.task.pk], DANA)
    address = f"/api/v1/alarm-rules/{rule['id']}/"
    # What is read can be sent back.
    again = {name: rule[name] for name in ("kinds", "limits", "groups", "object_ids", "project")}
    assert api(DANA).patch(address, again).json()["groups"] == rule["groups"]
    off = api(DANA).patch(address, {"enabled": False}, headers={"If-Match": '"old"'})
    assert off.status_code == 412
    off = api(DANA).patch(address, {"enabled": False}).json()
    assert (off["enabled"], off["groups"]) == (False, rule["groups"])
    assert api(DANA).delete(address).status_code == 204
    assert not Rule.objects.exists()


def test_a_rule_on_the_project_needs_no_objects(world: SimpleNamespace, api: Api) -> None:
    body = {"project": world.ours.project.pk, "name": "all", "object_kind": "project", "kinds": ["failure"]}
    made = api(DANA).post("/api/v1/alarm-rules/", {**body, "groups": [{"receivers": "owner"}]})
    assert (made.status_code, made.json()["object_ids"]) == (201, [world.ours.project.pk])
    body = {**body, "name": "none", "object_kind": "task", "groups": [{"receivers": "owner"}]}
    errors = api(DANA).post("/api/v1/alarm-rules/", body).json()["errors"]
    assert [one["field"] for one in errors] == ["object_ids"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kinds": ["overtime"]}, "limits"),
        ({"kinds": ["failure"], "object_ids": [987654321]}, "object_ids"),
        ({"groups": [{"reciever": "owner"}]}, "groups.0.reciever"),
        ({"groups": []}, "groups"),
        ({"limits": [{"kind": "run", "minute": 3}], "kinds": ["overtime"]}, "limits.0.minute"),
        ({"project": 987654321}, "project"),
        ({"name": ""}, "name"),
    ],
)
def test_what_is_wrong_is_named(world: SimpleNamespace, api: Api, values: Any, field: str) -> None:
    answer = _rule(api, world, **values)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert not Rule.objects.exists()


def _history(row: Any) -> list[tuple[str, str]]:
    entries = LogEntry.objects.filter(content_type__model=row._meta.model_name, object_id=row.pk)
    return [(one.user.username, one.change_message) for one in entries.order_by("id").select_related("user")]


def test_what_is_changed_through_rest_stands_in_the_history(world: SimpleNamespace, api: Api) -> None:
    rule = Rule.objects.get(pk=_rule(api, world).json()["id"])
    channel = Channel.objects.get(pk=_channel(api, world).json()["id"])
    api(DANA).patch(f"/api/v1/alarm-rules/{rule.pk}/", {"enabled": False, "level": 3, "name": "nightly"})
    api(PETRA).patch(f"/api/v1/alarm-channels/{channel.pk}/", {"name": "on call", "address": SECRET})
    assert api(DANA).patch(f"/api/v1/alarm-channels/{channel.pk}/", {"name": "x"}).status_code == 403
    api(DANA).delete(f"/api/v1/alarm-rules/{rule.pk}/")
    api(PETRA).delete(f"/api/v1/alarm-channels/{channel.pk}/")
    assert _history(rule) == [
        (DANA, "Through api."),
        (DANA, "Through api: level, enabled."),
        (DANA, "Through api."),
    ]
    assert _history(channel) == [
        (PETRA, "Through api."),
        (PETRA, "Through api: name, address."),
        (PETRA, "Through api."),
    ]


@pytest.fixture
def web(settings: Any) -> Iterator[Hook]:
    settings.WEOPS_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with hook() as server:
        yield server


def test_rules_and_channels_are_tried_seldom_and_on_record(
    world: SimpleNamespace, api: Api, web: Hook
) -> None:
    channel = _channel(api, world, address=web.address).json()["id"]
    rule = _rule(api, world, groups=[{"receivers": "owner", "channels": [channel]}]).json()["id"]
    answer = api(DANA).post(f"/api/v1/alarm-rules/{rule}/test/")
    assert (answer.status_code, answer.json()) == (200, [{"receiver": "chat", "sent": True, "error": ""}])
    assert web.posts[0].body["test"] is True
    web.answer = 500
    address = f"/api/v1/alarm-channels/{channel}/test/"
    assert api(DANA).post(address).status_code == 403
    assert api(OMAR).post(address).status_code == 404
    (failed,) = api(PETRA).post(address).json()
    assert (failed["sent"], "500" in failed["error"], "s3cret" in failed["error"]) == (False, True, False)
    found = OperationRecord.objects.filter(kind__startswith="test_alarm").order_by("id")
    assert [(one.kind, one.operator_name, one.source, one.state, one.project_ids) for one in found] == [
        ("test_alarm_rule", DANA, "api", "SUCCESS", [world.ours.project.pk]),
        ("test_alarm_channel", PETRA, "api", "FAIL", [world.ours.project.pk]),
    ]
    assert "s3cret" not in str(list(found.values()))
    tries = [api(PETRA).post(address) for _ in range(5)]
    assert [one.status_code for one in tries] == [200, 200, 200, 200, 429]
    assert 1 <= int(tries[-1]["Retry-After"]) <= 10
    # The others are not in their way, nor are one's other requests.
    assert api(SUSAN).post(address).status_code == 200
    assert api(PETRA).get("/api/v1/alarm-channels/").status_code == 200


def test_channels_and_people_of_other_projects_cannot_be_told(world: SimpleNamespace, api: Api) -> None:
    theirs = Channel.objects.create(project=world.foreign.project, name="theirs", ciphertext=b"")
    answer = _rule(api, world, groups=[{"receivers": "owner", "channels": [theirs.pk]}])
    assert answer.json()["errors"][0]["field"] == "groups"


def test_messages_by_filters_and_who_takes_care(world: SimpleNamespace, api: Api) -> None:
    first = make_alarm(world.ours.instance)
    urgent = make_alarm(world.ours.instance, level=3, occasion="limit:run", kind="overtime")
    foreign = make_alarm(world.foreign.instance, level=3)

    def listed(**query: Any) -> list[int]:
        answer = api(VERA).get("/api/v1/alarm-messages/", query)
        assert answer.status_code == 200, answer.content
        return [row["id"] for row in answer.json()["results"]]

    assert listed() == [urgent.pk, first.pk]
    assert listed(level=3) == [urgent.pk]
    assert listed(kind="failure", instance=world.ours.instance.pk) == [first.pk]
    assert listed(project=world.foreign.project.pk) == []
    address = "/api/v1/alarm-messages/acknowledge/"
    both = {"messages": [urgent.pk, foreign.pk]}
    assert api(VERA).post(address, both).json() == {"acknowledged": 0}
    assert api(OMAR).post(address, both).json() == {"acknowledged": 1}
    assert listed(care="open") == [first.pk]
    assert Message.objects.get(pk=foreign.pk).acknowledged_at is None
    one = f"/api/v1/alarm-messages/{urgent.pk}/acknowledge/"
    assert api(VERA).post(one).status_code == 403
    # Who came first stays on record.
    assert api(DANA).post(one).json()["acknowledged_by_name"] == OMAR


def test_lists_cost_the_same_for_any_number(world: SimpleNamespace, api: Api) -> None:
    caller = api(PETRA)

    def grow(names: list[str]) -> None:
        for name in names:
            channel = _channel(api, world, name=name).json()["id"]
            _rule(api, world, name=name, groups=[{"receivers": "owner", "channels": [channel]}])
            make_alarm(world.ours.instance, occasion=name)

    def cost(noun: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert caller.get(f"/api/v1/{noun}/").status_code == 200
        return len(queries)

    nouns = ("alarm-rules", "alarm-channels", "alarm-messages")
    grow(["a"])
    caller.get("/api/v1/alarm-rules/")
    before = [cost(noun) for noun in nouns]
    assert max(before) <= 8
    grow(["b", "c", "d", "e"])
    assert [cost(noun) for noun in nouns] == before


def test_the_command_lists_and_acknowledges(sales: Any, capsys: pytest.CaptureFixture[str]) -> None:
    number = str(sales.alarm.pk)
    assert main(["alarms", "list", "--level", "urgent"]) == 0
    assert "It ended with 1." in capsys.readouterr().out
    assert main(["alarms", "ack", number, "987654321"]) == client.FAILED
    said = capsys.readouterr()
    assert "#987654321" in said.err
    assert PETRA in said.out
    assert main(["alarms", "list"]) == 0
    assert "It ended with 1." not in capsys.readouterr().out
    assert main(["alarms", "ack", "987654321"]) == client.REFUSED
