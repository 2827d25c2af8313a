"""Limits: when they are reached, when one must look, and what is found. Pure functions, no database."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from instances.insight.forecast import Durations, Standing, predicted_finish
from weops.alarms.limits import FORGET, Facts, Limit, Verdict, due_at, judge, limit_at, zone_of

NOON = dt.datetime(2026, 3, 25, 12, tzinfo=dt.UTC)
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)


def facts(state: str = "wait_upstream", **values: Any) -> Facts:
    return Facts(**{"state": state, "planned_time": NOON, "wait_since": NOON, "not_before": NOON, **values})


def took(minutes: float, *, wait: float = 5, finish: float = 40) -> Durations:
    return Durations(20, minutes * MINUTE, minutes * MINUTE, wait * MINUTE, finish * MINUTE)


def finish_by(clock: str, zone: str = "UTC") -> Limit:
    return Limit.read({"kind": "finish", "clock": clock, "timezone": zone})


def test_a_fixed_finish_is_the_next_time_the_clock_shows_it() -> None:
    assert limit_at(finish_by("13:00"), facts()) == NOON + HOUR
    assert limit_at(finish_by("12:00"), facts()) == NOON + 24 * HOUR
    # 20:30 in Shanghai is 12:30 here.
    assert limit_at(finish_by("20:30", "UTC+8"), facts()) == NOON + 30 * MINUTE
    # The hour that clocks skipped: the first moment after it.
    spring = facts(planned_time=dt.datetime(2026, 3, 29, 0, tzinfo=dt.UTC))
    assert limit_at(finish_by("02:30", "Europe/Berlin"), spring) == dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC)


def test_a_finish_that_can_no_longer_be_kept_is_told_before_it_is_missed() -> None:
    limit, at = finish_by("13:00"), NOON + HOUR
    waiting = facts(durations=took(20))
    look = due_at(limit, waiting, at, NOON)
    assert look == at - 20 * MINUTE
    assert judge(limit, waiting, at, look - MINUTE).again == look + dt.timedelta(seconds=1)
    found = judge(limit, waiting, at, look + MINUTE)
    assert found == Verdict(tell=True, predicted=True, expected=at + MINUTE)
    # One that has started in time is looked at once more, at the limit.
    running = facts("running", start_time=look - MINUTE, durations=took(20))
    assert judge(limit, running, at, look) == Verdict(again=at)
    assert judge(limit, running, at, at) == Verdict(tell=True)
    late = facts("running", start_time=look + MINUTE, durations=took(20))
    assert judge(limit, late, at, look + MINUTE).predicted


@pytest.mark.parametrize(
    ("state", "ended", "told"),
    [
        ("success", -MINUTE, False),
        ("success", MINUTE, True),
        ("skipped", MINUTE, False),
        ("failed", -MINUTE, True),
    ],
)
def test_a_look_after_the_limit_goes_by_when_it_ended(state: str, ended: dt.timedelta, told: bool) -> None:
    at = NOON + HOUR
    assert judge(finish_by("13:00"), facts(state, end_time=at + ended), at, at + HOUR).tell is told


def test_a_failed_one_may_still_be_rerun_until_its_limit() -> None:
    at = NOON + HOUR
    assert judge(finish_by("13:00"), facts("failed", end_time=NOON), at, NOON) == Verdict(again=at)


def test_without_any_run_nothing_is_foreseen() -> None:
    limit, at = finish_by("13:00"), NOON + HOUR
    assert due_at(limit, facts(), at, NOON) == at
    assert judge(limit, facts(), at, at) == Verdict(tell=True)
    average = Limit.read({"kind": "finish", "measure": "average"})
    assert limit_at(average, facts()) is None


def test_averages_leave_room() -> None:
    run = Limit.read({"kind": "run", "measure": "average", "tolerance": 100})
    started = facts("running", run_started_at=NOON, start_time=NOON, durations=took(10))
    assert limit_at(run, started) == NOON + 20 * MINUTE
    # A run of a second is not late after two.
    quick = replace(started, durations=took(1 / 60))
    assert limit_at(run, quick) == NOON + dt.timedelta(seconds=61)
    wait = Limit.read({"kind": "wait", "measure": "average"})
    assert limit_at(wait, facts(durations=took(10, wait=10))) == NOON + 15 * MINUTE


def test_a_running_time_is_that_of_the_try() -> None:
    limit = Limit.read({"kind": "run", "minutes": 10})
    assert limit_at(limit, facts()) is None
    running = facts("running", start_time=NOON, run_started_at=NOON)
    at = limit_at(limit, running)
    assert at == NOON + 10 * MINUTE
    assert due_at(limit, running, at, NOON) == at
    assert judge(limit, running, at, at) == Verdict(tell=True)
    assert judge(limit, replace(running, run_ended_at=at - MINUTE), at, at) == Verdict()
    assert judge(limit, replace(running, run_ended_at=at + MINUTE), at, at + HOUR).tell
    # One that usually takes longer is known to be late as soon as it runs.
    slow = replace(running, durations=took(30))
    assert due_at(limit, slow, at, NOON) == NOON
    assert judge(limit, slow, at, NOON) == Verdict(tell=True, predicted=True, expected=NOON + 30 * MINUTE)


def test_waiting_counts_from_the_planned_time_and_stands_still_while_frozen() -> None:
    limit = Limit.read({"kind": "wait", "minutes": 10})
    early = facts(wait_since=NOON - HOUR)
    at = limit_at(limit, early)
    assert at == NOON + 10 * MINUTE
    assert judge(limit, early, at, at) == Verdict(tell=True)
    assert judge(limit, facts(frozen=True), at, at).again is not None
    assert judge(limit, facts("running", start_time=at - MINUTE), at, at) == Verdict()
    assert judge(limit, facts("success", start_time=at + MINUTE, end_time=at + HOUR), at, at + HOUR).tell
    # A retry began later, the first try did not.
    assert judge(limit, facts("running", start_time=at + MINUTE, tries=1), at, at + HOUR) == FORGET
    assert judge(limit, facts("failed", end_time=at + MINUTE), at, at + HOUR).tell


def test_a_cycle_is_over_when_the_next_run_is_planned() -> None:
    limit = Limit.read({"kind": "cycle"})
    assert limit_at(limit, facts()) is None
    assert limit_at(limit, facts(next_planned=NOON + HOUR)) == NOON + HOUR


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "never"},
        {"kind": "run"},
        {"kind": "run", "minutes": 0},
        {"kind": "run", "minutes": True},
        {"kind": "run", "minutes": "soon"},
        {"kind": "finish", "clock": "24:00"},
        {"kind": "finish", "clock": "08:00", "timezone": "Mars/Olympus"},
        {"kind": "wait", "measure": "average", "tolerance": -1},
        {"kind": "wait", "measure": "median"},
        {"kind": "run", "minutes": 5, "seconds": 3},
    ],
)
def test_what_cannot_be_meant_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Limit.read(data)


def test_limits_are_written_in_their_normal_form() -> None:
    for data in (
        {"kind": "run", "measure": "fixed", "reruns": True, "minutes": 5},
        {"kind": "finish", "measure": "fixed", "reruns": False, "clock": "08:05", "timezone": "Etc/GMT-8"},
        {"kind": "wait", "measure": "average", "reruns": False, "tolerance": 20},
        {"kind": "cycle", "measure": "fixed", "reruns": False},
    ):
        assert Limit.read(data).write() == data
    assert Limit.read({"kind": "finish", "clock": "8:05"}).clock == "08:05"


def test_offsets_are_zones_too() -> None:
    assert [zone_of(text) for text in ("UTC+8", "utc-03:00", "GMT+0", "Asia/Shanghai")] == [
        "Etc/GMT-8",
        "Etc/GMT+3",
        "UTC",
        "Asia/Shanghai",
    ]


def test_a_forecast_of_what_waits_runs_and_has_ended() -> None:
    run = 10 * MINUTE
    assert predicted_finish(Standing("wait_run", NOON + HOUR), run, NOON) == NOON + HOUR + run
    assert predicted_finish(Standing("failed_retry", NOON - HOUR), run, NOON) == NOON + run
    assert predicted_finish(Standing("running", NOON, NOON - 4 * MINUTE), run, NOON) == NOON + 6 * MINUTE
    # Longer than usual already: nobody can tell but that it is not over.
    assert predicted_finish(Standing("running", NOON, NOON - HOUR), run, NOON) == NOON
    assert predicted_finish(Standing("success", NOON, NOON, NOON + MINUTE), run, NOON + HOUR) == NOON + MINUTE
    assert predicted_finish(Standing("terminating", NOON, NOON), run, NOON) is None
