"""docs/dependencies.md, written from the tables of scopes, with examples that the code itself works out."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from instances.engine.dependencies import Required, required
from instances.engine.dependency_scopes import MOST_OFFSET, SCOPES, scopes
from instances.engine.schedule import Cycle, Schedule
from instances.engine.trigger_policies import WORDS

_HEAD = """# What an instance waits for

Written from `instances/engine/dependency_scopes.py` by `python manage.py dependency_table > docs/dependencies.md`; a test
compares the two. `instances/engine/dependencies.py` does the reckoning.

A task waits for other tasks, of any project. Each of its dependencies has a **scope**: which instances of the upstream
task an instance of this task waits for, seen from its data time **D**. A scope without a choice is the default of the two
cycles, which stands first below.

- A scope names units of time (the day of D, the hour before, the month before...) on the wall clock of the *downstream*
  task's zone. A unit lasts from its first instant to the first instant of the next one: a day on which clocks change has
  its 23 or 25 hours, an hour that is repeated is one hour. Weeks begin on Monday.
- Within these units the *upstream's own schedule* decides which data times exist: its hours, its execution window, its
  calendar, its effective period. T+1 changes when an instance runs, not its data time. If there are none, there is nothing to
  wait for.
- An instance that the schedule has, but that is not generated yet, is waited for: the edge binds when it appears.
- "Previous" is the unit before it that the clock really showed: before 03:00 of a night in which clocks jump from 02:00 to
  03:00 comes 01:00.
- What a task waits for is fixed when its instance is generated. Changing dependencies counts for instances generated
  afterwards; those that exist keep their edges.
- Circles among tasks are refused, and the message names the path. A task's own previous period is its self-dependency.
- A task whose cycle changes must still fit: submitting it is refused as long as one of its own scopes, or the scope of a task
  that waits for it, is none of the new pair of cycles.
"""

_OFFSETS = f"""
## Ranges and lists

`RANGE_` scopes take two offsets, the earlier first: every upstream data time from the begin of the first unit to the end of
the second. `LIST_` scopes take any number: exactly these units. Offset 0 is the unit of D, -1 the one before; tasks by the
day, week, month and year count hours and minutes from 00:00 of D's day. Offsets are counted on the wall clock, and reach
{MOST_OFFSET:,} units at most. So "yesterday" is `LIST_DAY -1`, and for a daily task `RANGE_HOUR -24,-1` is PREVIOUS_DAY. An hour
that clocks jumped over is, as in [schedules](schedules.md), the one in which they landed.

**A list names its units one by one, and so may name one that the upstream's schedule will never produce** (it is outside its
hours, its window, its calendar or its effective period). That one is required all the same: it is waited for until the
dependency is removed from the instance, or its waiting timeout ends it, unless the dependency does not wait for it (below).
The page that edits the dependency marks it "never comes". A range, and every other scope, takes what there is.
"""

_TAIL = """
## Crontabs and one-off tasks

A crontab may be daily or every five minutes; its data times are its scheduled times. `RECENT_DATE` and, between two
crontabs, `CURRENT` wait for the latest one up to D. A one-off task has one data time: `CURRENT` waits for it whenever it
is, before or after D; the other scopes count it only if it lies in the unit. [ADR 11](adr/0011-scopes.md) has the reasons.

## Parents that are not waited for

A dependency waits for each of its instances to succeed, however long that takes. *Do not wait for* on its line takes such
parents out; they then count as met, and the upstream list of the instance says which, why and since when:

| choice | the parent |
|---|---|
| `NOT_EXIST` | is outside the schedule of its task, and nobody has run it by hand |
| `PARENT_EXPIRED` | has failed, without a try left |
| `PARENT_TIMEOUT` | has not succeeded so many minutes after this life began to wait; the clock stands still while it is frozen |

WeData calls this EXECUTING, and WAITING where nothing is chosen. A rerun or backfill that checks parents decides anew, with the
whole time. A failed parent that is rerun while its child still waits is waited for again.

## When an instance runs: trigger policies

*Runs when* on the page of a task says how its upstream must end. *Ended* means success, failure or skipped; a try that is left
to a failed run counts as not ended. Parents that are not waited for count as successes; removed ones, and those that a rerun
does not check, count for nothing. The previous period of an orderly task is apart: it must be done besides.

| policy | an instance runs when |
|---|---|
{policies}

- With `ALL_SUCCESS` (the default) and `NONE_FAILED`, an instance whose upstream failed **goes on waiting**: rerun the upstream
  or mark it as successful, and the line goes on by itself. A task may be told to *fail* instead, with the code
  `UPSTREAM_FAILED`, once all of its upstream have ended; then it has to be rerun, too.
- It is skipped as soon as nothing that its upstream still does could change that.
- **Skipped** goes on downstream by the policies of the tasks there: an `ALL_SUCCESS` child of a skipped instance is skipped.
- Nobody reruns a skipped instance: what skipped it decides. When that upstream instance is rerun or marked as successful, or the
  dependency is removed, it is decided again, and waits again if it may still run (*reconsider* in its history).
- What has been generated keeps the policy of then.

## Who may be waited for

A dependency needs the right to see the upstream task's project, and its owner's consent: *other tasks may depend on it* can be
switched off on the page of the upstream task. Then nobody can submit a task that waits for it; instances that
exist go on as they are.

## See it before it is saved

The page of a task shows, for a date of your choice, the instances that would be waited for: their data times in the
zone of their task, which of them exist, and their states, which never come, and which were missed: planned before their
task was submitted or resumed, so that only a backfill makes them. It follows every change of the table of
dependencies and saves nothing. *What it waits for* on the same page is its address, to bookmark or to send.
"""

_SHANGHAI = "Asia/Shanghai"
_WEDNESDAY = date(2026, 3, 25)


def _midnight(zone: str, day: date) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def _shown(found: tuple[Required, ...], zone: str) -> str:
    def one(item: Required) -> str:
        text = f"{item.data_time.astimezone(ZoneInfo(zone)):%m-%d %H:%M}"
        return text if item.exists else f"{text} (never comes)"

    if len(found) <= 4:
        return ", ".join(map(one, found)) or "nothing"
    return f"{one(found[0])} to {one(found[-1])}: {len(found)}"


_DAILY, _HOURLY = Schedule(Cycle.DAY, _SHANGHAI), Schedule(Cycle.HOUR, _SHANGHAI)
_WEEKEND = frozenset({date(2026, 3, 21), date(2026, 3, 22)})
_NEW_YORK = "America/New_York"
# The two tasks in words, their schedules, the day of D, and scopes with their offsets.
_Example = tuple[str, Schedule, Schedule, date, tuple[str, ...]]
_EXAMPLES: tuple[_Example, ...] = (
    (
        "a daily task on an hourly one",
        _DAILY,
        _HOURLY,
        _WEDNESDAY,
        (
            "PREVIOUS_DAY_LATER_OFFSET_HOUR",
            "PREVIOUS_DAY",
            "CURRENT_DAY",
            "RANGE_HOUR -24,-1",
            "LIST_HOUR -1,0",
        ),
    ),
    (
        "a daily task on one that runs each hour from 09:00 to 17:00",
        _DAILY,
        Schedule(Cycle.HOUR, _SHANGHAI, window_start=time(9), window_end=time(17)),
        _WEDNESDAY,
        ("PREVIOUS_DAY_LATER_OFFSET_HOUR", "PREVIOUS_DAY", "RANGE_HOUR -8,-1", "LIST_HOUR -8,-1"),
    ),
    (
        "a daily task on a daily one",
        _DAILY,
        _DAILY,
        _WEDNESDAY,
        ("CURRENT_DAY", "LIST_DAY -1", "RANGE_DAY -7,-1"),
    ),
    (
        "a daily task on a daily one that rests on the 21st and 22nd",
        _DAILY,
        Schedule(Cycle.DAY, _SHANGHAI, calendar_mode="SKIP", calendar_dates=_WEEKEND),
        _WEDNESDAY,
        ("RANGE_DAY -4,-2", "LIST_DAY -4,-2"),
    ),
    (
        "a weekly task on a daily one",
        Schedule(Cycle.WEEK, _SHANGHAI, weekdays=(3,)),
        _DAILY,
        _WEDNESDAY,
        ("PREVIOUS_WEEK", "PREVIOUS_FRIDAY", "PREVIOUS_WEEKEND", "CURRENT_WEEK", "PREVIOUS_DAY"),
    ),
    (
        "daily on hourly in New York, where the 8th had no 02:00",
        Schedule(Cycle.DAY, _NEW_YORK),
        Schedule(Cycle.HOUR, _NEW_YORK),
        date(2026, 3, 9),
        ("PREVIOUS_DAY", "LIST_HOUR -23,-22,-21"),
    ),
)


def _example_rows() -> list[str]:
    lines = []
    for words, downstream, upstream, day, chosen in _EXAMPLES:
        said = f"{words} | {day}"
        for text in chosen:
            scope, _, offsets = text.partition(" ")
            found = required(scope, downstream, _midnight(downstream.timezone, day), upstream, offsets)
            lines.append(f"| {said} | `{text}` | {_shown(found, downstream.timezone)} |")
            said = " | "
    return lines


def document() -> str:
    """The whole page, as Markdown."""
    pairs = [
        f"| {below} ← {above} | {', '.join(f'`{scope}`' for scope in scopes(below, above))} |"
        for below in Cycle
        for above in Cycle
    ]
    lines = [
        _HEAD,
        "## An example",
        "",
        "D is 00:00 of the day, a Wednesday or the Monday after clocks changed; times are month-day hour:minute.",
        "",
        "| tasks | D | scope | waits for |",
        "|---|---|---|---|",
        *_example_rows(),
        "",
        "## Which scopes two cycles may have",
        "",
        "Downstream ← upstream. The first one is the default.",
        "",
        "| cycles | scopes |",
        "|---|---|",
        *pairs,
        "",
        "## What the scopes mean",
        "",
        "The time dimension is what WeData's API calls MainCyclicConfig; the scope is its SubordinateCyclicConfig.",
        "",
        "| scope | time dimension | waits for |",
        "|---|---|---|",
        *[f"| `{name}` | {scope.dimension} | {scope.words} |" for name, scope in SCOPES.items()],
        _OFFSETS.rstrip(),
        _TAIL.rstrip().replace(
            "{policies}", "\n".join(f"| `{one}` | {words} |" for one, words in WORDS.items())
        ),
        "",
    ]
    return "\n".join(lines)
