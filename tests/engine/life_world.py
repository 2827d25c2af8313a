"""A few instances, their workers and time, as Hypothesis drives them against the model of life_model.py."""

import datetime as dt
import uuid
from typing import Any

from django.db import transaction
from django.db.models import Q
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from instances.engine import generation, lifecycle, maintenance
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Result, Touched
from instances.models import Edge as BoundEdge
from instances.models import Execution, Instance, Lease, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import DAY, JANUARY
from tests.engine.life_model import CODES, HOLDING, WAITING, Done, Edge, Life, Model

NAMES = ["A0", "A1", "A2", "C0", "B0"]
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
# A caller that dies between its change and the dispatch that should follow.
dies = st.sampled_from([False, False, False, False, True])
LANE = -1


class World(RuleBasedStateMachine):
    """Instances that are run by workers while time passes, and a model of them; see test_lifecycle_model.py."""

    model: Model

    @initialize(
        slots=st.integers(1, 3),
        places=st.integers(1, 2),
        self_dependency=st.sampled_from(["serial", "orderly", "parallel"]),
        retry_limit=st.integers(0, 2),
        wait=st.sampled_from([dt.timedelta(0), dt.timedelta(hours=1)]),
        child_first=st.booleans(),
    )
    def begin(
        self,
        slots: int,
        places: int,
        self_dependency: str,
        retry_limit: int,
        wait: dt.timedelta,
        child_first: bool,
    ) -> None:
        harness.wipe()
        self.lossy = True
        with transaction.atomic():
            self.group = make.make_group(slots)
            workflow = make.make_workflow()
            common: dict[str, Any] = {
                "group": self.group,
                "workflow": workflow,
                "retry_wait": wait,
                "wait_timeout": DAY,
                "code": "true",
            }
            a = harness.make_due(3, self_dependency=self_dependency, retry_limit=retry_limit, **common)
            c = harness.make_due(1, **common)
            self.b = make.make_task(effective_to=JANUARY + DAY / 2, **common)
            make.depend(self.b, a)
            make.depend(self.b, c)
            make.submit(self.b, since=JANUARY - dt.timedelta(microseconds=1))
            if not child_first:
                Task.objects.filter(pk=self.b.pk).update(status="paused")
        self.model = Model(slots, places)
        self.pk: dict[str, int] = {}
        self.key: dict[str, tuple[int, dt.datetime]] = {}
        self.done: list[tuple[Done, Any, Any]] = []
        self.operations = 0
        generation.generate()
        for number, row in enumerate(harness.instances_of(a)):
            life = self._know(f"A{number}", row, self_dependency, retry_limit)
            if self_dependency == "orderly" and number:
                life.edges[f"A{number - 1}"] = Edge(is_self=True)
                life.wait()
        self._know("C0", harness.instances_of(c)[0], "parallel", 0)
        self._know_child()
        self._started(dispatch([self.group.pk]))
        self.lossy = False

    def _know(self, name: str, row: Instance, self_dependency: str, retry_limit: int) -> Life:
        self.pk[name] = row.pk
        self.key[name] = (row.task_id, row.data_time)
        life = Life(name, (row.planned_time, row.pk), self_dependency, retry_limit)
        self.model.lives[name] = life
        return life

    def _know_child(self) -> None:
        for row in harness.instances_of(self.b):
            child = self._know("B0", row, "parallel", 0)
            for parent in ("A0", "C0"):
                succeeded = self.model.lives[parent].state == "success"
                child.edges[parent] = Edge(satisfied=self.model.step if succeeded else None)
            child.wait()

    def _after(self, touched: Touched, dies: bool) -> None:
        self.model.step += 1
        if dies:
            self.lossy = True
        else:
            self._started(harness.settle(touched))

    def _started(self, given: list[Any]) -> None:
        """Everything that could start has started, in its order; after a lost wake-up the sweeper may still owe it."""
        given_ids = [hint.execution_id for hint in given]
        rows = dict(Execution.objects.filter(pk__in=given_ids).values_list("pk", "instance_id"))
        name_of = {pk: name for name, pk in self.pk.items()}
        started = {name_of[rows[pk]]: pk for pk in given_ids}
        assert len(started) == len(given_ids), "an instance got two executions"
        if self.lossy:
            for one, pk in started.items():
                assert self.model.may_start(one), f"{one} started"
                assert self.model.free() > 0, f"{one} started without a slot"
                self.model.start(one, pk)
            return
        while (name := self.model.next_to_start()) is not None:
            assert name in started, f"{name} should have started, {sorted(started)} have"
            self.model.start(name, started.pop(name))
        assert not started, f"{started} should not have started"

    @precondition(lambda self: "B0" not in self.pk)
    @rule()
    def tick_generates_the_child(self) -> None:
        Task.objects.filter(pk=self.b.pk).update(status="scheduling")
        made = generation.generate()
        if made.instances:
            self._know_child()
        self._started(dispatch(made.groups))

    @precondition(lambda self: self.model.tries)
    @rule(
        worker=st.sampled_from(["w1", "w2"]),
        which=st.sampled_from(["waiting", "waiting", "waiting", "all", "one"]),
        number=st.integers(0, 30),
    )
    def hint_arrives(self, worker: str, which: str, number: int) -> None:
        """The first time, again, late, or for an execution that there never was."""
        known = sorted(self.model.tries)
        wanted = known if which == "all" else [known[number % len(known)], 10**9]
        if which == "waiting":
            wanted = [pk for pk in known if self.model.tries[pk].state == "dispatched"]
        takeable = {
            pk for pk in wanted if pk in self.model.tries and self.model.tries[pk].state == "dispatched"
        }
        claimed = lifecycle.claim(wanted, worker)
        assert {c.execution_id for c in claimed} == takeable
        for c in claimed:
            t = self.model.tries[c.execution_id]
            assert (c.instance_id, c.life_round, c.try_number) == (self.pk[t.of], t.life, t.number)
            self.model.claim(c.execution_id, c.token, worker)

    @precondition(lambda self: any(t.state == "dispatched" for t in self.model.tries.values()))
    @rule(ending=st.sampled_from(["ok", "ok", "EXIT_NONZERO"]), dies=dies)
    def worker_runs_something(self, ending: str, dies: bool) -> None:
        self.hint_arrives(worker="w1", which="waiting", number=0)
        self.worker_reports(which="running", number=0, wrong_token=False, ending=ending, dies=dies)

    @precondition(lambda self: any(t.worker for t in self.model.tries.values()))
    @rule(
        which=st.sampled_from(["running", "running", "any"]),
        number=st.integers(0, 30),
        wrong_token=st.sampled_from([False, False, False, False, True]),
        ending=st.sampled_from(["ok", "ok", "requeue", *CODES]),
        dies=dies,
    )
    def worker_reports(self, which: str, number: int, wrong_token: bool, ending: str, dies: bool) -> None:
        """In time, or long after somebody else took over."""
        claimed = sorted((t for t in self.model.tries.values() if t.worker), key=lambda t: t.pk)
        leased = [t for t in claimed if t.state in {"running", "stopping"}]
        known = leased if leased and which == "running" else claimed
        t = known[number % len(known)]
        token = uuid.uuid4() if wrong_token else t.token
        ok, requeue = ending == "ok", ending == "requeue"
        code = "" if ok else "WORKER_SHUTDOWN" if requeue else ending
        counts = t.state in {"running", "stopping"} and not wrong_token
        if counts:
            self.model.report(t.pk, ok=ok, code=code, requeue=requeue)
        touched = lifecycle.finish([Result(t.pk, token, ok, code, "It ended.", requeue=requeue)])
        assert touched.instances == counts
        self._after(touched, dies)

    @precondition(lambda self: any(t.worker for t in self.model.tries.values()))
    @rule(worker=st.sampled_from(["w1", "w2"]))
    def worker_renews(self, worker: str) -> None:
        mine = {
            t.pk: t.cancel for t in self.model.tries.values() if t.worker == worker and t.state in HOLDING
        }
        assert lifecycle.renew(worker) == mine

    @precondition(lambda self: any(t.worker and t.state in HOLDING for t in self.model.tries.values()))
    @rule(worker=st.sampled_from(["w1", "w2"]), dies=dies)
    def worker_goes_silent(self, worker: str, dies: bool) -> None:
        lost = [
            t for t in self.model.tries.values() if t.worker == worker and t.state in {"running", "stopping"}
        ]
        harness.age_leases(*[t.pk for t in lost])
        for t in lost:
            self.model.report(t.pk, ok=False, code="LOST", requeue=False)
        touched = lifecycle.expire(harness.lease_seconds())
        assert touched.instances == len(lost)
        self._after(touched, dies)

    @precondition(lambda self: any(life.state == "failed_retry" for life in self.model.lives.values()))
    @rule(time_passes=st.booleans(), dies=dies)
    def retry_tick(self, time_passes: bool, dies: bool) -> None:
        failed = [life for life in self.model.lives.values() if life.state == "failed_retry"]
        if time_passes:
            Instance.objects.filter(state="failed_retry").update(not_before=JANUARY)
        for life in failed:
            life.retry_due = life.retry_due or time_passes or not self._waits()
        touched = lifecycle.retry_due()
        for life in failed:
            if life.retry_due:
                life.state, life.tries = "wait_run", life.tries + 1
        self._after(touched, dies)

    def _waits(self) -> bool:
        return bool(self.b.retry_wait)

    @rule(names=names, dies=dies)
    def waiting_takes_too_long(self, names: list[str], dies: bool) -> None:
        """Only waiting counts: what runs or ends meanwhile is not struck, not even when it waits again later."""
        overdue = [name for name in set(names) if name in self.pk]
        Instance.objects.filter(pk__in=[self.pk[n] for n in overdue]).update(wait_deadline=JANUARY)
        touched = lifecycle.wait_timeouts()
        for name in overdue:
            life = self.model.lives[name]
            if life.state in WAITING and not life.frozen:
                self.model.take_away(name, "cancelled")
                self.model.end(name, "WAIT_TIMEOUT")
        # What is frozen would be struck when it is thawed, and what is over when that is undone.
        Instance.objects.filter(Q(state__in=["failed", "success"]) | Q(frozen_at__isnull=False)).update(
            wait_deadline=None
        )
        self._after(touched, dies)

    @precondition(lambda self: self.model.next_to_start())
    @rule()
    def dispatch_again(self) -> None:
        self._started(dispatch([self.group.pk]))

    @precondition(lambda self: self.lossy)
    @rule()
    def sweep(self) -> None:
        """Mends whatever a caller that died left undone."""
        for life in self.model.lives.values():
            if life.state == "failed_retry" and (life.retry_due or not self._waits()):
                life.state, life.tries = "wait_run", life.tries + 1
        before = set(self.model.tries)
        with harness.captured_hints() as sent:
            maintenance.sweep()
        self.lossy = False
        self._started([hint for hint in sent if hint.execution_id not in before])

    @invariant()
    def database_holds_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        name_of = {pk: name for name, pk in self.pk.items()}
        rows = Instance.objects.values_list(
            "id", "state", "life_round", "tries", "total_runs", "pending_upstream", "frozen_at", "error_code"
        )
        found = {name_of[pk]: (*row[:-2], row[-2] is not None, row[-1]) for pk, *row in rows}
        final = {"failed", "success"}
        for life in self.model.lives.values():
            code = life.code if life.state in final else found[life.name][-1]
            expected = (life.state, life.life, life.tries, life.runs, life.pending, bool(life.frozen), code)
            assert found[life.name] == expected, life.name
        assert self._edges() == {
            (life.name, parent): (edge.satisfied is not None, edge.waived, edge.removed, edge.is_self)
            for life in self.model.lives.values()
            for parent, edge in life.edges.items()
        }
        tries = Execution.objects.filter(worker__gt="") | Execution.objects.filter(state__in=HOLDING)
        assert dict(tries.values_list("id", "state")) == {
            t.pk: t.state for t in self.model.tries.values() if t.worker or t.state in HOLDING
        }
        assert dict(Lease.objects.values_list("execution_id", "token")) == {
            t.pk: t.token for t in self.model.tries.values() if t.state in {"running", "stopping"}
        }

    def _edges(self) -> dict[tuple[str, str], tuple[bool, bool, bool, bool]]:
        name_of = {pk: name for name, pk in self.pk.items()}
        return {
            (name_of[child], name_of[parent]): (
                satisfied_at is not None,
                waived,
                removed_at is not None,
                is_self,
            )
            for child, parent, satisfied_at, waived, removed_at, is_self in BoundEdge.objects.values_list(
                "instance_id", "upstream_id", "satisfied_at", "waived", "removed_at", "is_self"
            )
            if parent is not None
        }

    @invariant()
    def nothing_that_must_never_be(self) -> None:
        if hasattr(self, "model"):
            harness.assert_sound()
