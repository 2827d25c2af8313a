"""New lives: what an instance waits for, what it runs, and with whom. The rules: docs/adr/0009-lives.md."""

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection

from events import matching
from instances.engine.lifecycle import begin_statements as statements
from instances.engine.lifecycle import verdicts_statements
from instances.engine.lifecycle.common import Change, Touched, cancel_dispatched, lock_with_parents
from instances.engine.lifecycle.verdicts import begin_to_wait, take_events
from instances.engine.lives import Life
from instances.engine.states import MOVES, OPERATIONS, Move, Operation, SelfDependency
from instances.engine.transactions import retried


def _values(
    ids: Sequence[int], operation: int | None, life: Life, fresh: Sequence[int], move: str
) -> dict[str, Any]:
    return {
        "ids": [*ids, *fresh],
        "fresh": list(fresh),
        "move": move,
        "sources": list(
            (OPERATIONS[Operation.RERUN] if move == Operation.RERUN else MOVES[Move(move)]).sources
        ),
        "operation": operation,
        "run_type": life.run_type,
        "check_parents": life.check_parents,
        "check_previous": life.check_previous,
        "parameters": json.dumps(dict(life.parameters)),
        "application_parameters": json.dumps(_settings(life)),
        "self_dependency": life.self_dependency,
        "parallelism": life.parallelism,
        "lane": life.lane,
        "as_it_ran": life.code == "as_it_ran",
        "group": life.resource_group_id,
        "priority_offset": life.priority_offset,
        "plan": life.plan_id,
    }


def _settings(life: Life) -> dict[str, Any]:
    """What a runner is told of the life, in place of its task's settings."""
    return {**life.application_parameters, **({"traversals": "failed"} if life.failed_traversals else {})}


@retried
def rerun(
    ids: Sequence[int],
    operation: int | None = None,
    life: Life | None = None,
    *,
    fresh: Sequence[int] = (),
    along: Sequence[int] = (),
    move: Move | Operation = Operation.RERUN,
) -> Change:
    """Begins a new life round. {instance id: old state} of those it changed.

    The rest were in no state that allows it, or their task does not allow reruns (`rerun_allowed`). Parents must come
    in the same call as their children, or in an earlier one of the same operation.

    `fresh`: other instances, that were generated in this transaction. Their first life is decided in the same way, with
    those of `ids` and for them; it stays life round 0, and they are not among what was changed. `move`: why, where it is nobody's
    operation. `along`: skipped instances that go with a plan in the life that they have; they are decided again when what
    skipped them begins a new one. They are among what was changed.
    """
    life = life or Life()
    values = _values(ids, operation, life, fresh, move)
    touched = Touched()
    changed: dict[int, str] = {}
    with connection.cursor() as cursor:
        # Before any instance: whoever matches an event locks it first.
        listens = matching.lock_awaited([*values["ids"], *along])
        lock_with_parents(cursor, [*values["ids"], *along])
        if values["self_dependency"] == SelfDependency.ORDERLY:
            cursor.execute(statements.ADD_PREVIOUS, values)
        went = _go_along(cursor, values, along) if along else {}
        values["awaiting"] = _wait_again(cursor, values, life) if listens else []
        cursor.execute(statements.BEGIN, values)
        judged = []
        for instance_id, is_fresh, old, group_id, lane, old_lane, special in cursor.fetchall():
            if special:
                judged.append(instance_id)
            if not is_fresh:
                changed[instance_id] = old
            touched.instances += 1
            touched.freed(group_id, None, lane)
            touched.freed(None, None, old_lane)
        if changed:
            cancel_dispatched(cursor, list(changed), "TERMINATED", "Replaced by a rerun.", touched)
            cursor.execute(statements.REOPEN, {"ids": list(changed)})
            cursor.execute(verdicts_statements.NOTE_CARING, {"ids": list(changed)})
            touched.ripples = bool(cursor.rowcount)
        if judged:
            begin_to_wait(cursor, judged, touched)
        # After the verdicts: who is skipped at once takes no event.
        take_events(cursor, values["awaiting"], touched)
    return changed | went, touched


def _go_along(cursor: Any, values: dict[str, Any], ids: Sequence[int]) -> dict[int, str]:
    """{instance id: state} of those that are skipped, and are the plan's now."""
    cursor.execute(statements.GO_ALONG, values | {"ids": list(ids)})
    return dict(cursor.fetchall())


def _wait_again(cursor: Any, values: dict[str, Any], life: Life) -> list[int]:
    """Those of the instances that begin a life, and wait for an event in it."""
    cursor.execute(statements.ABLE, values)
    able = [row[0] for row in cursor.fetchall()]
    return sorted(matching.begin_again(able, ignored=life.ignore_events))
