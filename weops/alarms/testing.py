"""Messages that try whether a rule's receivers, or a channel, can be reached. Sent at once; nothing is written."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from weops.alarms.groups import audience, specs_of
from weops.alarms.kinds import Receivers
from weops.alarms.models import Channel, Rule
from weops.alarms.sending import AT_ONCE, deliver
from weops.alarms.transport import Text

# A page waits for them.
MOST = 20


def send_test(rule: Rule) -> list[tuple[str, str]]:
    """(address or channel, why it was not sent or empty) of each receiver, at most MOST. Owners of tasks are not told."""
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
    return _send(where[:MOST], rule.project.name, rule.name)


def send_test_to(channel: Channel) -> str:
    """Why the channel could not be reached; empty: it took the message."""
    return _send([(channel.name, "", channel)], channel.project.name, channel.name)[0][1]


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
