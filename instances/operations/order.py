"""The order in which a rerun goes: parents before their children, over workflows and projects.

Tasks are ranked by the edges between the set's own instances; they are few, so Python does it. Definitions change, and
yesterday's edges may lead the other way than today's: the tasks of such a circle share one rank, and the database
orders their instances, one step after those they wait for.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from django.db.backends.utils import CursorWrapper

from instances.engine.backlog import array

_PAIRS = """
SELECT DISTINCT u.task_id, r.task_id FROM weops_reached r
JOIN instances_edge e ON e.instance_id = r.id AND NOT e.is_self AND e.removed_at IS NULL
JOIN weops_reached u ON u.id = e.upstream_id
"""

_COUNT_OPEN = (
    """
UPDATE weops_reached r SET open = n.parents
FROM (SELECT c.id, count(*) AS parents FROM weops_reached c
      JOIN instances_edge e ON e.instance_id = c.id AND NOT e.is_self AND e.removed_at IS NULL
      JOIN weops_reached u ON u.id = e.upstream_id AND u.task_id = ANY(%(tasks)s::bigint[])
      WHERE c.task_id = ANY(%(tasks)s::bigint[]) GROUP BY c.id) n
WHERE r.id = n.id
""",
    "UPDATE weops_reached SET step = 0 WHERE task_id = ANY(%(tasks)s::bigint[]) AND open = 0",
    "CREATE INDEX weops_reached_step ON weops_reached (step) WHERE step IS NOT NULL",
    "ANALYZE weops_reached",
)

_NEXT_STEP = """
WITH met AS (
    SELECT c.id, count(*) AS parents FROM weops_reached u
    JOIN instances_edge e ON e.upstream_id = u.id AND NOT e.is_self AND e.removed_at IS NULL
    JOIN weops_reached c ON c.id = e.instance_id AND c.task_id = ANY(%(tasks)s::bigint[])
    WHERE u.step = %(step)s GROUP BY c.id
), counted AS (
    UPDATE weops_reached r SET open = r.open - met.parents,
        step = CASE WHEN r.open = met.parents THEN %(step)s + 1 END
    FROM met WHERE r.id = met.id RETURNING r.step
)
SELECT count(step) FROM counted
"""


def rank(cursor: CursorWrapper) -> dict[int, int]:
    """{task id: rank} of tasks with edges in the set; all others may go first (0).

    Where that leaves a circle of tasks, the column `step` of the table orders their instances. Instances that wait for
    one another in a circle have none, and go last.
    """
    cursor.execute(_PAIRS)
    ranks, circular = task_ranks(cursor.fetchall())
    if circular:
        tasks = array(sorted(circular))
        for statement in _COUNT_OPEN:
            cursor.execute(statement, {"tasks": tasks})
        step, found = 0, True
        while found:
            cursor.execute(_NEXT_STEP, {"tasks": tasks, "step": step})
            found, step = bool(cursor.fetchone()[0]), step + 1
    return ranks


def task_ranks(pairs: Iterable[tuple[int, int]]) -> tuple[dict[int, int], set[int]]:
    """Ranks such that of each (parent, child) the parent's is lower, and the tasks for which this cannot be.

    Those are in a circle, or between two circles. They share one rank, after their parents and before their children.
    """
    parents: dict[int, set[int]] = defaultdict(set)
    children: dict[int, set[int]] = defaultdict(set)
    for parent, child in pairs:
        parents[child].add(parent)
        children[parent].add(child)
    nodes = parents.keys() | children.keys()
    first = _peel(nodes, parents, children)
    rest = nodes - {task for layer in first for task in layer}
    last = _peel(rest, children, parents)
    circular = rest - {task for layer in last for task in layer}
    layers = [*first, *([circular] if circular else []), *reversed(last)]
    return {task: number for number, layer in enumerate(layers) for task in layer}, circular


def _peel(
    nodes: Iterable[int], before: Mapping[int, set[int]], after: Mapping[int, set[int]]
) -> list[set[int]]:
    """Layers of `nodes`: those with nothing of them before, then those with earlier layers only before, and so on."""
    nodes = set(nodes)
    unmet = {node: len(before.get(node, set()) & nodes) for node in nodes}
    layer = {node for node in nodes if not unmet[node]}
    layers = []
    while layer:
        layers.append(layer)
        ready = set()
        for node in layer:
            for other in after.get(node, set()) & nodes:
                unmet[other] -= 1
                if not unmet[other]:
                    ready.add(other)
        layer = ready
    return layers
