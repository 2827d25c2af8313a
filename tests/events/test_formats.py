"""Data times, names and what a task prints: pure functions."""

import datetime as dt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from events import formats
from events.formats import DataTimeError, EventCycle, Reading

CYCLES = list(EventCycle)
UTC = st.just(dt.UTC)


def clock(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "cycle", "shown"),
    [
        ("20220713", EventCycle.DAY, clock(2022, 7, 13)),
        ("2022071308", EventCycle.HOUR, clock(2022, 7, 13, 8)),
        ("202207130859", EventCycle.MIN, clock(2022, 7, 13, 8, 59)),
        ("20220713085958", EventCycle.SECOND, clock(2022, 7, 13, 8, 59, 58)),
        ("20240229", EventCycle.DAY, clock(2024, 2, 29)),
    ],
)
def test_data_times_of_each_cycle(text: str, cycle: EventCycle, shown: dt.datetime) -> None:
    assert formats.parse(text, cycle) == shown
    assert formats.format_clock(shown, cycle) == text


@pytest.mark.parametrize(
    ("text", "cycle"),
    [
        ("2022071308", EventCycle.DAY),
        ("20220713", EventCycle.HOUR),
        ("2022-07-13", EventCycle.DAY),
        ("20230229", EventCycle.DAY),
        ("2022071324", EventCycle.HOUR),
        ("00000101", EventCycle.DAY),
        ("２０２２０７１３", EventCycle.DAY),
        ("20220713\n", EventCycle.DAY),
        ("", EventCycle.DAY),
    ],
)
def test_what_is_no_data_time_says_what_to_write(text: str, cycle: EventCycle) -> None:
    with pytest.raises(DataTimeError, match=f"in the format {formats.FORMATS[cycle]}; write it as 2026"):
        formats.parse(text, cycle)


@given(st.datetimes(timezones=UTC), st.sampled_from(CYCLES))
def test_a_clock_survives_as_exactly_as_its_cycle(shown: dt.datetime, cycle: EventCycle) -> None:
    text = formats.format_clock(shown, cycle)
    assert shown - formats.parse(text, cycle) < formats.STEPS[cycle]
    assert formats.read(text) == Reading(cycle, formats.parse(text, cycle))


@given(
    st.datetimes(timezones=UTC),
    st.sampled_from(CYCLES),
    st.integers(0, 500),
)
def test_a_range_has_every_data_time_once(shown: dt.datetime, cycle: EventCycle, steps: int) -> None:
    first = formats.format_clock(shown, cycle)
    last = formats.shifted(first, cycle, steps)
    assume(last)
    assert last
    found = formats.span(first, last, cycle)
    assert (found[0], found[-1], len(found)) == (first, last, steps + 1)
    assert found == sorted(set(found))


def test_ranges_that_cannot_be() -> None:
    with pytest.raises(DataTimeError, match="before it begins"):
        formats.span("20260102", "20260101", EventCycle.DAY)
    with pytest.raises(DataTimeError, match="at most 100,000"):
        formats.span("20260101000000", "20260201000000", EventCycle.SECOND)
    with pytest.raises(DataTimeError, match="yyyyMMddHH"):
        formats.span("20260101", "2026010102", EventCycle.HOUR)


@pytest.mark.parametrize("text", ["2022-07-13", "2022/07/13", "20220713", " 2022.07.13 "])
def test_people_write_data_times_in_many_ways(text: str) -> None:
    assert formats.read(text) == Reading(EventCycle.DAY, clock(2022, 7, 13))
    assert formats.read("2022-07-13T08:30") == Reading(EventCycle.MIN, clock(2022, 7, 13, 8, 30))
    assert formats.read("13.07.22") is None
    assert formats.read("tomorrow") is None


def test_the_calendar_ends() -> None:
    assert formats.shifted("99991231", EventCycle.DAY, 1) is None
    assert formats.shifted("20260301", EventCycle.DAY, -1) == "20260228"


def test_pairs_of_what_a_task_prints() -> None:
    assert formats.pairs("EventA,20220713;EventB,20220713;") == [
        ("EventA", "20220713"),
        ("EventB", "20220713"),
    ]
    assert formats.pairs(" EventA , 20220713 ;EventA,20220713") == [("EventA", "20220713")]
    assert formats.pairs("EventA;;,20220713") == [("EventA", ""), ("", "20220713")]
    assert formats.pairs("") == formats.pairs(" ; ;") == []


@pytest.mark.parametrize(
    ("amount", "unit", "said", "length"),
    [(1, "DAYS", "1 day", 86400), (30, "MINUTES", "30 minutes", 1800), (2, "HOURS", "2 hours", 7200)],
)
def test_lengths(amount: int, unit: str, said: str, length: int) -> None:
    assert formats.words(amount, unit) == said
    assert formats.length(amount, unit).total_seconds() == length
    assert formats.words(None, unit) == "no limit"
