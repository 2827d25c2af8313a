"""Ranges and lists: what offsets mean, what a list names that never comes, what is refused."""

from datetime import date, time

import pytest

from instances.engine.dependencies import (
    DependencyError,
    Required,
    canonical,
    never_comes,
    problem,
    required,
    upstream_data_times,
)
from instances.engine.schedule import Cycle, Schedule
from tests.engine.test_dependencies import DAILY, HOURLY, NEW_YORK, SHANGHAI, at, shown, waits


@pytest.mark.parametrize(
    ("scope", "offsets", "expected"),
    [
        ("LIST_DAY", "-1", ["24 00:00"]),
        ("LIST_DAY", "0", ["25 00:00"]),
        ("LIST_DAY", "-7, 0", ["18 00:00", "25 00:00"]),
        ("LIST_DAY", "1,-1,+1,-1", ["24 00:00", "26 00:00"]),
        ("RANGE_DAY", "-1,0", ["24 00:00", "25 00:00"]),
        ("RANGE_DAY", "-3,-2", ["22 00:00", "23 00:00"]),
        ("RANGE_DAY", "2,2", ["27 00:00"]),
    ],
)
def test_lists_and_ranges_of_days(scope, offsets, expected):
    assert shown(upstream_data_times(scope, DAILY, at("2026-03-25"), DAILY, offsets)) == expected


def test_hours_and_minutes_of_a_day():
    day = at("2026-03-25")
    assert upstream_data_times("RANGE_HOUR", DAILY, day, HOURLY, "-24,-1") == waits(
        "PREVIOUS_DAY", DAILY, day, HOURLY
    )
    assert upstream_data_times("RANGE_HOUR", DAILY, day, HOURLY, "-23,0") == waits("", DAILY, day, HOURLY)
    minutes = Schedule(Cycle.MINUTE, SHANGHAI, step=5)
    found = upstream_data_times("LIST_MINUTE", DAILY, day, minutes, "-5,0,10")
    assert shown(found) == ["24 23:55", "25 00:00", "25 00:10"]


def test_a_year_ago_in_leap_years_is_a_number_of_days():
    assert upstream_data_times("LIST_DAY", DAILY, at("2024-03-01"), DAILY, "-1") == (at("2024-02-29"),)
    assert upstream_data_times("LIST_DAY", DAILY, at("2025-03-01"), DAILY, "-366,-365") == (
        at("2024-02-29"),
        at("2024-03-01"),
    )


def test_a_list_names_what_never_comes():
    workdays = Schedule(
        Cycle.DAY, SHANGHAI, calendar_mode="SKIP", calendar_dates=frozenset({date(2026, 3, 24)})
    )
    assert required("LIST_DAY", DAILY, at("2026-03-25"), workdays, "-2,-1") == (
        Required(at("2026-03-23"), True),
        Required(at("2026-03-24"), False),
    )
    assert never_comes(workdays, at("2026-03-24"))
    assert not never_comes(workdays, at("2026-03-23"))
    # Ranges and units take what there is.
    assert upstream_data_times("RANGE_DAY", DAILY, at("2026-03-25"), workdays, "-2,-1") == (at("2026-03-23"),)
    assert waits("CURRENT_DAY", DAILY, at("2026-03-24"), workdays) == ()


@pytest.mark.parametrize(
    "upstream",
    [
        Schedule(Cycle.HOUR, SHANGHAI, hours=(9, 17)),
        Schedule(Cycle.HOUR, SHANGHAI, window_start=time(8, 0), window_end=time(22, 0)),
        Schedule(Cycle.HOUR, SHANGHAI, effective_from=at("2026-03-25T00:00")),
        Schedule(Cycle.HOUR, SHANGHAI, effective_to=at("2026-03-24T22:00")),
        Schedule(Cycle.HOUR, SHANGHAI, calendar_mode="SKIP", calendar_dates=frozenset({date(2026, 3, 24)})),
    ],
)
def test_outside_hours_windows_periods_and_calendars(upstream):
    assert required("LIST_HOUR", DAILY, at("2026-03-25"), upstream, "-1") == (
        Required(at("2026-03-24T23:00"), False),
    )
    assert required("LIST_HOUR", DAILY, at("2026-03-25"), HOURLY, "-1") == (
        Required(at("2026-03-24T23:00"), True),
    )


def test_generation_t_plus_1_changes_no_data_time():
    later = Schedule(Cycle.DAY, SHANGHAI, generation="T_PLUS_1")
    assert waits("CURRENT_DAY", DAILY, at("2026-03-25"), later) == (at("2026-03-25"),)


def test_what_clocks_jumped_over_is_where_they_landed():
    daily, hourly = Schedule(Cycle.DAY, NEW_YORK), Schedule(Cycle.HOUR, NEW_YORK)
    day_after = at("2026-03-09", NEW_YORK)
    found = upstream_data_times("LIST_HOUR", daily, day_after, hourly, "-23,-22,-21")
    assert shown(found, NEW_YORK) == ["08 01:00", "08 03:00"]
    only_two = Schedule(Cycle.HOUR, NEW_YORK, hours=(2,))
    assert required("LIST_HOUR", daily, day_after, only_two, "-22") == (
        Required(at("2026-03-08T03:00", NEW_YORK), True),
    )


def test_offsets_of_a_day_without_midnight_count_from_its_midnight():
    """In Sao Paulo 2018-11-04 began at 01:00."""
    zone = "America/Sao_Paulo"
    daily, hourly, day = Schedule(Cycle.DAY, zone), Schedule(Cycle.HOUR, zone), at("2018-11-04T01:00", zone)
    found = upstream_data_times("LIST_HOUR", daily, day, hourly, "-1,0,1,2")
    assert shown(found, zone) == ["03 23:00", "04 01:00", "04 02:00"]
    previous = upstream_data_times("RANGE_HOUR", daily, day, hourly, "-24,-1")
    assert previous == waits("PREVIOUS_DAY", daily, day, hourly)


@pytest.mark.parametrize(
    ("scope", "text", "says"),
    [
        ("RANGE_DAY", "", "takes two offsets in days, the earlier first, such as -1,0"),
        ("RANGE_DAY", "-1", "takes two offsets in days"),
        ("RANGE_DAY", "-3,-2,-1", "takes two offsets in days"),
        ("RANGE_DAY", "0,-1", "the earlier first"),
        ("LIST_DAY", " ", "takes the days to wait for"),
        ("LIST_DAY", "-1,", "are no offsets: write whole days with commas between"),
        ("LIST_DAY", "yesterday", "'yesterday' are no offsets"),
        ("LIST_DAY", "-1.5", "are no offsets"),
        ("LIST_DAY", "١", "are no offsets"),
        ("LIST_DAY", "44641", "reaches too far"),
        ("RANGE_DAY", "-44640,44640", "reaches too far"),
        ("CURRENT_DAY", "-1", "CURRENT_DAY takes no offsets; clear them"),
        ("", "-1", "CURRENT_DAY takes no offsets"),
    ],
)
def test_offsets_that_are_refused(scope, text, says):
    assert says in problem(scope, Cycle.DAY, Cycle.DAY, text)
    with pytest.raises(DependencyError, match=says.split(";")[0].split(":")[0]):
        required(scope, DAILY, at("2026-03-25"), DAILY, text)


@pytest.mark.parametrize(
    ("scope", "text", "kept"),
    [("LIST_DAY", " +0, -7,-7 ", "-7,0"), ("RANGE_DAY", "-1 , 0", "-1,0"), ("CURRENT_DAY", " ", "")],
)
def test_how_they_are_kept(scope, text, kept):
    assert canonical(scope, text) == kept
    assert canonical(scope, kept) == kept
