"""The only writer of state: every change of an instance's or execution's state is one of the functions below.

Each is a transaction of its own, or a part of the caller's. A change is an UPDATE of a set, filtered by the old state
and, for a running execution, by the lease's token; the history rows are written by the same statement. Fewer rows than
asked for is a normal answer: somebody else won, or the state does not allow it.

Locks: instances in ascending order of id, parents before children, leases and executions only under their instance's
lock. A parent that ends satisfies its edges in a statement of its own, after the statement that locked it: so it sees
every edge of a generation or a new life that committed while it waited for that lock (both hold the parent's row FOR
SHARE).

What workers and the clock do is in `runs`; the ends that people set in `ends`; new lives in `begin`; freezing in `holds`;
removing dependencies in `edges`; undo in `undoing`; what events do in `events`; skipping and other verdicts on parents in
`verdicts`; For-each tasks in `handover` and `traversals`; test runs in `trials`. The SQL of each is beside it and nobody else's.
"""

from instances.engine.lifecycle.begin import rerun
from instances.engine.lifecycle.common import Touched
from instances.engine.lifecycle.edges import remove_edges
from instances.engine.lifecycle.ends import mark_success, terminate, wait_timeouts
from instances.engine.lifecycle.events import event_timeout, events_met, still_waiting
from instances.engine.lifecycle.holds import freeze, thaw, thaw_due
from instances.engine.lifecycle.runs import (
    Claimed,
    Result,
    claim,
    expire,
    finish,
    note_processes,
    renew,
    retry_due,
)
from instances.engine.lifecycle.traversals import begin_children, end_delegated, end_waiting_in_vain
from instances.engine.lifecycle.trials import begin_trial
from instances.engine.lifecycle.undoing import IMAGE, hold, images, restore
from instances.engine.lifecycle.verdicts import begin_to_wait, parent_timeouts, ripple

__all__ = [
    "IMAGE",
    "Claimed",
    "Result",
    "Touched",
    "begin_children",
    "begin_to_wait",
    "begin_trial",
    "claim",
    "end_delegated",
    "end_waiting_in_vain",
    "event_timeout",
    "events_met",
    "expire",
    "finish",
    "freeze",
    "hold",
    "images",
    "mark_success",
    "note_processes",
    "parent_timeouts",
    "remove_edges",
    "renew",
    "rerun",
    "restore",
    "retry_due",
    "ripple",
    "still_waiting",
    "terminate",
    "thaw",
    "thaw_due",
    "wait_timeouts",
]
