"""The tabs of an instance in a real browser: addresses, back and forward, keyboard, what is read when."""

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from instances.models import Instance, LogChunk
from tests import factories as make
from tests.engine.harness import due, started


@pytest.fixture
def running() -> Instance:
    """An instance that runs, and has printed a line."""
    [day] = due(code="true")
    [claimed] = started(day)
    LogChunk.objects.create(
        execution_id=claimed.execution_id, seq=0, start=0, line=0, text="hello from the run\n"
    )
    make.make_user(make.OMAR, project=day.project)
    return day


def address(site: Any, instance: Instance) -> str:
    return site.url + reverse("admin:instances_instance_change", args=(instance.pk,))


def shown(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "[role=tabpanel]", "boxes => boxes.filter(box => box.offsetParent).map(box => box.dataset.panel)"
    )


def tab(page: Any, name: str) -> Any:
    return page.get_by_role("tab", name=name)


def test_each_is_read_when_it_is_opened_and_has_an_address(
    site: Any, signed_in: Callable[..., Any], running: Instance
) -> None:
    page = signed_in(make.OMAR)
    page.goto(address(site, running))
    page.locator("#wo-log .wo-row", has_text="hello from the run").wait_for()
    assert shown(page) == ["log"]
    assert page.locator("#h-lineage").count() == 0, "not read yet"
    tab(page, "Instance lineage").click()
    page.locator("#wo-panel-lineage .wo-node").first.wait_for()
    assert page.url == f"{address(site, running)}?tab=lineage"
    assert shown(page) == ["lineage"]
    tab(page, "Operation records").click()
    page.locator("#h-changes").wait_for()
    page.go_back()
    page.locator("#h-lineage").wait_for(state="visible")
    page.go_back()
    assert shown(page) == ["log"]
    assert tab(page, "Execution logs").get_attribute("aria-selected") == "true"
    page.go_forward()
    assert shown(page) == ["lineage"]
    page.reload()
    page.locator("#wo-panel-lineage .wo-node").first.wait_for()
    assert shown(page) == ["lineage"], "an address that one can share"
    tab(page, "Execution logs").click()
    page.locator("#wo-log .wo-row", has_text="hello from the run").wait_for()


def test_the_keyboard_moves_among_them(site: Any, signed_in: Callable[..., Any], running: Instance) -> None:
    page = signed_in(make.OMAR)
    page.goto(address(site, running))
    tab(page, "Execution logs").focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.tab") == "task"
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Task development").wait_for()
    assert tab(page, "Task").get_attribute("aria-selected") == "true"
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    assert shown(page) == ["log"]
    assert page.eval_on_selector_all("[role=tab][tabindex='0']", "tabs => tabs.length") == 1


def test_a_phone_and_the_dark(site: Any, signed_in: Callable[..., Any], running: Instance) -> None:
    page = signed_in(make.OMAR, width=390, height=800, dark=True)
    for name in ("log", "lineage", "records", "task"):
        page.goto(f"{address(site, running)}?tab={name}")
        assert shown(page) == [name]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
