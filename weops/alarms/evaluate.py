"""Finds what rules alarm about: in what changed since the last pass, and in what the clock has made due (ADR 16).

Run-once functions with a batch limit; any number of them may run at once.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from instances.engine.schedule import ScheduleError, next_occurrence
from instances.insight import forecast
from instances.models import Task
from weops.alarms import statements, words
from weops.alarms.kinds import Kind, LimitKind, Measure, Trigger
from weops.alarms.limits import FORGET, Facts, Limit, due_at, judge, limit_at
from weops.alarms.models import Cursor, Rule, Watch
from weops.database.transactions import retried

IDS_A_BATCH = 5_000
WATCHES_A_BATCH = 1_000
TASKS_A_BATCH = 5_000
# A pass gives way after so many batches; the next tick goes on.
BATCHES_A_PASS = 40
CHANGES, INSTANCES = "changes", "instances"
_TABLES = {CHANGES: "instances_statechange", INSTANCES: "instances_instance"}
# What somebody did on purpose is no failure to be woken for.
_BY_HAND = frozenset({"TERMINATED"})


@dataclass(frozen=True, slots=True)
class Found:
    """Something to tell: what makes it one of a kind, and what is said."""

    rule_id: int
    instance_id: int
    life_round: int
    occasion: str
    kind: str
    reason: str
    execution_id: int | None = None
    predicted: bool = False
    limit_at: dt.datetime | None = None


def evaluate(now: dt.datetime | None = None) -> int:
    """All that is to be found now; how many new messages there are."""
    total = 0
    for read in (enrol, lambda: follow(CHANGES), lambda: follow(INSTANCES), lambda: look(now)):
        for _batch in range(BATCHES_A_PASS):
            told, more = read()
            total += told
            if not more:
                break
    return total


# What changed


@retried
def follow(name: str) -> tuple[int, bool]:
    """Reads on in the history of states, or in new instances: (new messages, whether there is more)."""
    cursor = Cursor.objects.select_for_update(skip_locked=True).filter(name=name).first()
    top, oldest_writer, next_writer = _horizon(name)
    if cursor is None:
        # What was before the first pass is not told. (Or another evaluator is at it: nothing happens.)
        Cursor.objects.get_or_create(name=name, defaults={"low": top, "seen": top})
        return 0, False
    if not _wanted(name):
        cursor.low = cursor.seen = max(top, cursor.seen)
        cursor.mark = cursor.mark_xid = None
        _move(cursor)
        return 0, False
    told, more = 0, False
    if cursor.mark is not None and cursor.mark_xid is not None and oldest_writer >= cursor.mark_xid:
        # All that was being written at the mark is visible now: once more, for what came late.
        high = min(cursor.mark, cursor.low + IDS_A_BATCH)
        told += _read(name, cursor.low, high)
        cursor.low, more = high, high < cursor.mark
        if not more:
            cursor.mark = cursor.mark_xid = None
    high = min(top, cursor.seen + IDS_A_BATCH)
    if high > cursor.seen:
        told += _read(name, cursor.seen, high)
        cursor.seen, more = high, more or high < top
    if cursor.mark is None and cursor.seen == top and cursor.seen > cursor.low:
        cursor.mark, cursor.mark_xid = top, next_writer
    _move(cursor)
    return told, more


def _move(cursor: Cursor) -> None:
    cursor.moved_at = timezone.now()
    cursor.save(update_fields=["low", "seen", "mark", "mark_xid", "moved_at"])


def _horizon(name: str) -> tuple[int, int, int]:
    with connection.cursor() as cursor:
        cursor.execute(statements.HORIZON.format(table=_TABLES[name]))
        top, oldest, following = cursor.fetchone()
    return top, oldest, following


def _wanted(name: str) -> bool:
    rules = Rule.objects.filter(enabled=True)
    return (rules if name == CHANGES else rules.filter(kinds__contains=[Kind.OVERTIME])).exists()


def _read(name: str, low: int, high: int) -> int:
    if high <= low:
        return 0
    window = {"low": low, "high": high}
    if name == INSTANCES:
        watch(_rows(statements.GENERATED, window))
        return 0
    watch(_rows(statements.BEGUN, window))
    return tell(_ends(_rows(statements.ENDS, window)))


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def _ends(rows: Sequence[tuple[Any, ...]]) -> Iterable[Found]:
    rules = Rule.objects.in_bulk({row[0] for row in rows})
    for rule_id, instance, life, execution, rerun, state, move, code, message, tries in rows:
        rule = rules.get(rule_id)
        if rule is None or code in _BY_HAND:
            continue
        if state == "success":
            kind, occasion = (Kind.RERUN_SUCCESS if rerun else Kind.SUCCESS), "success"
            reason = words.succeeded(move)
        else:
            kind, occasion = (Kind.RERUN_FAILURE if rerun else Kind.FAILURE), "failure"
            trigger = rule.rerun_trigger if rerun else rule.trigger
            if state == "failed_retry" and trigger != Trigger.FIRST:
                continue
            reason = words.failed(code, message, tries, state == "failed_retry")
        if kind in rule.kinds:
            yield Found(rule_id, instance, life, occasion, kind, reason, execution)


# The clock


@retried
def enrol() -> tuple[int, bool]:
    """Puts limits on what was active already when a rule was made or changed."""
    rule = (
        Rule.objects.select_for_update(skip_locked=True)
        .filter(enrolled_to__isnull=False, enabled=True)
        .order_by("id")
        .first()
    )
    if rule is None:
        return 0, False
    objects = list(rule.targets.values_list("object_id", flat=True))
    values = {"rule": rule.pk, "kind": rule.object_kind, "objects": objects, "low": rule.enrolled_to}
    rows = _rows(statements.ACTIVE, {**values, "limit": IDS_A_BATCH})
    watch(rows)
    rule.enrolled_to = rows[-1][1] if len(rows) == IDS_A_BATCH else None
    rule.save(update_fields=["enrolled_to"])
    return 0, True


def watch(rows: Sequence[tuple[Any, ...]], now: dt.datetime | None = None) -> None:
    """Puts the limits of rules on lives of instances: rows of (rule id, facts)."""
    if not rows:
        return
    now = now or timezone.now()
    limits = _limits({row[0] for row in rows})
    known = _Known([(row[4], row[6]) for row in rows], limits)
    columns: dict[str, list[Any]] = defaultdict(list)
    for rule_id, instance, life, rerun, task_id, *rest in rows:
        facts = known.facts(task_id, rest)
        for number, limit in enumerate(limits.get(rule_id, ())):
            at = limit_at(limit, facts) if limit.reruns == rerun else None
            if at is None:
                continue
            columns["rule"].append(rule_id)
            columns["limit_no"].append(number)
            columns["instance"].append(instance)
            columns["life"].append(life)
            columns["execution"].append(rest[8] if limit.kind == LimitKind.RUN else None)
            columns["limit_at"].append(at)
            columns["due_at"].append(due_at(limit, facts, at, now))
    if columns:
        with connection.cursor() as cursor:
            cursor.execute(statements.WATCH, columns)


@retried
def look(now: dt.datetime | None = None) -> tuple[int, bool]:
    """Looks at the limits that are due: (new messages, whether there may be more)."""
    now = now or timezone.now()
    rows = _rows(statements.DUE, {"now": now, "limit": WATCHES_A_BATCH})
    if not rows:
        return 0, False
    limits = _limits({row[4] for row in rows})
    known = _Known([(row[8], row[10]) for row in rows if row[5] is not None], limits)
    found: list[Found] = []
    over: list[int] = []
    again: dict[int, dt.datetime] = {}
    for watch_id, number, at, life, rule_id, instance, life_now, _rerun, task_id, *rest in rows:
        *rest, execution, run_started_at, run_ended_at = rest
        limit = limits.get(rule_id, [])[number : number + 1]
        verdict = FORGET
        if limit and instance is not None and life == life_now:
            if limit[0].kind == LimitKind.RUN:
                rest[9:11] = [run_started_at, run_ended_at]
            facts = known.facts(task_id, rest)
            verdict = judge(limit[0], facts, at, now)
        if verdict.again is not None:
            again[watch_id] = verdict.again
            continue
        over.append(watch_id)
        if verdict.tell:
            reason = words.late(limit[0], at, verdict.predicted, verdict.expected, facts)
            occasion = f"limit:{limit[0].kind}:{number}"
            found.append(
                Found(
                    rule_id,
                    instance,
                    life,
                    occasion,
                    Kind.OVERTIME,
                    reason,
                    execution,
                    verdict.predicted,
                    at,
                )
            )
    told = tell(found)
    Watch.objects.filter(pk__in=over).delete()
    if again:
        with connection.cursor() as cursor:
            cursor.execute(statements.LOOK_AGAIN, {"ids": list(again), "due_at": list(again.values())})
    return told, len(rows) == WATCHES_A_BATCH


def _limits(rule_ids: set[int]) -> dict[int, list[Limit]]:
    """The limits of enabled rules."""
    rows = Rule.objects.filter(pk__in=rule_ids, enabled=True).values_list("pk", "limits")
    return {pk: [Limit.read(limit) for limit in limits] for pk, limits in rows}


class _Known:
    """What limits need to know of tasks besides an instance's own columns, read once for many instances."""

    def __init__(self, pairs: Iterable[tuple[int, dt.datetime]], limits: dict[int, list[Limit]]) -> None:
        every = [limit for some in limits.values() for limit in some]
        tasks = {task_id for task_id, _planned in pairs}
        foresee = any(limit.kind != LimitKind.WAIT or limit.measure == Measure.AVERAGE for limit in every)
        self._durations = forecast.durations(tasks) if foresee else {}
        cycles = any(limit.kind == LimitKind.CYCLE for limit in every)
        self._tasks = Task.objects.select_related("calendar").in_bulk(tasks) if cycles else {}

    def facts(self, task_id: int, columns: Sequence[Any]) -> Facts:
        state, planned, since, not_before, tries, frozen, started, ended, _execution, run, run_ended = columns
        return Facts(
            state=state,
            planned_time=planned,
            wait_since=since,
            not_before=not_before,
            tries=tries,
            frozen=frozen,
            start_time=started,
            end_time=ended,
            run_started_at=run,
            run_ended_at=run_ended,
            next_planned=self._next(task_id, planned),
            durations=self._durations.get(task_id),
        )

    def _next(self, task_id: int, planned: dt.datetime) -> dt.datetime | None:
        task = self._tasks.get(task_id)
        if task is None:
            return None
        try:
            occurrence = next_occurrence(task.schedule(), planned)
        except (ScheduleError, ValueError):
            return None
        return occurrence.planned_time if occurrence else None


def tell(found: Iterable[Found]) -> int:
    """Writes messages, each once, with the notices that they owe; how many are new."""
    chosen: dict[tuple[Any, ...], Found] = {}
    for one in found:
        # The first of a life is the one that is told.
        chosen.setdefault((one.rule_id, one.instance_id, one.life_round, one.occasion), one)
    if not chosen:
        return 0
    column: Callable[[str], list[Any]] = lambda name: [getattr(one, name) for one in chosen.values()]  # noqa: E731
    return len(
        _rows(
            statements.TELL,
            {
                "rule": column("rule_id"),
                "instance": column("instance_id"),
                "life": column("life_round"),
                "execution": column("execution_id"),
                "occasion": column("occasion"),
                "kind": [str(kind) for kind in column("kind")],
                "reason": [reason.replace("\0", " ") for reason in column("reason")],
                "predicted": column("predicted"),
                "limit_at": column("limit_at"),
            },
        )
    )
