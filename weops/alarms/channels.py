"""Channels of a project: checked and written here, whatever the door. All of it needs the right to administer, but the
names, which those who write rules choose from.

Raises ValidationError (field -> messages), PermissionDenied and Channel.DoesNotExist.
"""

from django.contrib.admin.models import ADDITION, CHANGE, DELETION
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from weops.alarms import transport
from weops.alarms.kinds import ChannelKind
from weops.alarms.models import Channel
from weops.projects import access, encryption
from weops.projects.access import AnyUser, Right
from weops.projects.defining import note
from weops.projects.models import Project


def visible(user: AnyUser, right: Right = Right.ADMINISTER) -> QuerySet[Channel]:
    """Channels of the projects where `user` has `right`; their addresses are never read."""
    return access.within(
        Channel.objects.select_related("project").defer("ciphertext"), user, "project_id", right
    )


def save(
    user: User,
    project: Project,
    *,
    name: str,
    kind: str,
    address: str = "",
    enabled: bool = True,
    channel: Channel | None = None,
    source: str = "",
) -> Channel:
    """Makes a channel, or changes `channel`; an empty `address` keeps the present one. `source`: the door, for the channel's
    history; empty: the caller writes it."""
    if Right.ADMINISTER not in access.rights(user, project):
        raise PermissionDenied(_("You do not have the right to administer project %s.") % project)
    channel = channel or Channel(project=project)
    was = (channel.name, channel.kind, channel.enabled) if channel.pk else None
    channel.name = " ".join(name.replace("\0", " ").split())
    problems: dict[str, str] = {}
    if not channel.name or len(channel.name) > 100:
        problems["name"] = _("Write a name of 1 to 100 characters.")
    elif Channel.objects.filter(project=project, name=channel.name).exclude(pk=channel.pk).exists():
        problems["name"] = _("The project has a channel of this name already; choose another.")
    if kind not in ChannelKind.values:
        problems["kind"] = _("Choose one of: %s.") % ", ".join(ChannelKind.values)
    elif address:
        try:
            channel.shown = transport.shown(kind, address)
            channel.ciphertext = encryption.encrypt(address)
        except ValueError as error:
            problems["address"] = str(error)
    elif not channel.pk:
        problems["address"] = _("Write the channel's address.")
    elif channel.kind != kind:
        problems["address"] = _("Another kind needs its address anew.")
    if problems:
        raise ValidationError(problems)
    channel.kind, channel.enabled = kind, enabled
    with transaction.atomic():
        channel.save()
        if source and was is None:
            note(channel, ADDITION, user, source)
        elif source and was is not None:
            pairs = zip(("name", "kind", "enabled"), was, (channel.name, kind, enabled), strict=True)
            changed = [column for column, before, after in pairs if before != after]
            note(channel, CHANGE, user, source, [*changed, *(["address"] if address else [])])
    return channel


def delete(user: User, channel: Channel, *, source: str = "system") -> None:
    """Rules that tell it tell it no more; what was sent stays on record."""
    if Right.ADMINISTER not in access.rights(user, channel.project):
        raise PermissionDenied(_("You do not have the right to administer project %s.") % channel.project)
    with transaction.atomic():
        note(channel, DELETION, user, source)
        channel.delete()


def for_webhooks(user: User, project: Project, kind: str, addresses: list[str]) -> list[Channel]:
    """Channels of the project for these addresses, found or made: for doors that name webhooks within a rule."""
    present = {
        channel.reveal(): channel
        for channel in Channel.objects.filter(project=project, kind=kind).order_by("-pk")
    }
    found = []
    for address in dict.fromkeys(addresses):
        if address not in present:
            number = Channel.objects.filter(project=project, kind=kind).count() + 1
            name = f"{kind}-{number}"
            while Channel.objects.filter(project=project, name=name).exists():
                number += 1
                name = f"{kind}-{number}"
            present[address] = save(user, project, name=name, kind=kind, address=address, source="wedata")
        found.append(present[address])
    return found
