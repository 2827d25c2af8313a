"""How event instances look."""

from typing import Any

from events.models import EventState, Source
from weops.console.present import Look

_STATES: dict[EventState, tuple[str, str]] = {
    EventState.TO_BE_CONSUMED: ("cyan", "hourglass_top"),
    EventState.CONSUMING: ("blue", "campaign"),
    EventState.CONSUMED: ("green", "check_circle"),
    EventState.EXPIRED: ("grey", "timer_off"),
}
STATE_LOOKS: dict[str, Look] = {
    state.value: Look(tone, icon, state.label) for state, (tone, icon) in _STATES.items()
}
SOURCES: dict[str, Any] = {source.value: source.label for source in Source}
