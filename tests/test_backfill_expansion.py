"""Which runs a backfill plan has, and in which order it starts them: pure functions of schedules and dependencies."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instances.engine import plan_expansion
from instances.engine.plan_expansion import Expansion, PlanTooLarge, Rule, expand
from instances.engine.plan_spec import Order, PlanSpec
from instances.engine.schedule import Cycle, Schedule

UTC = dt.UTC
NOW = dt.datetime(2026, 7, 1, tzinfo=UTC)


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def spec(first: str, last: str, *more: tuple[str, str], **columns: Any) -> PlanSpec:
    ranges = tuple((day(a), day(b)) for a, b in [(first, last), *more])
    return PlanSpec(**{"tasks": (1,), "until": NOW, "ranges": ranges, **columns})


def times(made: Expansion, task: int = 1) -> list[str]:
    return [f"{o.data_time:%m-%d %H:%M}" for o in made.runs[task].occurrences]


def started(made: Expansion) -> list[tuple[int, str]]:
    """(task, data time) in the order of starting."""
    rows = [
        (wave, task, f"{o.data_time:%m-%d %H}")
        for task, runs in made.runs.items()
        for o, wave in zip(runs.occurrences, runs.waves, strict=True)
    ]
    return [(task, time) for _, task, time in sorted(rows)]


class TestDataTimes:
    def test_a_day_task_has_every_day_from_the_first_to_the_last(self) -> None:
        made = expand(spec("2026-01-30", "2026-02-02"), {1: Schedule(Cycle.DAY)}, {})
        assert times(made) == ["01-30 00:00", "01-31 00:00", "02-01 00:00", "02-02 00:00"]
        assert (made.data_times, made.waves, made.total) == (4, 4, 4)

    def test_several_ranges_leave_out_what_lies_between(self) -> None:
        made = expand(
            spec("2026-01-01", "2026-01-02", ("2026-03-01", "2026-03-01")), {1: Schedule(Cycle.DAY)}, {}
        )
        assert times(made) == ["01-01 00:00", "01-02 00:00", "03-01 00:00"]

    def test_the_effective_period_does_not_limit_the_past(self) -> None:
        schedule = Schedule(
            Cycle.DAY,
            effective_from=dt.datetime(2026, 6, 1, tzinfo=UTC),
            effective_to=dt.datetime(2026, 6, 2, tzinfo=UTC),
        )
        made = expand(spec("2025-12-31", "2026-01-01"), {1: schedule}, {})
        assert times(made) == ["12-31 00:00", "01-01 00:00"]

    def test_the_calendar_and_the_rhythm_hold(self) -> None:
        dates = frozenset({day("2026-01-05"), day("2026-01-06")})
        skips = Schedule(Cycle.DAY, calendar_mode="SKIP", calendar_dates=dates)
        fridays = Schedule(Cycle.WEEK, weekdays=(5,))
        made = expand(spec("2026-01-04", "2026-01-16"), {1: skips, 2: fridays}, {})
        assert times(made, 2) == ["01-09 00:00", "01-16 00:00"]
        assert "01-05 00:00" not in times(made)
        assert len(times(made)) == 11

    def test_hours_end_at_midnight_of_the_last_day(self) -> None:
        made = expand(spec("2026-01-01", "2026-01-01"), {1: Schedule(Cycle.HOUR, step=6)}, {})
        assert times(made) == ["01-01 00:00", "01-01 06:00", "01-01 12:00", "01-01 18:00"]

    def test_the_window_is_for_hours_and_minutes_and_includes_both_ends(self) -> None:
        plan = spec("2026-01-01", "2026-01-02", window_start=dt.time(8), window_end=dt.time(9, 30))
        made = expand(
            plan,
            {
                1: Schedule(Cycle.HOUR),
                2: Schedule(Cycle.MINUTE, step=30),
                3: Schedule(Cycle.DAY, at=dt.time(3)),
            },
            {},
        )
        assert times(made) == ["01-01 08:00", "01-01 09:00", "01-02 08:00", "01-02 09:00"]
        assert times(made, 2)[:4] == ["01-01 08:00", "01-01 08:30", "01-01 09:00", "01-01 09:30"]
        assert len(times(made, 2)) == 8
        assert times(made, 3) == ["01-01 00:00", "01-02 00:00"]

    def test_the_first_of_each_month_is_for_day_tasks(self) -> None:
        plan = spec("2026-01-15", "2026-04-01", first_of_month=True)
        made = expand(plan, {1: Schedule(Cycle.DAY), 2: Schedule(Cycle.MONTH, month_days=(-1,))}, {})
        assert times(made) == ["02-01 00:00", "03-01 00:00", "04-01 00:00"]
        assert times(made, 2) == ["01-31 00:00", "02-28 00:00", "03-31 00:00"]

    def test_the_first_of_the_month_is_that_of_the_tasks_own_zone(self) -> None:
        plan = spec("2026-01-01", "2026-03-31", first_of_month=True)
        made = expand(plan, {1: Schedule(Cycle.DAY, timezone="Asia/Shanghai")}, {})
        # Midnight in Shanghai is 16:00 UTC of the day before.
        assert times(made) == ["12-31 16:00", "01-31 16:00", "02-28 16:00"]

    def test_what_is_not_due_yet_is_left_to_the_schedule(self) -> None:
        noon = dt.datetime(2026, 6, 30, 12, tzinfo=UTC)
        early, late = Schedule(Cycle.DAY, at=dt.time(11)), Schedule(Cycle.DAY, at=dt.time(13))
        next_day = Schedule(Cycle.DAY, at=dt.time(11), generation="T_PLUS_1")
        made = expand(spec("2026-06-29", "2026-07-02", until=noon), {1: early, 2: late, 3: next_day}, {})
        assert times(made) == ["06-29 00:00", "06-30 00:00"]
        assert times(made, 2) == ["06-29 00:00"]
        assert times(made, 3) == ["06-29 00:00"]

    def test_more_runs_than_a_plan_may_have_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan_expansion, "MOST_RUNS", 10)
        schedules = {1: Schedule(Cycle.DAY), 2: Schedule(Cycle.DAY)}
        assert expand(spec("2026-01-01", "2026-01-05"), schedules, {}).total == 10
        with pytest.raises(PlanTooLarge, match="more than 10 runs"):
            expand(spec("2026-01-01", "2026-01-06"), schedules, {})


class TestDaylightSaving:
    def test_days_of_23_and_25_hours(self) -> None:
        berlin = Schedule(Cycle.HOUR, timezone="Europe/Berlin")
        spring = expand(spec("2026-03-29", "2026-03-29"), {1: berlin}, {})
        assert len(times(spring)) == 23
        # The hour that the clock shows twice runs once.
        autumn = spec("2025-10-26", "2025-10-26")
        assert len(times(expand(autumn, {1: berlin}, {}))) == 24
        assert times(expand(autumn, {1: berlin}, {}))[0] == "10-25 22:00"

    def test_the_range_is_on_the_clock_of_the_plan_if_it_names_one(self) -> None:
        hourly = Schedule(Cycle.HOUR)
        own = expand(spec("2026-03-29", "2026-03-29"), {1: hourly}, {})
        berlin = expand(spec("2026-03-29", "2026-03-29", timezone="Europe/Berlin"), {1: hourly}, {})
        assert (times(own)[0], times(own)[-1], len(times(own))) == ("03-29 00:00", "03-29 23:00", 24)
        assert (times(berlin)[0], times(berlin)[-1], len(times(berlin))) == ("03-28 23:00", "03-29 21:00", 23)

    def test_the_window_is_judged_on_the_wall_clock(self) -> None:
        plan = spec("2026-03-28", "2026-03-30", window_start=dt.time(2), window_end=dt.time(3))
        made = expand(plan, {1: Schedule(Cycle.HOUR, timezone="Europe/Berlin")}, {})
        # 02:00 does not exist on the 29th.
        assert times(made) == ["03-28 01:00", "03-28 02:00", "03-29 01:00", "03-30 00:00", "03-30 01:00"]

    def test_a_midnight_that_does_not_exist_begins_the_day_all_the_same(self) -> None:
        # In Cairo the clocks went forward at midnight of 2025-04-25.
        cairo = Schedule(Cycle.DAY, timezone="Africa/Cairo")
        made = expand(spec("2025-04-25", "2025-04-25"), {1: cairo}, {})
        assert times(made) == ["04-24 22:00"]


class TestWaves:
    def test_one_wave_for_each_data_time_whatever_the_number_of_tasks(self) -> None:
        schedules = {1: Schedule(Cycle.DAY), 2: Schedule(Cycle.DAY, at=dt.time(5))}
        made = expand(spec("2026-01-01", "2026-01-03"), schedules, {2: [Rule(1, "CURRENT_DAY")]})
        assert (made.data_times, made.waves) == (3, 3)
        assert made.runs[1].waves == made.runs[2].waves == [0, 1, 2]

    def test_reverse_begins_with_the_last(self) -> None:
        made = expand(spec("2026-01-01", "2026-01-03", order=Order.REVERSE), {1: Schedule(Cycle.DAY)}, {})
        assert made.runs[1].waves == [2, 1, 0]

    def test_a_day_comes_after_the_hours_that_it_waits_for_and_before_the_next_days(self) -> None:
        schedules = {1: Schedule(Cycle.HOUR, step=12), 2: Schedule(Cycle.DAY)}
        made = expand(spec("2026-01-01", "2026-01-02"), schedules, {2: [Rule(1, "CURRENT_DAY")]})
        assert started(made) == [
            (1, "01-01 00"), (1, "01-01 12"), (2, "01-01 00"), (1, "01-02 00"), (1, "01-02 12"), (2, "01-02 00"),
        ]  # fmt: skip
        assert (made.data_times, made.waves) == (4, 6)

    def test_an_hour_that_waits_for_its_day_waits_for_the_hours_of_that_day_too(self) -> None:
        schedules = {
            1: Schedule(Cycle.HOUR, step=12),
            2: Schedule(Cycle.DAY),
            3: Schedule(Cycle.HOUR, step=12),
        }
        rules = {2: [Rule(1, "CURRENT_DAY")], 3: [Rule(2, "CURRENT_DAY")]}
        made = expand(spec("2026-01-01", "2026-01-01"), schedules, rules)
        assert started(made) == [
            (1, "01-01 00"), (1, "01-01 12"), (2, "01-01 00"), (3, "01-01 00"), (3, "01-01 12"),
        ]  # fmt: skip

    def test_dependencies_win_over_the_order(self) -> None:
        """Each day waits for the day before of the other task, whatever order was asked for."""
        schedules = {1: Schedule(Cycle.DAY), 2: Schedule(Cycle.DAY)}
        rules = {2: [Rule(1, "LIST_DAY", "-1")]}
        made = expand(spec("2026-01-01", "2026-01-03", order=Order.REVERSE), schedules, rules)
        order = started(made)
        assert [time for task, time in order if task == 1] == ["01-03 00", "01-02 00", "01-01 00"]
        for time, before in (("01-02 00", "01-01 00"), ("01-03 00", "01-02 00")):
            assert order.index((1, before)) < order.index((2, time))

    def test_an_orderly_task_ascends(self) -> None:
        plan = spec("2026-01-01", "2026-01-03", self_dependency="orderly")
        assert expand(plan, {1: Schedule(Cycle.DAY)}, {}).runs[1].waves == [0, 1, 2]


CYCLES = [
    Schedule(Cycle.DAY),
    Schedule(Cycle.DAY, timezone="America/New_York", at=dt.time(2, 30)),
    Schedule(Cycle.HOUR, step=5),
    Schedule(Cycle.WEEK, weekdays=(1, 4)),
    Schedule(Cycle.MONTH, month_days=(1, -1)),
]


@given(
    st.lists(st.sampled_from(CYCLES), min_size=2, max_size=5),
    st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6),
    st.sampled_from(list(Order)),
)
def test_whatever_waits_comes_after_what_it_waits_for(
    chosen: list[Schedule], pairs: set[tuple[int, int]], order: Order
) -> None:
    """An oracle that knows no waves: walk the runs as they are started, and look at each one's parents."""
    schedules = dict(enumerate(chosen))
    rules = {
        below: [Rule(above, "") for above, other in sorted(pairs) if other == below and above < below]
        for below in schedules
    }
    made = expand(spec("2026-02-20", "2026-03-12", order=order), schedules, rules)
    wave = {
        (task, o.data_time): number
        for task, runs in made.runs.items()
        for o, number in zip(runs.occurrences, runs.waves, strict=True)
    }
    times_of_wave: dict[int, set[dt.datetime]] = {}
    for (_, time), number in wave.items():
        times_of_wave.setdefault(number, set()).add(time)
    assert all(len(found) == 1 for found in times_of_wave.values())
    assert sorted(times_of_wave) == list(range(made.waves))
    for (task, time), number in wave.items():
        for rule in rules[task]:
            upstream = schedules[rule.upstream_id]
            for needed in plan_expansion.upstream_data_times("", schedules[task], time, upstream):
                parent = wave.get((rule.upstream_id, needed))
                assert parent is None or parent < number or (parent == number and needed == time)
