"""Which upstream data times each scope waits for: every pair of cycles, ordinary days and days on which clocks change."""

from datetime import UTC, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from instances.engine.dependencies import (
    DependencyError,
    problem,
    required,
    scopes,
    takes_offsets,
    upstream_data_times,
)
from instances.engine.dependency_scopes import SCOPES
from instances.engine.schedule import Cycle, Schedule

SHANGHAI, NEW_YORK = "Asia/Shanghai", "America/New_York"
DAILY, HOURLY = Schedule(Cycle.DAY, SHANGHAI), Schedule(Cycle.HOUR, SHANGHAI)


def at(text, zone=SHANGHAI):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def shown(moments, zone=SHANGHAI):
    return [f"{moment.astimezone(ZoneInfo(zone)):%d %H:%M}" for moment in moments]


def waits(scope, downstream, data_time, upstream):
    return upstream_data_times(scope, downstream, data_time, upstream)


@pytest.mark.parametrize(
    ("scope", "first", "last"),
    [
        ("PREVIOUS_DAY", "24 00:00", "24 23:00"),
        ("PREVIOUS_DAY_LATER_OFFSET_HOUR", "24 01:00", "25 00:00"),
        ("CURRENT_DAY", "25 00:00", "25 23:00"),
        ("", "24 01:00", "25 00:00"),
    ],
)
def test_a_daily_task_on_an_hourly_one(scope, first, last):
    found = waits(scope, DAILY, at("2026-03-25"), HOURLY)
    assert len(found) == 24
    assert (shown(found)[0], shown(found)[-1]) == (first, last)
    assert all(moment.tzinfo is UTC for moment in found)


def test_the_upstreams_schedule_decides_which_data_times_exist():
    every_six = Schedule(Cycle.HOUR, SHANGHAI, step=6, at=time(2, 30))
    assert shown(waits("CURRENT_DAY", DAILY, at("2026-03-25"), every_six)) == [
        "25 02:00",
        "25 08:00",
        "25 14:00",
        "25 20:00",
    ]
    not_yet = Schedule(Cycle.HOUR, SHANGHAI, effective_from=at("2026-03-25T22:00"))
    assert shown(waits("CURRENT_DAY", DAILY, at("2026-03-25"), not_yet)) == ["25 22:00", "25 23:00"]
    assert waits("PREVIOUS_DAY", DAILY, at("2026-03-25"), not_yet) == ()


@pytest.mark.parametrize(
    ("scope", "first", "last", "count"),
    [
        ("PREVIOUS_MONTH", "2026-02-01", "2026-02-28", 28),
        ("CURRENT_MONTH", "2026-03-01", "2026-03-31", 31),
        ("PREVIOUS_END_OF_MONTH", "2026-02-28", "2026-02-28", 1),
        ("CURRENT_DAY", "2026-03-25", "2026-03-25", 1),
        ("PREVIOUS_DAY", "2026-03-24", "2026-03-24", 1),
        ("", "2026-02-01", "2026-02-28", 28),
    ],
)
def test_a_monthly_task_on_a_daily_one(scope, first, last, count):
    monthly = Schedule(Cycle.MONTH, SHANGHAI, month_days=(25,), at=time(6, 0))
    found = waits(scope, monthly, at("2026-03-25"), Schedule(Cycle.DAY, SHANGHAI, at=time(23, 0)))
    assert (found[0], found[-1], len(found)) == (at(first), at(last), count)


def test_january_waits_for_days_of_the_year_before():
    monthly = Schedule(Cycle.MONTH, SHANGHAI, month_days=(1,))
    assert shown(waits("PREVIOUS_END_OF_MONTH", monthly, at("2026-01-01"), DAILY)) == ["31 00:00"]
    assert len(waits("PREVIOUS_MONTH", monthly, at("2026-01-01"), DAILY)) == 31
    assert len(waits("CURRENT_MONTH", monthly, at("2025-12-01"), DAILY)) == 31


@pytest.mark.parametrize(
    ("schedule", "data_time"),
    [
        (Schedule(Cycle.MINUTE, SHANGHAI, step=5), "2026-03-25T08:05"),
        (Schedule(Cycle.HOUR, SHANGHAI, at=time(0, 20)), "2026-03-25T08:00"),
        (Schedule(Cycle.DAY, SHANGHAI, at=time(3, 0)), "2026-03-25"),
        (Schedule(Cycle.WEEK, SHANGHAI, weekdays=(3,)), "2026-03-25"),
        (Schedule(Cycle.MONTH, SHANGHAI, month_days=(-1,)), "2026-02-28"),
        (Schedule(Cycle.YEAR, SHANGHAI, months=(3,), month_days=(25,)), "2026-03-25"),
        (Schedule(Cycle.CRONTAB, SHANGHAI, crontab="5 8 * * 3"), "2026-03-25T08:05"),
        (Schedule(Cycle.ONEOFF, SHANGHAI, run_at=at("2026-03-25T08:07")), "2026-03-25T08:07"),
    ],
)
def test_equal_schedules_wait_for_the_same_data_time(schedule, data_time):
    scope = scopes(schedule.cycle, schedule.cycle)[0]
    assert scope == (
        "CURRENT" if schedule.cycle in (Cycle.ONEOFF, Cycle.CRONTAB) else f"CURRENT_{schedule.cycle}"
    )
    assert waits(scope, schedule, at(data_time), schedule) == (at(data_time),)
    assert waits("", schedule, at(data_time), schedule) == (at(data_time),)


def test_current_week_begins_on_monday():
    monday = Schedule(Cycle.WEEK, SHANGHAI, weekdays=(1,))
    sunday = Schedule(Cycle.WEEK, SHANGHAI, weekdays=(7,))
    assert shown(waits("CURRENT_WEEK", monday, at("2026-03-23"), sunday)) == ["29 00:00"]
    assert shown(waits("CURRENT_WEEK", sunday, at("2026-03-29"), monday)) == ["23 00:00"]


def test_a_crontab_waits_for_the_upstreams_latest_run_up_to_its_own():
    early, late = (Schedule(Cycle.CRONTAB, SHANGHAI, crontab=text) for text in ("0 2 * * *", "0 3 * * *"))
    assert shown(waits("CURRENT", late, at("2026-03-25T03:00"), early)) == ["25 02:00"]
    assert shown(waits("CURRENT", early, at("2026-03-25T02:00"), late)) == ["24 03:00"]
    begins = Schedule(Cycle.CRONTAB, SHANGHAI, crontab="0 2 * * *", effective_from=at("2026-03-26"))
    assert waits("CURRENT", late, at("2026-03-25T03:00"), begins) == ()


def test_a_one_off_task_waits_for_the_other_whenever_it_is():
    before, after = (
        Schedule(Cycle.ONEOFF, SHANGHAI, run_at=at(text)) for text in ("2026-01-01", "2027-01-01")
    )
    assert waits("CURRENT", before, at("2026-01-01"), after) == (at("2027-01-01"),)
    assert waits("CURRENT", DAILY, at("2026-01-01"), after) == (at("2027-01-01"),)
    assert waits("CURRENT_DAY", before, at("2026-01-01"), after) == ()
    assert waits("CURRENT", before, at("2026-01-01"), Schedule(Cycle.ONEOFF, SHANGHAI)) == ()


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-03-09", 24), ("2026-11-01", 25)])
def test_a_day_has_as_many_hours_as_its_clocks_show(day, hours):
    daily = Schedule(Cycle.DAY, NEW_YORK)
    tomorrow = at(day, NEW_YORK) + timedelta(hours=hours)
    for upstream_zone, count in (
        ("UTC", hours),
        (NEW_YORK, min(hours, 24)),
    ):  # an hour that comes twice runs once
        hourly = Schedule(Cycle.HOUR, upstream_zone)
        assert len(waits("CURRENT_DAY", daily, at(day, NEW_YORK), hourly)) == count
        assert len(waits("PREVIOUS_DAY", daily, tomorrow, hourly)) == count
        assert len(waits("PREVIOUS_DAY_LATER_OFFSET_HOUR", daily, tomorrow, hourly)) == count


def test_tasks_in_two_zones():
    new_york = Schedule(Cycle.DAY, NEW_YORK)
    assert shown(waits("CURRENT_DAY", DAILY, at("2026-03-25"), new_york), NEW_YORK) == ["25 00:00"]
    assert len(waits("CURRENT_DAY", new_york, at("2026-03-25", NEW_YORK), HOURLY)) == 24


def test_scopes_that_a_pair_does_not_have_are_refused():
    assert problem("", Cycle.DAY, Cycle.HOUR) == problem("CURRENT_DAY", Cycle.DAY, Cycle.HOUR) == ""
    assert problem("NEXT_DAY", Cycle.MONTH, Cycle.MONTH) == (
        "'NEXT_DAY' is no scope of MONTH on MONTH; choose CURRENT_MONTH or RECENT_DATE."
    )
    with pytest.raises(DependencyError, match="choose CURRENT_DAY or RANGE_DAY or LIST_DAY"):
        waits("CURRENT_HOUR", DAILY, at("2026-03-25"), DAILY)
    with pytest.raises(DependencyError, match="no scope of HOUR on DAY"):
        required("LIST_HOUR", HOURLY, at("2026-03-25"), DAILY, "-1")
    with pytest.raises(ValueError, match="time zone"):
        waits("CURRENT_DAY", DAILY, datetime(2026, 3, 25), DAILY)  # noqa: DTZ001


# The table as WeData's SDK lists it (module v20250806, DependencyTaskBrief): time dimension and instance scope.
WEDATA = """
MINUTE MINUTE MINUTE/CURRENT_MINUTE MINUTE/PREVIOUS_MINUTE_CYCLE RANGE_MINUTE LIST_MINUTE
MINUTE HOUR HOUR/CURRENT_HOUR RANGE_HOUR LIST_HOUR
MINUTE DAY DAY/CURRENT_DAY RANGE_DAY LIST_DAY
MINUTE WEEK WEEK/CURRENT_WEEK
MINUTE MONTH MONTH/CURRENT_MONTH
MINUTE YEAR YEAR/CURRENT_YEAR
MINUTE ONEOFF DAY/CURRENT_DAY
HOUR MINUTE HOUR/PREVIOUS_HOUR_LATER_OFFSET_MINUTE HOUR/PREVIOUS_HOUR HOUR/CURRENT_HOUR RANGE_MINUTE LIST_MINUTE
HOUR HOUR HOUR/CURRENT_HOUR HOUR/PREVIOUS_HOUR_CYCLE RANGE_HOUR LIST_HOUR
HOUR DAY DAY/CURRENT_DAY RANGE_DAY LIST_DAY
HOUR WEEK WEEK/CURRENT_WEEK
HOUR MONTH MONTH/CURRENT_MONTH
HOUR YEAR YEAR/CURRENT_YEAR
HOUR ONEOFF DAY/CURRENT_DAY
DAY MINUTE DAY/PREVIOUS_DAY_LATER_OFFSET_MINUTE DAY/PREVIOUS_DAY DAY/CURRENT_DAY RANGE_MINUTE LIST_MINUTE
DAY HOUR DAY/PREVIOUS_DAY_LATER_OFFSET_HOUR DAY/PREVIOUS_DAY DAY/CURRENT_DAY RANGE_HOUR LIST_HOUR
DAY DAY DAY/CURRENT_DAY RANGE_DAY LIST_DAY
DAY WEEK WEEK/CURRENT_WEEK DAY/RECENT_DATE
DAY MONTH MONTH/CURRENT_MONTH DAY/RECENT_DATE
DAY YEAR YEAR/CURRENT_YEAR DAY/RECENT_DATE
DAY ONEOFF DAY/CURRENT_DAY
WEEK MINUTE WEEK/PREVIOUS_WEEK WEEK/CURRENT_WEEK RANGE_MINUTE LIST_MINUTE
WEEK HOUR WEEK/PREVIOUS_WEEK WEEK/CURRENT_WEEK RANGE_HOUR LIST_HOUR
WEEK DAY WEEK/PREVIOUS_WEEK WEEK/PREVIOUS_FRIDAY WEEK/PREVIOUS_WEEKEND WEEK/CURRENT_WEEK DAY/CURRENT_DAY DAY/PREVIOUS_DAY RANGE_DAY LIST_DAY
WEEK WEEK WEEK/CURRENT_WEEK DAY/RECENT_DATE
WEEK MONTH MONTH/CURRENT_MONTH DAY/RECENT_DATE
WEEK YEAR YEAR/CURRENT_YEAR
WEEK ONEOFF WEEK/CURRENT_WEEK
MONTH MINUTE MONTH/PREVIOUS_MONTH MONTH/CURRENT_MONTH RANGE_MINUTE LIST_MINUTE
MONTH HOUR MONTH/PREVIOUS_MONTH MONTH/CURRENT_MONTH RANGE_HOUR LIST_HOUR
MONTH DAY MONTH/PREVIOUS_MONTH MONTH/PREVIOUS_END_OF_MONTH MONTH/CURRENT_MONTH DAY/CURRENT_DAY DAY/PREVIOUS_DAY RANGE_DAY LIST_DAY
MONTH WEEK MONTH/PREVIOUS_MONTH MONTH/CURRENT_MONTH DAY/RECENT_DATE
MONTH MONTH MONTH/CURRENT_MONTH DAY/RECENT_DATE
MONTH YEAR YEAR/CURRENT_YEAR
MONTH ONEOFF MONTH/CURRENT_MONTH
YEAR MINUTE YEAR/CURRENT_YEAR RANGE_MINUTE LIST_MINUTE
YEAR HOUR YEAR/CURRENT_YEAR RANGE_HOUR LIST_HOUR
YEAR DAY DAY/ALL_DAY_OF_YEAR DAY/CURRENT_DAY DAY/PREVIOUS_DAY RANGE_DAY LIST_DAY
YEAR WEEK YEAR/CURRENT_YEAR
YEAR MONTH MONTH/ALL_MONTH_OF_YEAR MONTH/CURRENT_MONTH MONTH/PREVIOUS_MONTH MONTH/PREVIOUS_END_OF_MONTH MONTH/PREVIOUS_BEGIN_OF_MONTH DAY/RECENT_DATE
YEAR YEAR YEAR/CURRENT_YEAR DAY/RECENT_DATE
YEAR ONEOFF YEAR/CURRENT_YEAR
ONEOFF MINUTE DAY/CURRENT_DAY
ONEOFF HOUR DAY/CURRENT_DAY
ONEOFF DAY DAY/CURRENT_DAY
ONEOFF WEEK WEEK/CURRENT_WEEK
ONEOFF MONTH MONTH/CURRENT_MONTH
ONEOFF YEAR YEAR/CURRENT_YEAR
ONEOFF ONEOFF DAY/CURRENT_DAY
CRONTAB CRONTAB CRONTAB/CURRENT
"""  # noqa: E501


@pytest.mark.parametrize("line", WEDATA.strip().splitlines())
def test_the_table_of_wedata(line):
    down, up, *listed = line.split()
    wanted = {word.rpartition("/")[2]: word.partition("/")[0] for word in listed}
    known = scopes(Cycle(down), Cycle(up))
    assert {
        scope: SCOPES[scope].dimension for scope in known if scope != "CURRENT" or up == "CRONTAB"
    } == wanted
    # What we add: a one-off task may be waited for whenever it runs.
    assert set(known) - set(wanted) == ({"CURRENT"} if up == "ONEOFF" else set())


def test_every_pair_has_scopes_that_mean_something():
    assert {scope for pair in product(Cycle, Cycle) for scope in scopes(*pair)} == set(SCOPES)
    for down, up in product(Cycle, Cycle):
        known = scopes(down, up)
        assert len(set(known)) == len(known) > 0
        assert not takes_offsets(known[0]), "the default needs no offsets"
        times = waits("", Schedule(down, SHANGHAI), at("2026-03-25"), EXAMPLES[up])
        assert all(moment.tzinfo is UTC for moment in times)


EXAMPLES = {
    Cycle.ONEOFF: Schedule(Cycle.ONEOFF, SHANGHAI, run_at=at("2026-03-25T08:07")),
    Cycle.MINUTE: Schedule(Cycle.MINUTE, SHANGHAI, step=30),
    Cycle.HOUR: HOURLY,
    Cycle.DAY: DAILY,
    Cycle.WEEK: Schedule(Cycle.WEEK, SHANGHAI, weekdays=(1, 5)),
    Cycle.MONTH: Schedule(Cycle.MONTH, SHANGHAI, month_days=(1, -1)),
    Cycle.YEAR: Schedule(Cycle.YEAR, SHANGHAI, months=(3, 6), month_days=(25,)),
    Cycle.CRONTAB: Schedule(Cycle.CRONTAB, SHANGHAI, crontab="30 2 * * MON-FRI"),
}


# D = Wednesday 2026-03-25 in Shanghai; hour and minute tasks 08:00 of it.
@pytest.mark.parametrize(
    ("down", "up", "scope", "expected"),
    [
        ("MINUTE", "MINUTE", "PREVIOUS_MINUTE_CYCLE", ["25 07:30"]),
        ("MINUTE", "HOUR", "CURRENT_HOUR", ["25 08:00"]),
        ("MINUTE", "DAY", "CURRENT_DAY", ["25 00:00"]),
        ("MINUTE", "WEEK", "CURRENT_WEEK", ["23 00:00", "27 00:00"]),
        ("HOUR", "MINUTE", "PREVIOUS_HOUR_LATER_OFFSET_MINUTE", ["25 07:30", "25 08:00"]),
        ("HOUR", "MINUTE", "PREVIOUS_HOUR", ["25 07:00", "25 07:30"]),
        ("HOUR", "MINUTE", "CURRENT_HOUR", ["25 08:00", "25 08:30"]),
        ("HOUR", "HOUR", "PREVIOUS_HOUR_CYCLE", ["25 07:00"]),
        ("HOUR", "CRONTAB", "RECENT_DATE", ["25 02:30"]),
        ("HOUR", "ONEOFF", "CURRENT_DAY", ["25 08:07"]),
        ("DAY", "WEEK", "CURRENT_WEEK", ["23 00:00", "27 00:00"]),
        ("DAY", "WEEK", "RECENT_DATE", ["23 00:00"]),
        ("DAY", "MONTH", "CURRENT_MONTH", ["01 00:00", "31 00:00"]),
        ("DAY", "MONTH", "RECENT_DATE", ["01 00:00"]),
        ("DAY", "YEAR", "RECENT_DATE", ["25 00:00"]),
        ("DAY", "CRONTAB", "CURRENT_DAY", ["25 02:30"]),
        ("DAY", "CRONTAB", "RECENT_DATE", ["24 02:30"]),
        ("DAY", "ONEOFF", "CURRENT", ["25 08:07"]),
        ("WEEK", "DAY", "PREVIOUS_WEEK", [f"{day} 00:00" for day in range(16, 23)]),
        ("WEEK", "DAY", "CURRENT_WEEK", [f"{day} 00:00" for day in range(23, 30)]),
        ("WEEK", "DAY", "PREVIOUS_FRIDAY", ["20 00:00"]),
        ("WEEK", "DAY", "PREVIOUS_WEEKEND", ["22 00:00"]),
        ("WEEK", "DAY", "CURRENT_DAY", ["25 00:00"]),
        ("WEEK", "DAY", "PREVIOUS_DAY", ["24 00:00"]),
        ("MONTH", "WEEK", "PREVIOUS_MONTH", [f"{day:02} 00:00" for day in (2, 6, 9, 13, 16, 20, 23, 27)]),
        ("YEAR", "MONTH", "CURRENT_MONTH", ["01 00:00", "31 00:00"]),
        ("YEAR", "MONTH", "PREVIOUS_MONTH", ["01 00:00", "28 00:00"]),
        ("YEAR", "MONTH", "PREVIOUS_BEGIN_OF_MONTH", ["01 00:00"]),
        ("YEAR", "MONTH", "PREVIOUS_END_OF_MONTH", ["28 00:00"]),
        ("CRONTAB", "HOUR", "RECENT_DATE", ["25 08:00"]),
        ("CRONTAB", "DAY", "CURRENT_DAY", ["25 00:00"]),
        ("ONEOFF", "CRONTAB", "CURRENT_DAY", ["25 02:30"]),
    ],
)
def test_what_scopes_mean_on_an_ordinary_day(down, up, scope, expected):
    hour = "T08:00" if down in ("MINUTE", "HOUR", "CRONTAB", "ONEOFF") else ""
    downstream = Schedule(Cycle(down), SHANGHAI)
    assert shown(waits(scope, downstream, at(f"2026-03-25{hour}"), EXAMPLES[Cycle(up)])) == expected


def test_a_whole_year():
    yearly = Schedule(Cycle.YEAR, SHANGHAI, months=(2,), month_days=(-1,))
    days = waits("ALL_DAY_OF_YEAR", yearly, at("2024-02-29"), DAILY)
    assert (len(days), days[0], days[-1]) == (366, at("2024-01-01"), at("2024-12-31"))
    assert len(waits("ALL_MONTH_OF_YEAR", yearly, at("2024-02-29"), EXAMPLES[Cycle.MONTH])) == 24
    assert len(waits("CURRENT_YEAR", yearly, at("2023-02-28"), HOURLY)) == 365 * 24


def test_the_previous_hour_is_the_one_that_the_clock_showed():
    """03:00 follows 01:59 when clocks go forward; the hour that is repeated later is one hour."""
    hourly, every_half = Schedule(Cycle.HOUR, NEW_YORK), Schedule(Cycle.MINUTE, NEW_YORK, step=30)
    three = at("2026-03-08T03:00", NEW_YORK)
    assert shown(waits("PREVIOUS_HOUR", hourly, three, every_half), NEW_YORK) == ["08 01:00", "08 01:30"]
    assert shown(waits("PREVIOUS_HOUR_CYCLE", hourly, three, hourly), NEW_YORK) == ["08 01:00"]
    two = at("2026-11-01T02:00", NEW_YORK)
    in_utc = Schedule(Cycle.MINUTE, "UTC", step=30)
    assert shown(waits("PREVIOUS_HOUR", hourly, two, in_utc), "UTC") == [
        "01 05:00",
        "01 05:30",
        "01 06:00",
        "01 06:30",
    ]


def test_the_day_before_one_that_a_zone_left_out():
    """Samoa went from Thursday 29 December 2011 to Saturday the 31st."""
    daily, hourly = Schedule(Cycle.DAY, "Pacific/Apia"), Schedule(Cycle.HOUR, "Pacific/Apia")
    found = waits("PREVIOUS_DAY", daily, at("2011-12-31", "Pacific/Apia"), hourly)
    assert (len(found), shown(found, "Pacific/Apia")[0]) == (24, "29 00:00")
