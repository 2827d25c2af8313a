"""Hands over a backfill plan's next runs, at most a thousand in the caller's transaction, which holds the plan's row.

What is to be started is chosen in the order of waves, within the plan's limits. Runs that are left as they are or refused
take no place, and do not hold up those behind them.
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction

from instances.engine import backlog, generation, lifecycle, plan_edges, plan_tasks
from instances.engine.backlog import array
from instances.engine.generation import Wanted
from instances.engine.lifecycle import Touched
from instances.engine.lives import Life
from instances.engine.plan_expansion import unlimited
from instances.engine.plan_spec import PlanSpec
from instances.engine.plan_tasks import TaskFacts
from instances.engine.states import InstanceType, Operation, RunType, SelfDependency, State, refusal
from instances.models.backfill import BackfillPlan, BackfillRun, RunState
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Project

log = logging.getLogger(__name__)

BATCH = 1000
# Runs of a plan without a limit of its own that are under way at once: more would only lie in everybody's way.
MOST_ACTIVE = 5000
# Backfills run when nothing more urgent does.
PRIORITY_OFFSET = -10


@dataclass(slots=True)
class Run:
    """A run that has not been started, with the instance that it has now, and what becomes of it."""

    id: int
    task_id: int
    data_time: dt.datetime
    planned_time: dt.datetime
    wave: int
    instance_id: int | None
    instance_state: str | None
    state: str = RunState.PENDING.value
    message: str = ""
    life_round: int | None = None
    made: bool = False
    from_state: str = ""
    to_state: str = ""

    def leave(self, state: str, message: str) -> None:
        self.state, self.message = state, message

    def forget(self) -> None:
        """The transaction in which it was started has been rolled back."""
        self.instance_id = None if self.made else self.instance_id
        self.made, self.life_round = False, None
        self.leave(RunState.ACTIVE, "")


@dataclass(slots=True)
class Started:
    """What a batch did: all runs that it decided about, and what that made ready."""

    runs: list[Run] = field(default_factory=list)
    touched: Touched = field(default_factory=Touched)

    @property
    def active(self) -> list[Run]:
        return [run for run in self.runs if run.state == RunState.ACTIVE]


_PENDING = """
SELECT r.id, r.task_id, r.data_time, r.planned_time, r.wave, i.id, i.state
FROM (SELECT * FROM instances_backfillrun WHERE plan_id = %s AND state = 'pending' ORDER BY wave, id LIMIT %s) r
LEFT JOIN instances_instance i ON i.task_id = r.task_id AND i.data_time = r.data_time AND i.traversal = ''
ORDER BY r.wave, r.id
"""


def start_next(plan: BackfillPlan, spec: PlanSpec) -> Started:
    """Starts what may start now; nothing if the plan's limits are reached."""
    limits = _Limits(plan, spec)
    limit = limits.worth_reading(_next_data_time(plan))
    runs = _pending(plan, limit) if limit else []
    if any(run.instance_id is None for run in runs):
        # Nobody else makes instances from here on, so what is missing stays missing.
        generation.lock()
        runs = _pending(plan, limit)
    if not runs:
        return Started()
    tasks = plan_tasks.facts({run.task_id for run in runs})
    decided = _choose(runs, tasks, spec, _Rights(plan, spec), limits)
    started = Started(decided)
    chosen = started.active
    if chosen:
        _start(plan, spec, tasks, chosen, started.touched)
    if decided:
        _record(plan, [run for run in decided if run.state == RunState.REFUSED and run.instance_id])
        _write(plan, decided)
    return started


def _next_data_time(plan: BackfillPlan) -> dt.datetime | None:
    rows = BackfillRun.objects.filter(plan=plan, state=RunState.PENDING).order_by("wave", "id")
    return rows.values_list("data_time", flat=True).first()


def _pending(plan: BackfillPlan, limit: int) -> list[Run]:
    with connection.cursor() as cursor:
        cursor.execute(_PENDING, [plan.pk, limit])
        return [Run(*row) for row in cursor.fetchall()]


def _choose(
    runs: Iterable[Run], tasks: dict[int, TaskFacts], spec: PlanSpec, rights: "_Rights", limits: "_Limits"
) -> list[Run]:
    """Those that are decided about now, the ones to be started being active."""
    decided = []
    for run in runs:
        task = tasks.get(run.task_id)
        outcome, why = plan_tasks.verdict(task, run.instance_state, spec.reprocess)
        if outcome == RunState.ACTIVE and task is not None and (denied := rights.denied(task.project_id)):
            outcome, why = RunState.REFUSED, denied
        if outcome == RunState.ACTIVE and not limits.admit(run):
            break
        run.leave(outcome, why)
        decided.append(run)
    return decided


class _Rights:
    """What the person who made the plan may now: asked anew for each batch."""

    def __init__(self, plan: BackfillPlan, spec: PlanSpec) -> None:
        self._name = plan.created_by_name
        self._system = plan.created_by_id is None and not self._name
        self._user = plan.created_by
        self._needed = {Right.OPERATE}
        if spec.parameters or spec.application_parameters:
            self._needed.add(Right.OVERRIDE)
        self._known: dict[int, str] = {}

    def denied(self, project_id: int) -> str:
        """Why nothing may be run in the project; '' if it may."""
        if self._system:
            return ""
        if project_id not in self._known:
            self._known[project_id] = self._ask(project_id)
        return self._known[project_id]

    def _ask(self, project_id: int) -> str:
        if self._user is None or not self._user.is_active:
            return f"The account {self._name} is closed."
        missing = sorted(self._needed - access.rights(self._user, project_id))
        if not missing:
            return ""
        project = Project.objects.filter(pk=project_id).values_list("name", flat=True).first()
        return f"{self._name} does not have the right to {' and '.join(missing)} in project {project}."


_ON = "SELECT DISTINCT data_time FROM instances_backfillrun WHERE plan_id = %s AND state = 'active'"
_QUEUED = """
SELECT EXISTS (SELECT 1 FROM instances_backfillrun r JOIN instances_instance i ON i.id = r.instance_id
WHERE r.plan_id = %s AND r.state = 'active' AND i.state = 'wait_run' AND i.queue <> 'taken' AND i.frozen_at IS NULL)
"""


class _Limits:
    """How many data times, and in which order, may be under way."""

    def __init__(self, plan: BackfillPlan, spec: PlanSpec) -> None:
        self._parallelism = spec.parallelism
        self._ordered = spec.ordered
        self._tasks = len(spec.all_tasks)
        self._room = MOST_ACTIVE - plan.active
        with connection.cursor() as cursor:
            cursor.execute(_ON, [plan.pk])
            self._on = {time for (time,) in cursor.fetchall()}
            cursor.execute(_QUEUED, [plan.pk])
            self._queued: bool = cursor.fetchone()[0]

    def worth_reading(self, following: dt.datetime | None) -> int:
        """How many runs to look at if `following` is the next one's data time; 0: none may start now, or there is none."""
        if following is None or self._room <= 0 or not self._may_begin(following):
            return 0
        if not self._parallelism:
            return BATCH
        # A few data times more than may begin, in case that many are left as they are.
        data_times = self._parallelism - len(self._on) + 1
        return min(BATCH, max(100, 2 * data_times * self._tasks))

    def _may_begin(self, data_time: dt.datetime) -> bool:
        if data_time in self._on:
            return True
        if self._parallelism and len(self._on) >= self._parallelism:
            return False
        # In order: the one before it must have left the queue, which knows no order but its own.
        return not (self._ordered and self._queued)

    def admit(self, run: Run) -> bool:
        """Whether it may start now; then it counts."""
        if self._room <= 0 or not self._may_begin(run.data_time):
            return False
        if run.data_time not in self._on:
            self._on.add(run.data_time)
            self._queued = True
        self._room -= 1
        return True


# Starting


def _start(
    plan: BackfillPlan, spec: PlanSpec, tasks: dict[int, TaskFacts], runs: Sequence[Run], touched: Touched
) -> None:
    """Starts them together, or if that fails one by one: a run that cannot be started fails alone."""
    schedules = backlog.schedules(backlog.fingerprints(spec.all_tasks))
    hand_over = _HandOver(plan, spec, tasks, {pk: unlimited(one) for pk, one in schedules.items()})
    try:
        with transaction.atomic():
            touched.add(hand_over(runs))
        return
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("a batch of plan %d cannot be started as a whole", plan.pk)
    for run in runs:
        run.forget()
        try:
            with transaction.atomic():
                touched.add(hand_over([run]))
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log.exception("run %d of plan %d cannot be started", run.id, plan.pk)
            run.forget()
            run.leave(RunState.FAILED, f"It could not be started: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].replace("\0", "")[:500] or type(error).__name__


class _HandOver:
    """Makes the missing instances, gives the existing ones a new life, and puts on record what became of each."""

    def __init__(
        self, plan: BackfillPlan, spec: PlanSpec, tasks: dict[int, TaskFacts], schedules: dict[int, Any]
    ) -> None:
        self._plan = plan
        self._tasks = tasks
        self._schedules = schedules
        self._rules = plan_tasks.rules(spec.all_tasks)
        # What the plan says holds for all of its tasks.
        self._orderly = spec.self_dependency == SelfDependency.ORDERLY
        self._life = Life(
            run_type=RunType.ADDITION,
            check_parents="all" if spec.check_parents else "none",
            ignore_events=spec.ignore_events,
            parameters=spec.parameters,
            application_parameters=spec.application_parameters,
            # The plan itself keeps to its number of data times at once.
            self_dependency=SelfDependency.PARALLEL if spec.parallelism else spec.self_dependency,
            resource_group_id=spec.resource_group_id,
            priority_offset=PRIORITY_OFFSET,
            plan_id=plan.pk,
        )

    def __call__(self, runs: Sequence[Run]) -> Touched:
        missing = [run for run in runs if run.instance_id is None]
        old = {run.instance_id: run for run in runs if run.instance_id is not None}
        along = [pk for pk, run in old.items() if run.instance_state == State.SKIPPED]
        again = sorted(old.keys() - set(along))
        fresh = self._make(missing)
        plan_edges.add_missing(self._plan.pk, [old[pk] for pk in again], self._rules, self._schedules)
        if self._orderly:
            plan_edges.add_previous(again)
        changed, touched = lifecycle.rerun(
            again, self._plan.operation_id, self._life, fresh=sorted(fresh), along=along
        )
        for run in runs:
            run.state, run.message = RunState.ACTIVE.value, ""
        for instance_id, run in old.items():
            run.from_state = changed.get(instance_id, "")
        now = _now(old.keys() | fresh.keys())
        for instance_id, run in (old | fresh).items():
            run.to_state, run.life_round = now.get(instance_id, ("", 0))
            if instance_id not in changed and instance_id not in fresh:
                self._refuse(run)
        _record(self._plan, [run for run in runs if run.state == RunState.ACTIVE])
        return touched

    def _make(self, runs: Sequence[Run]) -> dict[int, Run]:
        """{instance id: run} of those that were missing."""
        wanted = [
            Wanted(
                run.task_id,
                self._schedules[run.task_id],
                run.data_time,
                run.planned_time,
                self._orderly or self._tasks[run.task_id].orderly,
                InstanceType.SUPPLEMENTARY,
                RunType.ADDITION,
            )
            for run in runs
        ]
        generation.create(wanted, self._schedules, lives_follow=True)
        for run, one in zip(runs, wanted, strict=True):
            run.instance_id, run.made = one.instance_id, True
        return {one.instance_id: run for run, one in zip(runs, wanted, strict=True)}

    def _refuse(self, run: Run) -> None:
        name = f"The instance of {self._tasks[run.task_id].name}"
        state = run.to_state
        run.leave(
            RunState.REFUSED,
            refusal(Operation.RERUN, state, name) if state else f"{name} was removed just now.",
        )
        run.instance_state, run.life_round = state, None


def _now(instance_ids: Iterable[int]) -> dict[int, tuple[str, int]]:
    """{instance id: (state, life round)}"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, state, life_round FROM instances_instance WHERE id = ANY(%s::bigint[])",
            [array(instance_ids)],
        )
        return {pk: (state, life_round) for pk, state, life_round in cursor.fetchall()}


_RECORD = """
INSERT INTO instances_operationitem (operation_id, instance_id, from_state, to_state, outcome, message)
SELECT %s, * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])
"""


def _record(plan: BackfillPlan, runs: Sequence[Run]) -> None:
    """The outcome of each, of which all have an instance, under the plan's operation."""
    done = [run.state == RunState.ACTIVE for run in runs]
    columns: list[list[Any]] = [
        [run.instance_id for run in runs],
        [run.from_state if ok else run.instance_state or "" for run, ok in zip(runs, done, strict=True)],
        [run.to_state if ok else "" for run, ok in zip(runs, done, strict=True)],
        ["done" if ok else "refused" for ok in done],
        [run.message for run in runs],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_RECORD, [plan.operation_id, *columns])


_WRITE = """
UPDATE instances_backfillrun r SET state = w.state, instance_id = w.instance_id, life_round = w.life_round, made = w.made,
    message = w.message, started_at = CASE w.state WHEN 'active' THEN now() END,
    ended_at = CASE w.state WHEN 'active' THEN NULL ELSE now() END
FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::int[], %s::boolean[], %s::text[])
  AS w(id, state, instance_id, life_round, made, message)
WHERE r.id = w.id AND r.plan_id = %s
"""


def _write(plan: BackfillPlan, runs: Sequence[Run]) -> None:
    columns: list[Callable[[Run], Any]] = [
        lambda run: run.id,
        lambda run: run.state,
        lambda run: run.instance_id,
        lambda run: run.life_round,
        lambda run: run.made,
        lambda run: run.message,
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [*[[column(run) for run in runs] for column in columns], plan.pk])
