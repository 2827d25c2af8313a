"""The log of an execution in a real browser: live lines, levels, search, errors, links, hostile text."""

import re
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.urls import reverse

from instances.engine import lifecycle, logs
from instances.models import Execution, LogChunk
from tests import factories
from tests.engine.harness import due, good, started

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def put(pk: int, text: str) -> None:
    """One more chunk of a log."""
    last = LogChunk.objects.filter(execution=pk).order_by("-seq").first()
    seq, start, line = (
        (last.seq + 1, last.start + len(last.text), last.line + last.text.count("\n")) if last else (0, 0, 0)
    )
    LogChunk.objects.create(execution_id=pk, seq=seq, start=start, line=line, text=text)


def opened(
    site: Any, signed_in: Callable[..., Any], text: str, fragment: str = "", **look: Any
) -> tuple[Any, Any]:
    """(page, claimed) of a run that has printed `text`."""
    [day] = due(code="true")
    [claimed] = started(day)
    factories.make_user(factories.VERA, project=day.project)
    if text:
        put(claimed.execution_id, text)
    page = signed_in(factories.VERA, **look)
    page.goto(f"{site.url}{reverse('admin:instances_instance_change', args=(day.pk,))}{fragment}")
    return page, claimed


def texts(page: Any) -> list[str]:
    return page.locator("#wo-log .wo-row > span").all_inner_texts()


def wait(page: Any, words: str) -> None:
    page.locator("#wo-log .wo-row", has_text=words).last.wait_for()


def test_lines_come_by_themselves_until_the_end(site: Any, signed_in: Callable[..., Any]) -> None:
    page, claimed = opened(site, signed_in, "")
    page.locator(".wo-log-waits", has_text="taken by worker w1").wait_for()
    put(claimed.execution_id, f"first {HOSTILE}\n\x1b[1;31mred\x1b[0m plain\nhalf")
    wait(page, "half")
    assert texts(page) == [f"first {HOSTILE}", "red plain", "half"]
    page.locator("#wo-log-state", has_text="live").wait_for()
    assert page.locator(".wo-a-f1.wo-a-bold").inner_text() == "red"
    assert page.locator("#wo-log img, #wo-log script").count() == 0
    put(claimed.execution_id, " a line\nERROR it broke\n  frame\n")
    wait(page, "frame")
    assert texts(page)[2:] == ["half a line", "ERROR it broke", "  frame"]
    assert page.locator(".wo-row-error").count() == 2
    lifecycle.finish([good(claimed)])
    Execution.objects.filter(pk=claimed.execution_id).update(log_bytes=1)
    logs.seal(claimed.execution_id)
    connection.close()
    page.locator("#wo-log-state", has_text=re.compile("complete · 5 lines")).wait_for()
    assert len(texts(page)) == 5


def test_a_long_log_opens_at_its_end_and_is_read_back(site: Any, signed_in: Callable[..., Any]) -> None:
    text = "".join(f"line {n}{' ERROR here' if n in (40, 2500) else ''}\n" for n in range(1, 3001))
    page, claimed = opened(site, signed_in, text)
    wait(page, "line 3000")
    assert texts(page)[0] == "line 2501"
    # Up: older lines, none twice, none missing.
    page.locator("#wo-log").evaluate("log => { log.scrollTop = 0; }")
    wait(page, "line 2001")
    numbers = page.locator("#wo-log .wo-row > a").all_inner_texts()
    assert numbers == [str(n) for n in range(2001, 3001)]
    assert page.locator("#wo-log-follow").get_attribute("aria-pressed") == "false"
    # The first error, then the next, by keyboard.
    page.locator("#wo-log").focus()
    page.keyboard.press("e")
    page.locator("#L40.wo-row-here").wait_for()
    page.keyboard.press("e")
    page.locator("#L2500.wo-row-here").wait_for()
    # Search looks through all of it, also what is not loaded.
    page.keyboard.press("/")
    page.keyboard.type("LINE 77")
    page.keyboard.press("Enter")
    page.locator("#L77.wo-row-here mark", has_text="line 77").wait_for()
    page.locator("#wo-log-found", has_text="1 / 11 matches").wait_for()
    # Back to the end, which lives on.
    page.locator("#wo-log").focus()
    page.keyboard.press("G")
    wait(page, "line 3000")
    put(claimed.execution_id, "line 3001\n")
    wait(page, "line 3001")
    page.locator("#wo-log-level").select_option("error")
    page.locator("#wo-log .wo-row").nth(1).wait_for()
    assert texts(page) == ["line 40 ERROR here", "line 2500 ERROR here"]


def test_a_link_to_a_line(site: Any, signed_in: Callable[..., Any]) -> None:
    text = "".join(f"line {n}\n" for n in range(1, 2001))
    page, _ = opened(site, signed_in, text, "#L1234", width=390, dark=True)
    page.locator("#L1234.wo-row-here", has_text="line 1234").wait_for()
    page.locator("#L1240 > a").click()
    assert page.url.endswith("#L1240")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
