"""Branches: conditions over parameters, safely; which tasks are taken, and what the log says of it."""

import re
from pathlib import Path

import pytest

from instances.runners import expressions, registry
from instances.runners.base import Control, Outcome
from instances.runners.branch import BranchRunner, named
from instances.runners.expressions import ExpressionError, check, given, holds
from instances.runners.for_each import items
from instances.runners.registry import setting_faults
from tests.runners.support import Sink, spec

PARAMETERS = {
    "rows": "1200",
    "share": "0.5",
    "region": "eu",
    "code": "007",
    "empty": "",
    "big": "1" + "0" * 400,
}


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("rows > 1000", True),
        ("rows > 1000 and region == 'us'", False),
        ("not (region in ['us', 'cn'])", True),
        ("region in ('eu', 'us') or rows < 0", True),
        ("share * 2 == 1", True),
        ("code == '007'", True),
        ("number(code) == 7", True),
        ("text(rows) == '1200'", True),
        ("length(region) == 2 and upper(region) == 'EU' and lower('EU') == region", True),
        ("starts_with(region, 'e') and ends_with(region, 'u')", True),
        ("empty", False),
        ("rows if region == 'eu' else 0", True),
        ("10 % 3 == 1 and 7 // 2 == 3 and -rows < +rows - 1", True),
        ("big > 10", True),
        (" True ", True),
    ],
)
def test_conditions(expression: str, answer: bool) -> None:
    assert check(expression) == ""
    assert holds(expression, PARAMETERS) is answer


@pytest.mark.parametrize(
    "expression",
    [
        "", "   ", "rows >", "rows = 1", "region.upper() == 'EU'", "().__class__", "__import__('os')", "open('/etc/passwd')",
        "9 ** 9 ** 9", "1 << 100000", "rows[0]", "[x for x in region]", "lambda: 1", "f'{region}'", "{'a': 1}", "rows; 1",
        "(yield)", "eval('1')", "number(value=1)", "number(*region)", "b'x' == 1", "1j", "x := 1", "rows is None",
        "a" * 1001, "+".join(["1"] * 150), "(" * 300 + "1" + ")" * 300, "\0", "...", "number.real", "rows @ rows", "~rows",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_before_it_runs(expression: str) -> None:
    assert check(expression)
    with pytest.raises(ExpressionError):
        holds(expression, PARAMETERS)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("rowz > 1", "no parameter rowz; there are: big, code"),
        ("region > 1", "compare numbers with numbers"),
        ("rows / 0 == 1", "divides by zero"),
        ("number(region) > 1", "'eu' is no number"),
        ("'a' * 10000000 == 'b'", "takes numbers only"),
        ("length([[1] * 90000] * 90000) > 1", "takes numbers only"),
        ("number > 1", "number"),
        ("length(region % 7) > 1", "takes numbers only"),
        ("'%200000000d' % 7 == ''", "takes numbers only"),
    ],
)
def test_what_cannot_be_reckoned_says_why(expression: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        holds(expression, PARAMETERS)


def test_the_log_gets_the_values() -> None:
    assert (
        given("rows > 1 and region == 'x' and number(code) > 1", PARAMETERS)
        == "code = '007', region = 'eu', rows = 1200"
    )
    assert expressions.names("number(rows) > 1") == {"rows"}


def run(parameters: dict[str, str], **settings: object) -> tuple[Outcome, str]:
    sink = Sink()
    outcome = BranchRunner().run(
        spec("", "BRANCH", settings=settings, parameters=parameters), sink, Control()
    )
    return outcome, sink.text


LINES = ["full, check: rows > 1000", "delta: rows > 10"]


@pytest.mark.parametrize(
    ("rows", "take", "not_taken"),
    [
        ("2000", "first", ("delta", "nothing")),
        ("2000", "all", ("nothing",)),
        ("20", "first", ("full", "check", "nothing")),
        ("5", "all", ("full", "check", "delta")),
    ],
)
def test_which_tasks_are_not_taken(rows: str, take: str, not_taken: tuple[str, ...]) -> None:
    outcome, text = run({"rows": rows}, branches=LINES, otherwise="nothing", take=take)
    assert outcome.ok
    assert outcome.skips == not_taken
    assert outcome.branches == ("full", "check", "delta", "nothing")
    assert f"skipped: {', '.join(not_taken)}" in text
    assert f"(rows = {rows})" in text


def test_an_error_names_the_branch() -> None:
    outcome, _ = run({}, branches=LINES)
    assert (outcome.ok, outcome.error_code) == (False, "BRANCH_CONDITION")
    assert "full, check (rows > 1000): there is no parameter rows; there are: none" in outcome.message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("full", "must read `task: condition`"),
        (": rows > 1", "must read"),
        ("full:", "must read"),
        ("full: rows >", "line 1"),
        ("full: rows.real", "an attribute"),
    ],
)
def test_lines_are_checked_when_they_are_saved(line: str, words: str) -> None:
    [problem] = BranchRunner().check({"branches": [line]}, "")
    assert problem.startswith("the setting branches")
    assert words in problem
    assert named({"branches": ["a, b: 1", "b: 2"], "otherwise": "c"}) == ("a", "b", "c")


def _examples(language: str) -> list[str]:
    page = (Path(__file__).resolve().parents[2] / "docs" / "task-types.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_docs_run() -> None:
    [written] = _examples("branch")
    given_branches = {"branches": written.strip().splitlines()}
    assert setting_faults(registry.get("BRANCH"), given_branches) == []
    assert BranchRunner().check(given_branches, "") == []
    outcome, _ = run({"rows": "500", "region": "us"}, **given_branches)
    assert outcome.skips == ("load_all", "check_all")
    [array] = _examples("for-each")
    assert items(array, 1000) == ("eu", "us", '{"country":"cn","days":3}')
