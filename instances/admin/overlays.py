"""What lies over an instance's state without changing it: frozen until when, acknowledged by whom and until when."""

import datetime as dt

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

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
    values = {"since": plain_time(instance.frozen_at), "zone": zone_name()}
    if instance.thaw_at is None:
        said = gettext("Frozen since %(since)s %(zone)s: it is not started until it is thawed, by hand.")
        return _badge("cyan", "ac_unit", gettext("Frozen"), said % values)
    values["until"] = plain_time(instance.thaw_at)
    said = gettext(
        "Frozen since %(since)s %(zone)s: it is not started until it is thawed, at %(until)s or by hand before."
    )
    text = gettext("Frozen until %(time)s") % {"time": short_time(instance.thaw_at)}
    return _badge("cyan", "ac_unit", text, said % values)


def acknowledged_badge(one: Acknowledgement | None) -> SafeString:
    """Empty if there is none in force."""
    if one is None:
        return SafeString("")
    values = {
        "owner": one.owner.get_username() if one.owner else gettext("somebody"),
        "reason": one.reason[:500],
    }
    if one.expires_at is None:
        text = gettext("Acknowledged by %(owner)s")
        title = gettext("%(owner)s takes care of this failure: %(reason)s")
    else:
        values |= {
            "short": short_time(one.expires_at),
            "until": plain_time(one.expires_at),
            "zone": zone_name(),
        }
        text = gettext("Acknowledged by %(owner)s until %(short)s")
        title = gettext("%(owner)s takes care of this failure, until %(until)s %(zone)s: %(reason)s")
    return _badge("violet", "how_to_reg", text % values, title % values)
