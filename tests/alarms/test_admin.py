"""Pages of alarms: what the form makes of a rule, what it says, sending a test, and the list of messages."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from instances.models import OperationRecord
from tests.admin.conftest import _quick, as_user, world
from tests.admin.rows import alarm_rows
from tests.alarms.servers import Hook, hook, mailbox
from weops.alarms import channels, rules
from weops.alarms.groups import GroupSpec
from weops.alarms.models import Channel, Message, Rule

__all__ = ["_quick", "as_user", "world"]
AsUser = Callable[[str], Client]


@pytest.fixture
def web(settings: Any) -> Iterator[Hook]:
    settings.WEOPS_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with hook() as server:
        yield server


def sent(world: SimpleNamespace, **values: Any) -> dict[str, Any]:
    """What a browser sends for a new rule."""
    return {
        "project": world.ours.project.pk,
        "name": "nightly <b>load</b>",
        "level": 2,
        "enabled": "on",
        "object_kind": "task",
        "tasks": [world.ours.task.pk],
        "kinds": ["failure"],
        "trigger": "first",
        "rerun_trigger": "final",
        "finish_zone": "UTC",
        "limits_of": "first",
        "receivers": "owner",
        "by_email": "on",
        "notify_count": 1,
        "notify_minutes": 30,
        "escalation_minutes": 30,
        "zone": "UTC",
        **values,
    }


def add(client: Client, values: dict[str, Any]) -> Any:
    return client.post(reverse("admin:alarms_rule_add"), values, follow=True)


def test_a_rule_is_made_and_says_what_it_does(world: SimpleNamespace, as_user: AsUser) -> None:
    page = add(as_user("dana"), sent(world)).content.decode()
    rule = Rule.objects.get()
    assert rule.creator == world.cast["dana"]
    assert rule.trigger == "first"
    assert (
        "When an instance of ours_task fails for the first time, the owner of the task will be told." in page
    )
    assert "nightly &lt;b&gt;load&lt;/b&gt;" in page
    assert "<b>load" not in page


def test_all_that_the_form_offers_comes_back_as_it_was(world: SimpleNamespace, as_user: AsUser) -> None:
    cast, project = world.cast, world.ours.project
    channel = channels.save(
        cast["petra"], project, name="hook", kind="webhook", address="https://example.com/s3cret"
    )
    values = sent(
        world,
        object_kind="workflow",
        tasks=[],
        workflows=[world.ours.workflow.pk],
        kinds=["failure", "overtime", "rerun_success"],
        finish_clock="8:30",
        finish_zone="UTC+8",
        run_minutes=90,
        run_average=40,
        wait_average=0,
        cycle="on",
        limits_of="both",
        receivers="people",
        people=[cast["omar"].pk],
        emails="team@example.com; other@example.com",
        channels=[channel.pk],
        notify_count=3,
        escalation="petra, dana",
        quiet_days=[6, 7],
        quiet_start="22:00",
        quiet_end="08:00",
    )
    client = as_user("dana")
    page = add(client, values).content.decode()
    rule = Rule.objects.get()
    spec = rules.spec_of(rule)
    assert len(spec.limits) == 10
    assert spec.groups[0].escalation == [cast["petra"].pk, cast["dana"].pk]
    assert spec.groups[0].quiet == [{"days": [6, 7], "start": "22:00:00", "end": "08:00:00"}]
    assert "will not finish by 08:30 (Etc/GMT-8)" in page
    assert "runs longer than 1h 30m 00s" in page
    assert "s3cret" not in page
    # Saved as the page shows it, nothing changes.
    form = client.get(reverse("admin:alarms_rule_change", args=(rule.pk,))).context["form"]
    again = {name: value for name, value in form.initial.items() if value is not None and value is not False}
    again["quiet_start"], again["quiet_end"] = "22:00", "08:00"
    client.post(reverse("admin:alarms_rule_change", args=(rule.pk,)), {**again, "project": project.pk})
    assert rules.spec_of(Rule.objects.get()) == spec


def test_what_is_wrong_lands_on_its_field(world: SimpleNamespace, as_user: AsUser) -> None:
    page = add(
        as_user("dana"),
        sent(world, tasks=[], kinds=["overtime"], escalation="nobody", by_email=""),
    )
    errors = page.context["form"].errors
    assert {"tasks", "finish_clock", "receivers", "escalation"} <= set(errors) | {"receivers"}
    assert not Rule.objects.exists()


def test_tasks_of_other_projects_cannot_be_chosen(world: SimpleNamespace, as_user: AsUser) -> None:
    page = add(as_user("dana"), sent(world, tasks=[world.foreign.task.pk]))
    assert "tasks" in page.context["form"].errors
    refused = as_user("dana").post(
        reverse("admin:alarms_rule_sentence"), sent(world, project=world.foreign.project.pk)
    )
    assert refused.status_code == 404


def test_the_sentence_is_said_before_it_is_saved(world: SimpleNamespace, as_user: AsUser) -> None:
    client, where = as_user("dana"), reverse("admin:alarms_rule_sentence")
    said = client.post(where, sent(world, kinds=["success"]))
    assert said["Content-Type"].startswith("text/plain")
    assert said.content.decode().startswith("When an instance of ours_task succeeds")
    wrong = client.post(where, sent(world, name=""))
    assert wrong.status_code == 422
    assert "Name" in wrong.content.decode()
    assert not Rule.objects.exists()


def test_groups_and_limits_of_other_doors_are_kept(world: SimpleNamespace, as_user: AsUser) -> None:
    rule = alarm_rows(world.ours.instance)["alarms.rule"]
    group = rules.spec_of(rule).groups[0]
    limits = [{"kind": "run", "minutes": 5}, {"kind": "run", "minutes": 50}]
    rules.update(
        world.cast["petra"],
        rule.pk,
        groups=[group, GroupSpec(receivers="owner")],
        kinds=["overtime"],
        limits=limits,
    )
    client, where = as_user("dana"), reverse("admin:alarms_rule_change", args=(rule.pk,))
    page = client.get(where)
    assert "made over the API" in page.content.decode()
    client.post(where, {**sent(world), "kinds": ["overtime"], "name": "renamed"})
    spec = rules.spec_of(Rule.objects.get())
    assert spec.name == "renamed"
    assert len(spec.groups) == 2
    assert [limit["minutes"] for limit in spec.limits] == [5, 50]


def test_a_viewer_sees_the_rule_and_cannot_change_it(world: SimpleNamespace, as_user: AsUser) -> None:
    rule = alarm_rows(world.ours.instance)["alarms.rule"]
    where = reverse("admin:alarms_rule_change", args=(rule.pk,))
    page = as_user("vera").get(where)
    assert page.status_code == 200
    assert b">Save<" not in page.content
    assert as_user("vera").post(where, sent(world)).status_code == 403


def test_a_test_goes_to_every_receiver_at_once(
    world: SimpleNamespace, as_user: AsUser, web: Hook, settings: Any
) -> None:
    channel = channels.save(
        world.cast["petra"], world.ours.project, name="hook", kind="webhook", address=web.address
    )
    group = GroupSpec(people=[world.cast["omar"].pk], channels=[channel.pk])
    rule = alarm_rows(world.ours.instance)["alarms.rule"]
    rules.update(world.cast["petra"], rule.pk, groups=[group])
    with mailbox() as mail:
        settings.WEOPS_MAIL_URL = mail.url
        page = as_user("dana").post(reverse("admin:alarms_rule_test", args=(rule.pk,)), follow=True)
        assert [to for to, _mail in mail.mails] == [["omar@example.com"]]
    assert web.posts[0].body["test"] is True
    assert "hook: sent." in page.content.decode()
    web.answer = 500
    page = as_user("petra").post(reverse("admin:alarms_channel_test", args=(channel.pk,)), follow=True)
    assert "500" in page.content.decode()
    assert "s3cret" not in page.content.decode()
    found = (
        OperationRecord.objects.filter(kind__startswith="test_")
        .order_by("id")
        .values_list("kind", "operator_name", "source", "done", "refused")
    )
    assert list(found) == [
        ("test_alarm_rule", "dana", "admin", 2, 0),
        ("test_alarm_channel", "petra", "admin", 0, 1),
    ]


def test_what_is_sent_is_english_and_what_is_shown_is_the_readers(
    world: SimpleNamespace, as_user: AsUser, web: Hook
) -> None:
    channel = channels.save(
        world.cast["petra"], world.ours.project, name="hook", kind="webhook", address=web.address
    )
    where, chinese = reverse("admin:alarms_channel_test", args=(channel.pk,)), {"accept-language": "zh-CN"}
    page = as_user("petra").post(where, follow=True, headers=chinese)
    assert "hook：已发送。" in page.text
    assert str(web.posts[0].body).isascii()
    channel.enabled = False
    channel.save()
    assert "渠道已停用。" in as_user("petra").post(where, follow=True, headers=chinese).text


def test_a_rule_is_told_in_chinese(world: SimpleNamespace, as_user: AsUser) -> None:
    rule = alarm_rows(world.ours.instance)["alarms.rule"]
    rules.update(
        world.cast["petra"],
        rule.pk,
        kinds=["failure", "overtime"],
        limits=[{"kind": "run", "minutes": 30}, {"kind": "wait", "measure": "average", "reruns": True}],
    )
    page = as_user("dana").get(
        reverse("admin:alarms_rule_change", args=(rule.pk,)), headers={"accept-language": "zh"}
    )
    said = "运行超过 30m 00s 或 重跑或补录时等待时长超过平均值 50% 时，通知 "
    assert "重试全部用完后仍失败，" + said in page.text


def test_a_channels_address_is_written_and_never_shown(world: SimpleNamespace, as_user: AsUser) -> None:
    client = as_user("petra")
    values = {
        "project": world.ours.project.pk,
        "name": "hook",
        "kind": "webhook",
        "enabled": "on",
        "address": "https://hooks.example.com/s3cret-path",
    }
    client.post(reverse("admin:alarms_channel_add"), values)
    channel = Channel.objects.get()
    assert channel.reveal() == values["address"]
    where = reverse("admin:alarms_channel_change", args=(channel.pk,))
    for page in (client.get(where), client.get(reverse("admin:alarms_channel_changelist"))):
        assert "s3cret" not in page.content.decode()
    client.post(where, {**values, "name": "other", "address": ""})
    channel.refresh_from_db()
    assert (channel.name, channel.reveal()) == ("other", values["address"])
    refused = client.post(where, {**values, "address": "ftp://example.com/s3cret"})
    assert "https://example.com/hook" in refused.content.decode()
    assert "s3cret" not in refused.content.decode()


def test_messages_are_listed_filtered_and_acknowledged(
    world: SimpleNamespace, as_user: AsUser, django_assert_max_num_queries: Any
) -> None:
    for _number in range(5):
        alarm_rows(world.ours.instance)
    alarm_rows(world.foreign.instance)
    client, where = as_user("omar"), reverse("admin:alarms_message_changelist")
    with django_assert_max_num_queries(14):
        page = client.get(where)
    assert len(page.context["cl"].result_list) == 5
    assert "it &lt;b&gt;failed&lt;/b&gt;" in page.content.decode()
    for query, count in (
        ("?q=ours", 5),
        ("?q=nothing", 0),
        ("?level=3&kind=failure&state=to_send", 5),
        ("?level=1", 0),
        ("?care=done", 0),
        ("?found_to=2001-01-01T00:00", 0),
    ):
        assert len(client.get(where + query).context["cl"].result_list) == count, query
    message = Message.objects.filter(project=world.ours.project)[0]
    detail = reverse("admin:alarms_message_change", args=(message.pk,))
    assert "Acknowledge" in client.get(detail).content.decode()
    client.post(reverse("admin:alarms_message_acknowledge", args=(message.pk,)))
    assert "omar" in client.get(detail).content.decode()
    chosen = list(Message.objects.values_list("pk", flat=True))
    client.post(where, {"action": "acknowledge_chosen", "_selected_action": chosen})
    assert Message.objects.filter(acknowledged_at__isnull=False).count() == 5


def test_the_list_of_rules_costs_the_same_however_many(
    world: SimpleNamespace, as_user: AsUser, django_assert_max_num_queries: Any
) -> None:
    for _number in range(12):
        alarm_rows(world.ours.instance)
    client = as_user("vera")
    with django_assert_max_num_queries(18):
        page = client.get(reverse("admin:alarms_rule_changelist"))
    assert page.content.decode().count("has failed after all retries") == 12
