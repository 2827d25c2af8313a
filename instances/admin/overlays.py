"""What lies over an instance's state without changing it: frozen until when, acknowledged by whom and until when."""

import datetime as dt

from django.utils.html import format_html
from django.utils.safestring import SafeString

from instances.models import Acknowledgement, Instance
from weops.console.present import plain_time, zone_name


def _badge(tone: str, icon: str, text: str, title: str) -> SafeString:
    return format_html(
        '<span class="wo-badge wo-{}" title="{}"><span class="material-symbols-outlined wo-icon" '
        'aria-hidden="true">{}</span>{}</span>',
        tone,
        title,
        icon,
        text,
    )


def short_time(moment: dt.datetime) -> str:
    """MM-dd HH:mm in the zone of the page, for narrow places."""
    return plain_time(moment)[5:16]


def frozen_badge(instance: Instance) -> SafeString:
    """Empty if it is not frozen."""
    if instance.frozen_at is None:
        return SafeString("")
    since = (
        f"Frozen since {plain_time(instance.frozen_at)} {zone_name()}: it is not started until it is thawed"
    )
    if instance.thaw_at is None:
        return _badge("cyan", "ac_unit", "Frozen", f"{since}, by hand.")
    until = f"{since}, at {plain_time(instance.thaw_at)} or by hand before."
    return _badge("cyan", "ac_unit", f"Frozen until {short_time(instance.thaw_at)}", until)


def acknowledged_badge(one: Acknowledgement | None) -> SafeString:
    """Empty if there is none in force."""
    if one is None:
        return SafeString("")
    owner = one.owner.get_username() if one.owner else "somebody"
    until = f", until {plain_time(one.expires_at)} {zone_name()}" if one.expires_at else ""
    text = f"Acknowledged by {owner}" + (f" until {short_time(one.expires_at)}" if one.expires_at else "")
    return _badge(
        "violet", "how_to_reg", text, f"{owner} takes care of this failure{until}: {one.reason[:500]}"
    )
