"""Removing dependencies of instances, for ever."""

import datetime as dt
from collections.abc import Sequence

from django.db import connection

from events import matching
from instances.engine.lifecycle import edges_statements as statements
from instances.engine.lifecycle.common import Change, Touched, lock_with_parents
from instances.engine.lifecycle.verdicts import weigh
from instances.engine.transactions import retried


@retried
def remove_edges(
    ids: Sequence[int],
    operation: int | None = None,
    *,
    edges: Sequence[tuple[int, dt.datetime]] | None = None,
    user_id: int | None,
    reason: str,
) -> Change:
    """Makes edges of the instances count no more, in this life and all later ones; they stay on the graph, marked.

    `edges`: (upstream task, upstream data time) of those to remove; None: all that count and are not satisfied. An
    instance that waits for nothing any more is released; one that a policy judges, or that was skipped, is
    judged anew. {instance id: old state} of those that lost an edge.
    """
    touched = Touched()
    changed: dict[int, str] = {}
    with connection.cursor() as cursor:
        matching.lock_awaited(ids)
        lock_with_parents(cursor, ids)
        cursor.execute(
            statements.REMOVE,
            {
                "ids": list(ids),
                "every": edges is None,
                "tasks": [task_id for task_id, _ in edges or ()],
                "times": [data_time for _, data_time in edges or ()],
                "user": user_id,
                "reason": reason,
                "operation": operation,
            },
        )
        judged = []
        for instance_id, old, released, group_id, lane, is_judged in cursor.fetchall():
            changed[instance_id] = old
            if is_judged:
                judged.append(instance_id)
            if released:
                touched.freed(group_id, None, lane)
        weigh(cursor, judged, touched)
    touched.instances = len(changed)
    return changed, touched
