"""What must be in sight when a page has opened: on a desk, on a phone."""

from collections.abc import Callable
from typing import Any

import pytest

from instances.engine.states import State
from tests import factories as make
from tests.admin.rows import make_execution, make_instance

WIDTHS = (1280, 390)
INSIDE = """one => { const box = one.getBoundingClientRect();
    return box.left >= 0 && box.right <= window.innerWidth && one.scrollWidth <= one.clientWidth + 1; }"""


@pytest.fixture
def task(site: Any) -> Any:
    task = make.make_task(name="load_orders", task_type="PYTHON", code="print(1)\n" * 60)
    make.make_user(make.DANA, project=task.workflow.project)
    make.submit(task)
    return task


@pytest.mark.parametrize("width", WIDTHS)
def test_a_task_is_named_above_what_may_be_done_to_it(
    site: Any, signed_in: Callable[..., Any], task: Any, width: int
) -> None:
    page = signed_in(make.DANA, width=width)
    page.goto(f"{site.url}/admin/instances/task/{task.pk}/change/")
    name = page.locator("h1 .wo-crumb").last
    assert name.inner_text() == "load_orders"
    assert name.evaluate(INSIDE)
    for title in ("Instances", "Run once", "Versions", "Pause"):
        button = page.locator(".wo-task-tools").get_by_role("link", name=title)
        assert button.evaluate(INSIDE), title
        assert button.evaluate("one => parseFloat(getComputedStyle(one).fontSize)") > 10, title


@pytest.mark.parametrize("width", WIDTHS)
def test_the_grid_opens_at_its_newest_data_times(
    site: Any, signed_in: Callable[..., Any], task: Any, width: int
) -> None:
    for day in range(40):
        make_instance(task, State.FAILED if day == 39 else State.SUCCESS, after=day)
    page = signed_in(make.DANA, width=width)
    page.goto(site.url + "/admin/instances/instance/grid/")
    inside = "one => { const box = one.getBoundingClientRect(); return box.left > 0 && box.right <= window.innerWidth; }"
    assert page.locator(".wo-heat a.wo-red").evaluate(inside)
    assert page.locator(".wo-heat tbody th").first.evaluate(inside), "and the name beside it"


def test_a_short_grid_begins_beside_the_names(site: Any, signed_in: Callable[..., Any], task: Any) -> None:
    make_instance(task, State.SUCCESS, after=1)
    page = signed_in(make.DANA)
    page.goto(site.url + "/admin/instances/instance/grid/")
    frame, table = (page.locator(name).bounding_box() for name in (".wo-heat-frame", ".wo-heat"))
    assert abs(frame["x"] - table["x"]) < 2


def test_a_failure_opens_the_editor_at_its_line_and_a_submit_is_answered_in_sight(
    site: Any, signed_in: Callable[..., Any], task: Any
) -> None:
    line = "ValueError: no (line 57 of the code; exit code 1)"
    one = make_instance(
        task, State.FAILED, error_code="PYTHON_EXCEPTION", error_message=line, version=task.current_version
    )
    make_execution(one, "failed", error_code="PYTHON_EXCEPTION", error_message=line)
    page = signed_in(make.DANA)
    page.goto(f"{site.url}/admin/instances/instance/{one.pk}/change/")
    page.get_by_role("link", name="Edit the code at line 57").click()
    page.wait_for_function("document.activeElement?.closest('.wo-editor')")
    active = page.locator(".ace_gutter-active-line")
    assert active.inner_text() == "57"
    middle = active.evaluate("one => one.getBoundingClientRect().top / window.innerHeight")
    assert 0 < middle < 0.9
    page.keyboard.insert_text("# mended ")
    page.get_by_role("button", name="Submit: save and schedule").click()
    offer = page.get_by_role("link", name="Rerun the one that failed")
    offer.wait_for()
    assert page.evaluate("window.scrollY") == 0
    offer.click()
    page.wait_for_selector(".wo-verdict")
    assert f"ids={one.pk}" in page.url
