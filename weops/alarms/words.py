"""What alarms say: of a failure, a success, a limit (kept and sent, so in English; `kept` shows it), of a rule as a whole."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from instances.engine import errors
from instances.engine.states import LABELS, State
from instances.engine.zone import zone
from weops.alarms import kept
from weops.alarms.kinds import Kind, LimitKind, Measure, ObjectKind, Receivers, Trigger
from weops.alarms.limits import Facts, Limit
from weops.console.present import span

MOST_REASON = 1_000


def failed(code: str, message: str, tries: int, retries: bool) -> str:
    """Such as `EXIT_NONZERO: The task ended with an exit code other than 0. It ended with 3. It will be retried.`"""
    error = errors.entry(code)
    parts = [f"{code}: {error.title}" if error else code or kept.FAILED]
    said = " ".join(message.split())[: MOST_REASON - 200]
    if said and (error is None or said != error.title):
        parts.append(said)
    if retries:
        parts.append(kept.RETRIED)
    elif tries:
        parts.append(f"It failed after {tries} {'retry' if tries == 1 else 'retries'}.")
    return " ".join(parts)[:MOST_REASON]


def succeeded(move: str) -> str:
    return kept.MARKED if move == "mark_success" else kept.SUCCEEDED


def late(limit: Limit, at: dt.datetime, predicted: bool, expected: dt.datetime | None, facts: Facts) -> str:
    """What a look at a limit found, with the limit and where the instance stands."""
    state = str(LABELS[State(facts.state)]).lower()
    due = _moment(at, limit.timezone)
    if predicted:
        when = _moment(expected, limit.timezone) if expected else kept.LATER
        said = {
            LimitKind.RUN: kept.WILL_RUN,
        }.get(LimitKind(limit.kind), kept.WILL_FINISH)
        return _with_state(said % {"when": when, "due": due}, state)
    said = {
        LimitKind.RUN: kept.RAN,
        LimitKind.WAIT: kept.WAITED,
        LimitKind.FINISH: kept.NOT_FINISHED,
        LimitKind.CYCLE: kept.NOT_IN_CYCLE,
    }[LimitKind(limit.kind)]
    return _with_state(said % {"due": due}, state)


def _with_state(said: str, state: str) -> str:
    return kept.STATE % {"said": said, "state": state}


def _moment(at: dt.datetime, zone_name: str) -> str:
    tz = timezone.get_default_timezone() if zone_name == "UTC" else zone(zone_name)
    local = at.astimezone(tz)
    return f"{local:%Y-%m-%d %H:%M} {local:%Z}"


# A rule in one sentence


def sentence(spec: Any, objects: Sequence[str], receivers: Sequence[str]) -> str:
    """What a rule (rules.RuleSpec) does, for the person who writes it. `objects`, `receivers`: names, for people."""
    what = [_about(kind, spec) for kind in spec.kinds if kind != Kind.OVERTIME]
    what += [limit_words(Limit.read(limit)) for limit in spec.limits]
    whose = {
        ObjectKind.TASK: _("an instance of %s"),
        ObjectKind.WORKFLOW: _("an instance in the workflow %s"),
        ObjectKind.PROJECT: _("any instance in the project %s"),
    }[ObjectKind(spec.object_kind)] % _either(objects)
    return _("When %(whose)s %(what)s, %(receivers)s will be told.") % {
        "whose": whose,
        "what": _either(what),
        "receivers": _all(receivers),
    }


def _about(kind: str, spec: Any) -> str:
    first = spec.rerun_trigger if kind == Kind.RERUN_FAILURE else spec.trigger
    return {
        Kind.FAILURE: _("fails for the first time")
        if first == Trigger.FIRST
        else _("has failed after all retries"),
        Kind.RERUN_FAILURE: _("fails for the first time in a rerun or backfill")
        if first == Trigger.FIRST
        else _("has failed after all retries in a rerun or backfill"),
        Kind.SUCCESS: _("succeeds"),
        Kind.RERUN_SUCCESS: _("succeeds in a rerun or backfill"),
    }[Kind(kind)]


def limit_words(limit: Limit) -> str:
    """Such as `runs longer than 30m 00s` or `will not finish by 08:30 (Asia/Shanghai)`."""
    if limit.kind == LimitKind.CYCLE:
        said = _("will not finish before its next run is planned")
    elif limit.measure == Measure.AVERAGE:
        said = {
            LimitKind.RUN: _("runs %d%% longer than on average"),
            LimitKind.WAIT: _("waits %d%% longer than on average"),
            LimitKind.FINISH: _("will finish %d%% later than on average"),
        }[LimitKind(limit.kind)] % limit.tolerance
    elif limit.kind == LimitKind.FINISH:
        said = _("will not finish by %(clock)s (%(zone)s)") % {"clock": limit.clock, "zone": limit.timezone}
    else:
        length = span(dt.timedelta(minutes=limit.minutes))
        said = {
            LimitKind.RUN: _("runs longer than %s"),
            LimitKind.WAIT: _("waits longer than %s"),
        }[LimitKind(limit.kind)] % length
    return _("%s in a rerun or backfill") % said if limit.reruns else said


def receivers_words(group: Any, people: Sequence[str], channels: Sequence[str]) -> list[str]:
    """Names of whom a group (groups.GroupSpec) tells."""
    named = [_("the owner of the task")] if group.receivers == Receivers.OWNER else list(people)
    if not group.by_email:
        named = []
    return [*named, *group.emails, *channels]


def _either(names: Sequence[str]) -> str:
    return _join(names, _("or"))


def _all(names: Sequence[str]) -> str:
    return _join(names, _("and")) or _("nobody")


def _join(names: Sequence[str], word: str) -> str:
    shown = list(names[:5]) + ([_("%d more") % (len(names) - 5)] if len(names) > 5 else [])
    return get_text_list(shown, word)
