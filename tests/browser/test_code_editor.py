"""The editor of a task's code in a real browser, under the policy of every page: what it shows is what is sent."""

from collections.abc import Callable
from typing import Any

import pytest

from instances.models import Task
from tests import factories as make


@pytest.fixture
def task() -> Task:
    task = make.make_task(code="for x in 1 2; do\n    echo $x  # say it\ndone")
    make.make_user(make.DANA, project=task.workflow.project)
    make.submit(task)
    return task


@pytest.fixture
def form(site: Any, signed_in: Callable[..., Any], task: Task) -> Any:
    page = signed_in(make.DANA)
    page.goto(f"{site.url}/admin/instances/task/{task.pk}/change/")
    page.wait_for_selector(".ace_keyword")
    return page


def sent(page: Any) -> str:
    """What the form would send as the code."""
    text: str = page.eval_on_selector("textarea[name=code]", "area => area.value")
    return text


def focused(page: Any) -> bool:
    inside: bool = page.evaluate("!!document.activeElement.closest('.wo-editor')")
    return inside


def test_it_has_the_code_in_colours_and_the_field_keeps_up(form: Any, task: Task) -> None:
    assert sent(form).replace("\r", "") == task.code
    assert not form.locator("textarea[name=code]").is_visible()
    keywords = form.locator(".ace_keyword").all_inner_texts()
    assert {"for", "do", "done"} <= set(keywords)
    form.locator("label[for=id_code]").click()
    assert focused(form)
    form.keyboard.press("Control+End")
    form.keyboard.insert_text("\necho more")
    assert sent(form) == task.code + "\necho more"
    for _ in range(2):
        form.keyboard.press("Control+z")
        assert sent(form) == task.code, "and what it began with is never undone"


def test_tab_indents_and_lets_go_after_escape(form: Any, task: Task) -> None:
    form.locator("label[for=id_code]").click()
    form.keyboard.press("Control+Home")
    form.keyboard.press("Tab")
    assert sent(form) == "    " + task.code
    form.keyboard.press("Shift+Tab")
    assert sent(form) == task.code
    form.keyboard.press("Escape")
    assert form.locator(".wo-editor-bar [role=status]").inner_text() == "Tab leaves the editor now."
    form.keyboard.press("Tab")
    assert not focused(form)
    form.keyboard.press("Shift+Tab")
    assert focused(form)
    form.keyboard.press("Escape")
    form.keyboard.type("x")
    form.keyboard.press("Tab")
    assert focused(form), "whoever goes on writing means to indent"
    assert sent(form) == "x   " + task.code


def test_who_listens_knows_what_it_is(form: Any) -> None:
    box = form.locator(".wo-editor textarea")
    assert "Code" in box.get_attribute("aria-label")
    hint = box.get_attribute("aria-describedby").split()[0]
    assert "Escape, then Tab, leaves the editor" in form.locator(f"[id={hint}]").inner_text()


def test_the_language_follows_the_type(form: Any) -> None:
    def mode() -> str:
        found: str = form.evaluate("ace.edit(document.querySelector('.ace_editor')).session.$modeId")
        return found

    assert mode() == "ace/mode/sh"
    for task_type, name in (("PYTHON", "python"), ("SQL", "sql"), ("HTTP", "json"), ("VIRTUAL", "text")):
        form.select_option("select[name=task_type]", task_type)
        form.wait_for_function(
            "name => ace.edit(document.querySelector('.ace_editor')).session.$modeId === name",
            arg=f"ace/mode/{name}",
        )


def test_what_is_submitted_is_what_was_written(form: Any, task: Task) -> None:
    form.locator("label[for=id_code]").click()
    form.keyboard.press("Control+a")
    form.keyboard.insert_text("for x in '<b>&amp;'; do\n\techo $x\ndone")
    form.locator("button[name=_save]").click()
    form.wait_for_selector("text=version 2 is scheduled")
    task.refresh_from_db()
    assert task.code == "for x in '<b>&amp;'; do\n\techo $x\ndone", "with the line ends of shells"


def test_a_mistake_stands_at_its_line(form: Any) -> None:
    form.locator("label[for=id_code]").click()
    form.keyboard.press("Control+a")
    form.keyboard.insert_text("echo fine\nif")
    form.locator("button[name=_save]").click()
    form.wait_for_selector(".ace_gutter-cell.ace_error")
    assert "2" in form.locator(".ace_gutter-cell.ace_error").first.inner_text()
    assert form.locator(".errorlist li", has_text="syntax error").first.is_visible()


def test_it_follows_light_and_dark(site: Any, signed_in: Callable[..., Any], task: Task) -> None:
    for dark, name in ((False, "ace-github-light-default"), (True, "ace-github-dark")):
        page = signed_in(make.DANA, dark=dark)
        page.goto(f"{site.url}/admin/instances/task/{task.pk}/change/")
        page.wait_for_selector(f".{name}")
        assert (
            "rgb(255, 255, 255)"
            in page.locator(f".{name}").evaluate("one => getComputedStyle(one).backgroundColor")
        ) is not dark


def test_without_scripts_it_is_a_text_area(
    site: Any, browser: Any, signed_in: Callable[..., Any], task: Task
) -> None:
    page = signed_in(make.DANA)
    state = page.context.storage_state()
    context = browser.new_context(java_script_enabled=False, storage_state=state)
    plain = context.new_page()
    plain.goto(f"{site.url}/admin/instances/task/{task.pk}/change/")
    assert plain.locator("textarea[name=code]").is_visible()
    assert plain.locator("textarea[name=code]").input_value() == task.code
    context.close()
