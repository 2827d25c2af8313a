"""Rules and channels: what is checked, who may, and that addresses stay secret."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from instances.models import Task
from tests import factories as make
from weops.alarms import channels, messages, rules
from weops.alarms.groups import GroupSpec, quiet_until
from weops.alarms.models import Channel, Group, Message, Rule, Target
from weops.alarms.rules import RuleSpec

HOOK = "https://hooks.example.com/very/secret-token?key=also-secret"


@pytest.fixture
def world(db: None) -> SimpleNamespace:
    task = make.make_task()
    project = task.workflow.project
    cast = make.make_cast(project)
    return SimpleNamespace(task=task, project=project, **cast)


def spec(task: Task, **values: Any) -> RuleSpec:
    defaults: dict[str, Any] = {
        "name": "nightly",
        "object_kind": "task",
        "object_ids": [task.pk],
        "kinds": ["failure"],
        "groups": [GroupSpec(receivers="owner")],
    }
    return RuleSpec(**{**defaults, **values})


def hook(world: SimpleNamespace, **values: Any) -> Channel:
    return channels.save(
        world.petra, world.project, **{"name": "hook", "kind": "webhook", "address": HOOK, **values}
    )


def test_a_rule_is_made_read_changed_and_deleted(world: SimpleNamespace) -> None:
    channel = hook(world)
    quiet = [{"days": [7, 6], "start": "22:00", "end": "08:00:00"}]
    group = GroupSpec(
        people=[world.omar.pk],
        channels=[channel.pk],
        emails=["team@example.com"],
        notify_count=3,
        quiet=quiet,
        timezone="UTC+8",
        escalation=[world.petra.pk, world.dana.pk],
    )
    limits = [{"kind": "run", "minutes": 30}]
    rule = rules.create(
        world.dana,
        world.project,
        spec(world.task, kinds=["overtime", "failure"], limits=limits, groups=[group], level=3),
    )
    found = rules.spec_of(rules.get(world.vera, rule.pk))
    assert found.kinds == ["failure", "overtime"]
    assert found.limits == [{"kind": "run", "measure": "fixed", "reruns": False, "minutes": 30}]
    assert found.groups[0].quiet == [{"days": [6, 7], "start": "22:00:00", "end": "08:00:00"}]
    assert found.groups[0].timezone == "Etc/GMT-8"
    assert found.groups[0].escalation == [world.petra.pk, world.dana.pk]
    kept = Group.objects.get(rule=rule)
    rules.update(
        world.dana, rule.pk, object_kind="workflow", object_ids=[world.task.workflow_id], enabled=False
    )
    changed = rules.get(world.dana, rule.pk)
    assert not changed.enabled
    assert [(t.object_kind, t.object_id) for t in changed.targets.all()] == [
        ("workflow", world.task.workflow_id)
    ]
    # Written anew, a group is the same row: what is left to tell goes on.
    assert Group.objects.get(rule=rule) == kept
    assert list(rules.of_task(rules.visible(world.vera), world.task)) == [changed]
    assert list(rules.telling(rules.visible(world.vera), world.omar.pk)) == [changed]
    rules.delete(world.dana, rule.pk)
    assert not Rule.objects.exists()
    assert not Target.objects.exists()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": " "}),
        ("kinds", {"kinds": []}),
        ("kinds", {"kinds": ["projectFailureInstanceUpwardFluctuationAlarm"]}),
        ("object_kind", {"object_kind": "galaxy"}),
        ("object_ids", {"object_ids": []}),
        ("object_ids", {"object_ids": [10**12]}),
        ("object_ids", {"object_kind": "project", "object_ids": [10**12]}),
        ("limits", {"kinds": ["overtime"]}),
        ("limits", {"limits": [{"kind": "run", "minutes": 5}]}),
        ("limits", {"kinds": ["overtime"], "limits": [{"kind": "run", "minutes": 0}]}),
        ("level", {"level": 4}),
        ("trigger", {"trigger": "second"}),
        ("groups", {"groups": []}),
        ("groups", {"groups": [GroupSpec()]}),
        ("groups", {"groups": [GroupSpec(people=[10**12])]}),
        ("groups", {"groups": [GroupSpec(emails=["no address"])]}),
        ("groups", {"groups": [GroupSpec(receivers="owner", channels=[10**12])]}),
        ("groups", {"groups": [GroupSpec(receivers="owner", notify_count=0)]}),
        ("groups", {"groups": [GroupSpec(receivers="owner", quiet=[{"days": [8]}])]}),
        ("groups", {"groups": [GroupSpec(receivers="owner", timezone="Mars")]}),
    ],
)
def test_a_wrong_rule_names_its_field(world: SimpleNamespace, field: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        rules.create(world.dana, world.project, spec(world.task, **values))
    assert list(caught.value.message_dict) == [field]
    assert not Rule.objects.exists()


def test_a_name_is_there_once_in_a_project(world: SimpleNamespace) -> None:
    first = rules.create(world.dana, world.project, spec(world.task))
    with pytest.raises(ValidationError, match="already"):
        rules.create(world.dana, world.project, spec(world.task))
    rules.update(world.dana, first.pk, name="nightly")


def test_outsiders_are_told_nothing(world: SimpleNamespace) -> None:
    with pytest.raises(ValidationError, match="members"):
        rules.create(world.dana, world.project, spec(world.task, groups=[GroupSpec(people=[world.eve.pk])]))


def test_objects_and_channels_of_other_projects_cannot_be_named(world: SimpleNamespace) -> None:
    other = make.make_task()
    with pytest.raises(ValidationError, match=f"#{other.pk}"):
        rules.create(world.dana, world.project, spec(other))
    boss = make.make_user("boss", project=other.workflow.project, role="admin")
    foreign = channels.save(boss, other.workflow.project, name="x", kind="webhook", address=HOOK)
    with pytest.raises(ValidationError, match="channel"):
        rules.create(
            world.dana,
            world.project,
            spec(world.task, groups=[GroupSpec(receivers="owner", channels=[foreign.pk])]),
        )


@pytest.mark.parametrize("who", ["vera", "omar", "eve"])
def test_writing_rules_needs_the_right_to_author(world: SimpleNamespace, who: str) -> None:
    user, rule = getattr(world, who), rules.create(world.dana, world.project, spec(world.task))
    with pytest.raises(PermissionDenied):
        rules.create(user, world.project, spec(world.task, name="other"))
    refused = Rule.DoesNotExist if who == "eve" else PermissionDenied
    with pytest.raises(refused):
        rules.update(user, rule.pk, enabled=False)
    with pytest.raises(refused):
        rules.delete(user, rule.pk)
    assert rules.visible(user).exists() == (who != "eve")


@pytest.mark.parametrize("who", ["vera", "omar", "dana", "eve"])
def test_channels_need_the_right_to_administer(world: SimpleNamespace, who: str) -> None:
    hook(world)
    with pytest.raises(PermissionDenied):
        channels.save(getattr(world, who), world.project, name="mine", kind="webhook", address=HOOK)
    assert not channels.visible(getattr(world, who)).exists()


def test_an_address_is_stored_encrypted_and_shown_without_its_secret(world: SimpleNamespace) -> None:
    channel = Channel.objects.get(pk=hook(world).pk)
    assert channel.reveal() == HOOK
    assert b"secret" not in bytes(channel.ciphertext)
    assert channel.shown == "https://hooks.example.com/…"
    renamed = hook(world, name="renamed", address="", channel=channel)
    assert renamed.reveal() == HOOK
    with pytest.raises(ValidationError, match="anew"):
        hook(world, name="renamed", kind="slack", address="", channel=channel)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("webhook", "ftp://example.com/x"),
        ("webhook", "https://user:password@example.com/x"),
        ("webhook", "not an address"),
        ("webhook", "file:///etc/passwd"),
        ("slack", "https://example.com/x"),
        ("wecom", "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"),
        ("dingtalk", "https://oapi.dingtalk.com/robot/send?access_token="),
        ("other", "syslog://"),
        ("other", "dbus://"),
        ("other", "json://127.0.0.1/x"),
        ("pigeon", "https://example.com"),
        ("webhook", ""),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(world: SimpleNamespace, kind: str, address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        hook(world, kind=kind, address=address)
    assert set(caught.value.message_dict) <= {"kind", "address"}


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (
            "wecom",
            "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=633a31f6-7f9c-4bc4-97a0-0ec1eefa5898",
        ),
        ("dingtalk", "https://oapi.dingtalk.com/robot/send?access_token=abcdef0123456789"),
        ("feishu", "https://open.feishu.cn/open-apis/bot/v2/hook/abcdef01-1234-1234-1234-abcdefabcdef"),
        ("slack", "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"),
        (
            "teams",
            "https://prod-1.westeurope.logic.azure.com/workflows/643e69f83c8944/triggers/manual/paths/invoke"
            "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=KODuebWbDGYFr0z0eu-6Rj8aUKz7108W3wrNJZxFE5A",
        ),
        ("other", "ntfys://ntfy.example.com/topic"),
    ],
)
def test_addresses_as_their_services_write_them(world: SimpleNamespace, kind: str, address: str) -> None:
    channel = hook(world, kind=kind, address=address)
    assert channel.shown
    assert not any(piece in channel.shown for piece in ("633a31f6", "abcdef", "TIiajk", "KODueb", "topic"))


def test_webhooks_named_within_a_rule_become_channels_once(world: SimpleNamespace) -> None:
    first = channels.for_webhooks(world.petra, world.project, "webhook", [HOOK, HOOK])
    again = channels.for_webhooks(world.petra, world.project, "webhook", [HOOK])
    assert first == again
    assert Channel.objects.count() == 1


def test_messages_are_acknowledged_by_those_who_may_operate(world: SimpleNamespace) -> None:
    message = Message.objects.create(
        rule=rules.create(world.dana, world.project, spec(world.task)),
        rule_name="nightly",
        project=world.project,
        instance_id=1,
        task_id=world.task.pk,
        task_name=world.task.name,
        data_time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        life_round=0,
        occasion="failure",
        kind="failure",
        level=1,
        reason="It failed.",
    )
    assert messages.visible(world.vera).get(pk=message.pk) == message
    with pytest.raises(Message.DoesNotExist):
        messages.visible(world.eve).get(pk=message.pk)
    assert messages.acknowledge(world.vera, [message.pk]) == 0
    assert messages.acknowledge(world.eve, [message.pk]) == 0
    assert messages.acknowledge(world.omar, [message.pk]) == 1
    assert messages.acknowledge(world.omar, [message.pk]) == 0
    message.refresh_from_db()
    assert message.acknowledged_by == world.omar


def test_quiet_hours_span_midnight_touch_and_end() -> None:
    night = [{"days": [5], "start": "22:00:00", "end": "08:00:00"}]
    friday = dt.datetime(2026, 3, 27, 23, tzinfo=dt.UTC)
    saturday_morning = dt.datetime(2026, 3, 28, 8, tzinfo=dt.UTC)
    assert quiet_until(night, "UTC", friday) == saturday_morning
    assert quiet_until(night, "UTC", friday + dt.timedelta(hours=5)) == saturday_morning
    assert quiet_until(night, "UTC", saturday_morning) is None
    assert quiet_until(night, "UTC", friday + dt.timedelta(days=1)) is None
    # 23:00 on Friday in Shanghai.
    assert quiet_until(night, "Asia/Shanghai", dt.datetime(2026, 3, 27, 15, tzinfo=dt.UTC)) is not None
    weekend = [*night, {"days": [6], "start": "08:00:00", "end": "20:00:00"}]
    assert quiet_until(weekend, "UTC", friday) == dt.datetime(2026, 3, 28, 20, tzinfo=dt.UTC)
    always = [{"days": [1, 2, 3, 4, 5, 6, 7], "start": "00:00:00", "end": "12:00:00"}]
    always.append({"days": [1, 2, 3, 4, 5, 6, 7], "start": "12:00:00", "end": "00:00:00"})
    assert quiet_until(always, "UTC", friday) is not None
    assert quiet_until([], "UTC", friday) is None
