"""The graph in a real browser: menu, keyboard, opening layers, searching, exports; and why something does not run, on hover."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instances.models import Instance
from tests import factories as make
from tests.admin.conftest import _quick, world  # noqa: F401 - fixtures
from tests.admin.test_traversals import dag_of, parent  # noqa: F401 - a fixture
from tests.insight.scenes import chain


@pytest.fixture
def line() -> list[Instance]:
    """Five instances, each of which waits for the one before it."""
    return chain(5)


@pytest.fixture
def graph(site: Any, signed_in: Callable[..., Any], line: list[Instance]) -> Any:
    """The large lineage of the one in the middle, one layer up and down, as an operator sees it."""
    make.make_user(make.OMAR, project=line[0].project)
    page = signed_in(make.OMAR)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{site.url}/admin/instances/instance/{line[2].pk}/lineage/")
    page.wait_for_selector(".wo-node")
    yield page
    assert errors == []


def keys(page: Any) -> set[str]:
    return set(page.eval_on_selector_all(".wo-node", "nodes => nodes.map(node => node.dataset.key)"))


def of(*instances: Instance) -> set[str]:
    return {f"i{one.pk}" for one in instances}


def test_layers_open_by_handle_and_by_key(graph: Any, line: list[Instance]) -> None:
    assert keys(graph) == of(*line[1:4])
    graph.locator(f".wo-node[data-key=i{line[1].pk}] .wo-more").click()
    graph.wait_for_selector(f".wo-node[data-key=i{line[0].pk}]")
    node = graph.locator(f".wo-node[data-key=i{line[2].pk}]")
    node.focus()
    graph.keyboard.press("ArrowRight")
    assert graph.evaluate("document.activeElement.dataset.key") == f"i{line[3].pk}"
    graph.keyboard.press("Shift+ArrowRight")
    graph.wait_for_selector(f".wo-node[data-key=i{line[4].pk}]")
    assert keys(graph) == of(*line)


def test_the_menu_offers_what_may_be_done(graph: Any, line: list[Instance], site: Any) -> None:
    graph.locator(f".wo-node[data-key=i{line[3].pk}]").click(button="right")
    menu = graph.locator("[role=menu]")
    assert menu.locator("[role=menuitem]").first.evaluate("item => item === document.activeElement")
    for name in ("Open", "View log", "Terminate", "Mark as successful", "Freeze", "Remove dependency"):
        assert menu.get_by_role("menuitem", name=re.compile(name)).count() == 1
    graph.keyboard.press("Escape")
    assert menu.is_hidden()
    graph.keyboard.press("Enter")
    menu.get_by_role("menuitem", name=re.compile("Freeze")).click()
    graph.wait_for_url(f"{site.url}/admin/instances/instance/operate/freeze/?ids={line[3].pk}")


def test_search_and_exports(graph: Any, line: list[Instance], tmp_path: Path) -> None:
    graph.get_by_role("searchbox", name="Search in the graph").fill(line[3].task.name)
    assert graph.locator(".wo-node-found").count() == 1
    graph.keyboard.press("Enter")
    assert graph.locator(".wo-node-selected").get_attribute("data-key") == f"i{line[3].pk}"
    for name, begins in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with graph.expect_download() as waiting:
            graph.get_by_role("button", name=name).click()
        saved = tmp_path / name
        waiting.value.save_as(saved)
        assert saved.read_bytes().startswith(begins)
    text = (tmp_path / "SVG").read_text()
    assert line[2].task.name in text
    assert "var(" not in text, "it stands alone"


def test_a_phone_and_the_dark(site: Any, graph: Any, line: list[Instance]) -> None:
    graph.set_viewport_size({"width": 390, "height": 800})
    graph.evaluate("document.documentElement.classList.add('dark')")
    graph.reload()
    graph.wait_for_selector(".wo-node")
    width = graph.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "nothing stands out of the page"
    box = graph.locator(f".wo-node[data-key=i{line[2].pk}]").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_why_it_does_not_run_on_hover(site: Any, graph: Any, line: list[Instance]) -> None:
    graph.goto(f"{site.url}/admin/instances/instance/?state=wait_upstream")
    graph.locator("[data-why]").first.hover()
    card = graph.locator("#wo-hover")
    card.get_by_text("It waits for 1 upstream instance in the end.").wait_for()
    graph.keyboard.press("Escape")
    assert card.is_hidden()


def test_a_traversal_is_drawn_and_leads_to_its_steps(
    site: Any,
    signed_in: Callable[..., Any],
    parent: Instance,  # noqa: F811 - the fixture
) -> None:
    page = signed_in(make.VERA)
    page.goto(f"{site.url}{dag_of(parent, 1)}")
    page.wait_for_selector(".wo-node")
    assert len(keys(page)) == 2
    page.locator(".wo-node").first.dblclick()
    page.wait_for_url(re.compile(r"/instance/\d+/change/"))
