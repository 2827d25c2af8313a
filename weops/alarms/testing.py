"""Messages that try whether a rule's receivers, or a channel, can be reached. Sent at once; the trial is put on record."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth.models import User
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from instances.models.operation import OperationState
from instances.operations import records
from weops.alarms.groups import audience, specs_of
from weops.alarms.kinds import Receivers
from weops.alarms.models import Channel, Rule
from weops.alarms.sending import AT_ONCE, deliver
from weops.alarms.transport import Text

# A page waits for them.
MOST = 20


def send_test(rule: Rule, user: User, source: str) -> list[tuple[str, str]]:
    """(address or channel, why it was not sent or empty) of each receiver, at most MOST. Owners of tasks are not told.

    The caller has looked whether the user may write the rule."""
    people = audience(rule.project_id).in_bulk({pk for group in specs_of(rule) for pk in group.people})
    addresses: dict[str, None] = {}
    channels: dict[int, Channel] = {}
    for group in rule.groups.all():
        if group.by_email and group.receivers == Receivers.PEOPLE:
            members = (people.get(person.pk) for person in group.people.all())
            addresses.update({member.email: None for member in members if member and member.email})
        addresses.update(dict.fromkeys(group.emails))
        channels.update({channel.pk: channel for channel in group.channels.all()})
    where: list[tuple[str, str, Channel | None]] = [(address, address, None) for address in addresses]
    where += [(channel.name, "", channel) for channel in channels.values()]
    if not where:
        return [(rule.name, _("only owners of tasks are told; there is no task here to know one of"))]
    found = _send(where[:MOST], rule.project.name, rule.name)
    _record("test_alarm_rule", {"rule": rule.pk}, rule, found, user, source)
    return found


def send_test_to(channel: Channel, user: User, source: str) -> str:
    """Why the channel could not be reached; empty: it took the message. The caller has looked whether the user may write it."""
    found = _send([(channel.name, "", channel)], channel.project.name, channel.name)
    _record("test_alarm_channel", {"channel": channel.pk}, channel, found, user, source)
    return found[0][1]


def _record(
    kind: str,
    which: dict[str, int],
    row: Rule | Channel,
    found: list[tuple[str, str]],
    user: User,
    source: str,
) -> None:
    refused = sum(bool(error) for _, error in found)
    records.note(
        kind,
        user=user,
        source=source,
        options={**which, "name": row.name},
        project_ids=[row.project_id],
        state=OperationState.SUCCESS if not refused else OperationState.FAIL,
        total=len(found),
        done=len(found) - refused,
        refused=refused,
    )


def _send(where: list[tuple[str, str, Channel | None]], project: str, what: str) -> list[tuple[str, str]]:
    reader = get_language()

    def send(one: tuple[str, str, Channel | None]) -> tuple[str, str]:
        name, address, channel = one
        # What is sent is English, as every alarm; what went wrong is for who tried it.
        title = f"[WeOps] {project}: a test"
        body = f"Somebody tried whether alarms of {what} arrive here. They do."
        with override(reader):
            outcome = deliver(Text(title, body, str(uuid.uuid4()), facts={"test": True}), address, channel)
        return name, outcome.error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(send, where))
