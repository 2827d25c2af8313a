"""Cycles and crontab expressions, both ways; scopes of dependencies; time zones."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from instances.engine.dependency_scopes import SCOPES, takes_offsets
from instances.engine.schedule import Cycle, Schedule
from instances.engine.schedule import errors as faults
from weops.wedata import dependencies, schedules, times
from weops.wedata.errors import ApiError
from weops.wedata.schedules import CrontabError, columns, expression, numbers, oneoff

NINE = dt.time(9, 30)


@pytest.mark.parametrize(
    ("cycle", "text", "wanted", "back"),
    [
        ("MINUTE", "0 0/5 * * * ? *", {"step": 5}, None),
        ("MINUTE", "0 */30 * * * ?", {"step": 30}, "0 0/30 * * * ? *"),
        ("MINUTE", "0 0,15,30,45 * * * ? *", {"step": 15}, "0 0/15 * * * ? *"),
        ("MINUTE", "* * * * *", {"step": 1}, "0 0/1 * * * ? *"),
        ("HOUR", "0 15 0/3 * * ? *", {"step": 3, "at": dt.time(0, 15)}, None),
        ("HOUR", "0 0 * * * ? *", {"step": 1, "at": dt.time(0)}, "0 0 0/1 * * ? *"),
        ("HOUR", "0 10 2,8,9 * * ? *", {"hours": [2, 8, 9], "at": dt.time(0, 10)}, None),
        ("HOUR", "0 0 5 * * ? *", {"hours": [5]}, None),
        (
            "HOUR",
            "0 0 8-18 * * ? *",
            {"hours": list(range(8, 19))},
            "0 0 8,9,10,11,12,13,14,15,16,17,18 * * ? *",
        ),
        ("DAY", "0 30 9 * * ? *", {"at": NINE}, None),
        ("DAY", "0 30 9 1/1 * ?", {"at": NINE}, "0 30 9 * * ? *"),
        ("DAY", "30 9 * * *", {"at": NINE}, "0 30 9 * * ? *"),
        ("WEEK", "0 30 9 ? * MON,FRI *", {"at": NINE, "weekdays": [1, 5]}, None),
        ("WEEK", "0 30 9 ? * 1,2 *", {"at": NINE, "weekdays": [1, 7]}, "0 30 9 ? * MON,SUN *"),
        ("WEEK", "30 9 * * 0,1", {"at": NINE, "weekdays": [1, 7]}, "0 30 9 ? * MON,SUN *"),
        ("WEEK", "30 9 * * 7", {"at": NINE, "weekdays": [7]}, "0 30 9 ? * SUN *"),
        ("MONTH", "0 30 9 1,L,2 * ? *", {"at": NINE, "month_days": [1, 2, -1]}, "0 30 9 1,2,L * ? *"),
        ("MONTH", "0 30 9 L * ?", {"at": NINE, "month_days": [-1]}, "0 30 9 L * ? *"),
        ("YEAR", "0 30 9 1 JAN,7 ? *", {"at": NINE, "month_days": [1], "months": [1, 7]}, "0 30 9 1 1,7 ? *"),
        ("CRONTAB", " 0 0 2 ? * MON-FRI * ", {"crontab": "0 0 2 ? * MON-FRI *"}, "0 0 2 ? * MON-FRI *"),
    ],
)
def test_expressions_of_cycles(cycle: str, text: str, wanted: dict[str, Any], back: str | None) -> None:
    found = columns(Cycle(cycle), text)
    assert {name: found[name] for name in wanted} == wanted
    schedule = Schedule(Cycle(cycle), **{name: value for name, value in found.items() if name != "run_at"})
    assert not list(faults(schedule))
    written = expression(SimpleNamespace(cycle_type=cycle, **found))
    assert written == (text if back is None else back)
    # What is written is read as the same.
    assert columns(Cycle(cycle), written) == found


@pytest.mark.parametrize(
    ("cycle", "text"),
    [
        ("MINUTE", "0 0/7 * * * ? *"),
        ("MINUTE", "0 3/5 * * * ? *"),
        ("MINUTE", "0 0/5 8 * * ? *"),
        ("HOUR", "0 0,30 0/2 * * ? *"),
        ("HOUR", "0 0 0/2 1 * ? *"),
        ("DAY", "0 0 2 1 * ? *"),
        ("DAY", "0 0 2,3 * * ? *"),
        ("DAY", "5 0 2 * * ? *"),
        ("DAY", "0 0 24 * * ? *"),
        ("DAY", "0 0 2"),
        ("DAY", ""),
        ("DAY", "0 0 2 * * ? * *"),
        ("DAY", "0 0 x * * ? *"),
        ("DAY", "0 0 1/0 * * ? *"),
        ("DAY", "0 0 " + "9" * 5000 + " * * ? *"),
        ("WEEK", "0 0 2 * * ? *"),
        ("WEEK", "0 0 2 ? * 8 *"),
        ("WEEK", "0 0 2 ? * MON#2 *"),
        ("MONTH", "0 0 2 ? * MON *"),
        ("MONTH", "0 0 2 32 * ? *"),
        ("MONTH", "0 0 2 1 3 ? *"),
        ("YEAR", "0 0 2 1 * ? *"),
        ("YEAR", "0 0 2 1 13 ? *"),
        ("YEAR", "0 0 2 1 1 ? 2027"),
    ],
)
def test_what_is_no_expression_of_a_cycle(cycle: str, text: str) -> None:
    with pytest.raises(CrontabError):
        columns(Cycle(cycle), text)


def test_oneoff() -> None:
    start = dt.datetime(2026, 3, 25, 8, 0)  # noqa: DTZ001
    assert oneoff("0 30 2 25 3 ? 2026", None) == dt.datetime(2026, 3, 25, 2, 30)  # noqa: DTZ001
    assert oneoff("0 30 9 * * ? *", start) == dt.datetime(2026, 3, 25, 9, 30)  # noqa: DTZ001
    assert oneoff("", start) == start
    for text, begin in (("0 0 0 * * ? *", None), ("0 0 0 31 2 ? 2026", None)):
        with pytest.raises(CrontabError):
            oneoff(text, begin)
    task = SimpleNamespace(cycle_type="ONEOFF", at=dt.time(0))
    assert expression(task, start) == "0 0 8 25 3 ? 2026"
    assert oneoff(expression(task, start), None) == start


def test_numbers() -> None:
    assert numbers("1-3,7,20/2", 0, 24) == [1, 2, 3, 7, 20, 22, 24]


# Dependencies


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_is_written_and_read(scope: str) -> None:
    offsets = "-1,0" if takes_offsets(scope) else ""
    shown = dependencies.shown(7, scope, offsets)
    main, sub, offset = (
        shown[name] or "" for name in ("MainCyclicConfig", "SubordinateCyclicConfig", "Offset")
    )
    assert shown["TaskId"] == "7"
    assert main in dependencies.MAIN
    assert dependencies.scope_of(main, sub, offset, "x") == (scope, offsets)


@pytest.mark.parametrize(
    ("main", "sub", "offset", "field"),
    [
        ("DAY", "CURRENT_HOUR", "", "MainCyclicConfig"),
        ("DAY", "CURRENT_DAY", "-1", "Offset"),
        ("LIST_DAY", "CURRENT_DAY", "-1", "SubordinateCyclicConfig"),
    ],
)
def test_what_contradicts_itself(main: str, sub: str, offset: str, field: str) -> None:
    with pytest.raises(ApiError, match=f"x.{field}"):
        dependencies.scope_of(main, sub, offset, "x")


def test_without_a_scope_it_is_the_default() -> None:
    assert dependencies.scope_of("", "", "", "x") == ("", "")


# Time zones


@pytest.mark.parametrize(
    ("text", "shown", "hour"),
    [(None, "08:00:00", 8), ("UTC+8", "08:00:00", 8), ("UTC-5", "19:00:00", -5), ("UTC", "00:00:00", 0),
     ("UTC+5:30", "05:30:00", 5.5), ("Asia/Tokyo", "09:00:00", 9)],
)  # fmt: skip
def test_zones_of_requests(text: str | None, shown: str, hour: float) -> None:
    midnight = dt.datetime(2026, 3, 25, tzinfo=dt.UTC)
    tz = times.read_zone(text)
    told = times.told(midnight, tz)
    assert told is not None
    assert told.endswith(shown)
    clock = (midnight + dt.timedelta(hours=hour)).replace(tzinfo=None)
    assert times.aware(clock, tz) == midnight


@pytest.mark.parametrize(
    ("text", "name"), [("UTC+8", "Etc/GMT-8"), ("UTC-5", "Etc/GMT+5"), ("UTC+0", "UTC"), (None, "Etc/GMT-8")]
)
def test_zones_of_schedules(text: str | None, name: str) -> None:
    assert times.schedule_zone(text, "x") == name
    assert times.schedule_zone(times.zone_text(name), "x") == name
    zone = times.zone_of(name)
    assert dt.datetime(2026, 7, 1, tzinfo=zone).utcoffset() == times.read_zone(text).utcoffset(None)


def test_a_named_zone_stays() -> None:
    assert times.zone_text(times.schedule_zone("Europe/Berlin", "x")) == "Europe/Berlin"


@pytest.mark.parametrize("text", ["UTC+15", "UTC+8:99", "Mars/Olympus", "8", "UTC+" + "9" * 50])
def test_what_is_no_zone(text: str) -> None:
    with pytest.raises(ApiError, match="TimeZone"):
        times.read_zone(text)
    with pytest.raises(ApiError, match="ScheduleTimeZone"):
        times.schedule_zone(text, "ScheduleTimeZone")


def test_the_ends_of_the_calendar_are_told() -> None:
    for moment in (dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, tzinfo=dt.UTC)):
        assert times.told(moment, times.read_zone("UTC+14"))


def test_defaults_are_as_the_api_says() -> None:
    assert schedules.DEFAULT_CRONTAB == "0 0 0 * * ? *"
