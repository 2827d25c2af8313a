"""From messages to deliveries: whom to tell now, whom again, whom besides. Quiet hours hold back, recovery ends it."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.utils import timezone

from instances.engine.states import State
from instances.models import Instance
from weops.alarms import kept
from weops.alarms.groups import audience, quiet_until
from weops.alarms.kinds import SUCCESSES, Receivers, Sending
from weops.alarms.models import Delivery, Message, Notice
from weops.database.transactions import retried

NOTICES_A_BATCH = 200
MINUTE = dt.timedelta(minutes=1)


@retried
def advance(now: dt.datetime | None = None) -> tuple[int, bool]:
    """Makes the deliveries of notices that are due: (how many, whether there may be more)."""
    now = now or timezone.now()
    due = list(
        Notice.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(next_at__lte=now)
        .select_related("message", "group")
        .prefetch_related("group__channels", "group__people")
        .order_by("next_at", "id")[:NOTICES_A_BATCH]
    )
    if not due:
        return 0, False
    instances = Instance.objects.in_bulk({notice.message.instance_id for notice in due})
    people = _People(due, instances)
    made: list[Delivery] = []
    for notice in due:
        instance = instances.get(notice.message.instance_id)
        made += _step(notice, instance, people, now)
    Delivery.objects.bulk_create(made, ignore_conflicts=True)
    Notice.objects.bulk_update(due, ["told", "escalated", "repeat_at", "escalate_at", "next_at"])
    _note(due, made)
    return len(made), len(due) == NOTICES_A_BATCH


def _step(notice: Notice, instance: Instance | None, people: "_People", now: dt.datetime) -> list[Delivery]:
    """What this notice sends now; moves it to when it is to be looked at next."""
    message, group = notice.message, notice.group
    if message.acknowledged_at is not None or (notice.told and _is_over(message, instance)):
        notice.next_at = notice.repeat_at = notice.escalate_at = None
        return []
    if until := quiet_until(group.quiet, group.timezone, now):
        notice.next_at = until
        return []
    made: list[Delivery] = []
    alone = message.kind in SUCCESSES
    if not notice.told or (notice.repeat_at is not None and notice.repeat_at <= now):
        first = not notice.told
        notice.told += 1
        more = notice.told < group.notify_count and not alone
        notice.repeat_at = now + group.notify_minutes * MINUTE if more else None
        if first and group.escalation and not alone:
            notice.escalate_at = now + group.escalation_minutes * MINUTE
        made += _deliveries(notice, people.of(notice, instance), notice.told, 0)
    if notice.escalate_at is not None and notice.escalate_at <= now:
        # None is left if the rule was changed meanwhile.
        following = group.escalation[notice.escalated : notice.escalated + 1]
        notice.escalated += len(following)
        more = notice.escalated < len(group.escalation)
        notice.escalate_at = now + group.escalation_minutes * MINUTE if more else None
        if following:
            made += _deliveries(notice, people.chosen(following, message.project_id), 0, notice.escalated)
    notice.next_at = min(filter(None, [notice.repeat_at, notice.escalate_at]), default=None)
    return made


def _is_over(message: Message, instance: Instance | None) -> bool:
    """What was told is no more: the instance is gone, has succeeded, or is in another life."""
    return instance is None or instance.state == State.SUCCESS or instance.life_round != message.life_round


@dataclass(slots=True)
class _Receivers:
    users: list[User] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    channels: list[tuple[int, str, str]] = field(default_factory=list)  # id, name, kind


class _People:
    """Who is told, read once for many notices: members who left since are not told any more."""

    def __init__(self, notices: Sequence[Notice], instances: dict[int, Instance]) -> None:
        self._allowed: dict[int, dict[int, User]] = {}
        wanted: defaultdict[int, set[int]] = defaultdict(set)
        for notice in notices:
            ids = wanted[notice.message.project_id]
            ids.update(notice.group.escalation)
            ids.update(person.pk for person in notice.group.people.all())
            instance = instances.get(notice.message.instance_id)
            if instance is not None and instance.owner_id is not None:
                ids.add(instance.owner_id)
        for project_id, ids in wanted.items():
            self._allowed[project_id] = audience(project_id).in_bulk(ids)

    def of(self, notice: Notice, instance: Instance | None) -> _Receivers:
        group = notice.group
        found = _Receivers()
        if group.receivers == Receivers.OWNER:
            ids = [instance.owner_id] if instance is not None and instance.owner_id is not None else []
        else:
            ids = sorted(person.pk for person in group.people.all())
        if group.by_email:
            found = self.chosen(ids, notice.message.project_id)
        found.emails = list(group.emails)
        found.channels = [
            (channel.pk, channel.name, channel.kind) for channel in group.channels.all() if channel.enabled
        ]
        return found

    def chosen(self, ids: Iterable[int], project_id: int) -> _Receivers:
        allowed = self._allowed[project_id]
        return _Receivers(users=[allowed[pk] for pk in ids if pk in allowed])


def _deliveries(notice: Notice, receivers: _Receivers, told: int, escalated: int) -> list[Delivery]:
    message = notice.message
    step = f"{notice.group_id}.{told}.{escalated}"
    addresses = [user.email for user in receivers.users if user.email] + receivers.emails
    made = [Delivery(message=message, step=step, address=address) for address in dict.fromkeys(addresses)] + [
        Delivery(message=message, step=step, channel_id=pk) for pk, _name, _kind in receivers.channels
    ]
    names = [user.get_username() for user in receivers.users] + receivers.emails
    names += [name for _pk, name, _kind in receivers.channels]
    message.receivers = list(dict.fromkeys([*message.receivers, *names]))
    message.receiver_ids = list(
        dict.fromkeys([*message.receiver_ids, *(user.pk for user in receivers.users)])
    )
    ways = (["email"] if addresses else []) + [kind for _pk, _name, kind in receivers.channels]
    message.ways = list(dict.fromkeys([*message.ways, *ways]))
    if not made:
        message.error = kept.NOBODY
    return made


def _note(notices: Sequence[Notice], made: Sequence[Delivery]) -> None:
    """Several notices of one message are several objects of it; what they add is put together."""
    by_message: dict[int, Message] = {}
    for notice in notices:
        message = by_message.setdefault(notice.message_id, notice.message)
        for name in ("receivers", "receiver_ids", "ways"):
            together = dict.fromkeys([*getattr(message, name), *getattr(notice.message, name)])
            setattr(message, name, list(together))
        message.error = message.error or notice.message.error
    sending = {delivery.message_id for delivery in made}
    for message in by_message.values():
        if message.pk in sending:
            message.state, message.error = Sending.TO_SEND, ""
        elif message.state == Sending.TO_SEND and message.error:
            message.state = Sending.FAILED
    Message.objects.bulk_update(
        by_message.values(),
        ["receivers", "receiver_ids", "ways", "error", "state"],
        batch_size=NOTICES_A_BATCH,
    )
