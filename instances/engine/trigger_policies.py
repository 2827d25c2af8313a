"""When an instance runs, by how its parents ended: the twelve trigger policies. Standard library only.

The names are those of WeData's API (`DependencyTriggerPolicy`). The rules: docs/adr/0018-trigger-policies.md, 1 and 2. The engine
judges in SQL, which is written from the same table; tests compare the table with what the words of each policy say.
"""

from dataclasses import dataclass
from enum import StrEnum

from instances.language import gettext_noop as _


class Policy(StrEnum):
    ALL_SUCCESS = "ALL_SUCCESS"
    ALL_FAILED = "ALL_FAILED"
    ALL_DONE = "ALL_DONE"
    ALL_DONE_AT_LEAST_ONE_SUCCESS = "ALL_DONE_AT_LEAST_ONE_SUCCESS"
    ALL_SKIPPED = "ALL_SKIPPED"
    ONE_FAILED = "ONE_FAILED"
    ONE_SUCCESS = "ONE_SUCCESS"
    ONE_DONE = "ONE_DONE"
    NONE_FAILED = "NONE_FAILED"
    ALL_DONE_NONE_FAILED_AT_LEAST_ONE_SUCCESS = "ALL_DONE_NONE_FAILED_AT_LEAST_ONE_SUCCESS"
    NONE_SKIPPED = "NONE_SKIPPED"
    ALL_DONE_AT_LEAST_ONE_FAILED = "ALL_DONE_AT_LEAST_ONE_FAILED"


WORDS: dict[Policy, str] = {
    Policy.ALL_SUCCESS: _("all upstream succeeded (a skipped one skips it)"),
    Policy.ALL_FAILED: _("all upstream failed; otherwise it is skipped"),
    Policy.ALL_DONE: _("all upstream ended, however"),
    Policy.ALL_DONE_AT_LEAST_ONE_SUCCESS: _(
        "all upstream ended, at least one of them well; otherwise it is skipped"
    ),
    Policy.ALL_SKIPPED: _("all upstream were skipped; otherwise it is skipped"),
    Policy.ONE_FAILED: _("one upstream failed, at once; if none does, it is skipped"),
    Policy.ONE_SUCCESS: _("one upstream succeeded, at once; if none does, it is skipped"),
    Policy.ONE_DONE: _("one upstream ended, however, at once"),
    Policy.NONE_FAILED: _("all upstream ended, none of them failed (they succeeded or were skipped)"),
    Policy.ALL_DONE_NONE_FAILED_AT_LEAST_ONE_SUCCESS: (
        _("all upstream ended, none failed, at least one succeeded; otherwise it is skipped")
    ),
    Policy.NONE_SKIPPED: _("all upstream ended, none of them was skipped; otherwise it is skipped"),
    Policy.ALL_DONE_AT_LEAST_ONE_FAILED: _(
        "all upstream ended, at least one of them badly; otherwise it is skipped"
    ),
}


class Verdict(StrEnum):
    RUN = "run"
    SKIP = "skip"
    FAIL = "fail"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Counts:
    """Counting parents by what they are now; `open` are those that have not ended. Excused ones are among the succeeded."""

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    open: int = 0


_RUN, _SKIP, _FAIL, _WAIT = Verdict
_OPEN = (("open",), _WAIT)

# The first line that has any of its parents says what becomes of the instance; the last line is for all others.
_Line = tuple[tuple[str, ...], Verdict]
_LINES: dict[Policy, tuple[_Line, ...]] = {
    Policy.ALL_SUCCESS: ((("skipped",), _SKIP), _OPEN, (("failed",), _FAIL), ((), _RUN)),
    Policy.ALL_FAILED: ((("succeeded", "skipped"), _SKIP), _OPEN, ((), _RUN)),
    Policy.ALL_DONE: (_OPEN, ((), _RUN)),
    Policy.ALL_DONE_AT_LEAST_ONE_SUCCESS: (_OPEN, (("succeeded",), _RUN), ((), _SKIP)),
    Policy.ALL_SKIPPED: ((("succeeded", "failed"), _SKIP), _OPEN, ((), _RUN)),
    Policy.ONE_FAILED: ((("failed",), _RUN), _OPEN, ((), _SKIP)),
    Policy.ONE_SUCCESS: ((("succeeded",), _RUN), _OPEN, ((), _SKIP)),
    Policy.ONE_DONE: ((("succeeded", "failed", "skipped"), _RUN), ((), _WAIT)),
    Policy.NONE_FAILED: (_OPEN, (("failed",), _FAIL), ((), _RUN)),
    Policy.ALL_DONE_NONE_FAILED_AT_LEAST_ONE_SUCCESS: (
        (("failed",), _SKIP),
        _OPEN,
        (("succeeded",), _RUN),
        ((), _SKIP),
    ),
    Policy.NONE_SKIPPED: ((("skipped",), _SKIP), _OPEN, ((), _RUN)),
    Policy.ALL_DONE_AT_LEAST_ONE_FAILED: (_OPEN, (("failed",), _RUN), ((), _SKIP)),
}


def decide(policy: str, counts: Counts) -> Verdict:
    """What becomes of an instance with these parents. Without any it runs. Raises ValueError for no policy.

    FAIL is what the policy says; whether the instance then fails or waits for a rerun of its parent, its task says.
    """
    lines = _LINES[Policy(policy)]
    if counts == Counts():
        return Verdict.RUN
    return next(
        verdict for names, verdict in lines if not names or any(getattr(counts, name) for name in names)
    )


def sql(policy: str, **columns: str) -> str:
    """`decide` as an SQL expression over a column that holds the policy and one for each of the counts."""

    def case(lines: tuple[_Line, ...]) -> str:
        *some, (_, otherwise) = lines
        whens = " ".join(
            f"WHEN {' OR '.join(f'{columns[name]} > 0' for name in names)} THEN '{verdict}'"
            for names, verdict in some
        )
        return f"CASE {whens} ELSE '{otherwise}' END" if some else f"'{otherwise}'"

    none = " + ".join(columns.values())
    each = "\n        ".join(f"WHEN '{name}' THEN {case(lines)}" for name, lines in _LINES.items())
    return f"CASE WHEN {none} = 0 THEN 'run' ELSE CASE {policy}\n        {each} END END"


class BadParent(StrEnum):
    """Why an edge counts as satisfied though its parent did not succeed; the first three may be chosen for a dependency."""

    NOT_EXIST = "NOT_EXIST"
    PARENT_EXPIRED = "PARENT_EXPIRED"
    PARENT_TIMEOUT = "PARENT_TIMEOUT"
    PREVIOUS_SKIPPED = "PREVIOUS_SKIPPED"


CHOICES = (BadParent.NOT_EXIST, BadParent.PARENT_EXPIRED, BadParent.PARENT_TIMEOUT)

EXCUSED_WORDS: dict[str, str] = {
    BadParent.NOT_EXIST: _("it is outside the schedule of its task and will never exist"),
    BadParent.PARENT_EXPIRED: _("it has failed, and the dependency does not wait for it then"),
    BadParent.PARENT_TIMEOUT: _("it took longer than the dependency waits"),
    BadParent.PREVIOUS_SKIPPED: _("the previous period was skipped"),
}

# Bits of an edge's `rules`: what excuses it; whether a policy judges its child; whether its parent is outside the schedule.
NOT_EXIST, EXPIRED, TIMEOUT, JUDGED, NEVER_COMES = 1, 2, 4, 8, 16
EXCUSES = {
    BadParent.NOT_EXIST: NOT_EXIST,
    BadParent.PARENT_EXPIRED: EXPIRED,
    BadParent.PARENT_TIMEOUT: TIMEOUT,
}


def bits(chosen: list[str], *, judged: bool) -> int:
    """`rules` of edges of a dependency with these bad parents, of a task that a policy judges or not."""
    return sum(EXCUSES[BadParent(one)] for one in set(chosen)) + (JUDGED if judged else 0)
