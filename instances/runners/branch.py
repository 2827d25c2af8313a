"""BRANCH: chooses which of the tasks that wait for it are run, by conditions over its parameters; the others are skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from instances.language import gettext
from instances.runners import expressions
from instances.runners.base import Control, LogSink, Outcome, RunSpec, TaskType, cancelled_outcome
from instances.runners.settings_schema import choice, settings, text, texts
from instances.runners.settings_schema import gettext_noop as _

BRANCH_CONDITION: Final = "BRANCH_CONDITION"
BRANCH_UNKNOWN_TASK: Final = "BRANCH_UNKNOWN_TASK"


@dataclass(frozen=True, slots=True)
class Branch:
    """`tasks` are run if `condition` holds; an empty one always does."""

    tasks: tuple[str, ...]
    condition: str


def _names(written: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in written.split(",")) if name)


def branches(given: Mapping[str, Any]) -> Iterator[Branch]:
    """The branches as they are written, `tasks: condition` each, in their order."""
    for line in given.get("branches", ()):
        tasks, _, condition = str(line).partition(":")
        yield Branch(_names(tasks), condition.strip())


def otherwise(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks that are run when no condition holds."""
    return _names(str(given.get("otherwise", "")))


def named(given: Mapping[str, Any]) -> tuple[str, ...]:
    """All tasks that the settings name, each once; only they can be skipped."""
    written = [name for branch in branches(given) for name in branch.tasks]
    return tuple(dict.fromkeys([*written, *otherwise(given)]))


class BranchRunner(TaskType):
    type = "BRANCH"
    label = _("Branch")
    icon = "call_split"
    code_is = _("Not used: what it does is in the branches.")
    schema = settings(
        ["branches"],
        branches=texts(
            _("Branches"),
            _(
                "One a line, as in `load_all: rows > 1000`: tasks that wait for this one (several with commas), a colon, "
                "and the condition on which they are run."
            ),
            minItems=1,
        ),
        otherwise=text(
            _("Otherwise"),
            _("Names of the tasks that are run when no condition holds; empty: none."),
            maxLength=1000,
        ),
        take=choice(
            _("Takes"),
            _("first: the first branch whose condition holds; all: every one whose condition holds."),
            ("first", "all"),
            default="first",
        ),
    )
    codes = (BRANCH_CONDITION, BRANCH_UNKNOWN_TASK)

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        problems: list[str] = []
        for number, branch in enumerate(branches(settings), 1):
            message = ""
            if not branch.tasks or not branch.condition:
                message = gettext("the setting branches, line %(number)s, must read `task: condition`")
            elif expressions.check(branch.condition):
                message = gettext("the setting branches, line %(number)s: %(problem)s")
            if message:
                values = {"number": number, "problem": expressions.check(branch.condition)}
                problems.append(message % values)
        return problems

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        if control.reason is not None:
            return cancelled_outcome(control.reason, how="it had not started")

        def say(line: str) -> None:
            log.write("weops", f"[weops] {line}\n".encode("utf-8", "replace"))

        taken: list[str] = []
        only_first = spec.settings.get("take", "first") == "first"
        for branch in branches(spec.settings):
            tasks = ", ".join(branch.tasks)
            try:
                holds = expressions.holds(branch.condition, spec.parameters)
            except expressions.ExpressionError as error:
                message = f"the condition of {tasks} ({branch.condition}): {error}"
                return Outcome(False, error_code=BRANCH_CONDITION, message=message)
            values = expressions.given(branch.condition, spec.parameters)
            because = (
                f"{branch.condition} is {'true' if holds else 'false'}{f' ({values})' if values else ''}"
            )
            say(f"{tasks}: {'taken' if holds else 'not taken'}, {because}")
            if holds:
                taken += branch.tasks
                if only_first:
                    break
        if not taken and (rest := otherwise(spec.settings)):
            say(f"{', '.join(rest)}: taken, no condition holds")
            taken += rest
        left = [name for name in named(spec.settings) if name not in taken]
        say(f"skipped: {', '.join(left)}" if left else "nothing is skipped")
        return Outcome(True, skips=tuple(left), branches=named(spec.settings))
