"""The life of a few instances under everything that can happen to them, against a small model of what should.

Two instances of one task (serial or parallel), one of a task that waits for it, few slots. Messages come twice, late
or never; workers die, report late or with old tokens; people operate on everything; time passes. After every step the
database must hold what the model says, and every invariant of the design.
"""

import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from instances.engine import generation, lifecycle, maintenance
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Result, Touched
from instances.models import Execution, Instance, Lease, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import DAY, JANUARY, _django_db_helper
from tests.engine.life_model import CODES, HOLDING, WAITING, Life, Model

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

names = st.lists(st.sampled_from(["A0", "A1", "B0"]), min_size=1, max_size=2, unique=True)
# A caller that dies between its change and the dispatch that should follow.
dies = st.sampled_from([False, False, False, False, True])


class Lives(RuleBasedStateMachine):
    model: Model

    @initialize(
        slots=st.integers(1, 3),
        serial=st.booleans(),
        retry_limit=st.integers(0, 2),
        wait=st.sampled_from([dt.timedelta(0), dt.timedelta(hours=1)]),
        child_first=st.booleans(),
    )
    def begin(
        self, slots: int, serial: bool, retry_limit: int, wait: dt.timedelta, child_first: bool
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
            a = harness.make_due(
                2, self_dependency="serial" if serial else "parallel", retry_limit=retry_limit, **common
            )
            self.b = make.make_task(effective_to=JANUARY + DAY / 2, **common)
            make.depend(self.b, a)
            make.submit(self.b, since=JANUARY - dt.timedelta(microseconds=1))
            if not child_first:
                Task.objects.filter(pk=self.b.pk).update(status="paused")
        self.model = Model(slots)
        self.pk: dict[str, int] = {}
        self.serial, self.retry_limit = serial, retry_limit
        generation.generate()
        for number, row in enumerate(harness.instances_of(a)):
            self._know(f"A{number}", row, serial, retry_limit)
        self._know_child()
        self._started(dispatch([self.group.pk]))
        self.lossy = False

    def _know(self, name: str, row: Instance, serial: bool, retry_limit: int) -> Life:
        self.pk[name] = row.pk
        life = Life(name, (row.planned_time, row.pk), serial, retry_limit)
        self.model.lives[name] = life
        return life

    def _know_child(self) -> None:
        for row in harness.instances_of(self.b):
            child = self._know("B0", row, serial=False, retry_limit=0)
            child.parent = "A0"
            child.satisfied = self.model.lives["A0"].state == "success"
            child.state = "wait_run" if child.satisfied else "wait_upstream"

    def _after(self, touched: Touched, dies: bool) -> None:
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

    @rule(operation=st.sampled_from(["terminate", "rerun", "mark_success"]), names=names, dies=dies)
    def person_operates(self, operation: str, names: list[str], dies: bool) -> None:
        known = sorted((name for name in names if name in self.pk), key=self.pk.__getitem__)
        before = {self.pk[name]: self.model.lives[name].state for name in known}
        # Reruns reopen children and successes release them after all were judged by the states that they had.
        allowed = {self.pk[name] for name in known if self._judge(operation, name)}
        changed, touched = getattr(lifecycle, operation)([self.pk[name] for name in names if name in self.pk])
        assert changed == {pk: before[pk] for pk in allowed}
        for name in known:
            if self.pk[name] in allowed:
                assert self.model.operate(operation, name)
        self._after(touched, dies)

    def _judge(self, operation: str, name: str) -> bool:
        state = self.model.lives[name].state
        if operation == "terminate":
            return state in WAITING | {"failed_retry", "running"}
        if operation == "rerun":
            return state in {"failed", "success", "wait_run", "failed_retry"}
        return state in WAITING | {"failed", "running"}

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
            if self.model.lives[name].state in WAITING:
                self.model.cancel_waiting(name)
                self.model.end(name, "WAIT_TIMEOUT")
        Instance.objects.filter(state__in=["failed", "success"]).update(wait_deadline=None)
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
            "id", "state", "life_round", "tries", "total_runs", "pending_upstream", "error_code"
        )
        found = {name_of[pk]: tuple(row) for pk, *row in rows}
        final = {"failed", "success"}
        for life in self.model.lives.values():
            code = life.code if life.state in final else found[life.name][-1]
            expected = (life.state, life.life, life.tries, life.runs, int(not life.satisfied), code)
            assert found[life.name] == expected, life.name
        tries = Execution.objects.filter(worker__gt="") | Execution.objects.filter(state__in=HOLDING)
        assert dict(tries.values_list("id", "state")) == {
            t.pk: t.state for t in self.model.tries.values() if t.worker or t.state in HOLDING
        }
        assert dict(Lease.objects.values_list("execution_id", "token")) == {
            t.pk: t.token for t in self.model.tries.values() if t.state in {"running", "stopping"}
        }

    @invariant()
    def nothing_that_must_never_be(self) -> None:
        if hasattr(self, "model"):
            harness.assert_sound()


def test_lives_of_instances() -> None:
    harness.truncate()
    with connection.cursor() as cursor:
        # A crash of the server is no part of this test.
        cursor.execute("SET synchronous_commit = off")
    try:
        run_state_machine_as_test(
            Lives, settings=hypothesis_settings(max_examples=25, stateful_step_count=25, database=None)
        )
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET synchronous_commit")
