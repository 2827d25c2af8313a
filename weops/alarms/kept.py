"""What alarms keep in English, said in the reader's language when it is shown.

It was made of the messages below, so it is recognised by their fixed words. What a task or a service has said itself is shown
as it is.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache

from django.utils.translation import get_language, gettext, ngettext
from django.utils.translation import gettext_noop as _

from instances import kept_words
from instances.engine import errors
from instances.engine.states import LABELS

# Of limits.
RAN = _("It ran longer than it may (%(due)s).")
WAITED = _("It waited longer than it may (%(due)s).")
NOT_FINISHED = _("It did not finish by %(due)s.")
NOT_IN_CYCLE = _("It did not finish within its cycle, by %(due)s.")
WILL_RUN = _("It is expected to run until %(when)s, longer than it may (%(due)s).")
WILL_FINISH = _("It is expected to finish at %(when)s, after %(due)s.")
LATER = _("later")
STATE = _("%(said)s State: %(state)s.")
# Of ends.
MARKED = _("It was marked as successful.")
SUCCEEDED = _("It succeeded.")
FAILED = _("It failed.")
RETRIED = _("It will be retried.")
# Of sending.
NOBODY = _("Nobody to tell: no e-mail address and no channel that is switched on.")
SENDING = (
    NOBODY,
    _("The channel was deleted."),
    _("The channel is switched off."),
    _("It was not accepted."),
    _("No mail server: the deployment sets one by WEOPS_MAIL_URL."),
    _("WEOPS_MAIL_URL cannot be read: write mailto://host?from=... or mailtos://."),
    _("%(address)s is no public address; the deployment allows others by WEOPS_ALLOWED_NETWORKS"),
    _("It took longer than %(seconds)s seconds."),
)
_LIMITS = (RAN, WAITED, NOT_FINISHED, NOT_IN_CYCLE, WILL_RUN, WILL_FINISH)
_GAP = re.compile(r"%\((\w+)\)s")
_STATE = re.compile(r"(?P<said>.*) State: (?P<state>[^.]+)\.")
_CODE = re.compile(r"(?P<code>[A-Z][A-Z0-9_]+): (?P<rest>.*)")
_AFTER = re.compile(r"(?P<said>.*?) ?It failed after (?P<tries>\d+) retr(y|ies)\.")


def reason(text: str) -> str:
    """Why an alarm was raised."""
    if _is_english():
        return text
    if text in (MARKED, SUCCEEDED, FAILED):
        return gettext(text)
    if (found := _STATE.fullmatch(text)) and (said := _filled(_LIMITS, found["said"])):
        states = {label.lower(): label for label in LABELS.values()}
        return gettext(STATE) % {"said": said, "state": gettext(states.get(found["state"], found["state"]))}
    return " ".join(_failed(text))


def error(text: str) -> str:
    """Why something was not sent."""
    return text if _is_english() or not text else _filled(SENDING, text) or text


def _is_english() -> bool:
    return (get_language() or "en").startswith("en")


def _failed(text: str) -> Iterator[str]:
    """What a failure's reason is made of: its code with its title, what was said, what follows."""
    end = ""
    if text.endswith(RETRIED):
        text, end = text.removesuffix(RETRIED).rstrip(), gettext(RETRIED)
    elif found := _AFTER.fullmatch(text):
        tries = int(found["tries"])
        text, end = (
            found["said"],
            ngettext("It failed after %d retry.", "It failed after %d retries.", tries) % tries,
        )
    known = _CODE.fullmatch(text)
    entry = errors.entry(known["code"]) if known else None
    if known and entry and known["rest"].startswith(entry.title):
        title = gettext(entry.title)
        yield f"{known['code']}: {title}"
        text = known["rest"].removeprefix(entry.title).strip()
    elif text == FAILED:
        text = gettext(FAILED)
    yield from filter(None, (kept_words.told(text), end))


def _filled(messages: Sequence[str], text: str) -> str:
    """The translation of a text that one of the messages was made into; empty if none was."""
    for message in messages:
        if found := _pattern(message).fullmatch(text):
            gaps = {name: gettext(gap) if gap == LATER else gap for name, gap in found.groupdict().items()}
            return gettext(message) % gaps
    return ""


@cache
def _pattern(message: str) -> re.Pattern[str]:
    # Fixed words and the names of gaps by turns.
    parts = enumerate(_GAP.split(message))
    return re.compile("".join(f"(?P<{one}>.*?)" if at % 2 else re.escape(one) for at, one in parts))
