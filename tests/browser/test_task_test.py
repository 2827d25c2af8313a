"""A test run in a real browser: from the editor to the log as it comes in, nothing saved on the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from instances.engine.runtime import Runtime
from instances.models import Execution, Instance
from tests import factories as make
from tests.engine.harness import Racer, until
from tests.engine.workers import begin, gate, sent, worker

__all__ = ["begin", "gate", "sent", "worker"]


def test_edited_code_is_run_and_its_log_followed(
    site: Any, signed_in: Callable[..., Any], worker: Runtime, tmp_path: Path
) -> None:
    task = make.make_task(code="echo saved", parameters={"region": "EWR"})
    make.make_user(make.DANA, project=task.workflow.project)
    make.submit(task)
    opened = tmp_path / "opened"
    page = signed_in(make.DANA)
    page.goto(f"{site.url}/admin/instances/task/{task.pk}/change/")
    page.wait_for_selector(".ace_editor")
    page.locator("label[for=id_code]").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(
        f"for x in one two; do\necho line $x in ${{region}}\ndone\nuntil [ -e {opened} ]; do sleep 0.05; done\necho the end"
    )
    with page.expect_popup() as popup:
        page.get_by_role("button", name="Test run").click()
    test = popup.value
    test.get_by_label("region", exact=True).fill("JFK")
    test.get_by_role("button", name="Start the test run").click()
    test.wait_for_selector("#wo-log")
    [execution] = Execution.objects.filter(instance__task=task)
    running = Racer(lambda: worker.take([execution.pk]))
    test.wait_for_selector("text=line two in JFK")
    test.wait_for_selector(".wo-badge >> text=Running")
    opened.touch()
    test.wait_for_selector("text=the end")
    test.wait_for_selector(".wo-badge >> text=Success")
    running.result()
    assert test.get_by_role("link", name="Terminate").count() == 0
    until(lambda: Instance.objects.filter(task=task, state="success").exists())
    task.refresh_from_db()
    assert task.code == "echo saved"
    assert page.locator("textarea[name=code]").input_value().startswith("for x in one two"), "the form stays"
