"""How long a rerun will take: each task's last successful runs say how long one instance runs, the rest is arithmetic."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import connection

from instances.engine.backlog import array
from instances.operations.order import task_ranks

# Successful runs that the average is taken of, found among so many of the latest instances.
RUNS, LOOK_BACK = 10, 100

_AVERAGES = f"""
SELECT t.id, (
    SELECT avg(last.seconds) FROM (
        SELECT run.seconds FROM (
            SELECT i.id, i.data_time FROM instances_instance i WHERE i.task_id = t.id AND i.instance_type <> 'test'
            ORDER BY i.data_time DESC LIMIT {LOOK_BACK}
        ) recent
        CROSS JOIN LATERAL (
            SELECT extract(epoch FROM e.run_ended_at - e.run_started_at)::float AS seconds FROM instances_execution e
            WHERE e.instance_id = recent.id AND e.state = 'success' AND NOT e.dry_run AND e.run_ended_at IS NOT NULL
            ORDER BY e.id DESC LIMIT 1
        ) run
        ORDER BY recent.data_time DESC LIMIT {RUNS}
    ) last
) FROM unnest(%s::bigint[]) AS t(id)
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Load:
    """`instances` of one task. `width`: how many of them may run at once; None: no limit of the task's own.
    `groups`: {resource group id: how many of the instances run there}."""

    instances: int
    width: int | None
    groups: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Expected:
    """`work_seconds`: of all runs together. `wall_seconds`: from the first start to the last end, at the least. Both are
    about the `instances_known` only; the tasks of the others have not succeeded lately."""

    work_seconds: float = 0.0
    wall_seconds: float = 0.0
    instances_known: int = 0
    instances_unknown: int = 0


def average_seconds(task_ids: Iterable[int]) -> dict[int, float]:
    """{task id: how long its last successful runs took}, without tasks that have none. Dry runs do not count."""
    with connection.cursor() as cursor:
        cursor.execute(_AVERAGES, [array(task_ids)])
        return {task_id: seconds for task_id, seconds in cursor.fetchall() if seconds is not None}


def expect(
    loads: Mapping[int, Load],
    pairs: Iterable[tuple[int, int]],
    averages: Mapping[int, float],
    slots: Mapping[int, int],
) -> Expected:
    """From {task id: load}, the (parent, child) pairs of tasks, {task id: seconds}, and {resource group id: slots}.

    The wall time is the longest of: any path from parent to child, on which one task may have to run its instances one
    after another, and any resource group's work spread over its slots.
    """
    known = {task: load for task, load in loads.items() if task in averages}
    work: dict[int, float] = defaultdict(float)
    for task, load in known.items():
        for group, count in load.groups.items():
            work[group] += count * averages[task]
    spread = [seconds / max(1, slots.get(group, 1)) for group, seconds in work.items()]
    return Expected(
        sum(work.values(), 0.0),
        max([*spread, *_paths(known, pairs, averages)], default=0.0),
        sum(load.instances for load in known.values()),
        sum(load.instances for task, load in loads.items() if task not in averages),
    )


def _paths(
    loads: Mapping[int, Load], pairs: Iterable[tuple[int, int]], averages: Mapping[int, float]
) -> Iterable[float]:
    """For each task: the longest path through it, with one run of every other task and all rounds of its own."""
    pairs = list(pairs)
    ranks, _ = task_ranks(pairs)
    # Inside a circle of tasks, which the instances' own order resolves, no path is counted.
    forward = [(parent, child) for parent, child in pairs if ranks[parent] < ranks[child]]
    before = _longest(forward, ranks, averages)
    backward = [(child, parent) for parent, child in forward]
    after = _longest(backward, {task: -rank for task, rank in ranks.items()}, averages)
    for task, load in loads.items():
        rounds = -(-load.instances // load.width) if load.width else 1
        yield before.get(task, 0.0) + rounds * averages[task] + after.get(task, 0.0)


def _longest(
    pairs: Iterable[tuple[int, int]], ranks: Mapping[int, int], averages: Mapping[int, float]
) -> dict[int, float]:
    """{task: seconds of the longest path that ends just before it}; tasks of unknown length take none."""
    longest: dict[int, float] = defaultdict(float)
    for parent, child in sorted(pairs, key=lambda pair: ranks[pair[0]]):
        longest[child] = max(longest[child], longest[parent] + averages.get(parent, 0.0))
    return longest
