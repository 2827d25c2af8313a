"""What ``${...}`` becomes, and how every wrong one is refused."""

import calendar
import re
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instances.engine import parameters
from instances.engine.parameters import ParameterError, check, check_name, merge, names_used

BASE = datetime(2021, 7, 10, 8, 0, tzinfo=ZoneInfo("Asia/Shanghai")).astimezone(UTC)


def put(text, at=BASE, zone="Asia/Shanghai", scheduled=None, **values):
    return parameters.substitute(text, values=values, data_time=at, timezone=zone, scheduled_time=scheduled)


def fault(text, **values):
    with pytest.raises(ParameterError) as caught:
        put(text, **values)
    return caught.value


def resolve(values, at=BASE, zone="Asia/Shanghai"):
    return parameters.resolve(values, data_time=at, timezone=zone)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${yyyyMMdd-1M}", "20210610"),
        ("${yyyyMMdd-1d}", "20210709"),
        ("${yyyyMMddHHmmss-3h}", "20210710050000"),
        ("${yyyyMMddHHmmss-25m}", "20210710073500"),
        ("${yyyyMMdd}", "20210710"),
        ("${yyyyMMdd+1y}", "20220710"),
        ("${yyyyMMdd-2w}", "20210626"),
        ("${yyyy-MM-dd HH:mm:ss}", "2021-07-10 08:00:00"),
        ("${yyyy-MM-ddTHH:mm:ss -1d}", "2021-07-09T08:00:00"),
        ("${yyyy/MM/dd_HH}", "2021/07/10_08"),
        ("${yy.MM.dd}", "21.07.10"),
        ("${dd}", "10"),
        ("${yyyyMMdd-1M+1d}", "20210611"),
        ("${month_first_day}", "20210701"),
        ("${month_last_day}", "20210731"),
        ("${month_last_day-1M}", "20210630"),
        ("${month_first_day-1d}", "20210630"),
        ("${month_first_day:yyyy-MM-dd-1M}", "2021-06-01"),
        ("${month_last_day:yyyyMMddHHmmss}", "20210731000000"),
        ("${week_first_day}", "20210705"),
        ("${week_last_day}", "20210711"),
        ("${week_first_day:MM/dd -1w}", "06/28"),
        ("where day='${yyyy-MM-dd}' and name='$${name}'", "where day='2021-07-10' and name='${name}'"),
        ("$${yyyyMMdd} costs $5 and {x} }", "${yyyyMMdd} costs $5 and {x} }"),
        ("$$${a}", "$${a}"),
        ("", ""),
    ],
)
def test_examples(text, expected):
    assert put(text) == expected


def test_timestamp_is_ten_digits_of_the_scheduled_time():
    scheduled = datetime(2021, 7, 11, tzinfo=UTC)
    assert put("${timestamp}", scheduled=scheduled) == str(int(scheduled.timestamp()))
    assert put("${timestamp-1d}", scheduled=scheduled) == str(int(scheduled.timestamp()) - 86400)
    assert put("${timestamp}") == str(int(BASE.timestamp()))
    assert put("${timestamp}", at=datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)) == "0000000007"


def test_months_are_clamped():
    at = datetime(2023, 3, 31, tzinfo=UTC)
    assert put("${yyyyMMdd-1M}", at, "UTC") == "20230228"
    assert put("${yyyyMMdd+1M}", at, "UTC") == "20230430"
    assert put("${yyyyMMdd-1M}", at.replace(year=2024), "UTC") == "20240229"
    assert put("${yyyyMMdd-1y}", datetime(2024, 2, 29, tzinfo=UTC), "UTC") == "20230228"
    assert put("${month_last_day-1M}", datetime(2023, 2, 15, tzinfo=UTC), "UTC") == "20230131"


def test_the_zone_decides_the_date():
    at = datetime(2021, 7, 9, 20, 0, tzinfo=UTC)
    assert put("${yyyyMMddHH}", at) == "2021071004"
    assert put("${yyyyMMddHH}", at, "America/New_York") == "2021070916"


def test_days_move_the_wall_clock_and_hours_move_the_instant_across_dst():
    zone = "America/New_York"
    noon_after = datetime(2021, 3, 14, 16, 0, tzinfo=UTC)  # 12:00 EDT, the day the clocks went forward
    assert put("${yyyyMMddHH-1d}", noon_after, zone) == "2021031312"
    assert put("${yyyyMMddHH-24h}", noon_after, zone) == "2021031311"
    # 02:30 does not exist on the 14th: the next time that does.
    half_past_two = datetime(2021, 3, 13, 7, 30, tzinfo=UTC)
    assert put("${yyyyMMddHHmm+1d}", half_past_two, zone) == "202103140300"
    # 01:30 on 7 November comes twice, an hour apart.
    first = datetime(2021, 11, 7, 5, 30, tzinfo=UTC)
    assert put("${HHmm+1h}", first, zone) == "0130"
    assert put("${HHmm+2h}", first, zone) == "0230"


def test_a_value_is_put_in_and_never_read_again():
    assert put("<${a}>", a="${b}", b="no") == "<${b}>"
    assert put("<${a}>", a="$${b}") == "<$${b}>"
    assert put("${a}${a}", a="$") == "$$"
    assert put("$${a}${a}", a="{b}") == "${a}{b}"


def test_an_empty_value_is_a_value():
    assert put("<${a}>", a="") == "<>"


def test_a_defined_name_wins_over_a_time_expression():
    assert put("${dd} ${timestamp}", dd="x", timestamp="y") == "x y"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("${nothing}", "UNDEFINED_PARAMETER", "Define a parameter of this name"),
        ("${yyyyMMDD}", "UNDEFINED_PARAMETER", "not defined"),
        ("${yyyyMd}", "UNDEFINED_PARAMETER", "a time format is made of"),
        ("${}", "BAD_EXPRESSION", "neither a parameter nor a time expression"),
        ("${ yyyyMMdd}", "BAD_EXPRESSION", "neither"),
        ("${yyyyMMdd-1D}", "BAD_EXPRESSION", "units y M w d h m"),
        ("${yyyyMMdd-1}", "BAD_EXPRESSION", "units"),
        ("${yyyyMMdd-d}", "BAD_EXPRESSION", "units"),
        ("${-1d}", "BAD_EXPRESSION", "neither"),
        ("${name-1d}", "BAD_EXPRESSION", "neither"),
        ("${HOME:-/root}", "BAD_EXPRESSION", "write $${HOME:-/root}"),
        ("${month_first_day:}", "BAD_EXPRESSION", "neither"),
        ("${month_first_day:abc}", "BAD_EXPRESSION", "neither"),
        ("${timestamp:yyyy}", "BAD_EXPRESSION", "takes no format"),
        ("${yyyyMMdd-9000y}", "BAD_EXPRESSION", "smaller offset"),
        ("${yyyyMMdd+999999w}", "BAD_EXPRESSION", "smaller offset"),
        ("${month_first_day-999999M}", "BAD_EXPRESSION", "smaller offset"),
        ("${timestamp-99y}", "BAD_EXPRESSION", "smaller offset"),
        ("${yyyyMMdd-1000000d}", "BAD_EXPRESSION", "neither"),
        ("abc ${name", "BAD_EXPRESSION", "at character 5 is not closed"),
        ("${na\nme}", "BAD_EXPRESSION", "not closed"),
        ("${a${b}}", "BAD_EXPRESSION", "not closed"),
        ("${" + "y" * 201 + "}", "BAD_EXPRESSION", "over 200 characters"),
        ("${\x00\x1b[31m}", "BAD_EXPRESSION", "${??[31m}"),
    ],
)
def test_faults(text, code, says):
    error = fault(text)
    assert (error.code, says in str(error)) == (code, True), str(error)
    assert error.name in text
    assert len(str(error)) < 500
    first, *_ = check(text, [])
    assert (first.code, first.name, str(first)) == (code, error.name, str(error))


def test_check_lists_each_fault_once_in_order_and_takes_known_names():
    text = "${a} ${b} $${c} ${yyyyMMdd-1d} ${b} ${d-} ${timestamp}"
    assert [(e.code, e.name) for e in check(text, {"a"})] == [
        ("UNDEFINED_PARAMETER", "b"),
        ("BAD_EXPRESSION", "d-"),
    ]
    assert check(text, {"a", "b", "d-"}) == []


def test_names_used():
    assert names_used("${a} $${b} ${yyyyMMdd} ${timestamp} ${month_last_day} ${c-} ${d ${_e1}") == {
        "a",
        "_e1",
    }


def test_check_name():
    for good in ("a", "_x1", "biz_date", "my", "M", "yyyyMMDD", "x" * 128):
        check_name(good)
    for bad in ("", "1a", "a-b", "a b", "naïve", "a\n", "x" * 129, "yyyyMMdd", "dd", "HH_mm", "timestamp"):
        with pytest.raises(ParameterError, match="cannot name a parameter"):
            check_name(bad)
    with pytest.raises(ParameterError, match="is a time expression"):
        check_name("week_first_day")


def test_merge_later_layers_win():
    project, workflow, upstream = {"a": "p", "b": "p", "c": "p"}, {"b": "w", "c": "w"}, {"c": "u"}
    assert merge(project, workflow, upstream, {}, {"a": "o"}) == {"a": "o", "b": "w", "c": "u"}
    assert merge() == {}


def test_resolve_follows_references_in_any_order_and_keeps_the_order():
    resolved = resolve(
        {
            "path": "${root}/${day}",
            "root": "/data",
            "day": "${yyyyMMdd-1d}",
            "kept": "$${x}",
            "same": "${path}",
        }
    )
    assert list(resolved.items()) == [
        ("path", "/data/20210709"),
        ("root", "/data"),
        ("day", "20210709"),
        ("kept", "${x}"),
        ("same", "/data/20210709"),
    ]
    assert put("${kept} ${path}", **resolved) == "${x} /data/20210709"


def test_resolve_names_the_parameter_at_fault():
    with pytest.raises(ParameterError, match="In the value of parameter a: ") as caught:
        resolve({"a": "${b}"})
    assert (caught.value.code, caught.value.name) == ("UNDEFINED_PARAMETER", "b")


def test_resolve_refuses_circles_and_names_the_path():
    with pytest.raises(ParameterError, match="circle: a -> a") as caught:
        resolve({"a": "x${a}"})
    assert (caught.value.code, caught.value.name) == ("PARAMETER_CYCLE", "a")
    with pytest.raises(ParameterError) as caught:
        resolve({"x": "${a}", "a": "${b}", "b": "${c}${x0}", "c": "${a}", "x0": ""})
    assert caught.value.code == "PARAMETER_CYCLE"
    assert any(f"circle: {path}." in str(caught.value) for path in ("a -> b -> c -> a", "b -> c -> a -> b"))


def test_resolve_takes_long_chains():
    chain = {f"p{i}": f"${{p{i + 1}}}" for i in range(10_000)} | {"p10000": "end"}
    assert set(resolve(chain).values()) == {"end"}


def test_values_that_multiply_are_stopped():
    bomb = {f"p{i}": f"${{p{i + 1}}}" * 10 for i in range(30)} | {"p30": "x" * 10}
    with pytest.raises(ParameterError, match="would be put in"):
        resolve(bomb)
    assert fault("${a}" * 200, a="x" * 100_000).code == "BAD_EXPRESSION"


def test_naive_times_are_refused():
    with pytest.raises(ValueError, match="time zone"):
        put("x", at=datetime(2021, 7, 10))  # noqa: DTZ001


@pytest.mark.parametrize(
    "piece", ["${", "${yyyy", "$", "$$", "$${", "${y}", "${yyyyMMdd-1d", "${a+1d+1d+1d", "yM"]
)
def test_hostile_text_takes_linear_time(piece):
    text = piece * (400_000 // len(piece))
    started = time.process_time()
    check(text, [])
    names_used(text)
    with suppress(ParameterError):
        put(text, y="")
    assert time.process_time() - started < 5


# Text made of the pieces that matter, so that the strange combinations are common.
PIECES = st.one_of(
    st.sampled_from(
        ["$", "$$", "{", "}", "${", "$${", "${a}", "${b", "a", "Z", "é", " ", "\n", "\x00", ":", "-"]
    ),
    st.sampled_from(["yyyy", "yy", "MM", "dd", "HH", "mm", "y", "-1d", "+99M", "-999999y"]),
    st.sampled_from(["timestamp", "month_first_day", "week_last_day:"]),
)
HOSTILE = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))
TIMES = st.integers(5 * 365 * 86400, 90 * 365 * 86400).map(lambda s: datetime.fromtimestamp(s, UTC))
ZONES = st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])


@given(HOSTILE, HOSTILE, TIMES, ZONES)
def test_hostile_text_raises_nothing_but_parameter_errors(text, value, at, zone):
    known_faults = [error for error in check(text, ["a"]) if "smaller offset" not in str(error)]
    names_used(text)
    outcome = None
    try:
        put(text, at, zone, a=value)
    except ParameterError as error:
        outcome = error
    assert not known_faults or outcome
    assert known_faults or outcome is None or "smaller offset" in str(outcome)
    for call in (lambda: resolve({"a": value, "b": text}, at, zone), lambda: check_name(text)):
        with suppress(ParameterError):
            call()


@given(HOSTILE)
def test_literals_survive(text):
    escaped = text.replace("${", "$${")
    if "$$$" not in escaped:  # "$" directly before an escape belongs to it
        assert put(escaped) == text
    assert put("".join(c + ("" if c != "$" else "\u200b") for c in text)).replace("\u200b", "") == text


@given(HOSTILE, HOSTILE, HOSTILE)
def test_values_are_opaque(before, value, after):
    before, after = before.replace("$", ""), after.replace("$", "")
    assert put(f"{before}${{a}}{after}", a=value) == before + value + after


@given(TIMES, st.integers(-600, 600))
def test_months_agree_with_the_calendar(at, months):
    shown = put(f"${{yyyyMMdd{months:+d}M}}", at, "UTC")
    moved = date(int(shown[:4]), int(shown[4:6]), int(shown[6:]))
    assert (moved.year - at.year) * 12 + moved.month - at.month == months
    assert moved.day == min(at.day, calendar.monthrange(moved.year, moved.month)[1])


@given(TIMES, st.integers(-999, 999), st.sampled_from("wdhm"))
def test_offsets_agree_with_plain_arithmetic_where_clocks_never_jump(at, amount, unit):
    step = timedelta(minutes={"w": 7 * 1440, "d": 1440, "h": 60, "m": 1}[unit])
    assert put(f"${{yyyy-MM-dd HH:mm:ss{amount:+d}{unit}}}", at, "UTC") == f"{at + amount * step:%F %T}"


def on_the_wall(moment, zone):
    return moment.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


@given(TIMES, st.integers(-500, 500), ZONES)
def test_days_land_on_the_same_wall_clock_or_on_the_next_that_exists(at, days, zone):
    wall = on_the_wall(at, zone) + timedelta(days=days)
    shown = datetime.fromisoformat(put(f"${{yyyy-MM-ddTHH:mm:ss{days:+d}d}}", at, zone))
    if days == 0 or on_the_wall(wall.replace(tzinfo=ZoneInfo(zone)), zone) == wall:
        assert shown == wall
    else:  # in the gap: the first second after it, so the second before it does not exist either
        before = shown - timedelta(seconds=1)
        assert wall < shown <= wall + timedelta(days=1)
        assert on_the_wall(before.replace(tzinfo=ZoneInfo(zone)), zone) != before


@given(TIMES, ZONES)
def test_first_and_last_days(at, zone):
    day = at.astimezone(ZoneInfo(zone)).date()
    found = put("${month_first_day} ${month_last_day} ${week_first_day} ${week_last_day}", at, zone).split()
    month_first, month_last, week_first, week_last = (date.fromisoformat(text) for text in found)
    assert month_first <= day <= month_last
    assert (month_first.day, (month_last + timedelta(days=1)).day) == (1, 1)
    assert week_first <= day <= week_last
    if zone != "Pacific/Apia":  # Samoa had no 30 December 2011
        assert (week_first.isoweekday(), week_last.isoweekday()) == (1, 7)


def test_the_manual_tells_the_truth():
    manual = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text()
    examples = re.findall(r"^\| `(\$.+)` \| `(.+)` \|$", manual, re.MULTILINE)
    assert len(examples) >= 15
    for text, expected in examples:
        assert put(text) == expected, text
    for limit in (parameters.MAX_EXPRESSION_CHARS, parameters.MAX_NAME_CHARS):
        assert f"| {limit}" in manual
    for limit in (parameters.MAX_VALUE_CHARS, parameters.MAX_TEXT_CHARS):
        assert f"| {limit:,} |" in manual
