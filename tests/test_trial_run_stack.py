"""Test runs with a worker of its own process: one that ends, one that is terminated while it runs."""

from pathlib import Path
from typing import Any

import pytest

from instances import operations
from instances.engine import logs
from instances.engine.states import Operation
from instances.models import Execution, Instance
from instances.trial_run import Edited, TrialRun, start
from tests import factories as make
from tests.engine.harness import _django_db_helper, assert_sound
from tests.stack import dead, until, world

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_a_worker_runs_it_and_ends_it_when_told(tmp_path: Path, settings: Any) -> None:
    task = make.make_task(code="echo saved")
    dana = make.make_user(make.DANA, project=task.workflow.project)

    def begun(code: str) -> Execution:
        outcome = start(TrialRun(Edited("SHELL", code)), task.pk, user=dana)
        assert outcome.record is not None, outcome.message
        return Execution.objects.get(instance=outcome.record.items.get().instance_id)

    with world(tmp_path, settings) as stack:
        worker = stack.worker("only")
        stack.until_ready(worker)
        first = begun("echo from the worker")
        until(lambda: Instance.objects.get(pk=first.instance_id).state == "success", "its success", 60)
        until(lambda: Execution.objects.get(pk=first.pk).log_file, "its log", 30)
        first.refresh_from_db()
        assert "from the worker" in logs.read(first).text
        written = tmp_path / "pid"
        second = begun(f"echo $$ > {written}.new; mv {written}.new {written}; sleep 300")
        until(written.exists, "its process", 60)
        rows = Instance.objects.filter(pk=second.instance_id)
        operations.run(Operation.TERMINATE, rows, user=dana, reason="", source="admin")
        until(lambda: rows.get().state == "failed", "its end", 60)
        assert dead([int(written.read_text())])
    assert rows.get().error_code == "TERMINATED"
    assert task.versions.count() == 0, "it was never submitted"
    assert_sound()
