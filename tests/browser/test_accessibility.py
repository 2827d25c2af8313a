"""What people need who see little, or use no pointer: axe-core on every kind of page, and the way to a rerun by keyboard alone.

Each page is opened once and looked at light and dark, wide and narrow. Rules: WCAG 2.0 to 2.2, levels A and AA.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import reverse

from instances.models import OperationRecord
from tests import factories as make
from tests.browser import pages
from tests.engine.scenes import brought_to

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Not of these levels, and good all the same: how a page is found one's way about in.
ORDER = [
    "landmark-one-main",
    "page-has-heading-one",
    "heading-order",
    "empty-heading",
    "region",
    "skip-link",
    "tabindex",
]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Where no setting, template or style of ours reaches: (rule, what the place's selector holds).
THEMES = (
    # Django's two boxes of a choice of many, which its script writes.
    ("aria-prohibited-attr", ".help-tooltip"),
)
_LOOKS = (
    ("wide", WIDE, False),
    ("wide, dark", WIDE, True),
    ("narrow", NARROW, False),
    ("narrow, dark", NARROW, True),
)
# Of these looks only what they change: colours the theme, sizes and what scrolls the width.
ONLY = {
    "wide, dark": ["color-contrast"],
    "narrow": ["color-contrast", "target-size", "scrollable-region-focusable"],
}
_STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core."""
    found = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    return str(found.Axe().axe_script)


def _violations(page: Any, rules: list[str] | None = None) -> Iterator[str]:
    """`rule: place`, one for each place. `rules`: only these, in place of all of LEVELS."""
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": LEVELS}
    found = page.evaluate("only => axe.run({runOnly: only, resultTypes: ['violations']})", only)
    for broken in found["violations"]:
        for node in broken["nodes"]:
            place = " ".join(str(part) for part in node["target"])
            if not any(broken["id"] == rule and part in place for rule, part in THEMES):
                why = (node["any"] or node["all"] or node["none"] or [{"message": ""}])[0]["message"]
                yield f"{broken['id']}: {place} {node['html'][:160]!r} {why[:160]}"


def _looked_at(page: Any) -> Iterator[tuple[str, str]]:
    """(how, violation) of the page that is open."""
    page.add_style_tag(content=_STILL)
    for how, size, dark in _LOOKS:
        page.set_viewport_size(size)
        page.evaluate("dark => document.documentElement.className = dark ? 'dark' : 'light'", dark)
        if how == "narrow, dark":
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        for found in _violations(page, ONLY.get(how)):
            yield how, found
        if how == "wide":
            for found in _violations(page, ORDER):
                yield how, found


def test_every_page(site: Any, signed_in: Callable[..., Any], axe: str) -> None:
    addresses = pages.addresses()
    page, found = signed_in(make.SUSAN), []
    page.context.add_init_script(axe)
    for name, address in addresses.items():
        answer = page.goto(site.url + address)
        assert answer.status == 200, name
        if page.locator("[data-graph], #wo-log, #wo-operate").count():
            page.wait_for_load_state("networkidle")
        found += [f"{name} ({how}) {what}" for how, what in _looked_at(page)]
    assert not found, "\n".join(found)


def test_signing_in(site: Any, signed_in: Callable[..., Any], axe: str) -> None:
    page = signed_in(make.VERA)
    page.context.clear_cookies()
    page.context.add_init_script(axe)
    page.goto(f"{site.url}/admin/")
    assert "/login/" in page.url
    found = [f"{how}: {what}" for how, what in _looked_at(page)]
    assert not found, "\n".join(found)


_FOCUS = """() => {
    const at = document.activeElement, box = at.getBoundingClientRect();
    const ring = (one) => getComputedStyle(one).outlineStyle !== "none" && parseFloat(getComputedStyle(one).outlineWidth) > 0;
    const inside = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0;
    const around = [at, at.parentElement, at.parentElement?.parentElement].filter(Boolean);
    return { seen: inside && box.left < innerWidth && around.some(ring), html: at.outerHTML.slice(0, 200) };
}"""


def _tab_to(page: Any, place: str, most: int = 150) -> None:
    """Tab by Tab to the first element that `place` selects; the focus is seen at each stop."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focus = page.evaluate(_FOCUS)
        assert focus["seen"], focus
        if page.evaluate("place => document.activeElement.matches(place)", place):
            return
    raise AssertionError(f"{most} times Tab do not lead to {place}")


def test_a_rerun_by_keyboard_alone(site: Any, signed_in: Callable[..., Any]) -> None:
    day = brought_to("failed")
    make.make_user(make.OMAR, project=day.project)
    page = signed_in(make.OMAR)
    page.goto(f"{site.url}{reverse('admin:instances_instance_changelist')}")
    # Past the navigation: the next stop is in the page itself.
    _tab_to(page, ".wo-skip", 1)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    detail = reverse("admin:instances_instance_change", args=(day.pk,))
    _tab_to(page, f"a[href='{detail}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}{detail}")
    operate = reverse("admin:instances_instance_operate", args=("rerun",))
    _tab_to(page, f"a[href^='{operate}']")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(re.escape(operate)))
    page.wait_for_selector("[name=apply]:enabled")
    _tab_to(page, "#wo-reason")
    page.keyboard.type("by keyboard")
    _tab_to(page, "[name=apply]")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}{detail}")
    record = OperationRecord.objects.get(kind="rerun")
    assert (record.reason, record.operator_name, record.total) == ("by keyboard", make.OMAR, 1)


def test_the_menu_of_the_user_and_the_navigation_by_keyboard(
    site: Any, signed_in: Callable[..., Any]
) -> None:
    page = signed_in(make.SUSAN)
    page.goto(f"{site.url}{reverse('admin:preferences')}")
    _tab_to(page, ".wo-user-name")
    page.keyboard.press("Enter")
    _tab_to(page, "[data-look=dark]")
    page.keyboard.press("Enter")
    assert "dark" in page.evaluate("document.documentElement.className")
    _tab_to(page, f".wo-user-menu a[href='{reverse('admin:preferences')}']")
    page.keyboard.press("Escape")
    assert page.locator(".wo-user-menu").is_hidden()
    assert page.evaluate("document.activeElement.className") == "wo-user-name"
    page.set_viewport_size(NARROW)
    page.reload()
    assert "dark" in page.evaluate("document.documentElement.className"), "it is kept"
    _tab_to(page, "[data-sidebar=sidebarMobileOpen]", 3)
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#nav-sidebar').contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert page.locator("#nav-sidebar").is_hidden()


def test_a_zone_is_chosen_and_seen(site: Any, signed_in: Callable[..., Any]) -> None:
    page = signed_in(make.VERA)
    page.goto(f"{site.url}{reverse('admin:preferences')}")
    page.get_by_label("Time zone").fill("America/New_York")
    page.get_by_label("Language").select_option("zh-hans")
    page.locator("#wo-preferences [type=submit]").click()
    page.locator("#wo-zone", has_text="America/New_York (UTC-0").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh-hans"
