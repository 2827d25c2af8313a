"""What an instance waits for in the end: up its open dependencies to where something else than waiting is the matter.

One statement walks up breadth first. It visits each instance once, so a ring cannot trap it, and stops after `MOST`.
Subqueries with OFFSET 0 keep it on the indexes whatever the statistics say.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from instances.engine.states import State
from instances.models import Instance, Task

# Instances that one walk visits, and blockers that it brings back.
MOST = 20_000
MOST_FOUND = 200

_WALK = """
WITH RECURSIVE up (id) AS (
    SELECT %(id)s::bigint
    UNION
    SELECT open.upstream_id FROM up CROSS JOIN LATERAL (
        SELECT e.upstream_id FROM instances_edge e
        WHERE e.instance_id = up.id AND CASE
            -- By other policies than these, whoever has ended holds nobody, however it ended.
            WHEN (SELECT i.trigger_policy FROM instances_instance i WHERE i.id = up.id) IN ('', 'ALL_SUCCESS', 'NONE_FAILED')
            THEN true
            ELSE (SELECT u.state FROM instances_instance u WHERE u.id = e.upstream_id) NOT IN ('failed', 'success', 'skipped')
            END AND e.satisfied_at IS NULL AND NOT e.waived AND e.removed_at IS NULL
          AND e.upstream_id IS NOT NULL AND NOT e.is_self
        OFFSET 0) open
    WHERE (SELECT i.state FROM instances_instance i WHERE i.id = up.id) = 'wait_upstream'
), seen AS MATERIALIZED (SELECT id FROM up LIMIT %(most)s),
state AS MATERIALIZED (
    SELECT seen.id, (SELECT i.state FROM instances_instance i WHERE i.id = seen.id) AS state FROM seen
), missing AS (
    SELECT e.upstream_task_id, e.upstream_data_time, count(*) AS of
    FROM state CROSS JOIN LATERAL (
        SELECT e.upstream_task_id, e.upstream_data_time FROM instances_edge e
        WHERE e.instance_id = state.id AND e.satisfied_at IS NULL AND NOT e.waived AND e.removed_at IS NULL
          AND e.upstream_id IS NULL
        OFFSET 0) e
    WHERE state.state = 'wait_upstream' GROUP BY 1, 2
)
SELECT (SELECT count(*) FROM seen),
    ARRAY(SELECT id FROM state WHERE state <> 'wait_upstream' ORDER BY
        array_position('{failed,terminating,skipped,failed_retry,wait_event,wait_run,running}'::text[], state), id
        LIMIT %(found)s),
    ARRAY(SELECT upstream_task_id FROM missing ORDER BY upstream_data_time, upstream_task_id LIMIT %(found)s),
    ARRAY(SELECT upstream_data_time FROM missing ORDER BY upstream_data_time, upstream_task_id LIMIT %(found)s)
"""


@dataclass(frozen=True)
class Missing:
    """An instance that is waited for and not generated yet."""

    task: Task
    data_time: dt.datetime

    @property
    def project_id(self) -> int:
        return self.task.workflow.project_id


@dataclass(frozen=True)
class Topmost:
    """`instances`, the worst first, and `missing` ones hold it up. `between`: instances that wait on the way; `capped`:
    there may be more of everything."""

    instances: Sequence[Instance]
    missing: Sequence[Missing]
    between: int
    capped: bool

    def __bool__(self) -> bool:
        return bool(self.instances or self.missing)


def topmost(instance_id: int) -> Topmost:
    """What the instance (in state `wait_upstream`) waits for in the end. Four queries."""
    with connection.cursor() as cursor:
        cursor.execute(_WALK, {"id": instance_id, "most": MOST, "found": MOST_FOUND})
        seen, ids, tasks, times = cursor.fetchone()
    order = {pk: place for place, pk in enumerate(ids)}
    instances = Instance.objects.filter(pk__in=ids).select_related("task").defer("task__code", "overrides")
    named = Task.objects.select_related("workflow__project").defer("code").in_bulk(tasks)
    return Topmost(
        instances=sorted(
            (one for one in instances if one.state != State.WAIT_UPSTREAM), key=lambda one: order[one.pk]
        ),
        missing=[
            Missing(named[task], time) for task, time in zip(tasks, times, strict=True) if task in named
        ],
        between=max(0, seen - len(ids) - 1),
        capped=seen >= MOST or len(ids) >= MOST_FOUND or len(tasks) >= MOST_FOUND,
    )
