"""The worker's engine in this process: real children, real SQL, a real database that fails; only the broker is left out."""

import datetime as dt
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.db.models import Max

from instances import operations
from instances.engine import lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Result
from instances.engine.runtime import Runtime
from instances.models import Execution, Instance, Lease, Task, WorkerProcess
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    Racer,
    _django_db_helper,
    assert_sound,
    due,
    executions,
    fresh,
    instances_of,
    make_due,
    state,
    until,
)
from tests.engine.workers import Gate, begin, dead, gate, in_background, log_of, run, sent, worker
from weops.projects.models import ResourceGroup

__all__ = ["_django_db_helper", "begin", "gate", "sent", "worker"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def database_url() -> str:
    """This test's own database, as a data source."""
    s = connection.settings_dict
    host, port = quote(s["HOST"], safe=""), s["PORT"] or 5432
    return f"postgresql://{s['USER']}:{quote(s['PASSWORD'])}@/{s['NAME']}?host={host}&port={port}"


class TestEndToEnd:
    def test_shell(self, worker: Runtime) -> None:
        code = 'echo "day ${yyyyMMdd}, ${word}, $WEOPS_TASK"; echo error >&2; env | grep -c DATABASE_URL'
        [day] = due(code=code + "; exit 0", parameters={"word": "${yyyy}!"})
        [done] = run(worker, day)
        assert (done.state, done.error_code, done.total_runs) == ("success", "", 1)
        assert f"day 20130101, 2013!, {day.task.name}\nerror\n0\n" in log_of(day)
        execution = Execution.objects.get()
        assert (execution.state, execution.exit_code, execution.worker) == ("success", 0, "tester")
        moments: list[Any] = [
            execution.wait_started_at,
            execution.queue_started_at,
            execution.run_started_at,
            execution.run_ended_at,
            execution.ended_at,
        ]
        assert moments == sorted(moments)
        assert done.end_time == execution.run_ended_at
        assert_sound()

    def test_python(self, worker: Runtime) -> None:
        [day] = due(task_type="PYTHON", code="import sys\nprint('Größe', '${yyyy-MM-dd}', sys.executable)")
        [done] = run(worker, day)
        assert done.state == "success"
        assert f"Größe 2013-01-01 {sys.executable}\n" in log_of(day)

    def test_sql(self, worker: Runtime) -> None:
        task = make.make_task(task_type="SQL", code="SELECT '${yyyyMMdd}' AS day, 6 * 7 AS answer")
        task.data_source = make.make_data_source(task.workflow.project, database_url())
        task.effective_to = harness.JANUARY + harness.HOUR
        task.save()
        make.submit(task, since=harness.JANUARY - dt.timedelta(microseconds=1))
        harness.generation.generate()
        [day] = instances_of(task)
        [done] = run(worker, day)
        assert (done.state, done.error_message) == ("success", "")
        assert "20130101" in log_of(day)
        assert "42" in log_of(day)

    def test_virtual_and_dry_run_need_no_log(self, worker: Runtime) -> None:
        [virtual], [dry] = due(), due(code="exit 9", dry_run=True)
        assert [row.state for row in run(worker, virtual, dry)] == ["success", "success"]
        assert set(Execution.objects.values_list("log_file", "log_bytes")) == {("", 0)}

    def test_a_failure_says_why(self, worker: Runtime) -> None:
        [day] = due(code="echo oops; exit 3")
        [done] = run(worker, day)
        assert (done.state, done.error_code) == ("failed", "EXIT_NONZERO")
        assert Execution.objects.get().exit_code == 3
        assert "oops\n" in log_of(day)

    def test_what_made_it_fail_is_found_and_stored(self, worker: Runtime) -> None:
        [day] = due(task_type="PYTHON", code="print(1)\nimport no_such_module_of_ours")
        [done] = run(worker, day)
        assert (done.state, done.error_code) == ("failed", "MODULE_NOT_FOUND")
        one = Execution.objects.get()
        assert (one.error_code, one.error_message) == (done.error_code, done.error_message)
        assert one.error_message == (
            "ModuleNotFoundError: No module named 'no_such_module_of_ours' (line 2 of the code; exit code 1)"
        )

    def test_the_stricter_limit_of_task_and_group_counts(self, worker: Runtime) -> None:
        [day] = due(code="ulimit -n; head -c 3000000 /dev/zero", files_limit=99)
        ResourceGroup.objects.update(files_limit=50, output_limit=2)
        [done] = run(worker, day)
        assert (done.state, done.error_code) == ("failed", "OUTPUT_LIMIT")
        assert "50\n" in log_of(day)
        version = day.task.current_version
        assert version is not None
        assert version.definition["files_limit"] == 99
        assert "output_limit" not in version.definition

    def test_everything_that_was_printed_is_in_the_sealed_log(self, worker: Runtime) -> None:
        [day] = due(code="for n in $(seq 3000); do echo line $n; done")
        run(worker, day)
        lines = log_of(day).splitlines()
        assert [line for line in lines if not line.startswith("[weops]")] == [
            f"line {n}" for n in range(1, 3001)
        ]
        assert lines[0].endswith("life 0 begins (periodic)")
        assert any(line.endswith("taken by worker tester") for line in lines[:4])
        assert any(line.startswith("[weops] process ") for line in lines[:6])
        assert lines[-1] == "[weops] succeeded (exit code 0)"
        assert Execution.objects.get().log_lines == len(lines)

    def test_retries_follow_at_once_when_there_is_no_wait(self, worker: Runtime) -> None:
        [day] = due(code="exit 1", retry_limit=2)
        [done] = run(worker, day)
        assert (done.state, done.tries, done.total_runs) == ("failed", 2, 3)
        assert list(Execution.objects.order_by("id").values_list("try_number", "state")) == [
            (0, "failed"), (1, "failed"), (2, "failed"),
        ]  # fmt: skip
        assert_sound()

    def test_what_follows_is_run_without_a_message(self, worker: Runtime, sent: list[Any]) -> None:
        workflow, group = make.make_workflow(), make.make_group(4)
        before: Task | None = None
        for _ in range(6):
            task = make.make_task(
                workflow, group=group, code="true", effective_to=harness.JANUARY + harness.HOUR
            )
            if before:
                make.depend(task, before)
            make.submit(task, since=harness.JANUARY - dt.timedelta(microseconds=1))
            before = task
        harness.generation.generate()
        [first] = Instance.objects.filter(state="wait_run")
        run(worker, first)
        assert set(Instance.objects.values_list("state", flat=True)) == {"success"}
        assert sent == []
        assert_sound()

    def test_groups_of_other_workers_are_told_by_message(self, begin: Any, sent: list[Any]) -> None:
        workflow = make.make_workflow()
        parent = make_due(1, workflow=workflow)
        child = make.make_task(workflow, effective_to=parent.effective_to)
        make.depend(child, parent)
        make.submit(child, since=harness.JANUARY - dt.timedelta(microseconds=1))
        harness.generation.generate()
        worker = begin(served=lambda group_id: group_id == parent.resource_group_id)
        run(worker, *instances_of(parent))
        assert [hint.group_id for hint in sent] == [child.resource_group_id]
        assert state(instances_of(child)[0]) == "wait_run"

    def test_hundreds_of_instant_runs_from_many_threads(self, begin: Any) -> None:
        days = due(400, group=make.make_group(37), since=dt.datetime(2010, 1, 1, tzinfo=dt.UTC))
        worker = begin(served=lambda _group: True)
        ids = [hint.execution_id for hint in dispatch(harness.groups(*days))]
        # Each message twice.
        harness.race(*[lambda n=n: worker.take(ids[n::4]) for n in (0, 1, 2, 3, 0, 1, 2, 3)])
        assert set(Instance.objects.values_list("state", "total_runs")) == {("success", 1)}
        assert not Lease.objects.exists()
        assert_sound()


class TestRefused:
    """What cannot be run says so by its own code, and nothing is started."""

    def _refused(self, worker: Runtime, day: Instance, tmp_path: Path) -> tuple[str, str]:
        [done] = run(worker, day)
        assert done.state == "failed"
        assert not (tmp_path / "ran").exists()
        assert done.error_code in log_of(day)
        assert_sound()
        return done.error_code, done.error_message

    def test_a_parameter_that_is_gone(self, worker: Runtime, tmp_path: Path) -> None:
        project = make.make_project(parameters={"region": "EWR"})
        [day] = due(
            workflow=make.make_workflow(project),
            code=f"touch {tmp_path}/ran; echo ${{region}}",
            retry_limit=3,
        )
        project.parameters = {}
        project.save(update_fields=["parameters"])
        code, message = self._refused(worker, day, tmp_path)
        assert code == "UNDEFINED_PARAMETER"
        assert "region" in message
        assert fresh(day).total_runs == 1

    def test_a_data_source_that_is_gone(self, worker: Runtime, tmp_path: Path) -> None:
        [day] = due(code="SELECT 1")
        Instance.objects.update(task_type="SQL")
        assert self._refused(worker, day, tmp_path)[0] == "MISSING_DATA_SOURCE"

    def test_a_secret_that_cannot_be_read(self, worker: Runtime, tmp_path: Path, settings: Any) -> None:
        [day] = due(code=f"touch {tmp_path}/ran")
        day.task.secrets.add(make.make_secret(day.project, "token"))
        settings.WEOPS_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
        code, message = self._refused(worker, day, tmp_path)
        assert code == "UNREADABLE_SECRET"
        assert "token" in message
        assert "very secret" not in message

    def test_a_task_type_that_this_worker_does_not_know(self, worker: Runtime, tmp_path: Path) -> None:
        [day] = due(code=f"touch {tmp_path}/ran")
        with connection.cursor() as cursor:
            cursor.execute("UPDATE instances_instance SET task_type = 'COBOL'")
        assert self._refused(worker, day, tmp_path)[0] == "UNKNOWN_TASK_TYPE"

    def test_secrets_reach_the_child_and_no_log(self, worker: Runtime) -> None:
        [day] = due(code='echo "${#token} characters: $token"'.replace("${#", "$${#"))
        day.task.secrets.add(make.make_secret(day.project, "token", "hunter2hunter2"))
        [done] = run(worker, day)
        assert (done.state, done.error_message) == ("success", "")
        assert "14 characters" in log_of(day)
        assert "hunter2" not in log_of(day)


class TestStopping:
    def test_run_timeout(self, worker: Runtime, gate: Gate) -> None:
        [day] = due(code=gate.code, run_timeout=dt.timedelta(seconds=0.3))
        [done] = run(worker, day)
        assert (done.state, done.error_code) == ("failed", "RUN_TIMEOUT")
        assert dead(gate.wait())

    def test_terminate_kills_the_child_before_the_instance_ends(self, worker: Runtime, gate: Gate) -> None:
        [day] = due(code=f"trap 'exit 0' TERM; {gate.code}", retry_limit=5)
        racer = in_background(worker, day)
        pid = gate.wait()
        record = operations.run("terminate", [day.pk], user=None, reason="", source="admin")
        assert record.done == 1
        until(lambda: state(day) != "terminating" or not dead(pid))
        racer.result()
        assert dead(pid)
        assert (fresh(day).state, fresh(day).error_code) == ("failed", "TERMINATED")
        assert executions(day) == ["cancelled"]
        assert harness.history(day) == ["claim", "terminate", "confirm_dead"]
        assert_sound()

    def test_a_run_that_lasts_names_its_process(self, worker: Runtime, gate: Gate) -> None:
        [day] = due(code=gate.code)
        racer = in_background(worker, day)
        pid = gate.wait()
        until(lambda: day.executions.get().pid == pid)
        gate.open()
        racer.result()
        assert (state(day), day.executions.get().pid) == ("success", pid)

    def test_mark_success_is_at_once_and_the_slot_is_freed_when_the_child_is_dead(
        self, worker: Runtime, gate: Gate
    ) -> None:
        days = due(2, code=f"trap '' TERM; {gate.code}", group=make.make_group(1))
        racer = in_background(worker, *days)
        pid = gate.wait()
        operations.run("mark_success", [days[0].pk], user=None, reason="", source="admin")
        assert state(days[0]) == "success"
        assert dispatch(harness.groups(*days)) == [] or dead(pid)
        gate.open()
        racer.result()
        assert dead(pid)
        assert [row.state for row in map(fresh, days)] == ["success", "success"]
        assert executions(days[0]) in (["cancelled"], ["success"])
        assert_sound()

    def test_terminated_while_it_waits_behind_another_it_never_runs(
        self, worker: Runtime, gate: Gate, tmp_path: Path
    ) -> None:
        [first] = due(code=gate.code, group=make.make_group(2))
        [second] = due(code=f"touch {tmp_path}/ran", group=first.resource_group, priority=1)
        racer = in_background(worker, first, second)
        gate.wait()
        operations.run("terminate", [second.pk], user=None, reason="", source="admin")
        assert state(second) == "terminating"
        [waiting] = [run for run in worker._runs.values() if run.claimed.instance_id == second.pk]
        until(lambda: waiting.control.cancelled)
        gate.open()
        racer.result()
        assert [fresh(first).state, fresh(second).state] == ["success", "failed"]
        assert not (tmp_path / "ran").exists()

    def test_drain_queues_again_what_does_not_end_in_time(
        self, begin: Any, gate: Gate, sent: list[Any]
    ) -> None:
        worker = begin()
        [day] = due(code=gate.code, retry_limit=0)
        racer = in_background(worker, day)
        pid = gate.wait()
        worker.drain()
        racer.result()
        assert dead(pid)
        row = fresh(day)
        assert (row.state, row.tries, row.total_runs, row.end_time) == ("wait_run", 0, 1, None)
        # Its slot was free again at once, and somebody else was told.
        assert executions(day) == ["requeued", "dispatched"]
        gate.open()
        begin("other").take([hint.execution_id for hint in sent])
        row = fresh(day)
        assert (row.state, row.tries, row.total_runs) == ("success", 0, 2)
        assert_sound()

    def test_drain_lets_finish_what_ends_in_time(self, begin: Any, gate: Gate, settings: Any) -> None:
        settings.WEOPS_DRAIN_SECONDS = harness.PATIENCE
        worker = begin()
        [day] = due(code=gate.code)
        racer = in_background(worker, day)
        gate.wait()
        drain = Racer(worker.drain)
        until(worker.stopping.is_set)
        gate.open()
        racer.result()
        drain.result()
        assert state(day) == "success"

    def test_a_draining_worker_takes_nothing_new(self, worker: Runtime) -> None:
        [day] = due(code="true")
        worker.drain()
        assert run(worker, day)[0].state == "wait_run"

    def test_it_leaves_the_list_of_workers(self, begin: Any) -> None:
        worker = begin("leaver")
        assert WorkerProcess.objects.get().slots == 8
        worker.stop()
        assert not WorkerProcess.objects.exists()


def test_ends_are_measured_when_the_work_ended(worker: Runtime) -> None:
    """Waiting for the database belongs to no run time."""
    [day] = due(code="true")
    [claimed] = harness.started(day)
    lifecycle.finish([Result(claimed.execution_id, claimed.token, ok=True, ended_ago=3600)])
    execution = Execution.objects.get()
    assert execution.run_ended_at == execution.run_started_at
    assert Execution.objects.aggregate(last=Max("ended_at"))["last"] > execution.run_ended_at
