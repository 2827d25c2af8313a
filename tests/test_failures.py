"""Workers, beats and children die, stop, hang and shout; hints come twice. Nothing gets stuck, nothing runs twice.

docs/failures.md lists what dies, what happens then, and which test shows it. Servers die in test_outages.py.
"""

import datetime as dt
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instances.engine import hints, lifecycle, logs
from instances.engine.dispatch import dispatch
from instances.engine.hints import Hint
from instances.engine.states import ExecutionState, State
from instances.models import Execution, Instance, StateChange
from tests import factories
from tests.stack import (
    DAY,
    SHORT_LEASE,
    Ledger,
    Stack,
    check_books,
    daily,
    dead,
    delete_queues,
    executions,
    of_tasks,
    over,
    states,
    swept,
    tick,
    until,
    world,
)

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def stack(tmp_path: Path, settings: Any, transactional_db: None) -> Iterator[Stack]:
    with world(tmp_path, settings) as made:
        yield made


@pytest.fixture
def short_stack(tmp_path: Path, settings: Any, transactional_db: None) -> Iterator[Stack]:
    """For tests in which a lease has to run out."""
    with world(tmp_path, settings, lease=SHORT_LEASE) as made:
        yield made


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def by(worker: str, execution: Execution) -> bool:
    return execution.worker.startswith(f"{worker}@")


def test_killed_worker_leaves_no_child_and_its_runs_are_tried_again(
    short_stack: Stack, ledger: Ledger
) -> None:
    # Its grandchildren are in sessions of their own, where no signal to a group reaches them.
    stubborn = f"setsid bash -c 'trap \"\" TERM HUP; {ledger.note('grandchild')}; exec sleep 600' &"
    code = "\n".join(
        [
            f"if [ $WEOPS_TRY = 1 ]; then {ledger.note('end')}; exit 0; fi",
            stubborn,
            ledger.note("begin"),
            "sleep 600",
            ledger.note("end"),
        ]
    )
    retried = daily(code=code, retry_limit=1)
    final = daily(code=code)
    after = factories.make_task(effective_from=DAY, effective_to=DAY + dt.timedelta(hours=23))
    factories.depend(after, retried)
    factories.submit(after, since=DAY - dt.timedelta(seconds=1))
    first = short_stack.worker("A")
    short_stack.until_ready(first)
    tick()
    until(lambda: len(ledger.entries("grandchild")) == len(ledger.entries("begin")) == 2, "two runs")
    other = short_stack.worker("B")
    short_stack.until_ready(other)
    held = executions(retried, final)
    assert all(by("A", execution) for execution in held)

    first.kill()
    # The guardian needs no lease to run out.
    until(lambda: dead(ledger.pids()), "the end of all children", 20)
    until(swept(lambda: over(retried, final, after)), "the end of all instances")

    assert states(final) == {State.FAILED}
    assert states(retried) == states(after) == {State.SUCCESS}
    lost, again = executions(retried)
    assert (lost.state, lost.error_code, lost.try_number) == (ExecutionState.FAILED, "LOST", 0)
    assert (again.state, again.try_number) == (ExecutionState.SUCCESS, 1)
    assert by("B", again)
    assert [execution.error_code for execution in executions(final)] == ["LOST"]
    assert [entry[0] for entry in ledger.entries("end")] == [again.pk]
    check_books()


def test_worker_asked_to_stop_finishes_what_is_quick_and_hands_the_rest_over(
    stack: Stack, ledger: Ledger
) -> None:
    def waits_for(gate: str) -> str:
        return "\n".join([ledger.note("begin"), ledger.gate(gate), ledger.note("end")])

    quick, long = daily(code=waits_for("now")), daily(code=waits_for("later"))
    first = stack.worker("A", WEOPS_DRAIN_SECONDS="4")
    stack.until_ready(first)
    tick()
    until(lambda: len(ledger.entries("begin")) == 2, "two runs")
    other = stack.worker("B")
    stack.until_ready(other)

    first.terminate()
    ledger.open("now")
    assert first.ended() == 0
    assert states(quick) == {State.SUCCESS}
    requeued = executions(long)[0]
    assert (requeued.state, requeued.error_code) == (ExecutionState.REQUEUED, "WORKER_SHUTDOWN")
    ledger.open("later")
    until(swept(lambda: over(quick, long)), "the end of all instances")

    assert all(by("A", execution) for execution in executions(quick))
    _, again = executions(long)
    assert by("B", again)
    assert (again.state, again.try_number, again.life_round) == (ExecutionState.SUCCESS, 0, 0)
    [instance] = of_tasks(long)
    assert (instance.tries, instance.total_runs) == (0, 2)
    assert len(ledger.entries("begin")) == 3
    assert {entry[0] for entry in ledger.entries("end")} == {again.pk, executions(quick)[0].pk}
    assert ledger.once("end")
    check_books()


def test_killed_and_doubled_beats_generate_each_instance_once(stack: Stack, ledger: Ledger) -> None:
    def due(days: int) -> Any:
        return daily(days, code=ledger.note("ran"))

    one = due(20)
    beat = stack.beat()
    stack.control()
    stack.worker("A", slots=8)
    until(lambda: len(of_tasks(one)) == 20, "the first beat's instances")
    beat.kill()
    two = due(20)
    # Two at once, and two to carry their ticks out.
    beats = [stack.beat("beat1"), stack.beat("beat2")]
    stack.control("control2")
    until(lambda: len(of_tasks(two)) == 20, "the instances of two beats")
    beats[0].kill()
    three = due(20)
    until(lambda: len(of_tasks(three)) == 20 and over(one, two, three), "the end of all instances")

    assert states(one, two, three) == {State.SUCCESS}
    assert [len(of_tasks(task)) for task in (one, two, three)] == [20, 20, 20]
    assert len(executions(one, two, three)) == len(ledger.entries("ran")) == 60
    assert ledger.once("ran")
    check_books()


def test_stopped_worker_that_wakes_up_late_changes_nothing(short_stack: Stack, ledger: Ledger) -> None:
    code = "\n".join(
        [
            ledger.note("begin"),
            f"if [ $WEOPS_TRY = 0 ]; then {ledger.gate('go')}; fi",
            ledger.note("end"),
            "exit $((WEOPS_TRY == 0 ? 3 : 0))",
        ]
    )
    task = daily(code=code, retry_limit=1)
    first = short_stack.worker("A")
    short_stack.until_ready(first)
    tick()
    until(lambda: ledger.entries("begin"), "the first try")
    other = short_stack.worker("B")
    short_stack.until_ready(other)
    first.freeze()
    until(swept(lambda: over(task)), "the second try's end")
    before = (of_tasks(task), executions(task), list(StateChange.objects.all()))
    assert states(task) == {State.SUCCESS}

    # Its child ends with exit code 3 the moment it goes on; the worker reports under a lease that is gone.
    ledger.open("go")
    first.thaw()
    first.terminate()
    assert first.ended() == 0
    assert [vars_of(row) for row in (*of_tasks(task), *executions(task))] == [
        vars_of(row) for row in (*before[0], *before[1])
    ]
    assert list(StateChange.objects.all()) == before[2]
    assert [execution.error_code for execution in executions(task)] == ["LOST", ""]
    check_books()


def vars_of(row: Any) -> dict[str, Any]:
    """A row's columns; the log may still come in late, it is no state."""
    columns = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return {name: value for name, value in columns.items() if not name.startswith("log_")}


def test_repeated_hints_run_each_execution_once(stack: Stack, ledger: Ledger) -> None:
    group = factories.make_group(16)
    task = daily(30, group=group, code=ledger.note("ran"))
    stack.until_ready(stack.worker("A"), stack.worker("B"))
    tick()
    given = [Hint(execution.pk, group.pk, instant=False) for execution in executions(task)]
    for _ in range(5):
        hints.send(given[::-1])
    until(swept(lambda: over(task)), "the end of all instances")
    hints.send(given * 5)
    # The hint of this one waits behind those in the queue of the same group.
    last = daily(group=group, code=ledger.note("ran"))
    tick()
    until(swept(lambda: over(last)), "the end of what was asked for last")

    assert states(task, last) == {State.SUCCESS}
    assert len(executions(task, last)) == len(ledger.entries("ran")) == 31
    assert ledger.once("ran")
    check_books()


def test_claim_whose_answer_got_lost_expires_although_its_worker_lives(
    short_stack: Stack, ledger: Ledger
) -> None:
    code = "\n".join([ledger.note("begin"), ledger.gate("go")])
    busy, task = daily(code=code), daily(code=ledger.note("ran"), retry_limit=1)
    worker = short_stack.worker("A")
    short_stack.until_ready(worker)
    tick()
    until(lambda: ledger.entries("begin"), "the run that keeps the worker's leases renewed")
    [busy_run] = executions(busy)
    until(swept(lambda: over(task)), "the other's end")
    lifecycle.rerun([of_tasks(task)[0].pk])
    [given] = dispatch([task.resource_group_id])
    assert lifecycle.claim([given.execution_id], busy_run.worker), "nobody was told of it"
    until(swept(lambda: over(task)), "the end of its next try")
    ledger.open("go")
    until(swept(lambda: over(busy)), "the end of the first")

    assert states(busy, task) == {State.SUCCESS}
    assert [execution.error_code for execution in executions(task)] == ["", "LOST", ""]
    assert len(executions(busy)) == 1
    check_books()


def test_queues_deleted_under_their_listeners_cost_time_only(stack: Stack, ledger: Ledger) -> None:
    group = factories.make_group(4)
    code = "\n".join([ledger.note("begin"), ledger.gate("go"), ledger.note("end")])
    task = daily(12, group=group, code=code)
    first, second = stack.worker("A", slots=2), stack.worker("B", slots=2)
    stack.until_ready(first, second)
    tick()
    until(lambda: len(ledger.entries("begin")) == 4, "four runs")
    delete_queues([group])
    ledger.open("go")
    until(swept(lambda: over(task)), "the end of all instances")
    more = daily(12, group=group, code=code)
    tick()
    delete_queues([group])
    until(swept(lambda: over(more)), "the end of what came after")

    assert states(task, more) == {State.SUCCESS}
    assert len(executions(task, more)) == len(ledger.entries("end")) == 24
    assert ledger.once("begin")
    assert first.alive
    assert second.alive
    check_books()


def test_child_that_ignores_term_is_terminating_until_it_is_dead(stack: Stack, ledger: Ledger) -> None:
    code = "\n".join(
        [
            "trap '' TERM HUP INT",
            ledger.note("begin"),
            "while :; do sleep 0.2; done",
        ]
    )
    task = daily(code=code, retry_limit=3)
    stack.until_ready(stack.worker("A", WEOPS_KILL_GRACE_SECONDS="3"))
    tick()
    until(lambda: ledger.entries("begin"), "the run")
    [instance] = of_tasks(task)
    changed, _ = lifecycle.terminate([instance.pk])
    assert changed == {instance.pk: State.RUNNING}

    def looked_at() -> str:
        """The state, after a look at the child: never final while the child lives."""
        alive = not dead(ledger.pids())
        state = Instance.objects.values_list("state", flat=True).get(pk=instance.pk)
        assert state == State.TERMINATING or not alive or dead(ledger.pids()), f"{state} with a live child"
        return state if state != State.TERMINATING else ""

    assert until(looked_at, "the child's death") == State.FAILED
    assert dead(ledger.pids())
    [execution] = executions(task)
    assert (execution.state, execution.error_code) == (ExecutionState.CANCELLED, "TERMINATED")
    assert execution.signal == signal.SIGKILL
    check_books()


def test_a_gigabyte_and_garbage_do_not_disturb_the_others(stack: Stack, ledger: Ledger) -> None:
    flood = daily(
        code="echo first line; head -c 1000000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo last line"
    )
    garbage = daily(code="head -c 3000000 /dev/urandom; printf '\\0\\xff\\n'; echo garbage is over")
    small = daily(20, code=ledger.note("ran"))
    worker = stack.worker("A")
    stack.until_ready(worker)
    rest = worker.resident()
    tick()
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, worker.resident())
        return over(flood, garbage, small)

    until(swept(ended), "the end of all instances")
    assert states(flood, garbage, small) == {State.SUCCESS}
    assert len(ledger.entries("ran")) == 20
    assert most - rest < 200 * 2**20

    [loud] = executions(flood)
    until(lambda: Execution.objects.get(pk=loud.pk).log_file, "the sealed log")
    loud.refresh_from_db()
    text = whole_log(loud)
    assert loud.log_bytes < 40 * 2**20
    assert "first line" in text[:2000]
    assert "last line" in text[-2000:]
    assert "left out" in text or "not kept" in text
    [binary] = executions(garbage)
    until(lambda: Execution.objects.get(pk=binary.pk).log_file, "the sealed log")
    binary.refresh_from_db()
    assert "garbage is over" in whole_log(binary)[-2000:]
    check_books()


def whole_log(execution: Execution) -> str:
    pages, cursor, done = [], 0, False
    while not done:
        page = logs.read(execution, cursor, 2**24)
        pages.append(page.text)
        cursor, done = page.next_cursor, page.done
    return "".join(pages)


def test_two_days_of_hours_days_and_a_month_from_beat_to_result(stack: Stack, ledger: Ledger) -> None:
    workflow = factories.make_workflow()
    group = factories.make_group(8)
    first = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    period = {"effective_from": first, "effective_to": first + dt.timedelta(days=2, seconds=-1)}
    common: dict[str, Any] = {"workflow": workflow, "group": group, **period}
    seen = "echo $WEOPS_EXECUTION_ID 0 {}-${{yyyyMMddHH}} $$ >> " + str(ledger.file)
    hourly = factories.make_task(cycle_type="HOUR", code=seen.format("hour"), **common)
    day = factories.make_task(cycle_type="DAY", code=seen.format("day"), **common)
    month = factories.make_task(cycle_type="MONTH", month_days=[1], code=seen.format("month"), **common)
    factories.depend(day, hourly, "CURRENT_DAY")
    factories.depend(month, day, "CURRENT_MONTH")
    stack.beat()
    stack.control()
    stack.until_ready(stack.worker("A"), stack.worker("B"))
    for task in (month, day, hourly):
        factories.submit(task, since=first - dt.timedelta(seconds=1))
    until(lambda: over(month), "the month's end")

    assert states(hourly, day, month) == {State.SUCCESS}
    words = [line.split()[2] for line in ledger.file.read_text().splitlines()]
    hours = [f"hour-2026030{number}{hour:02}" for number in (1, 2) for hour in range(24)]
    assert sorted(words) == sorted([*hours, "day-2026030100", "day-2026030200", "month-2026030100"])
    for number in (1, 2):
        place = words.index(f"day-2026030{number}00")
        assert all(words.index(hour) < place for hour in hours if hour.startswith(f"hour-2026030{number}"))
    assert words[-1] == "month-2026030100"
    assert {execution.try_number for execution in executions(hourly, day, month)} == {0}
    check_books()
    assert all(program.alive for program in stack.programs)
