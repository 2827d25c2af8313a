"""What becomes of inner instances and their For-each execution; engine/traversals.py decides when. docs/adr/0014-for-each.md"""

from collections.abc import Sequence
from typing import Any

from django.db import connection

from instances.engine.lifecycle import begin, runs
from instances.engine.lifecycle import traversals_statements as statements
from instances.engine.lifecycle.common import Change, Touched, lock
from instances.engine.lifecycle.ends import end
from instances.engine.lifecycle.runs import Result
from instances.engine.lives import Life
from instances.engine.states import Move, SelfDependency, State
from instances.engine.trigger_policies import JUDGED

# Whose name stands on the lease for the moment in which a delegated execution ends.
TAKER = "traversals"
IN_VAIN = "Not run: what it follows has failed in its traversal."


def begin_children(
    for_each_id: int,
    run_type: str,
    fresh: Sequence[tuple[int, int]],
    again: Sequence[int],
    dag: Sequence[tuple[int, Sequence[int]]],
) -> Touched:
    """Begins whole traversals, in the caller's transaction, which holds the run: makes the instances of `fresh` (inner task,
    number of the traversal), and begins new lives of `again`, which are final and locked."""
    values: dict[str, Any] = {
        "for_each": for_each_id,
        "tasks": [task for task, _ in fresh],
        "numbers": [number for _, number in fresh],
        "again": list(again),
        "after": [task for task, ups in dag for _ in ups],
        "before": [up for _, ups in dag for up in ups],
        "judged": JUDGED,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.MAKE, values)
        made = [row[0] for row in cursor.fetchall()]
        values["ids"] = [*again, *made]
        cursor.execute(statements.RENEW_POLICIES, values)
        cursor.execute(statements.FORGET_EDGES, values)
        cursor.execute(statements.ADD_EDGES, values)
        life = Life(run_type=run_type, self_dependency=SelfDependency.PARALLEL)
        _, touched = begin.rerun(again, None, life, fresh=made, move=Move.TRAVERSE)
        cursor.execute(statements.TELL, values)
        touched.groups |= {row[0] for row in cursor.fetchall()}
    return touched


def end_waiting_in_vain(ids: Sequence[int]) -> Change:
    """Fails inner instances that wait for one that has failed. The caller holds all instances of their traversals."""
    with connection.cursor() as cursor:
        lock(cursor, ids)
        sources = [State.WAIT_UPSTREAM]
        return end(cursor, ids, sources, State.FAILED, Move.TRAVERSAL_OVER, "UPSTREAM_FAILED", IN_VAIN, None)


def end_delegated(execution_id: int, *, ok: bool, code: str = "", message: str = "") -> Touched:
    """Ends a delegated execution as a worker would report it; nothing if it is delegated no more."""
    with connection.cursor() as cursor:
        cursor.execute(statements.TAKE, {"execution": execution_id, "taker": TAKER})
        row = cursor.fetchone()
    if row is None:
        return Touched()
    return runs.finish([Result(execution_id, row[0], ok, code, message)])
