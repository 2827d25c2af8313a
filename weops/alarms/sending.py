"""Sends what is to be sent, outside of any transaction: claimed with a lease, tried a few times, noted afterwards.

A process that dies while it sends leaves a lease that runs out, and the delivery is sent again: at least once.
"""

import datetime as dt
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django.utils.translation import gettext as _

from weops.alarms import notices, transport
from weops.alarms.kinds import Level, Sending
from weops.alarms.models import Channel, Delivery, Message
from weops.alarms.transport import NotSent, Text
from weops.database.transactions import retried

log = logging.getLogger(__name__)
AT_ONCE = 4
A_BATCH = 20
# Longer than one sending may take; a claimed delivery is nobody else's until then.
LEASE_SECONDS = 5 * transport.MOST_SECONDS
# Seconds between one try and the next; after the last of them it is given up.
WAITS = (15, 60, 300, 900, 3600)

# Written out: to look it up, a worker would have to load every page.
INSTANCE_PAGE = "/admin/instances/instance/{}/change/"

_CLAIM = """
UPDATE alarms_delivery d SET attempts = attempts + 1, next_at = now() + %(lease)s * interval '1 second'
FROM (SELECT id FROM alarms_delivery WHERE state = 'to_send' AND next_at <= %(now)s
      ORDER BY next_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) due
WHERE d.id = due.id RETURNING d.id
"""

# What its deliveries have come to. Each message is locked before it is summed up, so that the last one counts all.
_SUM_UP = """
WITH m AS MATERIALIZED (SELECT id FROM alarms_message WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE)
SELECT id FROM m
"""
_WRITE = """
UPDATE alarms_message m
SET state = CASE WHEN d.open > 0 THEN 'to_send' WHEN d.failed > 0 THEN 'failed' ELSE 'sent' END,
    attempts = d.attempts, error = coalesce(d.error, ''), sent_at = d.sent_at
FROM (SELECT message_id, count(*) FILTER (WHERE state = 'to_send') AS open, count(*) FILTER (WHERE state = 'failed') AS failed,
             sum(attempts) AS attempts, max(sent_at) AS sent_at,
             (array_agg(error ORDER BY id DESC) FILTER (WHERE error <> '' AND state <> 'sent'))[1] AS error
      FROM alarms_delivery WHERE message_id = ANY(%(ids)s) GROUP BY message_id) d
WHERE m.id = d.message_id
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error` is empty when it was sent; `final`: another try would not help."""

    error: str = ""
    final: bool = False


def send_due(now: dt.datetime | None = None, pool: ThreadPoolExecutor | None = None) -> int:
    """Sends a batch of what is due; how many deliveries it tried."""
    deliveries = _claim(now or timezone.now())
    if not deliveries:
        return 0
    work = [(_text(delivery), *_where(delivery)) for delivery in deliveries]
    if pool is None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="alarms") as own:
            outcomes = list(own.map(lambda one: deliver(*one), work))
    else:
        outcomes = list(pool.map(lambda one: deliver(*one), work))
    _note(list(zip(deliveries, outcomes, strict=True)))
    return len(deliveries)


@retried
def _claim(now: dt.datetime) -> list[Delivery]:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"lease": LEASE_SECONDS, "now": now, "limit": A_BATCH})
        ids = [row[0] for row in cursor.fetchall()]
    rows = Delivery.objects.filter(pk__in=ids).order_by("id")
    return list(rows.select_related("message__project", "channel"))


def _where(delivery: Delivery) -> tuple[str, Channel | None]:
    return delivery.address, delivery.channel


def deliver(text: Text, address: str, channel: Channel | None) -> Outcome:
    """Sends one text; touches no database and raises nothing."""
    try:
        if address:
            transport.send_mail(address, text)
        elif channel is None:
            return Outcome(_("The channel was deleted."), final=True)
        elif not channel.enabled:
            return Outcome(_("The channel is switched off."), final=True)
        else:
            transport.send_to_channel(channel.kind, channel.reveal(), text)
    except NotSent as error:
        return Outcome(str(error) or _("It was not accepted."), error.final)
    except ValueError as error:
        # The address was encrypted with a key that is gone.
        return Outcome(str(error), final=True)
    return Outcome()


@retried
def _note(results: list[tuple[Delivery, Outcome]]) -> None:
    now = timezone.now()
    for delivery, outcome in results:
        delivery.error = outcome.error[:1000]
        if not outcome.error:
            delivery.state, delivery.sent_at = Sending.SENT, now
        elif outcome.final or delivery.attempts > len(WAITS):
            delivery.state = Sending.FAILED
        else:
            delivery.next_at = now + dt.timedelta(seconds=WAITS[delivery.attempts - 1])
    Delivery.objects.bulk_update(
        [delivery for delivery, _outcome in results], ["state", "sent_at", "next_at", "error"]
    )
    ids = sorted({delivery.message_id for delivery, _outcome in results})
    with connection.cursor() as cursor:
        cursor.execute(_SUM_UP, {"ids": ids})
        cursor.execute(_WRITE, {"ids": ids})


def _text(delivery: Delivery) -> Text:
    return text_of(delivery.message, str(delivery.dedup_id))


def text_of(message: Message, dedup_id: str) -> Text:
    """What receivers read. Names are those of people's tasks: one line each, whatever they hold."""
    level = str(Level(message.level).label)
    data_time = f"{message.data_time:%Y-%m-%d %H:%M} UTC"
    lines = [
        message.reason,
        f"Task: {message.task_name}, data time {data_time}",
        f"Project: {message.project.name}",
        f"Rule: {message.rule_name} ({level})",
    ]
    link = address_of(message)
    if link:
        lines.append(link)
    facts = {
        "rule": message.rule_name,
        "kind": message.kind,
        "level": level.lower(),
        "project": message.project.name,
        "task": message.task_name,
        "instance": message.instance_id,
        "life": message.life_round,
        "execution": message.execution_id,
        "data_time": message.data_time.astimezone(dt.UTC).isoformat(),
        "reason": message.reason,
        "predicted": message.predicted,
        "limit": message.limit_at.astimezone(dt.UTC).isoformat() if message.limit_at else None,
        "message_id": message.pk,
        "link": link,
    }
    what = "late" if message.kind == "overtime" else message.kind.replace("_", " ")
    title = " ".join(f"[WeOps] {message.project.name}: {message.task_name}, {what}".split())
    return Text(title, "\n".join(lines), dedup_id, message.level == Level.URGENT, facts)


def address_of(message: Message) -> str:
    """Where the instance's page is for those who have it; empty unless WEOPS_PUBLIC_URL is set."""
    if not settings.WEOPS_PUBLIC_URL:
        return ""
    return f"{settings.WEOPS_PUBLIC_URL}{INSTANCE_PAGE.format(message.instance_id)}"


class Sender:
    """The thread that sends: `wake` it at any time; `stop` ends it after the batch that is on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._woken = False
        self._stopping = False

    def wake(self) -> None:
        with self._changed:
            if self._stopping:
                return
            self._woken = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self, seconds: float = 10.0) -> bool:
        """True: nothing is being sent any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
            return not thread.is_alive()
        return True

    def _run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="alarm delivery") as pool:
            while self._wait():
                try:
                    while not self._stopping and send_due(pool=pool):
                        pass
                except (OperationalError, InterfaceError) as error:
                    log.warning("alarms wait for the database: %s", error)
                except Exception:
                    log.exception("alarms stand still")
                finally:
                    connection.close()

    def _wait(self) -> bool:
        with self._changed:
            while not self._woken and not self._stopping:
                self._changed.wait()
            self._woken = False
            return not self._stopping


def work(now: dt.datetime | None = None) -> int:
    """One pass over notices that are due; deliveries it made."""
    total = 0
    for _batch in range(50):
        made, more = notices.advance(now)
        total += made
        if not more:
            break
    return total


def is_owed(now: dt.datetime | None = None) -> bool:
    """Whether anything is to be sent now: one index probe."""
    return Delivery.objects.filter(state=Sending.TO_SEND, next_at__lte=now or timezone.now()).exists()
