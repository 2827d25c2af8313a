"""Which upstream data times each scope waits for, against a slow oracle; circles and layers among tasks."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise, product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from instances.engine.dependencies import (
    DependencyError,
    find_cycle,
    problem,
    scopes,
    topological_layers,
    upstream_data_times,
)
from instances.engine.schedule import Cycle, Schedule, data_times

TICK = datetime.resolution
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
    (scope,) = scopes(schedule.cycle, schedule.cycle)
    assert scope == (
        "CURRENT" if schedule.cycle in (Cycle.ONEOFF, Cycle.CRONTAB) else f"CURRENT_{schedule.cycle}"
    )
    assert waits(scope, schedule, at(data_time), schedule) == (at(data_time),)


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


def test_pairs_and_scopes_that_do_not_exist_are_refused():
    assert scopes(Cycle.DAY, Cycle.HOUR)[0] == "PREVIOUS_DAY_LATER_OFFSET_HOUR"
    assert scopes(Cycle.HOUR, Cycle.ONEOFF) == ()
    assert problem("", Cycle.DAY, Cycle.HOUR) == problem("CURRENT_DAY", Cycle.DAY, Cycle.HOUR) == ""
    assert problem("NEXT_DAY", Cycle.MONTH, Cycle.MONTH) == (
        "'NEXT_DAY' is no scope of MONTH on MONTH; choose CURRENT_MONTH."
    )
    oneoff = Schedule(Cycle.ONEOFF, run_at=at("2026-01-01"))
    with pytest.raises(
        DependencyError, match="A DAY task cannot wait for a ONEOFF task; it can wait for: HOUR, DAY"
    ):
        waits("CURRENT_DAY", DAILY, at("2026-03-25"), oneoff)
    with pytest.raises(DependencyError, match="choose CURRENT_DAY"):
        waits("CURRENT_HOUR", DAILY, at("2026-03-25"), DAILY)
    with pytest.raises(ValueError, match="time zone"):
        waits("CURRENT_DAY", DAILY, datetime(2026, 3, 25), DAILY)  # noqa: DTZ001


# The oracle: of all data times around D, keep those whose local reading stands in the right relation to D's.


def week_of(day):
    return day.isocalendar()[:2]


def month_before(day):
    return (day.year, day.month - 1) if day.month > 1 else (day.year - 1, 12)


ORACLE = {
    "CURRENT_MINUTE": lambda u, d: u.replace(second=0) == d.replace(second=0),
    "CURRENT_HOUR": lambda u, d: (u.date(), u.hour) == (d.date(), d.hour),
    "CURRENT_DAY": lambda u, d: u.date() == d.date(),
    "PREVIOUS_DAY": lambda u, d: u.date() == d.date() - timedelta(days=1),
    "CURRENT_WEEK": lambda u, d: week_of(u) == week_of(d),
    "CURRENT_MONTH": lambda u, d: (u.year, u.month) == (d.year, d.month),
    "PREVIOUS_MONTH": lambda u, d: (u.year, u.month) == month_before(d),
    "PREVIOUS_END_OF_MONTH": lambda u, d: u.date() == d.date().replace(day=1) - timedelta(days=1),
    "CURRENT_YEAR": lambda u, d: u.year == d.year,
}
REACH = {Cycle.MINUTE: 1, Cycle.HOUR: 3, Cycle.DAY: 3, Cycle.WEEK: 9, Cycle.MONTH: 64, Cycle.YEAR: 370}


def expected(scope, downstream, data_time, upstream):
    tz, reach = ZoneInfo(downstream.timezone), timedelta(days=REACH[downstream.cycle])
    around = data_times(upstream, data_time - reach, data_time + reach)
    if scope == "PREVIOUS_DAY_LATER_OFFSET_HOUR":  # yesterday's but for its first instant, and D
        yesterday = on_the_wall(data_time, tz).date() - timedelta(days=1)
        last_before = [u for u in around if u < data_time and on_the_wall(u - TICK, tz).date() == yesterday]
        return tuple(last_before) + ((data_time,) if data_time in around else ())
    return tuple(u for u in around if ORACLE[scope](on_the_wall(u, tz), on_the_wall(data_time, tz)))


def on_the_wall(moment, tz):
    return moment.astimezone(tz).replace(tzinfo=None, fold=0)


CLOCKS_CHANGE_AT_MIDNIGHT = ("Africa/Cairo", "America/Havana", "Asia/Beirut", "America/Sao_Paulo")
ZONES = st.sampled_from(
    ("UTC", SHANGHAI, NEW_YORK, "Europe/London", "Australia/Lord_Howe", *CLOCKS_CHANGE_AT_MIDNIGHT)
)
PAIRS = [pair for pair in product(Cycle, Cycle) if scopes(*pair) and pair[0] in REACH]
# Days on which clocks change in one of these zones.
CLOCKS_CHANGE = [
    *(date(2026, 3, 8), date(2026, 11, 1), date(2026, 3, 29), date(2026, 10, 25), date(2026, 4, 5)),
    *(date(2026, 10, 4), date(2024, 4, 26), date(2024, 10, 31), date(2024, 3, 10), date(2024, 11, 3)),
    *(date(2024, 3, 31), date(2024, 10, 27), date(2018, 11, 4), date(2018, 2, 18)),
]
DAYS = st.one_of(
    st.dates(date(2015, 1, 5), date(2030, 12, 20)),
    st.builds(
        lambda day, before: day - timedelta(days=before),
        st.sampled_from(CLOCKS_CHANGE),
        st.integers(-1, 2),
    ),
)


@st.composite
def schedules(draw, cycle):
    values = {}
    if cycle is Cycle.MINUTE:
        values["step"] = draw(st.sampled_from([1, 5, 12, 30]))
    elif cycle is Cycle.HOUR and draw(st.booleans()):
        values["hours"] = draw(st.sets(st.integers(0, 23), min_size=1))
    elif cycle is Cycle.HOUR:
        values["step"] = draw(st.integers(1, 23))
    if cycle is Cycle.WEEK:
        values["weekdays"] = draw(st.sets(st.integers(1, 7), min_size=1))
    if cycle in (Cycle.MONTH, Cycle.YEAR):
        values["month_days"] = draw(st.sets(st.sampled_from([1, 2, 15, 28, -1]), min_size=1))
    if cycle is Cycle.YEAR:
        values["months"] = draw(st.sets(st.integers(1, 12), min_size=1))
    if cycle is not Cycle.MINUTE:
        values["at"] = draw(st.sampled_from([time(0, 0), time(0, 30), time(2, 30)]))
    return Schedule(cycle, draw(ZONES), **values)


@st.composite
def cases(draw):
    """A scope, a downstream schedule, one of its data times, an upstream schedule."""
    down, up = draw(st.sampled_from(PAIRS))
    downstream, upstream = draw(schedules(down)), draw(schedules(up))
    day = datetime.combine(draw(DAYS), time(), UTC)
    around = data_times(downstream, day, day + timedelta(days=min(REACH[down] * 2, 370)))
    assume(around)
    return draw(st.sampled_from(scopes(down, up))), downstream, draw(st.sampled_from(around)), upstream


@given(cases())
def test_every_scope_agrees_with_the_oracle(case):
    assert waits(*case) == tuple(expected(*case))


@given(DAYS, ZONES, schedules(Cycle.HOUR), st.sampled_from(scopes(Cycle.DAY, Cycle.HOUR)))
def test_days_share_out_the_hours(day, zone, upstream, scope):
    """Over consecutive days each hour is waited for exactly once, whatever the clocks do."""
    daily, start = Schedule(Cycle.DAY, zone), datetime.combine(day, time(), UTC)
    days = data_times(daily, start, start + timedelta(days=5))
    found = [moment for d in days for moment in waits(scope, daily, d, upstream)]
    assert all(one < other for one, other in pairwise(found))
    if found:
        assert found == data_times(upstream, found[0], found[-1])


@given(DAYS, ZONES, schedules(Cycle.DAY), st.sampled_from(["PREVIOUS_MONTH", "CURRENT_MONTH"]))
def test_months_share_out_the_days(day, zone, upstream, scope):
    monthly, start = Schedule(Cycle.MONTH, zone, month_days=(1,)), datetime.combine(day, time(), UTC)
    months = data_times(monthly, start, start + timedelta(days=200))
    found = [moment for d in months for moment in waits(scope, monthly, d, upstream)]
    assert found == data_times(upstream, found[0], found[-1])


GRAPHS = st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=4))


def reachable(edges):
    """Floyd and Warshall: the pairs (a, b) with a way of one or more edges from a to b."""
    nodes = range(7)
    pairs = {(a, b) for a, targets in edges.items() for b in targets}
    for middle, a, b in product(nodes, nodes, nodes):
        if (a, middle) in pairs and (middle, b) in pairs:
            pairs.add((a, b))
    return pairs


@given(GRAPHS)
def test_circles_are_found_if_and_only_if_there_are_any(edges):
    pairs = reachable(edges)
    path = find_cycle(edges)
    assert (path is not None) == any((node, node) in pairs for node in range(7))
    for start in range(7):
        through = find_cycle(edges, start)
        assert (through is not None) == ((start, start) in pairs)
        assert through is None or through[0] == start
        for found in (path, through):
            if found:
                assert found[0] == found[-1]
                assert len(set(found)) == len(found) - 1
                assert all(b in edges[a] for a, b in pairwise(found))


@given(GRAPHS)
def test_layers_are_the_longest_ways_down(edges):
    if find_cycle(edges):
        with pytest.raises(DependencyError, match=r"There is a circle: \d.* -> \d"):
            topological_layers(edges)
        return
    layers = topological_layers(edges)
    depth = {node: index for index, layer in enumerate(layers) for node in layer}
    assert sum(map(len, layers)) == len(depth) == len(set(edges).union(*edges.values()))
    for node, index in depth.items():
        assert index == max((depth[target] + 1 for target in edges.get(node, ())), default=0)


def test_circles_name_the_path():
    edges = {"a": ["b"], "b": ["c"], "c": ["d", "a"], "d": []}
    assert find_cycle(edges) == ["a", "b", "c", "a"]
    assert find_cycle(edges, "c") == ["c", "a", "b", "c"]
    assert find_cycle(edges, "d") is None
    assert find_cycle({"a": ["a"]}) == find_cycle({"a": ["a"]}, "a") == ["a", "a"]
    assert find_cycle({}) is None
    assert find_cycle({}, "a") is None


def test_layers_keep_the_given_order():
    assert topological_layers({}) == []
    assert topological_layers(
        {"report": ["delays"], "delays": ["weather", "flights"], "flights": iter(())}
    ) == [
        ["weather", "flights"],
        ["delays"],
        ["report"],
    ]


def test_ten_thousand_tasks_deep():
    chain = {node: [node + 1] for node in range(10_000)}
    assert find_cycle(chain) is None
    assert topological_layers(chain) == [[node] for node in range(10_000, -1, -1)]
    chain[10_000] = [0]
    assert find_cycle(chain) == find_cycle(chain, 0) == [*range(10_001), 0]
