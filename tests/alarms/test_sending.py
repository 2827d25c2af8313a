"""Sending, to real servers: what arrives, what is tried again, what is given up, and that no secret is told."""

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from tests import factories as make
from tests.alarms.scene import begin, fail, make_rule
from tests.alarms.servers import Hook, Mailbox, hook, mailbox
from tests.engine.harness import _django_db_helper, due, race
from weops.alarms import channels, evaluate, sending, transport
from weops.alarms.groups import GroupSpec
from weops.alarms.models import Channel, Delivery, Message, Pulse
from weops.alarms.sending import Sender
from weops.alarms.transport import NotSent, Text

__all__ = ["_django_db_helper"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web(settings: Any) -> Iterator[Hook]:
    settings.WEOPS_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with hook() as server:
        yield server


@pytest.fixture
def mail(settings: Any) -> Iterator[Mailbox]:
    with mailbox() as server:
        settings.WEOPS_MAIL_URL = server.url
        yield server


def alarm(web: Hook | None = None, **values: Any) -> Message:
    """A failure that is to be told: to the task's owner, or to the webhook."""
    (instance,) = due()
    project = instance.task.workflow.project
    group = GroupSpec(receivers="owner")
    if web is not None:
        petra = make.make_user("petra", project=project)
        channel = channels.save(petra, project, name="hook", kind="webhook", address=web.address)
        group = GroupSpec(receivers="owner", by_email=False, channels=[channel.pk])
    make_rule(instance.task, tell=[group], **values)
    begin()
    fail(instance, message="no such table <b>orders</b>")
    evaluate.evaluate()
    assert sending.work() == 1
    return Message.objects.get()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """All that reaches the process's log, at its most talkative."""
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root, keeper = logging.getLogger(), Keeper(logging.DEBUG)
    before = root.level
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(before)
    root.removeHandler(keeper)


def again() -> None:
    """As if the wait before the next try was over."""
    Delivery.objects.update(next_at=timezone.now())


def test_a_webhook_gets_all_that_is_known(web: Hook, settings: Any) -> None:
    settings.WEOPS_PUBLIC_URL = "https://weops.example.com"
    message = alarm(web, level=3)
    assert sending.send_due() == 1
    assert sending.send_due() == 0
    (post,) = web.posts
    delivery = Delivery.objects.get()
    assert post.path == "/hook/s3cret-path?key=s3cret-key"
    assert post.headers["X-WeOps-Delivery"] == post.body["id"] == str(delivery.dedup_id)
    assert post.body["task"] == message.task_name
    assert post.body["level"] == "urgent"
    assert post.body["instance"] == message.instance_id
    assert "no such table <b>orders</b>" in post.body["message"]
    assert post.body["link"] == "https://weops.example.com" + reverse(
        "admin:instances_instance_change", args=(message.instance_id,)
    )
    message.refresh_from_db()
    assert (message.state, message.attempts, message.error) == ("sent", 1, "")
    assert message.sent_at is not None


def test_mail_arrives_as_plain_text(mail: Mailbox) -> None:
    message = alarm()
    assert sending.send_due() == 1
    ((to, letter),) = mail.mails
    assert to == ["dana@example.com"]
    assert message.task_name in str(letter["Subject"])
    assert letter["X-WeOps-Delivery"] == str(Delivery.objects.get().dedup_id)
    (text,) = [part for part in letter.walk() if part.get_content_type() == "text/plain"]
    assert b"no such table <b>orders</b>" in text.get_payload(decode=True)
    assert [part.get_content_type() for part in letter.walk()].count("text/html") == 0
    message.refresh_from_db()
    assert message.state == "sent"


def test_a_failure_is_tried_again_and_then_arrives(web: Hook) -> None:
    message = alarm(web)
    web.answer = 503
    sending.send_due()
    message.refresh_from_db()
    assert message.state == "to_send"
    assert "503" in message.error
    # Not before its wait is over.
    assert sending.send_due() == 0
    web.answer = 200
    again()
    assert sending.send_due() == 1
    message.refresh_from_db()
    assert (message.state, message.attempts, message.error) == ("sent", 2, "")
    assert {post.body["id"] for post in web.posts} == {str(Delivery.objects.get().dedup_id)}


def test_it_is_given_up_after_some_tries_with_growing_waits(web: Hook) -> None:
    message = alarm(web)
    web.answer = 500
    waits = []
    for _try in range(len(sending.WAITS)):
        assert sending.send_due() == 1
        waits.append(round((Delivery.objects.get().next_at - timezone.now()).total_seconds()))
        again()
    assert waits == sorted(waits)
    assert waits[-1] > 3000
    assert sending.send_due() == 1
    again()
    assert sending.send_due() == 0
    message.refresh_from_db()
    assert message.state == "failed"
    assert "500" in message.error


def test_an_address_that_is_private_is_refused_at_once(web: Hook, settings: Any) -> None:
    settings.WEOPS_ALLOWED_NETWORKS = []
    message = alarm(web)
    sending.send_due()
    message.refresh_from_db()
    assert message.state == "failed"
    assert "WEOPS_ALLOWED_NETWORKS" in message.error
    assert web.posts == []


def test_no_secret_of_an_address_is_in_errors_or_logs(web: Hook, logged: list[str]) -> None:
    message = alarm(web)
    web.answer = 404
    sending.send_due()
    gone = Channel.objects.get().reveal().replace(str(web.port), "1")
    with pytest.raises(NotSent) as caught:
        transport.send_to_channel("webhook", gone, Text("title", "body"))
    message.refresh_from_db()
    assert "404" in message.error
    assert "refused" in str(caught.value)
    assert "s3cret" not in "\n".join([message.error, str(caught.value), *logged])


def test_the_mail_servers_password_is_not_told(settings: Any, logged: list[str]) -> None:
    settings.WEOPS_MAIL_URL = "mailto://someone:hunter22@127.0.0.1:1?from=weops@example.com&mode=insecure"
    with pytest.raises(NotSent) as caught:
        transport.send_mail("dana@example.com", Text("title", "body"))
    assert "hunter22" not in "\n".join([str(caught.value), *logged])


def test_without_a_mail_server_it_says_so(settings: Any) -> None:
    settings.WEOPS_MAIL_URL = ""
    message = alarm()
    sending.send_due()
    message.refresh_from_db()
    assert message.state == "failed"
    assert "WEOPS_MAIL_URL" in message.error


def test_a_refused_recipient_is_tried_again(mail: Mailbox) -> None:
    mail.refuse.add("dana@example.com")
    message = alarm()
    sending.send_due()
    message.refresh_from_db()
    assert message.state == "to_send"
    assert message.error


def test_a_sender_that_died_leaves_a_lease_that_runs_out(web: Hook) -> None:
    alarm(web)
    (claimed,) = sending._claim(timezone.now())
    assert sending.send_due() == 0
    later = timezone.now() + dt.timedelta(seconds=sending.LEASE_SECONDS + 1)
    assert sending.send_due(later) == 1
    assert [post.body["id"] for post in web.posts] == [str(claimed.dedup_id)]


def test_two_senders_share_the_work(web: Hook) -> None:
    message = alarm(web)
    channel = Channel.objects.get()
    Delivery.objects.bulk_create(
        Delivery(message=message, step=f"x{number}", channel=channel) for number in range(15)
    )
    assert sum(race(sending.send_due, sending.send_due)) == 16
    assert len({post.body["id"] for post in web.posts}) == len(web.posts) == 16
    message.refresh_from_db()
    assert message.state == "sent"


@pytest.mark.parametrize("what", ["deleted", "off", "key"])
def test_a_channel_that_is_gone_off_or_unreadable_says_so(what: str, web: Hook, settings: Any) -> None:
    message = alarm(web)
    if what == "deleted":
        Channel.objects.all().delete()
    elif what == "off":
        Channel.objects.update(enabled=False)
    else:
        from cryptography.fernet import Fernet

        settings.WEOPS_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    sending.send_due()
    message.refresh_from_db()
    assert message.state == "failed"
    assert message.error
    assert web.posts == []


def test_the_thread_sends_when_it_is_woken_and_stops(web: Hook, eventually: Callable[..., Any]) -> None:
    alarm(web)
    sender = Sender()
    sender.wake()
    eventually(lambda: Delivery.objects.filter(state="sent").exists())
    assert sender.stop()
    sender.wake()
    assert len(web.posts) == 1


def test_hostile_names_stay_one_line_in_a_subject(mail: Mailbox) -> None:
    text = Text("Subject\r\nBcc: eve@example.com", "body", str(uuid.uuid4()))
    transport.send_mail("dana@example.com", text)
    ((to, letter),) = mail.mails
    assert to == ["dana@example.com"]
    assert letter["Bcc"] is None


def test_beats_task_finds_and_sends(web: Hook, eventually: Callable[..., Any]) -> None:
    """From the failure to the webhook by nothing but what beat calls."""
    from weops import celery

    (instance,) = due()
    petra = make.make_user("petra", project=instance.task.workflow.project)
    channel = channels.save(
        petra, instance.task.workflow.project, name="hook", kind="webhook", address=web.address
    )
    make_rule(instance.task, tell=[GroupSpec(receivers="owner", by_email=False, channels=[channel.pk])])
    celery.alarms()
    fail(instance)
    celery.alarms()
    eventually(lambda: Message.objects.filter(state="sent").exists())
    assert web.posts[0].body["task"] == instance.task.name
    assert Pulse.objects.get(name="alarms").seconds >= 0
