"""Fields of the filter bar that find as one types, in a real browser."""

from collections.abc import Callable
from typing import Any

from django.urls import reverse

from tests import factories as make
from tests.admin.rows import make_instance


def test_names_come_while_one_types_and_filter(site: Any, signed_in: Callable[..., Any]) -> None:
    workflow = make.make_workflow()
    for name in ("anna", "annette", "bert"):
        make.make_user(name, project=workflow.project, role="viewer")
    task = make.make_task(workflow, owner=make.make_user("annette"))
    made, _other = make_instance(task), make_instance(make.make_task(workflow, owner=make.make_user("bert")))
    make.make_user(make.VERA, project=workflow.project)
    page = signed_in(make.VERA)
    page.goto(site.url + reverse("admin:instances_instance_changelist"))
    page.get_by_text("More filters").click()
    field = page.locator("#id_owner")
    field.press_sequentially("ann")
    offered = "[...document.querySelector('[name=owner]').list.options].map(one => one.value).join()"
    page.wait_for_function(f"() => {offered} === 'anna,annette'", timeout=8_000)
    field.press_sequentially("ette")
    page.keyboard.press("Enter")
    page.wait_for_url("**owner=annette**")
    rows = page.locator("#result_list .field-task_cell a")
    assert rows.count() == 1
    assert rows.first.inner_text() == made.task.name
    assert page.locator("#id_owner").input_value() == "annette"


def test_a_part_that_one_name_has_is_enough_at_the_keyboard(site: Any, signed_in: Callable[..., Any]) -> None:
    workflow = make.make_workflow()
    for name in ("anna", "annette", "bert"):
        make.make_user(name, project=workflow.project, role="viewer")
    make.make_user(make.VERA, project=workflow.project)
    page = signed_in(make.VERA)
    page.goto(site.url + reverse("admin:instances_instance_changelist"))
    page.get_by_text("More filters").click()
    page.locator("#id_owner").press_sequentially("ber")
    page.keyboard.press("Enter")
    page.wait_for_url("**owner=bert**")
    assert page.locator("#id_owner").input_value() == "bert"
    page.locator("#id_owner").fill("ann")
    page.keyboard.press("Enter")
    page.wait_for_url("**owner=ann**")
    said = page.locator(".wo-filters [role=alert]").inner_text()
    assert "“ann” is not a whole name. Choose one, such as: anna, annette" in said
