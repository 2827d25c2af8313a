"""Whom to tell and when: quiet hours, repeats, escalation, and what ends them."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from instances.engine import lifecycle
from instances.models import Instance
from tests import factories as make
from tests.alarms.scene import MINUTE, begin, fail, make_rule, succeed
from tests.engine.harness import _django_db_helper, due, race
from weops.alarms import channels, evaluate, messages, notices
from weops.alarms.groups import GroupSpec
from weops.alarms.models import Channel, Delivery, Group, Message, Notice
from weops.projects.models import Member

__all__ = ["_django_db_helper"]
pytestmark = pytest.mark.django_db(transaction=True)


def failed(*groups: GroupSpec, **values: Any) -> Instance:
    """A failed instance and its message, which nobody has been told yet."""
    (instance,) = due()
    make_rule(instance.task, tell=list(groups) or None, **values)
    begin()
    fail(instance)
    assert evaluate.evaluate() == 1
    return instance


def addresses() -> list[str]:
    return list(Delivery.objects.order_by("id").values_list("address", flat=True))


def after(minutes: float) -> Callable[[], tuple[int, bool]]:
    return lambda: notices.advance(timezone.now() + minutes * MINUTE)


def member(name: str, project: Any, role: str = "viewer") -> Any:
    return make.make_user(name, project=project, role=role)


def test_the_owner_is_told_once() -> None:
    instance = failed()
    assert notices.advance() == (1, False)
    assert notices.advance(timezone.now() + dt.timedelta(days=9)) == (0, False)
    assert addresses() == ["dana@example.com"]
    message = Message.objects.get()
    assert message.receivers == ["dana"]
    assert message.receiver_ids == [instance.task.owner_id]
    assert message.ways == ["email"]


def test_several_groups_people_addresses_and_channels() -> None:
    (instance,) = due()
    project = instance.task.workflow.project
    vera, petra = member("vera", project), member("petra", project, "admin")
    hook = channels.save(petra, project, name="hook", kind="webhook", address="https://example.com/x")
    off = channels.save(
        petra, project, name="off", kind="webhook", address="https://example.com/y", enabled=False
    )
    one = GroupSpec(people=[vera.pk, petra.pk], emails=["team@example.com", vera.email])
    two = GroupSpec(receivers="owner", by_email=False, channels=[hook.pk, off.pk])
    make_rule(instance.task, tell=[one, two])
    begin()
    fail(instance)
    evaluate.evaluate()
    assert notices.advance()[0] == 4
    assert sorted(addresses()) == ["", "petra@example.com", "team@example.com", "vera@example.com"]
    assert Delivery.objects.get(address="").channel == hook
    assert set(Message.objects.get().ways) == {"email", "webhook"}
    assert Channel.objects.count() == 2


def test_repeats_until_they_are_all_told() -> None:
    failed(GroupSpec(receivers="owner", notify_count=3, notify_minutes=10))
    assert notices.advance()[0] == 1
    assert after(9)()[0] == 0
    assert after(11)()[0] == 1
    assert after(22)()[0] == 1
    assert after(999)()[0] == 0


@pytest.mark.parametrize("how", ["acknowledged", "succeeded", "rerun"])
def test_repeats_end_when_somebody_takes_care_or_it_is_over(how: str) -> None:
    instance = failed(GroupSpec(receivers="owner", notify_count=9, notify_minutes=10))
    notices.advance()
    if how == "acknowledged":
        omar = member("omar", instance.task.workflow.project, "operator")
        assert messages.acknowledge(omar, [Message.objects.get().pk]) == 1
    elif how == "succeeded":
        lifecycle.mark_success([instance.pk])
    else:
        lifecycle.rerun([instance.pk])
    assert after(11)()[0] == 0
    assert not Notice.objects.filter(next_at__isnull=False).exists()


def test_escalation_tells_one_after_the_other_while_nobody_acknowledges() -> None:
    (instance,) = due()
    project = instance.task.workflow.project
    chain = [member(name, project).pk for name in ("first", "second")]
    make_rule(instance.task, tell=[GroupSpec(receivers="owner", escalation=chain, escalation_minutes=15)])
    begin()
    fail(instance)
    evaluate.evaluate()
    notices.advance()
    assert after(14)()[0] == 0
    assert after(16)()[0] == 1
    assert after(32)()[0] == 1
    assert after(999)()[0] == 0
    assert addresses()[1:] == ["first@example.com", "second@example.com"]


def test_a_chain_that_was_cut_meanwhile_stops_nobody_else() -> None:
    (instance,) = due()
    project = instance.task.workflow.project
    chain = [member(name, project).pk for name in ("first", "second")]
    make_rule(instance.task, tell=[GroupSpec(receivers="owner", escalation=chain, escalation_minutes=15)])
    begin()
    fail(instance)
    evaluate.evaluate()
    notices.advance()
    assert after(16)()[0] == 1
    Group.objects.update(escalation=chain[:1])
    assert after(32)() == (0, False)
    assert Notice.objects.get().next_at is None


def test_quiet_hours_hold_a_message_back_until_they_end() -> None:
    now = timezone.now()
    quiet = {
        "days": [1, 2, 3, 4, 5, 6, 7],
        "start": f"{now - 60 * MINUTE:%H:%M}:00",
        "end": f"{now + 60 * MINUTE:%H:%M}:00",
    }
    failed(GroupSpec(receivers="owner", quiet=[quiet]))
    assert notices.advance()[0] == 0
    assert after(50)()[0] == 0
    assert after(61)()[0] == 1


def test_successes_are_neither_repeated_nor_escalated() -> None:
    (instance,) = due()
    boss = member("boss", instance.task.workflow.project)
    group = GroupSpec(receivers="owner", notify_count=5, escalation=[boss.pk])
    make_rule(instance.task, kinds=["success"], tell=[group])
    begin()
    succeed(instance)
    evaluate.evaluate()
    assert notices.advance()[0] == 1
    assert after(999)()[0] == 0


def test_who_left_the_project_is_not_told_any_more() -> None:
    (instance,) = due()
    vera = member("vera", instance.task.workflow.project)
    make_rule(instance.task, tell=[GroupSpec(people=[vera.pk])])
    begin()
    fail(instance)
    evaluate.evaluate()
    Member.objects.filter(user=vera).delete()
    assert notices.advance() == (0, False)
    message = Message.objects.get()
    assert message.state == "failed"
    assert "Nobody to tell" in message.error


def test_two_at_once_tell_each_notice_once() -> None:
    instances = due(30, group=make.make_group(64))
    make_rule(instances[0].task)
    begin()
    fail(*instances)
    evaluate.evaluate()
    made = race(notices.advance, notices.advance)
    while (more := notices.advance())[0]:
        made.append(more)
    assert sum(count for count, _more in made) == 30
    assert Delivery.objects.count() == 30


def test_a_batch_costs_a_fixed_number_of_queries(django_assert_max_num_queries: Any) -> None:
    instances = due(30, group=make.make_group(64))
    make_rule(instances[0].task)
    begin()
    fail(*instances)
    evaluate.evaluate()
    with django_assert_max_num_queries(12):
        assert notices.advance()[0] == 30
