"""Every word of every page of the console is marked for translation: in a language that puts brackets around each message,
nothing but names and values is left outside of them."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from zoneinfo import available_timezones

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from instances.admin.detail import TABS
from instances.engine.states import State
from instances.kinds import ON_INSTANCES
from instances.models import BackfillPlan, FrozenSet
from tests.admin import operating
from tests.admin.pseudo import outside, sentences, speak, unmarked
from tests.admin.rows import make_edge, make_execution, make_instance
from tests.admin.test_every_address import LEAVING, _addresses, _ask
from tests.factories import CAST, SUSAN

# Names of the rows that the tests make, values, and words that are the same in every language.
DATA = re.compile(
    # Rows of the tests, and what was said of them when they were stored.
    r"(ours|foreign)_\w+( of [\d-]+)?|\b(group|hook|rule)\d+\b|it <b>failed</b>|https://example\.com/…|\bmd5\b|\w+\*{5,}"
    r"|Through \w+\.|(TERMINATED: )?Terminated\.|\b(" + "|".join(CAST) + r")\b(@example\.com)?"
    # Names of permissions, which Django stores, and of its tables of many-to-many relations, made when it starts.
    r"|[\w |]*\| Can (add|change|delete|view) [\w ]+|Group[-_]channels? (relationships?|object)"
    # Error codes, time formats, durations, versions, names of parameters, what settings may hold.
    r"|\b(?-i:[A-Z][A-Z0-9_]{2,})\b|\by{2,4}MM?(dd)?\w*\b|\b\d+(\.\d+)?(ms|[smhd])\b|\bv\d+\b|rows, path"
    r"|^(all|any|tolerate|go_on|stop|first)$"
    # Proper names, those of languages in themselves.
    r"|\b(CSV|XLSX|JSON|SQL|Shell|Python|Spark|PySpark|HTTP|For-each|WeOps|esc)\b|^(English|简体中文)$",
    re.IGNORECASE,
)
ZONES = available_timezones()


Found = dict[str, set[str]]


@pytest.fixture
def busy(world: SimpleNamespace) -> SimpleNamespace:
    """An instance in each state, with executions that went well and ill, and something up and down the line."""
    one, world.each = world.ours.instance, {}
    for place, state in enumerate(State, 1):
        made = world.each[state] = make_instance(world.ours.task, state, after=place, pending_upstream=1)
        make_edge(made, one)
        if state == State.FAILED:
            make_execution(made, "failed", error_code="EXIT_NONZERO", error_message="2", exit_code=2)
    return world


def _look(name: str, answer: Any, found: Found) -> None:
    """Adds what `answer`, a page or a part of one, says outside of messages."""
    for text in sentences(unmarked(answer.content.decode()), DATA):
        if text not in ZONES:
            found.setdefault(text, set()).add(name)


def _told(found: Found) -> str:
    return "\n".join(f"{text!r} on {', '.join(sorted(pages)[:3])}" for text, pages in found.items())


def test_nothing_is_said_outside_a_message(
    busy: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, addresses, found = as_user(SUSAN), _addresses(busy), Found()
    tabs = {f"instances_instance_change {tab}": tab for tab in TABS}
    addresses |= {name: f"{addresses['instances_instance_change']}?tab={tab}" for name, tab in tabs.items()}
    speak(monkeypatch)
    for name, address in addresses.items():
        answer = None if name == LEAVING else _ask(client, "get", address)
        if answer is not None and answer.status_code == 200 and "text/html" in answer.headers["Content-Type"]:
            _look(name, answer, found)
    assert not found, _told(found)


def test_nothing_is_answered_outside_a_message(
    busy: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Previews, what follows an operation, refusals, forms that are wrong, and the page of an instance in each state."""
    client, found, task = as_user(SUSAN), Found(), busy.ours.task
    speak(monkeypatch)
    ids = ",".join(str(one.pk) for one in busy.each.values())
    for kind in ON_INSTANCES:
        sent = {"ids": ids, "scope": "with_downstream", "range": "all", "all": "on", "subtree": "on"}
        shown = client.post(operating.address(kind.kind), sent)
        _look(f"preview of {kind.kind}", shown, found)
        done = operating.apply(client, kind.kind, {**sent, "reason": "1"}, shown)
        _look(f"after {kind.kind}", done, found)
    for state, one in busy.each.items():
        for name in ("change", "why", "lineage", "changed"):
            more = [one.execution_id or 0] if name == "changed" else []
            address = reverse(f"admin:instances_instance_{name}", args=(one.pk, *more))
            for tab in ("", "?tab=lineage", "?tab=records", "?tab=task") if name == "change" else ("",):
                answer = client.get(address + tab)
                if answer.status_code == 200:
                    _look(f"{name} of {state}{tab}", answer, found)
    asked = {"tasks": [task.pk], "first": "2013-01-01", "last": "2013-01-03", "downstream": "all"}
    plan = reverse("admin:instances_backfillplan_add")
    _look("preview of a plan", client.post(plan, {**asked, "preview": "1"}), found)
    wrong = {**asked, "timezone": "no", "parallelism": "-1", "window_start": "7", "parameter_value": "x"}
    _look("a wrong plan", client.post(plan, wrong), found)
    for step in ("pause", "resume", "owner", "offline"):
        address = reverse("admin:instances_task_step", args=(task.pk, step))
        _look(f"after {step}", client.post(address, {"owner": busy.cast["dana"].pk}, follow=True), found)
    for name in ("task", "workflow"):
        address = reverse(f"admin:instances_{name}_add")
        _look(f"a wrong {name}", client.post(address, {"task_type": "HTTP", "cycle_type": "hour"}), found)
    assert not found, _told(found)


def test_what_is_stored_is_english(busy: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    """Whoever did it in whichever language, others read it, and programs do."""
    client, task = as_user(SUSAN), busy.ours.task
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-CN"
    ids = ",".join(str(one.pk) for one in busy.each.values())
    for kind in ON_INSTANCES:
        sent = {"ids": ids, "scope": "with_downstream", "range": "all", "all": "on", "subtree": "on"}
        answer = operating.operate(client, kind.kind, {**sent, "reason": "1"})
        assert 'lang="zh-hans"' in answer.content.decode()
    asked = {"tasks": [task.pk], "first": "2013-01-01", "last": "2013-01-03", "reason": "1"}
    plan = reverse("admin:instances_backfillplan_add")
    token = client.post(plan, {**asked, "preview": "1"}).context["token"]
    client.post(plan, {**asked, "apply": "1", "token": token})
    made = BackfillPlan.objects.latest("pk")
    for step in ("pause", "resume", "stop"):
        client.post(reverse(f"admin:instances_backfillplan_{step}", args=(made.pk,)))
    for step in ("pause", "resume", "owner", "offline"):
        address = reverse("admin:instances_task_step", args=(task.pk, step))
        client.post(address, {"owner": busy.cast["dana"].pk, "kill": "on"}, follow=True)
    client.post(reverse("admin:instances_instance_download") + "?state=failed", {"format": "csv"})
    stored = {
        (model._meta.label, value)
        # A preview is kept for whoever looks at it.
        for model in apps.get_models()
        if model not in (FrozenSet, Session)
        for row in model._default_manager.values()
        for value in map(str, row.values())
        if re.search(r"[\u4e00-\u9fff]", value)
    }
    assert not stored


def test_brackets_are_taken_out() -> None:
    assert outside("⟦a ⟦b⟧ c⟧ d ⟦e") == "d"
    page = '<p title="⟦x⟧">⟦Hello⟧ <b>plain words</b><code>not these</code></p><img alt="nor marked">'
    assert unmarked(page) == ["plain words", "nor marked"]
