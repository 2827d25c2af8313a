"""Every word of every page of the console is marked for translation: in a language that puts brackets around each message,
nothing but names and values is left outside of them."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from zoneinfo import available_timezones

import pytest
from django.test import Client

from instances.engine.states import State
from tests.admin.pseudo import outside, sentences, speak, unmarked
from tests.admin.rows import make_edge, make_execution, make_instance
from tests.admin.test_every_address import LEAVING, _addresses, _ask
from tests.factories import CAST, SUSAN

# Names of the rows that the tests make, values, and words that are the same in every language.
DATA = re.compile(
    # Rows of the tests, and what was said of them when they were stored.
    r"(ours|foreign)_\w+( of [\d-]+)?|\b(group|hook|rule)\d+\b|it <b>failed</b>|https://example\.com/…|\bmd5\b|\w+\*{5,}"
    r"|\b(" + "|".join(CAST) + r")\b(@example\.com)?"
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


@pytest.fixture
def busy(world: SimpleNamespace) -> SimpleNamespace:
    """An instance in each state, with executions that went well and ill, and something up and down the line."""
    one = world.ours.instance
    for place, state in enumerate(State, 1):
        made = make_instance(world.ours.task, state, after=place)
        make_edge(made, one)
        if state == State.FAILED:
            make_execution(made, "failed", error_code="EXIT_NONZERO", error_message="2", exit_code=2)
    return world


def test_nothing_is_said_outside_a_message(
    busy: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, addresses = as_user(SUSAN), _addresses(busy)
    speak(monkeypatch)
    found: dict[str, set[str]] = {}
    for name, address in addresses.items():
        answer = None if name == LEAVING else _ask(client, "get", address)
        if answer is None or answer.status_code != 200 or "text/html" not in answer.headers["Content-Type"]:
            continue
        for text in sentences(unmarked(answer.content.decode()), DATA):
            if text in ZONES:
                continue
            found.setdefault(text, set()).add(name)
    assert not found, "\n".join(
        f"{text!r} on {', '.join(sorted(pages)[:3])}" for text, pages in found.items()
    )


def test_brackets_are_taken_out() -> None:
    assert outside("⟦a ⟦b⟧ c⟧ d ⟦e") == "d"
    page = '<p title="⟦x⟧">⟦Hello⟧ <b>plain words</b><code>not these</code></p><img alt="nor marked">'
    assert unmarked(page) == ["plain words", "nor marked"]
