"""What an operation would do to a frozen set, counted in the database and said in plain words.

The set is spread out once in a temporary table, with all that is counted; Python sees one row for each task, state and the
like, never one for each instance.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext, gettext_noop

from instances.engine.states import SelfDependency, State
from instances.models import FrozenSet, Task, Workflow
from instances.operations import expected, refusals, sentences
from instances.operations.base import InstanceOperation
from instances.operations.expected import Expected, Load
from instances.operations.options import RerunOptions
from instances.operations.refusals import Judge, Why
from weops.projects.models import Project, ResourceGroup

# Instances named for each refusal, and tasks for each layer; layers told apart.
EXAMPLES, TASKS, LAYERS = 10, 5, 100
NOBODY = gettext_noop("Nobody")

_SPREAD_OUT = """
CREATE TEMPORARY TABLE weops_previewed ON COMMIT DROP AS
SELECT i.id, f.layer, (b.seq::bigint << 32) + f.place AS place, i.task_id, i.project_id, i.workflow_id, i.owner_id,
       i.resource_group_id, i.state, ROW({facts})::text AS facts
FROM instances_frozenbatch b
CROSS JOIN unnest(b.instance_ids, b.layers) WITH ORDINALITY AS f(id, layer, place)
JOIN instances_instance i ON i.id = f.id JOIN instances_task t ON t.id = i.task_id
WHERE b.frozen_set_id = %(set)s
"""

_GROUPS = """
SELECT facts, task_id, project_id, workflow_id, owner_id, resource_group_id, state, count(*), min(id)
FROM weops_previewed GROUP BY 1, 2, 3, 4, 5, 6, 7
"""

_EXAMPLES = f"""
SELECT p.facts, p.place, p.id, t.name, i.data_time, p.state FROM (
    SELECT *, row_number() OVER (PARTITION BY facts ORDER BY place) AS number FROM weops_previewed WHERE facts = ANY(%s)
) p JOIN instances_instance i ON i.id = p.id JOIN instances_task t ON t.id = p.task_id
WHERE p.number <= {EXAMPLES}
"""  # noqa: S608 - constants

_LAYERS = f"""
WITH counts AS (
    SELECT least(layer, {LAYERS}) AS layer, task_id, count(*) AS count FROM weops_previewed GROUP BY 1, 2
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY layer ORDER BY count DESC, task_id) AS rank,
           sum(count) OVER (PARTITION BY layer)::bigint AS total, count(*) OVER (PARTITION BY layer) AS tasks
    FROM counts
)
SELECT r.layer, r.total, r.tasks, t.name, r.count FROM ranked r JOIN instances_task t ON t.id = r.task_id
WHERE r.rank <= {TASKS} ORDER BY r.layer, r.rank
"""  # noqa: S608 - constants

_PAIRS = """
SELECT DISTINCT u.task_id, c.task_id FROM weops_previewed c
JOIN instances_edge e ON e.instance_id = c.id AND NOT e.is_self AND e.removed_at IS NULL
JOIN weops_previewed u ON u.id = e.upstream_id
WHERE NOT c.facts = ANY(%(refused)s) AND NOT u.facts = ANY(%(refused)s)
"""


@dataclass(frozen=True, slots=True)
class _Group:
    """So many instances that are alike in all that is counted; `example` is the id of one."""

    facts: str
    task: int
    project: int
    workflow: int
    owner: int | None
    resource_group: int
    state: str
    count: int
    example: int


def summary(frozen: FrozenSet, operation: InstanceOperation, user: User | None) -> dict[str, Any]:
    """What the preview shows, JSON-like; kept in `frozen.summary` by the caller. `user` None: the system.

    `total`, `allowed`, `refused`; `left_out` and `refusals` [{"why", "count"}], the latter with up to ten `examples` [{"id",
    "name", "data_time", "state"}]; `by_state`, `by_project`, `by_workflow`, `by_owner` [[name, count]]; `layers` [{"layer",
    "count", "tasks": [[name, count]], "more_tasks"}], the last one with all that lies still deeper; `duration` of what would
    run (`expected.Expected`); `sentences`.
    """
    options = operation.parse(frozen.options)
    with _spread_out(frozen, options) as cursor:
        groups = _groups(cursor)
        refused = _refused(groups, Judge(operation, options, user))
        allowed = [group for group in groups if group.facts not in refused]
        runs = isinstance(options, RerunOptions)
        duration = _expected(cursor, allowed, list(refused), options) if runs else Expected()
        found = {
            "total": sum(group.count for group in groups),
            "allowed": sum(group.count for group in allowed),
            "refused": sum(group.count for group in groups if group.facts in refused),
            "left_out": frozen.summary.get("left_out", []),
            **_counts(groups),
            "refusals": _refusals(cursor, groups, refused),
            "layers": _layers(cursor),
            "duration": asdict(duration),
        }
    found["sentences"] = sentences.of(
        operation, options, found, tasks=len({group.task for group in allowed}), states=_states(allowed)
    )
    return found


@contextmanager
def _spread_out(frozen: FrozenSet, options: Any) -> Iterator[CursorWrapper]:
    """A cursor in a transaction that has the table `weops_previewed`: the instances of the set, one a row."""
    facts, params = refusals.facts(frozen.kind, options)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_SPREAD_OUT.format(facts=facts), {"set": frozen.pk, **params})
        cursor.execute("CREATE UNIQUE INDEX weops_previewed_once ON weops_previewed (id)")
        cursor.execute("ANALYZE weops_previewed")
        yield cursor
        # The caller's transaction may go on, and want another.
        cursor.execute("DROP TABLE weops_previewed")


def _groups(cursor: CursorWrapper) -> list[_Group]:
    cursor.execute(_GROUPS)
    return [_Group(*row) for row in cursor.fetchall()]


def _refused(groups: Iterable[_Group], judge: Judge) -> dict[str, Why]:
    """{facts: why} of those that are refused."""
    return judge.refused({group.facts: group.example for group in groups})


def _counts(groups: Sequence[_Group]) -> dict[str, list[list[Any]]]:
    """By state in the order of states, by all else the most frequent first."""
    states = _states(groups)
    projects = Project.objects.in_bulk({group.project for group in groups})
    workflows = Workflow.objects.in_bulk({group.workflow for group in groups})
    owners = User.objects.in_bulk({group.owner for group in groups if group.owner})

    def workflow(group: _Group) -> str:
        # Workflows of two projects may have one name.
        return f"{projects[group.project].name} / {workflows[group.workflow].name}"

    def owner(group: _Group) -> str:
        return owners[group.owner].get_username() if group.owner in owners else gettext(NOBODY)

    return {
        "by_state": [[state.value, states[state]] for state in State if states[state]],
        "by_project": _most(groups, lambda group: projects[group.project].name),
        "by_workflow": _most(groups, workflow),
        "by_owner": _most(groups, owner),
    }


def _states(groups: Iterable[_Group]) -> Counter[str]:
    states: Counter[str] = Counter()
    for group in groups:
        states[group.state] += group.count
    return states


def _most(groups: Iterable[_Group], name: Callable[[_Group], str]) -> list[list[Any]]:
    """[[name, count]], the most frequent first."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[name(group)] += group.count
    return [[key, count] for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _refusals(
    cursor: CursorWrapper, groups: Sequence[_Group], refused: Mapping[str, Why]
) -> list[dict[str, Any]]:
    """Why and how many, with the first few examples of each in the order of applying."""
    if not refused:
        return []
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.facts] += group.count
    cursor.execute(_EXAMPLES, [list(refused)])
    examples = defaultdict(list)
    for facts, place, pk, name, data_time, state in cursor.fetchall():
        one = {"id": pk, "name": name, "data_time": data_time.isoformat(), "state": state}
        examples[facts].append((place, one))
    rows = refusals.merged(
        ((why, counts[facts], examples[facts]) for facts, why in refused.items()), EXAMPLES
    )
    return [
        {"why": why.of(count), "count": count, "examples": [one for _, one in found]}
        for why, count, found in rows
    ]


def _layers(cursor: CursorWrapper) -> list[dict[str, Any]]:
    cursor.execute(_LAYERS)
    layers: dict[int, dict[str, Any]] = {}
    for layer, total, tasks, name, count in cursor.fetchall():
        found = layers.setdefault(
            layer, {"layer": layer, "count": total, "tasks": [], "more_tasks": max(0, tasks - TASKS)}
        )
        found["tasks"].append([name, count])
    return list(layers.values())


def _expected(
    cursor: CursorWrapper, groups: Sequence[_Group], refused: list[str], options: RerunOptions
) -> Expected:
    """How long it takes to run the groups."""
    cursor.execute(_PAIRS, {"refused": refused})
    pairs = cursor.fetchall()
    in_groups: dict[int, Counter[int]] = defaultdict(Counter)
    for group in groups:
        in_groups[group.task][group.resource_group] += group.count
    tasks = dict(Task.objects.filter(pk__in=in_groups).values_list("pk", "self_dependency"))
    loads = {
        task: Load(counts.total(), _width(options, tasks[task]), counts) for task, counts in in_groups.items()
    }
    slots = dict(ResourceGroup.objects.values_list("pk", "slots"))
    return expected.expect(loads, pairs, expected.average_seconds(loads), slots)


def _width(options: RerunOptions, self_dependency: str) -> int | None:
    """How many instances of one task may run at once; None: any number."""
    if options.parallelism:
        return options.parallelism
    return None if (options.self_dependency or self_dependency) == SelfDependency.PARALLEL else 1
