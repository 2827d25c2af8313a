"""The array of a For-each task: what is read from it, what is refused, and what its run says."""

import pytest

from instances.runners import registry
from instances.runners.base import Control
from instances.runners.for_each import MOST_CHARACTERS, ArrayError, items
from tests.runners.support import Sink, spec


def test_items_are_texts() -> None:
    assert items('["a", 1, 2.5, true, null, {"b": [1, "é"]}, ""]', 100) == (
        "a", "1", "2.5", "true", "null", '{"b":[1,"é"]}', "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "BAD_ARRAY", "got nothing"),
        ("a, b", "BAD_ARRAY", "write it as"),
        ('{"a": 1}', "BAD_ARRAY", "must be a JSON array"),
        ('"a"', "BAD_ARRAY", "must be a JSON array"),
        ("[1, 2, 3, 4]", "ARRAY_TOO_LONG", "has 4 items; 3 are allowed"),
        (f'["{"x" * (MOST_CHARACTERS + 1)}"]', "BAD_ARRAY", "item 0 has 16,385 characters"),
        ('["a\\u0000"]', "BAD_ARRAY", "NUL"),
        ("[" * 100_000, "BAD_ARRAY", "JSON"),
    ],
)
def test_what_is_no_array_says_so(text: str, code: str, words: str) -> None:
    with pytest.raises(ArrayError, match=words) as caught:
        items(text, 3)
    assert caught.value.code == code
    assert len(str(caught.value)) < 400


def test_its_run_gives_the_items() -> None:
    runner, log = registry.get("FOR_EACH"), Sink()
    outcome = runner.run(spec('["a", "b"]', "FOR_EACH"), log, Control())
    assert (outcome.ok, outcome.array) == (True, ("a", "b"))


def test_an_empty_array_succeeds_at_once_and_says_so() -> None:
    runner, log = registry.get("FOR_EACH"), Sink()
    outcome = runner.run(spec(" [] ", "FOR_EACH"), log, Control())
    assert (outcome.ok, outcome.array) == (True, None)
    assert "The array is empty" in log.text


def test_a_broken_array_fails_with_its_code() -> None:
    outcome = registry.get("FOR_EACH").run(spec("[" + "1," * 1000 + "1]", "FOR_EACH"), Sink(), Control())
    assert (outcome.ok, outcome.error_code) == (False, "ARRAY_TOO_LONG")


@pytest.mark.parametrize(
    ("configured", "code", "words"),
    [
        ({}, "", "write the array"),
        ({}, "[1", "no JSON"),
        ({"tolerated": 1}, "[]", "needs the setting success to be tolerate"),
        ({"parallelism": 0}, "[]", "at least 1"),
        ({"success": "some"}, "[]", "must be one of all, any, tolerate"),
        ({"success": "tolerate", "tolerated": 2, "parallelism": 3, "on_failure": "stop"}, "${regions}", ""),
    ],
)
def test_what_is_checked_on_save(configured: dict[str, object], code: str, words: str) -> None:
    problems = registry.check("FOR_EACH", configured, code)
    assert any(words in problem for problem in problems) if words else not problems
