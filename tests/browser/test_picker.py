"""Picking downstream instances and tasks on the graph in a real browser: mouse, keyboard, branches; list and preview follow."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from instances.engine import lifecycle
from instances.models import Instance, OperationRecord
from tests import factories as make
from tests.insight.scenes import chain


@pytest.fixture
def line() -> list[Instance]:
    """Five instances, each of which waits for the one before it; all have succeeded."""
    made = chain(5)
    for one in made:
        lifecycle.mark_success([one.pk])
    make.make_user(make.OMAR, project=made[0].project)
    return made


def node(page: Any, one: Instance) -> Any:
    return page.locator(f".wo-node[data-key=i{one.pk}]")


def picked(page: Any) -> set[str]:
    return set(page.eval_on_selector_all(".wo-node-picked", "nodes => nodes.map(node => node.dataset.key)"))


def ticked(page: Any) -> set[int]:
    values = page.eval_on_selector_all("[name=chosen]:checked", "ticks => ticks.map(tick => tick.value)")
    return {int(value) for value in values}


def preview(page: Any, words: str) -> None:
    """Waits until the preview, which follows by itself, says so."""
    page.locator("#wo-preview .wo-verdict").get_by_text(words).wait_for()


@pytest.fixture
def rerun(site: Any, signed_in: Callable[..., Any], line: list[Instance]) -> Any:
    """The dialog of a rerun of the first one, with hand-picked downstream instances chosen."""
    page = signed_in(make.OMAR)
    page.goto(f"{site.url}/admin/instances/instance/operate/rerun/?ids={line[0].pk}")
    assert page.locator("[data-picker]").is_hidden()
    page.get_by_label("This instance and downstream instances").check()
    page.get_by_label("How far downstream").select_option("chosen")
    page.wait_for_selector("[data-picker] .wo-node")
    return page


def test_clicks_pick_and_the_list_and_the_preview_follow(rerun: Any, line: list[Instance]) -> None:
    assert rerun.locator(".wo-node").count() == 2, "one layer is open"
    node(rerun, line[1]).click()
    assert picked(rerun) == {f"i{line[1].pk}"}
    assert node(rerun, line[1]).get_attribute("aria-checked") == "true"
    rerun.locator("[data-picker]").get_by_text("1 picked").wait_for()
    preview(rerun, "2 of 2 instances")
    assert ticked(rerun) == {line[1].pk}
    node(rerun, line[1]).click()
    assert picked(rerun) == ticked(rerun) == set()
    rerun.locator("#wo-preview").get_by_text("Choose at least one downstream instance").wait_for()


def test_the_focus_begins_at_the_heading(
    site: Any, signed_in: Callable[..., Any], line: list[Instance]
) -> None:
    """So that Enter does nothing yet, and whoever listens is told what the page is about."""
    page = signed_in(make.OMAR)
    for address, heading in (
        (f"instance/operate/terminate/?ids={line[0].pk}", "Terminate"),
        (f"instance/operate/rerun/?ids={line[0].pk}", "Rerun"),
        (f"backfillplan/add/?tasks={line[0].task_id}", "Plan"),
    ):
        page.goto(f"{site.url}/admin/instances/{address}")
        page.wait_for_function("document.activeElement.tagName === 'H2'")
        assert heading in page.evaluate("document.activeElement.innerText")


def test_the_list_sets_the_graph(rerun: Any, line: list[Instance]) -> None:
    tick = rerun.locator(f"[name=chosen][value='{line[1].pk}']")
    tick.check()
    assert picked(rerun) == {f"i{line[1].pk}"}
    tick.uncheck()
    assert picked(rerun) == set()


def test_what_begins_it_cannot_be_picked_and_says_why(rerun: Any, line: list[Instance]) -> None:
    node(rerun, line[0]).click(force=True)
    rerun.locator("[data-part=card]").get_by_text("Chosen already").wait_for()
    assert picked(rerun) == set()
    assert "Chosen already" in node(rerun, line[0]).get_attribute("aria-label")


def test_the_keyboard_opens_picks_and_takes_branches(rerun: Any, line: list[Instance]) -> None:
    node(rerun, line[0]).focus()
    rerun.keyboard.press("ArrowRight")
    rerun.keyboard.press("Space")
    assert picked(rerun) == {f"i{line[1].pk}"}
    rerun.keyboard.press("Shift+ArrowRight")
    node(rerun, line[2]).wait_for()
    rerun.keyboard.press("ArrowRight")
    assert rerun.evaluate("document.activeElement.dataset.key") == f"i{line[2].pk}"
    rerun.keyboard.press("b")
    node(rerun, line[4]).wait_for()
    rerun.locator("[data-picker]").get_by_text("4 picked").wait_for()
    assert picked(rerun) == {f"i{one.pk}" for one in line[1:]}
    preview(rerun, "5 of 5 instances")
    rerun.keyboard.press("Enter")
    menu = rerun.locator("[role=menu]")
    menu.get_by_role("menuitem", name=re.compile("Leave out the whole branch")).click()
    rerun.locator("[data-picker]").get_by_text("1 picked").wait_for()
    preview(rerun, "2 of 2 instances")
    assert ticked(rerun) == {line[1].pk}


def test_what_is_picked_on_the_graph_is_run(rerun: Any, line: list[Instance]) -> None:
    rerun.locator("[data-layers=down]").select_option("30")
    node(rerun, line[4]).wait_for()
    rerun.get_by_role("button", name="Fit").click()
    node(rerun, line[4]).click()
    preview(rerun, "2 of 2 instances")
    rerun.get_by_role("button", name=re.compile("Rerun: 2 instances")).click()
    rerun.wait_for_url(re.compile("operationrecord"))
    record = OperationRecord.objects.get(kind="rerun")
    assert record.options == {"scope": "with_downstream", "range": "chosen", "chosen": [line[4].pk]}
    assert sorted(record.items.values_list("instance_id", flat=True)) == [line[0].pk, line[4].pk]


def test_searching_in_the_graph_asks_for_no_preview(rerun: Any, line: list[Instance]) -> None:
    node(rerun, line[1]).click()
    preview(rerun, "2 of 2 instances")
    rerun.get_by_role("searchbox", name="Search in the graph").fill(line[1].task.name)
    assert rerun.locator(".wo-node-found").count() == 1
    assert rerun.locator("form.wo-stale").count() == 0


def test_a_phone_and_the_dark(site: Any, signed_in: Callable[..., Any], line: list[Instance]) -> None:
    page = signed_in(make.OMAR, width=390, height=800, dark=True)
    page.goto(f"{site.url}/admin/instances/instance/operate/rerun/?ids={line[0].pk}")
    page.get_by_label("Downstream instances only").check()
    page.get_by_label("How far downstream").select_option("chosen")
    page.locator("[data-picker]").scroll_into_view_if_needed()
    node(page, line[1]).click()
    preview(page, "1 of 1 instance")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_tasks_of_a_backfill_are_picked_on_the_graph(
    site: Any, signed_in: Callable[..., Any], line: list[Instance]
) -> None:
    page = signed_in(make.OMAR)
    days = "first=2013-01-01&last=2013-01-01"
    page.goto(f"{site.url}/admin/instances/backfillplan/add/?tasks={line[0].task_id}&{days}")
    page.get_by_label("How far downstream").select_option("chosen")
    page.locator(f".wo-node[data-key=t{line[1].task_id}]").focus()
    page.keyboard.press("Space")
    page.locator("[data-picker]").get_by_text("1 picked").wait_for()
    preview(page, "2 runs at 1 data time")
    page.keyboard.press("b")
    page.locator("[data-picker]").get_by_text("4 picked").wait_for()
    preview(page, "5 runs at 1 data time")
    assert ticked(page) == {one.task_id for one in line[1:]}
    page.locator(f"[name=tasks][value='{line[0].task_id}']").uncheck()
    page.locator("[data-picker] [data-part=status]").get_by_text("Nothing that you can see").wait_for()


def test_a_thousand_nodes_stay_fluid(rerun: Any, line: list[Instance]) -> None:
    """Drawn, picked and moved within the time of few frames; the server's answer is made up, for its size alone counts."""
    wide = [{"key": f"i{n}", "id": n, "title": f"task {n}", "subtitle": "", "state": "success", "level": 1, "x": 300, "y": 60 * n,
             "pick": True} for n in range(1, 1_000)]  # fmt: skip
    root = {
        "key": "i0",
        "id": 0,
        "title": "root",
        "state": "success",
        "level": 0,
        "x": 0,
        "y": 0,
        "root": True,
    }
    graph = {
        "focus": "", "note": "", "width": 600, "height": 60_000, "node": {"width": 190, "height": 46},
        "states": {"success": {"text": "Success", "tone": "green", "mark": "x"}}, "links": {}, "kinds": {},
        "nodes": [{"subtitle": "", "why_not": "", **one} for one in (root, *wide)],
        "edges": [{"from": "i0", "to": one["key"], "state": "met", "title": "", "bends": []} for one in wide],
    }  # fmt: skip
    rerun.route("**/operate/rerun/downstream/", lambda route: route.fulfill(body=json.dumps(graph)))
    rerun.locator("[data-layers=down]").select_option("5")
    rerun.wait_for_function("document.querySelectorAll('.wo-node').length === 1000")
    took = rerun.evaluate(
        """() => {
          const view = document.querySelector('[data-graph]').wegraph, begun = performance.now();
          view.pick([view.graph.nodes[500]], true);
          for (let n = 0; n < 20; n += 1) { view.x += 3; view.move(); }
          view.frame.getBoundingClientRect();
          return performance.now() - begun;
        }"""
    )
    assert took < 500
    assert ticked(rerun) == {500}
