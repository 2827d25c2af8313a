"""What a backfill plan needs to know of its tasks, read set by set: schedules, dependencies, whether they may be run."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connection

from instances.engine import backlog
from instances.engine.backlog import array
from instances.engine.plan_expansion import Expansion, Rule, expand
from instances.engine.plan_spec import PlanSpec, Reprocess
from instances.engine.states import Operation, State, TaskStatus, refusal, sources
from instances.engine.trigger_policies import bits
from instances.language import gettext, gettext_noop
from instances.models.backfill import RunState
from instances.models.choices import RerunAllowed

# Why a plan leaves an instance as it is.
WHY_SKIPPED = {
    Reprocess.MISSING: gettext_noop("It exists already; the plan makes what is missing."),
    Reprocess.FAILED: gettext_noop("It has not failed; the plan runs what is missing or failed."),
}
FAILED = (State.FAILED.value, State.FAILED_RETRY.value)


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task as it is now. `name` tells it apart: project/workflow/task."""

    id: int
    name: str
    project_id: int
    enabled: bool
    status: str
    submitted: bool
    rerun_allowed: str
    orderly: bool
    inner: bool = False


class Verdict(NamedTuple):
    """What becomes of a run: `active` (it is started), `skipped` or `refused`, and why."""

    state: str
    why: str


_FACTS = """
SELECT t.id, p.name || '/' || w.name || '/' || t.name, p.id, p.enabled, t.status, t.current_version_id IS NOT NULL,
       t.rerun_allowed, t.self_dependency = 'orderly', t.for_each_id IS NOT NULL
FROM instances_task t JOIN instances_workflow w ON w.id = t.workflow_id JOIN projects_project p ON p.id = w.project_id
WHERE t.id = ANY(%s::bigint[])
"""


def facts(task_ids: Iterable[int]) -> dict[int, TaskFacts]:
    """{id: facts} of those of the tasks that exist."""
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, [array(task_ids)])
        return {row[0]: TaskFacts(*row) for row in cursor.fetchall()}


def verdict(task: TaskFacts | None, state: str | None, reprocess: Reprocess) -> Verdict:
    """What becomes of a run of `task` whose instance is in `state` (None: there is none)."""
    if state is not None and (
        reprocess is Reprocess.MISSING or (reprocess is Reprocess.FAILED and state not in FAILED)
    ):
        return Verdict(RunState.SKIPPED, gettext(WHY_SKIPPED[reprocess]))
    if task is None:
        return Verdict(RunState.REFUSED, gettext("There is no such task any more."))
    if why := _not_now(task):
        return Verdict(RunState.REFUSED, why)
    if state is None:
        return Verdict(RunState.ACTIVE, "")
    if why := _no_rerun(task, state):
        return Verdict(RunState.REFUSED, why)
    return Verdict(RunState.ACTIVE, "")


def _not_now(task: TaskFacts) -> str:
    """Why nothing of the task can be run."""
    if not task.enabled:
        return gettext("The project of %(task)s is disabled.") % {"task": task.name}
    if task.inner:
        message = gettext("%(task)s is a task inside a For-each task; run that one.")
        return message % {"task": task.name}
    if not task.submitted or task.status == TaskStatus.OFFLINE:
        return gettext("%(task)s is offline; submit it first.") % {"task": task.name}
    return ""


def _no_rerun(task: TaskFacts, state: str) -> str:
    """Why an instance in `state` gets no new life. One that was skipped goes along in the life that it has."""
    if state == State.SKIPPED:
        return ""
    if task.rerun_allowed == RerunAllowed.NONE:
        return gettext("%(task)s never allows a rerun.") % {"task": task.name}
    if task.rerun_allowed == RerunAllowed.FAILURE and state not in FAILED:
        return gettext("%(task)s allows a rerun only after a failure.") % {"task": task.name}
    if state not in sources(Operation.RERUN):
        name = gettext("The instance of %(task)s") % {"task": task.name}
        return refusal(Operation.RERUN, state, name)
    return ""


def expansion(spec: PlanSpec) -> Expansion:
    """The runs of the plan's tasks that exist. Raises ValueError: PlanTooLarge, or a definition that cannot be used."""
    ids = spec.all_tasks
    return expand(spec, backlog.schedules(backlog.fingerprints(ids)), rules(ids))


def rules(task_ids: Iterable[int]) -> dict[int, list[Rule]]:
    """Dependencies of the tasks on one another. Several on the same task excuse alike, for they may share an edge."""
    ids = array(task_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT task_id, upstream_id, scope, offsets, bad_parents, parent_timeout FROM instances_dependency "
            "WHERE task_id = ANY(%s::bigint[]) AND upstream_id = ANY(%s::bigint[]) ORDER BY task_id, id",
            [ids, ids],
        )
        rows = cursor.fetchall()
    excused: dict[tuple[int, int], int] = defaultdict(int)
    timeouts: dict[tuple[int, int], int] = {}
    for task_id, upstream_id, _, _, bad_parents, timeout in rows:
        excused[task_id, upstream_id] |= bits(bad_parents, judged=False)
        if timeout:
            timeouts.setdefault((task_id, upstream_id), timeout)
    found: dict[int, list[Rule]] = defaultdict(list)
    for task_id, upstream_id, scope, offsets, *_ in rows:
        pair = (task_id, upstream_id)
        found[task_id].append(Rule(upstream_id, scope, offsets, excused[pair], timeouts.get(pair)))
    return found
