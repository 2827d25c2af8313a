"""What must never be in the database, whatever happens: the design's rules as one query, and the histories."""

from django.db import connection

from instances.engine.states import MOVES, OPERATIONS, Operation
from instances.models import Instance, StateChange

_RULES = {move.value: rule for move, rule in MOVES.items()} | {
    operation.value: rule for operation, rule in OPERATIONS.items()
}

_BROKEN = """
SELECT 'two instances of one key' WHERE EXISTS (
    SELECT 1 FROM instances_instance GROUP BY task_id, data_time, traversal HAVING count(*) > 1)
UNION ALL SELECT 'an instance with two active executions' WHERE EXISTS (
    SELECT 1 FROM instances_execution WHERE state IN ('dispatched', 'running', 'stopping', 'delegated')
    GROUP BY instance_id HAVING count(*) > 1)
UNION ALL SELECT 'a serial task with two active executions' WHERE EXISTS (
    SELECT 1 FROM instances_execution e JOIN instances_instance i ON i.id = e.instance_id
    JOIN instances_task t ON t.id = i.task_id
    WHERE e.serial_task_id = t.id AND e.state IN ('dispatched', 'running', 'stopping', 'delegated')
    GROUP BY t.id HAVING count(*) > 1)
UNION ALL SELECT 'execution ' || e.id || ' is in lane ' || coalesce(e.lane::text, 'none') || ', its instance is not'
    FROM instances_execution e JOIN instances_instance i ON i.execution_id = e.id
    WHERE e.state IN ('dispatched', 'running') AND e.life_round = i.life_round
      AND ((e.lane IS DISTINCT FROM i.lane) OR (e.lane_place NOT BETWEEN 1 AND i.lane_limit))
UNION ALL SELECT 'execution ' || e.id || ' should ' || CASE WHEN i.serial THEN '' ELSE 'not ' END || 'hold the turn of its task'
    FROM instances_execution e JOIN (
        SELECT i.execution_id, i.life_round, i.lane IS NULL
               AND coalesce(nullif(i.self_dependency, ''), t.self_dependency) <> 'parallel' AS serial
        FROM instances_instance i JOIN instances_task t ON t.id = i.task_id) i ON i.execution_id = e.id
    WHERE e.state = 'dispatched' AND e.life_round = i.life_round AND (e.serial_task_id IS NOT NULL) <> i.serial
UNION ALL SELECT 'lane ' || i.lane || ' has more on than it has places' FROM instances_instance i
    WHERE i.lane_limit < (SELECT count(*) FROM instances_execution e WHERE e.lane = i.lane
                          AND e.state IN ('dispatched', 'running', 'stopping', 'delegated'))
UNION ALL SELECT 'instance ' || i.id || ' is frozen, and ' || e.state FROM instances_instance i
    JOIN instances_execution e ON e.id = i.execution_id AND e.life_round = i.life_round
    WHERE i.frozen_at IS NOT NULL AND e.state IN ('dispatched', 'running')
UNION ALL SELECT 'instance ' || i.id || ' is frozen and gated' FROM instances_instance i
    WHERE i.frozen_at IS NOT NULL AND i.state = 'wait_run' AND i.queue <> 'ready'
UNION ALL SELECT 'execution ' || e.id || ' is ' || e.state || CASE WHEN l.token IS NULL THEN ' without' ELSE ' with' END
    || ' a lease'
    FROM instances_execution e LEFT JOIN instances_lease l ON l.execution_id = e.id
    WHERE (l.token IS NOT NULL) <> (e.state IN ('running', 'stopping'))
UNION ALL SELECT 'group ' || g.id || ' gave more slots than it has' FROM projects_resourcegroup g
    WHERE g.slots < (SELECT count(*) FROM instances_execution e WHERE e.resource_group_id = g.id
                     AND e.state IN ('dispatched', 'running', 'stopping'))
UNION ALL SELECT 'instance ' || i.id || ' is ' || i.state || ', its execution ' || coalesce(e.state, 'missing')
    FROM instances_instance i LEFT JOIN instances_execution e ON e.id = i.execution_id AND e.instance_id = i.id
    WHERE i.state IN ('running', 'terminating') AND coalesce(e.state, '') NOT IN ('running', 'delegated')
UNION ALL SELECT 'instance ' || i.id || ' is ' || i.state || ' while execution ' || e.id || ' runs'
    FROM instances_instance i JOIN instances_execution e ON e.instance_id = i.id AND e.state = 'running'
    WHERE i.state NOT IN ('running', 'terminating')
UNION ALL SELECT 'execution ' || e.id || ' is delegated to nobody' FROM instances_execution e
    WHERE e.state = 'delegated' AND NOT EXISTS (
        SELECT 1 FROM instances_foreachrun r WHERE r.execution_id = e.id AND r.instance_id = e.instance_id AND r.is_open)
UNION ALL SELECT 'run ' || r.instance_id || ' miscounts' FROM instances_foreachrun r, LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE t.state = 'pending') AS pending,
               count(*) FILTER (WHERE t.state = 'active') AS active, count(*) FILTER (WHERE t.state = 'success') AS success,
               count(*) FILTER (WHERE t.state = 'failed') AS failed, count(*) FILTER (WHERE t.state = 'stopped') AS stopped
        FROM instances_traversal t WHERE t.for_each_id = r.instance_id AND t.execution_id = r.execution_id) n
    WHERE (r.total, r.pending, r.active, r.success, r.failed, r.stopped)
          <> (n.total, n.pending, n.active, n.success, n.failed, n.stopped)
UNION ALL SELECT 'run ' || r.instance_id || ' is over, instance ' || c.id || ' of it is ' || c.state FROM instances_foreachrun r
    JOIN instances_instance c ON c.for_each_id = r.instance_id
    WHERE NOT r.is_open AND c.state NOT IN ('success', 'failed', 'skipped')
UNION ALL SELECT 'instance ' || i.id || ' is ' || i.state || ' and taken, but nothing is dispatched'
    FROM instances_instance i WHERE i.state = 'wait_run' AND i.queue = 'taken' AND NOT EXISTS (
        SELECT 1 FROM instances_execution e WHERE e.id = i.execution_id AND e.state = 'dispatched')
UNION ALL SELECT 'instance ' || i.id || ' is final without an end' FROM instances_instance i
    WHERE i.state IN ('failed', 'success', 'skipped') AND i.end_time IS NULL
UNION ALL SELECT 'instance ' || i.id || ' counts ' || i.pending_upstream || ' upstream, it has ' || n.open
    FROM instances_instance i, LATERAL (SELECT count(*) AS open FROM instances_edge e WHERE e.instance_id = i.id
        AND e.satisfied_at IS NULL AND e.removed_at IS NULL AND NOT e.waived) n
    WHERE i.pending_upstream <> n.open
UNION ALL SELECT 'instance ' || i.id || ' waits for upstream that it has not' FROM instances_instance i
    WHERE i.state = 'wait_upstream' AND i.pending_upstream = 0
UNION ALL SELECT 'an open edge of instance ' || e.instance_id || ' leads to a success' FROM instances_edge e
    JOIN instances_instance i ON i.id = e.upstream_id JOIN instances_instance c ON c.id = e.instance_id
    WHERE i.state = 'success' AND e.satisfied_at IS NULL AND e.removed_at IS NULL
      AND (c.task_id = ANY(i.not_taken)) IS NOT TRUE
UNION ALL SELECT 'instance ' || c.id || ' is ' || c.state || ', its plain child of a skipped parent'
    FROM instances_edge e JOIN instances_instance c ON c.id = e.instance_id JOIN instances_instance i ON i.id = e.upstream_id
    WHERE i.state = 'skipped' AND c.state IN ('wait_event', 'wait_upstream') AND c.trigger_policy = '' AND NOT e.is_self
      AND e.satisfied_at IS NULL AND e.removed_at IS NULL AND NOT e.waived
      AND NOT EXISTS (SELECT 1 FROM instances_ripple)
UNION ALL SELECT 'instance ' || c.id || ' is skipped, though its parents let it run' FROM instances_instance c
    WHERE c.state = 'skipped' AND c.trigger_policy = '' AND NOT EXISTS (SELECT 1 FROM instances_ripple) AND NOT EXISTS (
        SELECT 1 FROM instances_edge e JOIN instances_instance i ON i.id = e.upstream_id
        WHERE e.instance_id = c.id AND e.removed_at IS NULL AND NOT e.waived AND e.satisfied_at IS NULL
          AND (i.state = 'skipped' OR c.task_id = ANY(i.not_taken)))
UNION ALL SELECT 'an edge of instance ' || e.instance_id || ' does not know its upstream' FROM instances_edge e
    JOIN instances_instance i ON i.task_id = e.upstream_task_id AND i.data_time = e.upstream_data_time
    WHERE e.upstream_id IS NULL
"""


def broken_invariants() -> list[str]:
    """Everything in the database that must never be."""
    with connection.cursor() as cursor:
        cursor.execute(_BROKEN)
        found = [row[0] for row in cursor.fetchall()]
    return found + broken_histories()


def _legal(change: StateChange) -> bool:
    # Any state allows its dependencies to be removed; only one that waits for them is released by it.
    if change.move == Operation.REMOVE_DEPENDENCY and change.from_state != change.to_state:
        return change.from_state == "wait_upstream" and change.to_state == "wait_run"
    return _RULES[change.move].allows(change.from_state, change.to_state)


def broken_histories() -> list[str]:
    """Histories that are no connected path of allowed moves which ends in the present state."""
    found = []
    last: dict[int, str] = {}
    for row in StateChange.objects.order_by("id"):
        if not _legal(row):
            found.append(f"instance {row.instance_id}: {row} is not allowed")
        if last.get(row.instance_id, row.from_state) != row.from_state:
            found.append(f"instance {row.instance_id}: {last[row.instance_id]}, then {row}")
        last[row.instance_id] = row.to_state
    for pk, now in Instance.objects.values_list("id", "state"):
        if last.get(pk, now) != now:
            found.append(f"instance {pk} is {now}, its history ends in {last[pk]}")
    return found


def assert_sound() -> None:
    assert broken_invariants() == []
