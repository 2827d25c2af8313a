"""Limits on the time that an instance takes: when they are reached, when to look, and what to say then.

Pure functions of what is known of an instance (`Facts`) and the time given; times are aware, in UTC.
"""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from instances.engine.states import WAITING, State
from instances.engine.zone import first_instant, wall, zone, zone_problem
from instances.insight.forecast import Durations, Standing, predicted_finish
from weops.alarms.kinds import LimitKind, Measure

# "More than the average" alone would alarm about every second run.
DEFAULT_TOLERANCE = 50
LEAST_MARGIN = dt.timedelta(minutes=1)
MOST_MINUTES = 31 * 24 * 60
# A frozen instance waits because somebody wants it to.
LOOK_AT_FROZEN_AGAIN = dt.timedelta(minutes=5)
_OFFSET = re.compile(r"(?:UTC|GMT)\s*([+-])\s*(\d{1,2})(?::?00)?\Z", re.IGNORECASE)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\Z")


def zone_of(text: str) -> str:
    """An IANA name for itself or for a text such as `UTC+8`. Raises ValidationError."""
    text = text.strip()
    if found := _OFFSET.match(text):
        hours = int(found[2])
        # The names of Etc count the other way round.
        name = f"Etc/GMT{'-' if found[1] == '+' else '+'}{hours}" if hours else "UTC"
    else:
        name = text
    if problem := zone_problem(name):
        raise ValidationError(problem)
    return name


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a rule, as its `limits` hold it.

    `minutes`: fixed lengths (run, wait). `clock`: `HH:MM` on the wall clock of `timezone` (a fixed finish: the first such
    time after the planned time). `tolerance`: percent above the average. `reruns`: for lives that a rerun or backfill began.
    """

    kind: str
    measure: str = Measure.FIXED
    minutes: int = 0
    clock: str = ""
    timezone: str = "UTC"
    tolerance: int = DEFAULT_TOLERANCE
    reruns: bool = False

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Limit":
        """Checked and in its normal form. Raises ValidationError that says what to write."""
        unknown = set(data) - {"kind", "measure", "minutes", "clock", "timezone", "tolerance", "reruns"}
        if unknown:
            raise ValidationError(_("A limit has no %s.") % ", ".join(sorted(map(str, unknown))))
        kind, measure = str(data.get("kind", "")), str(data.get("measure") or Measure.FIXED)
        if kind not in LimitKind.values:
            raise ValidationError(_("A limit is about one of: %s.") % ", ".join(LimitKind.values))
        if measure not in Measure.values:
            raise ValidationError(_("A limit is measured as one of: %s.") % ", ".join(Measure.values))
        reruns = bool(data.get("reruns", False))
        if kind == LimitKind.CYCLE:
            return cls(kind, reruns=reruns)
        if measure == Measure.AVERAGE:
            tolerance = _number(data.get("tolerance", DEFAULT_TOLERANCE), 0, 1000, _("The tolerance"))
            return cls(kind, measure, tolerance=tolerance, reruns=reruns)
        if kind == LimitKind.FINISH:
            found = _CLOCK.match(str(data.get("clock", "")))
            if not found:
                raise ValidationError(_("Write the time of day of the finish as HH:MM, such as 08:30."))
            return cls(
                kind,
                measure,
                clock=f"{int(found[1]):02}:{found[2]}",
                timezone=zone_of(str(data.get("timezone") or "UTC")),
                reruns=reruns,
            )
        return cls(
            kind,
            measure,
            minutes=_number(data.get("minutes"), 1, MOST_MINUTES, _("The limit in minutes")),
            reruns=reruns,
        )

    def write(self) -> dict[str, Any]:
        """What `read` takes, without what does not count."""
        data: dict[str, Any] = {"kind": self.kind, "measure": str(self.measure), "reruns": self.reruns}
        if self.kind == LimitKind.CYCLE:
            return data
        if self.measure == Measure.AVERAGE:
            return {**data, "tolerance": self.tolerance}
        if self.kind == LimitKind.FINISH:
            return {**data, "clock": self.clock, "timezone": self.timezone}
        return {**data, "minutes": self.minutes}


def _number(value: Any, least: int, most: int, name: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = least - 1
    if not least <= number <= most or isinstance(value, bool):
        raise ValidationError(
            _("%(name)s is a whole number from %(least)d to %(most)d.")
            % {"name": name, "least": least, "most": most}
        )
    return number


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one life of an instance. `run_*` are of its last try; `next_planned` of its task's next run."""

    state: str
    planned_time: dt.datetime
    wait_since: dt.datetime
    not_before: dt.datetime
    tries: int = 0
    frozen: bool = False
    start_time: dt.datetime | None = None
    end_time: dt.datetime | None = None
    run_started_at: dt.datetime | None = None
    run_ended_at: dt.datetime | None = None
    next_planned: dt.datetime | None = None
    durations: Durations | None = None

    @property
    def typical(self) -> dt.timedelta:
        return self.durations.run if self.durations else dt.timedelta(0)

    @property
    def over(self) -> bool:
        return self.state in (State.SUCCESS, State.FAILED, State.SKIPPED)

    def finish(self, now: dt.datetime) -> dt.datetime | None:
        standing = Standing(self.state, self.not_before, self.start_time, self.end_time)
        return predicted_finish(standing, self.typical, now)


def limit_at(limit: Limit, facts: Facts) -> dt.datetime | None:
    """When the limit is reached; None: it does not apply (no run to take an average of, not started, no next run)."""
    if limit.kind == LimitKind.CYCLE:
        return facts.next_planned
    length: dt.timedelta | None = dt.timedelta(minutes=limit.minutes)
    if limit.measure == Measure.AVERAGE:
        length = _average(limit, facts.durations)
        if length is None:
            return None
    elif limit.kind == LimitKind.FINISH:
        return _next_clock(limit, facts.planned_time)
    assert length is not None
    if limit.kind == LimitKind.RUN:
        return facts.run_started_at + length if facts.run_started_at else None
    if limit.kind == LimitKind.WAIT:
        return max(facts.wait_since, facts.planned_time) + length
    return facts.planned_time + length


def _average(limit: Limit, durations: Durations | None) -> dt.timedelta | None:
    if durations is None:
        return None
    mean = {
        LimitKind.RUN: durations.mean_run,
        LimitKind.WAIT: durations.mean_wait,
        LimitKind.FINISH: durations.mean_finish,
    }[LimitKind(limit.kind)]
    if mean is None:
        return None
    return max(mean * (1 + limit.tolerance / 100), mean + LEAST_MARGIN)


def _next_clock(limit: Limit, after: dt.datetime) -> dt.datetime:
    """The first `clock` on the wall of its zone after `after`."""
    tz = zone(limit.timezone)
    hour, minute = map(int, limit.clock.split(":"))
    day = wall(tz, after).replace(hour=hour, minute=minute, second=0, microsecond=0)
    for days in range(3):
        instant, _shown = first_instant(tz, day + dt.timedelta(days=days))
        if instant > after:
            return instant
    raise AssertionError("a clock shows every time within three days")


def due_at(limit: Limit, facts: Facts, at: dt.datetime, now: dt.datetime) -> dt.datetime:
    """When to look: before `at`, if it can be known by then that it will be missed."""
    if limit.kind == LimitKind.WAIT:
        return at
    if limit.kind == LimitKind.RUN:
        # One that usually takes longer than it may is known to miss it as soon as it runs.
        return now if facts.run_started_at and facts.run_started_at + facts.typical > at else at
    if facts.state == State.RUNNING:
        finish = facts.finish(now)
        return now if finish and finish > at else at
    return min(at, max(now, at - facts.typical))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a watch: tell (`predicted`: it has not happened yet), look again at `again`, or neither: forget it."""

    tell: bool = False
    predicted: bool = False
    expected: dt.datetime | None = None
    again: dt.datetime | None = None


FORGET = Verdict()


def judge(limit: Limit, facts: Facts, at: dt.datetime, now: dt.datetime) -> Verdict:
    """What a look at `now` finds about the limit that is reached at `at`."""
    if limit.kind == LimitKind.RUN:
        return _judge_run(facts, at, now)
    if limit.kind == LimitKind.WAIT:
        return _judge_wait(facts, at, now)
    return _judge_finish(facts, at, now)


def _judge_run(facts: Facts, at: dt.datetime, now: dt.datetime) -> Verdict:
    if facts.run_started_at is None:
        return FORGET
    if facts.run_ended_at is not None:
        return Verdict(tell=facts.run_ended_at > at)
    if now >= at:
        return Verdict(tell=True)
    expected = facts.run_started_at + facts.typical
    if expected > at:
        return Verdict(tell=True, predicted=True, expected=expected)
    return Verdict(again=at)


def _judge_wait(facts: Facts, at: dt.datetime, now: dt.datetime) -> Verdict:
    until = facts.start_time or (facts.end_time if facts.over else None)
    if until is not None or facts.state not in WAITING:
        # Its first try has begun, or it ended without one.
        return Verdict(tell=until is not None and until > at and facts.tries == 0)
    if facts.frozen:
        return Verdict(again=max(now, at) + LOOK_AT_FROZEN_AGAIN)
    return Verdict(tell=True) if now >= at else Verdict(again=at)


def _judge_finish(facts: Facts, at: dt.datetime, now: dt.datetime) -> Verdict:
    if facts.state == State.SKIPPED:
        return FORGET
    if facts.state == State.SUCCESS:
        return Verdict(tell=facts.end_time is not None and facts.end_time > at)
    if now >= at:
        return Verdict(tell=True)
    if facts.state == State.FAILED:
        # Its failure is another rule's matter until its time is over: somebody may still rerun it.
        return Verdict(again=at)
    expected = facts.finish(now)
    if expected is not None and expected > at:
        return Verdict(tell=True, predicted=True, expected=expected)
    if facts.state in WAITING or facts.state == State.FAILED_RETRY:
        return Verdict(again=min(at, max(now, at - facts.typical) + dt.timedelta(seconds=1)))
    return Verdict(again=at)
