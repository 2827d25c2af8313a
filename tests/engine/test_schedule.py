"""Schedules by example: every row of docs/schedules.md, what is refused and how, and the corners of the calendar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from instances.engine.schedule import (
    Cycle,
    Schedule,
    ScheduleError,
    data_times,
    describe,
    due,
    errors,
    first_data_time,
    is_data_time,
    latest_occurrence,
    next_occurrence,
    occurrences,
    planned_time,
    previous_data_time,
    validate,
)
from instances.engine.schedule_types import CYCLE_FIELDS

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"
FAR = datetime(2100, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rows(first_column: str) -> Iterator[list[str]]:
    """The rows of the page's tables whose header begins with this column and is not the table of cycles."""
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = (
            [cell.strip().strip("`") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        )
        if not cells:
            inside = False
        elif inside and not cells[0].startswith("---"):
            yield cells
        elif cells[0] == first_column:
            inside = True


def planned(schedule: Schedule, after: str, count: int) -> list[str]:
    tz = ZoneInfo(schedule.timezone)
    found = islice(occurrences(schedule, utc(after), FAR), count)
    return [
        f"{o.data_time.astimezone(tz):%Y-%m-%d %H:%M} → {o.planned_time.astimezone(tz):%Y-%m-%d %H:%M}"
        for o in found
    ]


def listed(cell: str) -> list[str]:
    return cell.split("; ") if cell else []


SCHEDULE_ROWS = list(rows("schedule"))
EXAMPLES = [row for row in SCHEDULE_ROWS if len(row) == 4]
CATCH_UP = [row for row in SCHEDULE_ROWS if len(row) == 5]
CRONTABS = list(rows("crontab"))
REFUSED = list(rows("refused"))


def test_the_page_has_its_tables():
    assert len(EXAMPLES) >= 30
    assert len(CATCH_UP) >= 3
    assert len(CRONTABS) >= 15
    assert len(REFUSED) >= 10
    assert {json.loads(row[0])["cycle"] for row in EXAMPLES} == set(Cycle)


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row[0])
def test_examples_of_the_page(row):
    text, words, after, runs = row
    schedule = Schedule.from_dict(json.loads(text))
    validate(schedule)
    assert describe(schedule) == words
    assert planned(schedule, after, len(listed(runs))) == listed(runs)


@pytest.mark.parametrize("row", CATCH_UP, ids=lambda row: row[0])
def test_catch_up_of_the_page(row):
    text, after, until, everything, latest = row
    schedule = Schedule.from_dict(json.loads(text))
    for only, expected in ((False, everything), (True, latest)):
        found = due(schedule, utc(after), utc(until), latest_only=only)
        assert [f"{o.data_time:%Y-%m-%d %H:%M}" for o in found] == listed(expected)


@pytest.mark.parametrize("row", CRONTABS, ids=lambda row: row[0])
def test_crontabs_of_the_page(row):
    expression, words, runs = row
    schedule = Schedule(Cycle.CRONTAB, crontab=expression)
    validate(schedule)
    assert describe(schedule) == f"crontab {expression}: {words} (UTC)"
    found = list(islice(occurrences(schedule, utc("2026-03-01"), FAR), len(listed(runs))))
    assert [f"{o.planned_time:%Y-%m-%d %H:%M}" for o in found] == listed(runs)
    assert all(o.data_time == o.planned_time for o in found)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0])
def test_refusals_of_the_page(row):
    expression, message = row
    assert [(e.field, e.message) for e in errors(Schedule(Cycle.CRONTAB, crontab=expression))] == [
        ("crontab", message)
    ]


# Every wrong schedule, the field that is to blame, and a piece of what the message must say.
AWARE = utc("2026-03-25")
NAIVE = AWARE.replace(tzinfo=None)
WRONG = [
    (Schedule(Cycle.DAY, timezone="Asia/Shangai"), "timezone", "did you mean Asia/Shanghai"),
    (Schedule(Cycle.DAY, timezone="../../etc/passwd"), "timezone", "There is no time zone"),
    (Schedule(Cycle.DAY, timezone=""), "timezone", "IANA name"),
    (Schedule(Cycle.DAY, timezone="America"), "timezone", "There is no time zone"),
    (Schedule(Cycle.MINUTE, step=7), "step", "write one of 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30"),
    (Schedule(Cycle.MINUTE, step=60), "step", "do not divide"),
    (Schedule(Cycle.MINUTE, step=0), "step", "do not divide"),
    (
        Schedule(Cycle.MINUTE, step=30, window_start=time(9, 5), window_end=time(9, 25)),
        "window_start",
        "widen",
    ),
    (Schedule(Cycle.MINUTE, window_end=time(9, 5, 30)), "window_end", "without seconds"),
    (Schedule(Cycle.MINUTE, at=time(9)), "at", "used by HOUR, DAY, WEEK, MONTH, YEAR"),
    (Schedule(Cycle.HOUR, step=24), "step", "choose DAY"),
    (Schedule(Cycle.HOUR, hours=(1, 24)), "hours", "24 is out of range"),
    (Schedule(Cycle.HOUR, hours=(1,), step=2), "step", "clear them"),
    (Schedule(Cycle.HOUR, hours=(1,), window_start=time(2)), "window_start", "widen"),
    (Schedule(Cycle.DAY, at=time(1, 2, 3)), "at", "write 01:02 without seconds"),
    (Schedule(Cycle.DAY, at=time(1, 2, tzinfo=UTC)), "at", "plain time of day"),
    (Schedule(Cycle.DAY, step=2), "step", "does not use this"),
    (Schedule(Cycle.DAY, weekdays=(1,)), "weekdays", "used by WEEK"),
    (Schedule(Cycle.DAY, window_start=time(2)), "window_start", "used by MINUTE, HOUR"),
    (Schedule(Cycle.WEEK), "weekdays", "Nothing is chosen"),
    (Schedule(Cycle.WEEK, weekdays=(0, 8)), "weekdays", "0, 8 is out of range"),
    (Schedule(Cycle.MONTH), "month_days", "Nothing is chosen"),
    (Schedule(Cycle.MONTH, month_days=(0, -2, 32)), "month_days", "-2, 0, 32 is out of range"),
    (Schedule(Cycle.YEAR, month_days=(1,)), "months", "Nothing is chosen"),
    (Schedule(Cycle.YEAR, months=(13,), month_days=(1,)), "months", "numbers from 1 to 12"),
    (Schedule(Cycle.YEAR, months=(2,), month_days=(30, 31)), "month_days", "None of the months"),
    (Schedule(Cycle.YEAR, months=(4, 6), month_days=(31,)), "month_days", "None of the months"),
    (Schedule(Cycle.ONEOFF), "run_at", "when the task is to run"),
    (Schedule(Cycle.ONEOFF, run_at=NAIVE), "run_at", "no UTC offset"),
    (Schedule(Cycle.ONEOFF, run_at=AWARE, generation="T_PLUS_1"), "generation", "no next cycle"),
    (Schedule(Cycle.DAY, effective_from=NAIVE), "effective_from", "no UTC offset"),
    (
        Schedule(Cycle.DAY, effective_from=AWARE, effective_to=AWARE - timedelta(1)),
        "effective_to",
        "before it begins",
    ),
    (Schedule(Cycle.DAY, calendar_dates=frozenset({date(2026, 1, 1)})), "calendar_mode", "RUN_ONLY or SKIP"),
    (
        Schedule(Cycle.DAY, calendar_mode="SKIP", calendar_dates=frozenset({AWARE})),
        "calendar_dates",
        "holds dates",
    ),
    (Schedule(Cycle.CRONTAB), "crontab", "has 0"),
    (Schedule(Cycle.CRONTAB, crontab="a b c d e"), "crontab", "minute field 'A'"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 * * MO"), "crontab", "SUN..SAT"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 * * 8"), "crontab", "day-of-week"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 * * ?"), "crontab", "for a day field of a Quartz"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 * * 1#6"), "crontab", "day-of-week"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 * 13 *"), "crontab", "month field '13'"),
    (Schedule(Cycle.CRONTAB, crontab="*/0 0 * * *"), "crontab", "a step must be 1 to 59"),
    (Schedule(Cycle.CRONTAB, crontab="*/61 0 * * *"), "crontab", "a step must be 1 to 59"),
    (Schedule(Cycle.CRONTAB, crontab="1,,2 0 * * *"), "crontab", "minute field '1,,2'"),
    (Schedule(Cycle.CRONTAB, crontab="٣ 0 * * *"), "crontab", "minute field"),
    (Schedule(Cycle.CRONTAB, crontab="9" * 5000 + " 0 * * *"), "crontab", "at most 250 characters"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 31 4,6,9,11 *"), "crontab", "never matches"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 0 29 2 ? 2025-2027"), "crontab", "never matches"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 0 ? * ? *"), "crontab", "must be ?"),
    (Schedule(Cycle.CRONTAB, crontab="0 ? 0 * * ? *"), "crontab", "minute field '?'"),
    (Schedule(Cycle.CRONTAB, crontab="0 0 0 * * ? 1969"), "crontab", "numbers 1970 to 2099"),
]


@pytest.mark.parametrize(("schedule", "field", "message"), WRONG, ids=lambda value: str(value)[:60])
def test_wrong_schedules_say_what_to_write(schedule, field, message):
    found = errors(schedule)
    assert [e.field for e in found] == [field]
    assert message in found[0].message
    with pytest.raises(ScheduleError) as caught:
        validate(schedule)
    assert (caught.value.field, caught.value.message) == (field, found[0].message)


def test_all_errors_at_once_in_the_order_of_the_fields():
    schedule = Schedule(
        Cycle.WEEK, timezone="Mars", at=time(1, 0, 5), step=5, calendar_dates=frozenset({date.max})
    )
    assert [e.field for e in errors(schedule)] == ["timezone", "step", "at", "weekdays", "calendar_mode"]


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({}, "cycle", "Write one of ONEOFF"),
        ({"cycle": "FORTNIGHT"}, "cycle", "'FORTNIGHT' is not known"),
        ({"cycle": "DAY", "generation": "T_PLUS_2"}, "generation", "T_PLUS_0, T_PLUS_1"),
        ({"cycle": "DAY", "calendar_mode": "MAYBE"}, "calendar_mode", "RUN_ONLY"),
        ({"cycle": "DAY", "colour": "red"}, "colour", "no such field"),
        ({"cycle": "DAY", "at": "half past two"}, "at", "such as 02:30"),
        ({"cycle": "DAY", "at": 230}, "at", "such as 02:30"),
        ({"cycle": "MINUTE", "step": "5"}, "step", "not a whole number"),
        ({"cycle": "MINUTE", "step": True}, "step", "not a whole number"),
        ({"cycle": "WEEK", "weekdays": "12"}, "weekdays", "not a list"),
        ({"cycle": "WEEK", "weekdays": [1.5]}, "weekdays", "not a whole number"),
        ({"cycle": "DAY", "timezone": 8}, "timezone", "not text"),
        ({"cycle": "ONEOFF", "run_at": "soon"}, "run_at", "with its offset"),
        ({"cycle": "DAY", "calendar_dates": ["1st of May"]}, "calendar_dates", "such as 2026-03-25"),
    ],
)
def test_from_dict_names_the_field(data, field, message):
    with pytest.raises(ScheduleError) as caught:
        Schedule.from_dict(data)
    assert caught.value.field == field
    assert message in caught.value.message


def test_lists_that_cannot_be_sorted():
    with pytest.raises(ScheduleError, match="weekdays"):
        Schedule(Cycle.WEEK, weekdays=(1, "MON"))  # type: ignore[arg-type]


def test_dict_and_back_through_json():
    schedule = Schedule(
        Cycle.HOUR,
        "Asia/Shanghai",
        at=time(0, 5),
        hours=(18, 9, 9),
        effective_from=AWARE,
        window_start=time(8),
        calendar_mode="RUN_ONLY",
        calendar_dates=frozenset({date(2026, 3, 31), date(2026, 3, 1)}),
        generation="T_PLUS_1",
    )
    data = schedule.to_dict()
    assert data["hours"] == [9, 18]
    assert data["calendar_dates"] == ["2026-03-01", "2026-03-31"]
    again = Schedule.from_dict(json.loads(json.dumps(data)))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert Schedule(Cycle.DAY).to_dict() == {"cycle": "DAY", "timezone": "UTC"}
    assert Schedule.from_dict({"cycle": "DAY", "run_at": None, "hours": None}) == Schedule(Cycle.DAY)


def test_trimmed_clears_what_the_cycle_does_not_read():
    everything = Schedule(
        Cycle.MINUTE,
        step=5,
        at=time(2),
        hours=(1,),
        weekdays=(1,),
        month_days=(1,),
        months=(2,),
        crontab="0 0 * * *",
        run_at=AWARE,
        window_start=time(1),
    )
    for cycle in Cycle:
        trimmed = replace(everything, cycle=cycle).trimmed()
        assert all(e.field in CYCLE_FIELDS[cycle] for e in errors(trimmed))
        changed = {f.name for f in fields(trimmed) if getattr(trimmed, f.name) != getattr(everything, f.name)}
        assert changed.isdisjoint(CYCLE_FIELDS[cycle] - {"cycle"})


@pytest.mark.parametrize("generation", ["T_PLUS_0", "T_PLUS_1"])
@pytest.mark.parametrize("cycle", [{"cycle": "DAY", "at": "08:30"}, {"cycle": "HOUR", "step": 7}])
def test_when_a_data_time_is_to_run(cycle, generation):
    schedule = Schedule.from_dict({**cycle, "generation": generation, "timezone": "America/New_York"})
    found = list(occurrences(schedule, utc("2026-03-06 00:00"), utc("2026-03-11 00:00")))
    assert found
    for one in found:
        assert planned_time(schedule, one.data_time) == one.planned_time
        assert planned_time(schedule, one.data_time + timedelta(minutes=1)) is None


def test_naive_times_are_refused():
    schedule = Schedule(Cycle.DAY)
    for call in (
        lambda: next_occurrence(schedule, NAIVE),
        lambda: list(occurrences(schedule, NAIVE, AWARE)),
        lambda: data_times(schedule, AWARE, NAIVE),
        lambda: is_data_time(schedule, NAIVE),
        lambda: previous_data_time(schedule, NAIVE),
        lambda: latest_occurrence(schedule, NAIVE, AWARE),
    ):
        with pytest.raises(ValueError, match="no UTC offset"):
            call()


def test_times_of_any_zone_are_answered_in_utc():
    schedule = Schedule(Cycle.DAY, "Asia/Shanghai", at=time(2, 30))
    found = next_occurrence(schedule, datetime(2026, 3, 25, 12, tzinfo=ZoneInfo("America/New_York")))
    assert found is not None
    assert (found.data_time, found.planned_time) == (utc("2026-03-25 16:00"), utc("2026-03-25 18:30"))
    assert found.data_time.tzinfo is UTC


def test_a_oneoff_happens_once():
    schedule = Schedule(Cycle.ONEOFF, run_at=AWARE)
    occurrence = next_occurrence(schedule, AWARE - timedelta(1))
    assert occurrence is not None
    assert occurrence.data_time == occurrence.planned_time == AWARE
    assert next_occurrence(schedule, AWARE) is None
    assert data_times(schedule, AWARE, AWARE) == [AWARE]
    assert previous_data_time(schedule, AWARE) is None
    assert previous_data_time(schedule, AWARE + timedelta(1)) == AWARE
    late = replace(schedule, effective_to=AWARE - timedelta(1))
    assert next_occurrence(late, AWARE - timedelta(2)) is None


def test_schedules_that_have_ended_say_so():
    ended = Schedule(Cycle.DAY, effective_to=AWARE)
    assert next_occurrence(ended, AWARE) is None
    assert latest_occurrence(ended, AWARE, FAR) is None
    assert previous_data_time(ended, FAR) == AWARE
    assert first_data_time(ended, AWARE) == AWARE
    assert first_data_time(ended, FAR) is None
    assert next_occurrence(Schedule(Cycle.CRONTAB, crontab="0 0 2 * * ? 2020"), AWARE) is None
    assert next_occurrence(Schedule(Cycle.DAY, calendar_mode="RUN_ONLY"), AWARE) is None
    every_day = frozenset(AWARE.date() + timedelta(n) for n in range(400))
    skipping = Schedule(Cycle.DAY, calendar_mode="SKIP", calendar_dates=every_day)
    following = next_occurrence(skipping, AWARE)
    assert following is not None
    assert following.data_time == AWARE + timedelta(400)


def test_the_last_year_of_a_crontab_runs_one_cycle_later_as_well():
    schedule = Schedule(Cycle.CRONTAB, crontab="0 0 2 1 * ? 2026", generation="T_PLUS_1")
    last = list(occurrences(schedule, utc("2026-11-15"), FAR))[-1]
    assert (last.data_time, last.planned_time) == (utc("2026-12-01 02:00"), utc("2027-01-01 02:00"))
    assert latest_occurrence(schedule, utc("2020-01-01"), FAR) == last


def test_leap_days():
    schedule = Schedule(Cycle.YEAR, months=(2,), month_days=(29,))
    found = data_times(schedule, utc("1896-01-01"), utc("1912-12-31"))
    assert [day.year for day in found] == [1896, 1904, 1908, 1912]
    last_days = Schedule(Cycle.MONTH, month_days=(-1, 30, 31))
    found = data_times(last_days, utc("2024-02-01"), utc("2024-04-30"))
    assert [f"{day:%m-%d}" for day in found] == ["02-29", "03-30", "03-31", "04-30"]


def test_both_ends_of_the_calendar_are_survived():
    for cycle, crontab in ((Cycle.DAY, ""), (Cycle.MINUTE, ""), (Cycle.CRONTAB, "0 0 * * *")):
        schedule = Schedule(cycle, "Pacific/Apia", crontab=crontab)
        assert next_occurrence(schedule, datetime(9999, 12, 31, tzinfo=UTC)) is None
        assert previous_data_time(schedule, datetime(1, 1, 2, tzinfo=UTC)) is None
        first = next_occurrence(schedule, datetime(1, 1, 1, 12, tzinfo=UTC))
        assert first is not None
        assert first.data_time.year == 1


def test_cost_is_that_of_what_is_produced():
    """A century of a yearly schedule must not walk its minutes or days: count how often a local time is resolved."""
    from instances.engine.zone import first_instant

    schedule = Schedule(Cycle.YEAR, "Europe/Madrid", months=(7,), month_days=(1,), at=time(4, 30))
    before = first_instant.cache_info()
    found = list(occurrences(schedule, utc("1950-01-01"), utc("2050-01-01")))
    after = first_instant.cache_info()
    assert len(found) == 100
    assert (after.hits + after.misses) - (before.hits + before.misses) <= 2 * 101


def test_looking_back_at_a_schedule_that_ended_long_ago_costs_nothing_more():
    from instances.engine.zone import first_instant

    schedule = Schedule(Cycle.MINUTE, "Europe/Madrid", step=1, effective_to=utc("2020-01-01"))
    before = first_instant.cache_info()
    assert previous_data_time(schedule, utc("2026-01-01")) == utc("2020-01-01")
    assert latest_occurrence(schedule, utc("2019-01-01"), utc("2026-01-01")) is not None
    after = first_instant.cache_info()
    assert (after.hits + after.misses) - (before.hits + before.misses) < 10


def test_equal_schedules_share_their_results():
    from instances.engine.schedule import _next_occurrence

    calendar = frozenset({date(2026, 1, 1)})
    one, other = (
        Schedule(Cycle.DAY, "Asia/Tokyo", at=time(3), calendar_mode="SKIP", calendar_dates=calendar)
        for _ in range(2)
    )
    first = next_occurrence(one, AWARE)
    hits = _next_occurrence.cache_info().hits
    assert next_occurrence(other, AWARE) is first
    assert _next_occurrence.cache_info().hits == hits + 1


def test_every_hour_of_a_year_in_new_york_has_one_run():
    schedule = Schedule(Cycle.HOUR, "America/New_York", at=time(0, 30))
    found = data_times(schedule, utc("2024-01-01 05:00"), utc("2025-01-01 04:00"))
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert set(gaps) == {timedelta(hours=1), timedelta(hours=2)}
    assert gaps.count(timedelta(hours=2)) == 1  # the second pass of the hour that came twice
    assert len(found) == 366 * 24 - 1
