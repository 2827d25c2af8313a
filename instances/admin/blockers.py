"""The page of the blocker board."""

from dataclasses import dataclass
from typing import Any

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from instances.admin.looks import STATE_LOOKS
from instances.admin.why import Way, address_of, way_to
from instances.insight.board import Blocker, Board, board
from weops.console.paging import time_limit
from weops.console.present import Look, stamp

SECONDS = 10
_LOOKS = {
    "missing": ("grey", "pending"),
    "event": ("violet", "notifications_paused"),
    "group": ("amber", "tune"),
    "serial": ("cyan", "linear_scale"),
    "lane": ("cyan", "linear_scale"),
}


def _look(blocker: Blocker) -> Look:
    if blocker.state in STATE_LOOKS:
        return STATE_LOOKS[blocker.state]
    words = {
        "missing": _("Not generated yet"),
        "event": _("Event"),
        "group": _("Resource group"),
        "serial": _("Serial task"),
        "lane": _("Parallelism"),
    }
    return Look(*_LOOKS[blocker.kind], words[blocker.kind])


@dataclass(frozen=True)
class Row:
    blocker: Blocker
    look: Look
    held: str
    share: int
    since: SafeString | None
    address: str
    fixes: list[Way]


def blockers_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """What holds up most, the worst first."""
    found, problem = Board(), ""
    try:
        with time_limit(SECONDS):
            found = board(request.user)
    except OperationalError:
        problem = _("The database needed more than %(seconds)d seconds.") % {"seconds": SECONDS}
    most = max((one.held for one in found.blockers), default=1)
    context |= {
        "title": _("Blockers"),
        "rows": [_row(one, most) for one in found.blockers],
        "board": found,
        "problem": problem,
    }
    return TemplateResponse(request, "instances/blockers.html", context)


def _row(blocker: Blocker, most: int) -> Row:
    return Row(
        blocker=blocker,
        look=_look(blocker),
        held=f"{blocker.held:,}{'+' if blocker.more else ''}",
        share=max(2, round(100 * blocker.held / most)),
        since=stamp(blocker.since) if blocker.since else None,
        address=address_of(blocker.link) if blocker.link else "",
        fixes=[way_to(fix) for fix in blocker.fixes],
    )
