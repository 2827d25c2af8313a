"""Runs of For-each tasks: one function, `advance`, notes which traversals are over, starts or stops some, and ends the run.

Each step is one short transaction under the lock of the run's row. It reads what is true of the instances and trusts no
message, so it may be repeated, be late, or run anywhere, twice at once. The sweep calls it for every run that is open;
whoever ends an inner instance hints at it (`hints`), which only saves the time until then. docs/adr/0014-for-each.md
"""

import datetime as dt
import logging
import time
from dataclasses import dataclass, field

from django.db import DatabaseError, connection
from django.db.models.functions import Now

from instances.engine import hints, lifecycle, traversal_rows
from instances.engine.dispatch import follow
from instances.engine.lifecycle import Touched
from instances.engine.logs import appending, diagnosis
from instances.engine.states import State
from instances.engine.transactions import retried
from instances.engine.traversal_spec import TraversalSpec
from instances.models import ForEachRun, Instance

log = logging.getLogger(__name__)

# What a step may change.
KEPT = ("is_open", "stop_code", "pending", "active", "success", "failed", "stopped", "ended_at")


@dataclass(slots=True)
class _Step:
    """`went_on`: something was done, so there may be more; `ended`: the run is over."""

    went_on: bool = False
    ended: bool = False
    touched: Touched = field(default_factory=Touched)
    lines: list[str] = field(default_factory=list)
    execution_id: int | None = None


def advance(for_each_id: int) -> bool:
    """One step. True: something was done, so there may be more to do."""
    step = _advance(for_each_id)
    hints.plans.send(step.touched.plans)
    try:
        hints.send(follow(step.touched))
    except DatabaseError:
        # What was started stands; the next sweep dispatches.
        log.exception("what the traversals of %d made ready is not dispatched yet", for_each_id)
    _write(step)
    return step.went_on and not step.ended


def _write(step: _Step) -> None:
    """Into the log of the execution that the traversals are of. What cannot be written now is lost: states say the same."""
    if step.execution_id is None:
        return
    try:
        appending.append(step.execution_id, step.lines)
        if step.ended and step.lines:
            appending.finish(step.execution_id)
    except Exception as error:  # storages raise errors of their own
        log.warning("the log of execution %d lacks some lines: %s", step.execution_id, error)


def work(for_each_id: int, seconds: float | None = None) -> bool:
    """Advances until there is nothing to do for now, or for about `seconds`; True: nothing is left to do for now."""
    end = None if seconds is None else time.monotonic() + seconds
    while advance(for_each_id):
        if end is not None and time.monotonic() >= end:
            return False
    return True


def unfinished() -> list[int]:
    """Instances whose runs somebody should look after, the oldest first."""
    rows = ForEachRun.objects.filter(is_open=True).order_by("instance_id")
    return list(rows.values_list("instance_id", flat=True))


@retried
def _advance(for_each_id: int) -> _Step:
    run = ForEachRun.objects.select_for_update(of=("self",), no_key=True).filter(pk=for_each_id).first()
    if run is None or not run.is_open:
        return _Step(ended=True)
    parent = Instance.objects.only("state", "execution_id", "run_type", "plan_id").get(pk=for_each_id)
    step, before = _Step(execution_id=run.execution_id), _counts(run)
    step.touched.add(traversal_rows.note_over(run, step.lines))
    if _stopping(run, parent):
        step.went_on = _stop(run, parent, step)
    else:
        step.touched.add(_start(run, parent, step.lines))
    step.went_on |= before != _counts(run)
    # A step of its own: an instance is locked before its children, here as everywhere.
    if not run.pending and not run.active and not step.went_on:
        _end(run, parent, step)
    if step.went_on or step.ended:
        run.save(update_fields=KEPT)
    return step


def _counts(run: ForEachRun) -> tuple[int, ...]:
    return run.pending, run.active, run.success, run.failed, run.stopped


def _is_its_own(run: ForEachRun, parent: Instance) -> bool:
    """Whether the instance is still in the execution that was delegated to the run."""
    return parent.execution_id == run.execution_id and parent.state in (State.RUNNING, State.TERMINATING)


def _stopping(run: ForEachRun, parent: Instance) -> bool:
    """Whether nothing more may be started, and what is under way must end."""
    if not run.stop_code and run.deadline is not None and _is_past(run.deadline):
        run.stop_code = "RUN_TIMEOUT"
    return bool(run.stop_code) or parent.state != State.RUNNING or not _is_its_own(run, parent)


def _is_past(moment: dt.datetime) -> bool:
    """By the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() > %s", [moment])
        return bool(cursor.fetchone()[0])


def _stop(run: ForEachRun, parent: Instance, step: _Step) -> bool:
    """Ends what is under way as the parent has ended; True: there was something."""
    traversal_rows.stop_pending(run)
    unfinished = traversal_rows.unfinished(run)
    if not unfinished:
        return False
    operation = traversal_rows.operation_of(parent)
    marked = parent.state == State.SUCCESS
    # The states' table lets nobody mark what waits for its next try; it is terminated like the others then.
    success = [pk for pk, state in unfinished if marked and state != State.FAILED_RETRY]
    rest = [pk for pk, _ in unfinished if pk not in set(success)]
    ended = 0
    for ids, change in ((success, lifecycle.mark_success), (rest, lifecycle.terminate)):
        if ids:
            changed, touched = change(ids, operation)
            step.touched.add(touched)
            ended += len(changed)
    if ended:
        step.lines.append(f"{ended} inner instances are {'marked as successful' if marked else 'terminated'}")
    return ended > 0


def _start(run: ForEachRun, parent: Instance, lines: list[str]) -> Touched:
    """Starts the next traversals, as many as may be under way; none if the run is lost and its settings say to stop then."""
    spec = TraversalSpec.from_settings(run.spec)
    if spec.stops and run.pending and spec.is_lost(run.total, run.failed):
        lines.append(f"{run.failed} traversals have failed: the {run.pending} that are left are not run")
        traversal_rows.stop_pending(run)
        return Touched()
    room = spec.parallelism - run.active
    if not run.pending or room <= 0:
        return Touched()
    return traversal_rows.start(run, parent, room, lines)


def _end(run: ForEachRun, parent: Instance, step: _Step) -> None:
    """Ends the run if nothing of it lives any more, and with it the execution of its instance."""
    gone = not _is_its_own(run, parent) or parent.state == State.TERMINATING or bool(run.stop_code)
    if gone and traversal_rows.is_anything_alive(run):
        return
    spec = TraversalSpec.from_settings(run.spec)
    ok = not run.stop_code and spec.succeeded(run.total, run.success)
    sums = _sums(run)
    code, message = "", ""
    if not ok:
        code = run.stop_code or "TRAVERSALS_FAILED"
        why = "The run timeout is over. " if run.stop_code else ""
        message = f"{why}{sums[0].upper()}{sums[1:]}."
    step.lines.append(f"the traversals are over: {sums}")
    if parent.state == State.TERMINATING:
        step.lines += ["TERMINATED: terminated on request", *diagnosis("TERMINATED")]
    # Who was marked as successful meanwhile has not failed.
    elif code and _is_its_own(run, parent):
        step.lines += [f"{code}: {message}", *diagnosis(code)]
    step.touched.add(lifecycle.end_delegated(run.execution_id, ok=ok, code=code, message=message))
    run.is_open = False
    run.ended_at = Now()
    step.ended = True


def _sums(run: ForEachRun) -> str:
    parts = [f"{run.success} of {run.total} traversals succeeded"]
    if run.kept:
        parts[0] += f" ({run.kept} in an earlier try or life)"
    if run.failed:
        parts.append(f"{run.failed} failed")
    if run.stopped:
        parts.append(f"{run.stopped} were not run")
    return ", ".join(parts)
