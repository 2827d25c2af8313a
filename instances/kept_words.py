"""What is kept in English of operations, plans and runs, said in the reader's language when it is shown.

It is kept as a whole sentence. One that was made of a message known here is recognised by its fixed words; what stands in the
gaps is put into the translation. Whatever else is kept (the words of a task, of a database) is shown as it is.
"""

import re
from collections.abc import Iterator
from functools import cache

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from instances import language
from instances.engine.states import LABELS, VERBS

# The longer comes before what it begins with.
MESSAGES = (
    # Refused, failed or left out by an operation.
    _("%(instance)s is in state %(state)s: %(verb)s is allowed only from %(allowed)s."),
    _("%(instance)s is in state %(state)s: its task allows a rerun only after a failure."),
    _("%(instance)s: its task does not allow reruns."),
    _("%(instance)s is not frozen."),
    _("%(instance)s is frozen already, until it is thawed by hand."),
    _("%(instance)s is frozen already, until %(time)s."),
    _("The time at which %(instance)s was to thaw has passed: %(time)s."),
    _("The acknowledgement of %(instance)s would have expired already."),
    _("%(instance)s has no acknowledgement in force."),
    _("%(owner)s cannot take care of %(instance)s: no active account that sees its project."),
    _("%(instance)s is left as it was: there is nothing to %(verb)s."),
    _("%(instance)s waits for nothing: it has no open dependency to remove."),
    _("%(count)s dependencies removed."),
    _("1 dependency removed."),
    _("The account %(name)s is closed."),
    _("%(user)s does not have the right to %(rights)s in project %(project)s."),
    _("An error inside WeOps; its log has the traceback. It begins: %(error)s"),
    _("An error inside WeOps; its log has the traceback."),
    _("There is no such instance any more."),
    _("Cancelled before its turn came."),
    # Not undone.
    _("%(instance)s is no longer frozen as the operation left it."),
    _("%(instance)s is no longer thawed as the operation left it."),
    _("%(instance)s is %(state)s, and cannot be frozen again."),
    _("The process of %(instance)s was killed; that cannot be undone."),
    _("%(instance)s has begun another life since."),
    _("A worker has claimed %(instance)s since."),
    _("%(instance)s is %(state)s, not %(left)s as the operation left it."),
    _("%(instance)s, which it released, has been started since."),
    _("The success of %(instance)s has fired events; that cannot be undone."),
    # Runs of a plan.
    _("There is no such task any more."),
    _("It exists already; the plan makes what is missing."),
    _("It has not failed; the plan runs what is missing or failed."),
    _("The project of %(task)s is disabled."),
    _("%(task)s is a task inside a For-each task; run that one."),
    _("%(task)s is offline; submit it first."),
    _("%(task)s never allows a rerun."),
    _("%(task)s allows a rerun only after a failure."),
    _("It could not be started: %(error)s"),
    _("%(instance)s was removed just now."),
    _("%(task)s of %(time)s UTC has failed, and the plan stops at a failure."),
    # Ends of runs.
    _("Worker %(name)s did not renew its lease for %(seconds)s s."),
    _("exit code %(code)s: a command was not found"),
    _("exit code %(code)s: a command cannot be executed"),
    _("exit code %(code)s: a command of the script was killed by SIGKILL, probably for lack of memory"),
    _("exit code %(code)s: a command of the script used more CPU time than it may"),
    _("exit code %(code)s (a command of the script was probably ended by %(signal)s)"),
    _("exit code %(code)s"),
    _("ended by SIGXCPU: a process used more CPU time than it may"),
    _("killed by SIGKILL, which WeOps did not send: probably out of memory"),
    _("ended by %(signal)s"),
    _("ran longer than its timeout of %(seconds)s s; %(how)s"),
    _("ran longer than its timeout of %(seconds)s s"),
    _("terminated on request; %(how)s"),
    _("terminated on request"),
    _("its processes used %(used)s of memory, more than %(most)s"),
    _("its processes used %(used)s s of CPU time, more than %(most)s s"),
    _("the code is empty"),
    # Of the lifecycle.
    _("Terminated."),
    _("Replaced by a rerun."),
    _("The instance had moved on."),
    _("Not run: what it follows has failed in its traversal."),
    # What a gap may hold.
    _("The instance of %(task)s"),
    _("it had not started"),
    _("it ended on SIGTERM"),
    _("it did not end on SIGTERM and was killed"),
    _("it was killed at once"),
)
_WHOLE = frozenset(message for message in MESSAGES if "%(" not in message)
# Longer lines are none of ours.
_MOST = 600
_GAP = re.compile(r"%\((\w+)\)s")
# Gaps that are words of ours: a state, a verb, or several with commas.
_OURS = {"state", "left", "verb", "allowed", "how", "instance"}
_WORDS = {*LABELS.values(), *VERBS.values(), "acknowledge", "withdraw acknowledgement"}


def told(text: str) -> str:
    """A kept text for whoever reads it now; line by line."""
    if not text or language.is_english():
        return text
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(text: str) -> str:
    for message, pattern in _patterns() if len(text) <= _MOST else ():
        if found := pattern.fullmatch(text):
            gaps = found.groupdict()
            return gettext(message) % {
                name: _gap(gap) if name in _OURS else gap for name, gap in gaps.items()
            }
    return gettext(text) if text in _WHOLE else text


def _gap(text: str) -> str:
    words = text.split(", ")
    if all(word in _WORDS for word in words):
        return language.listed_plainly(gettext(word) for word in words)
    return _line(text)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(_compiled())


def _compiled() -> Iterator[tuple[str, re.Pattern[str]]]:
    for message in MESSAGES:
        fixed = _GAP.split(message)
        if len(fixed) > 1:
            # Fixed words and the names of gaps by turns.
            parts = [f"(?P<{one}>.*?)" if at % 2 else re.escape(one) for at, one in enumerate(fixed)]
            yield message, re.compile("".join(parts))
