"""What made a try fail, from the end of its log: an exit code says that it failed, its last lines mostly why.

`diagnose` is asked once, when a try has failed and before its result is written; what it finds is stored as the execution's
error code and message. To teach it a new failure: a `Rule` here, a text for its code in `error_texts`, and a test with a child
that really fails so. Standard library only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Bytes of output that are kept for it, and lines of them that count: what was printed long before the end was no reason.
KEPT_BYTES: Final = 32 * 1024
LAST_LINES: Final = 15
_LAST_LINES_OF_SPARK: Final = 200  # its errors have long stacks, and it tells its own end after them
_LONGEST: Final = 500
# Characters of a line that are looked at. What a pattern costs grows with their square, and while it is at work no other run of
# the worker is: no lease is renewed.
_LOOKED_AT: Final = 1_000

_SQL: Final = ("SQL",)
_SPARK: Final = ("SPARK_SQL", "PYSPARK")
_PROGRAMS: Final = ("SHELL", "PYTHON", "PYSPARK")
# Codes that say only that something failed; all others know more than a log line does.
_VAGUE: Final = frozenset(
    {
        "EXIT_NONZERO",
        "COMMAND_NOT_FOUND",
        "SQL_ERROR",
        "DATA_SOURCE_UNREACHABLE",
        "SPARK_SQL_ERROR",
    }
)
# Their message says the reason in the server's own words; the log of a long script may hold others.
_SAID: Final = frozenset({"SQL_ERROR", "DATA_SOURCE_UNREACHABLE", "SPARK_SQL_ERROR"})


@dataclass(frozen=True)
class Rule:
    """`pattern` found in one of the last lines means `code`. `types`: of these task types only; empty: of all."""

    code: str
    pattern: re.Pattern[str]
    types: tuple[str, ...] = ()


def _rule(code: str, pattern: str, *types: str) -> Rule:
    return Rule(code, re.compile(pattern), types)


# The first that is found counts, so the more telling ones come first.
RULES: Final[tuple[Rule, ...]] = (
    _rule("OUT_OF_MEMORY", r"java\.lang\.OutOfMemoryError|GC overhead limit exceeded", *_SPARK),
    _rule("OUT_OF_MEMORY", r"^MemoryError\b|Cannot allocate memory|std::bad_alloc|Out of Memory Error:"),
    _rule("DISK_FULL", r"No space left on device|Disk quota exceeded|53100: "),
    _rule("TOO_MANY_FILES", r"Too many open files"),
    _rule(
        "MODULE_NOT_FOUND",
        r"ModuleNotFoundError: No module named|ImportError: cannot import name",
        *_PROGRAMS,
    ),
    _rule(
        "AUTHENTICATION_FAILED",
        r"password authentication failed|no password supplied|Access denied for user|Authentication failed"
        r"|Permission denied \(publickey|InvalidAccessKeyId|SignatureDoesNotMatch|error: 401\b|401 Unauthorized",
    ),
    _rule(
        "CERTIFICATE_REFUSED", r"certificate verify failed|SSL certificate problem|PKIX path building failed"
    ),
    _rule(
        "HOST_UNKNOWN",
        r"Could not resolve host|Name or service not known|Temporary failure in name resolution|UnknownHostException"
        r"|could not translate host name|failed to resolve host|No address associated with hostname",
    ),
    _rule("CONNECTION_REFUSED", r"Connection refused|ConnectionRefusedError|Couldn't connect to server"),
    _rule(
        "CONNECTION_TIMED_OUT",
        r"Connection timed out|connect timed out|ConnectTimeout\b|no connection within",
    ),
    _rule(
        "TABLE_NOT_FOUND",
        r'42P01: |relation "[^"]+" does not exist|TABLE_OR_VIEW_NOT_FOUND|no such table|Table \'[^\']+\' doesn\'t exist'
        r"|Catalog ?Exception: .*Table with name .* does not exist|Catalog Error: Table with name",
    ),
    _rule(
        "COLUMN_NOT_FOUND",
        r"42703: |UNRESOLVED_COLUMN|no such column|Unknown column|Referenced column \"[^\"]+\" not found",
    ),
    _rule(
        "DUPLICATE_KEY",
        r"23505: |duplicate key value|Duplicate entry|UNIQUE constraint failed|Duplicate key \"",
    ),
    _rule(
        "CONSTRAINT_VIOLATED", r"\b235(02|03|14): |violates (not-null|foreign key|check) constraint", *_SQL
    ),
    _rule(
        "SQL_SYNTAX",
        r"42601: |syntax error at or near|PARSE_SYNTAX_ERROR|Parser ?Exception: ",
        *_SQL,
        *_SPARK,
    ),
    _rule("DEADLOCK", r"40P01: |deadlock detected"),
    _rule("LOCKED", r"55P03: |lock timeout|Could not set lock on file|database is locked"),
    _rule("STATEMENT_TIMEOUT", r"57014: |canceling statement due to statement timeout"),
    _rule("NO_RIGHTS", r"42501: |permission denied for |Permission denied|PermissionError:"),
    _rule("FILE_NOT_FOUND", r"FileNotFoundError:|No such file or directory|PATH_NOT_FOUND"),
    _rule("SPARK_ANALYSIS", r"AnalysisException: |\[[A-Z][A-Z_.]{4,}\] .*SQLSTATE: 42", *_SPARK),
    _rule(
        "PYTHON_EXCEPTION",
        r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Iteration)\b(?::|$)",
        *_PROGRAMS,
    ),
)

_TRACEBACK: Final = "Traceback (most recent call last):"
# The file that a task's code is written to; frames of libraries say nothing about the code.
_LINE_SAID: Final = re.compile(r"\(line ([0-9]{1,6}) of the code; ")
_FRAME: Final = re.compile(r'File "[^"]*/task\.py", line ([0-9]+)')
_NOT_FOUND: Final = re.compile(r"(?:line ([0-9]+): )?([^\s:]+): command not found")


@dataclass(frozen=True)
class Diagnosis:
    """`code` of the catalogue; `line`: what happened, in one line."""

    code: str
    line: str


def diagnose(task_type: str, code: str, message: str, tail: str) -> Diagnosis:
    """What a failed try of `task_type` that ended with `code` and `message` failed of; `tail`: the end of its output."""
    if code not in _VAGUE:
        return Diagnosis(code, message)
    if code in _SAID:
        found = _first([message[:_LOOKED_AT]], task_type)
        return Diagnosis(found[0].code if found else code, message)
    lines = [line.strip("\r")[:_LOOKED_AT] for line in tail.splitlines()[-_lines(task_type) :]]
    if code == "COMMAND_NOT_FOUND":
        return Diagnosis(code, _with_command(lines, message))
    if (found := _first(lines, task_type)) is None:
        return Diagnosis(code, message)
    rule, line = found
    if rule.code == "PYTHON_EXCEPTION" and _TRACEBACK not in tail:
        return Diagnosis(code, message)
    place = _place(tail)
    where = f"line {place} of the code; {message}" if place else message
    return Diagnosis(rule.code, f"{line.strip()[:_LONGEST]} ({where})")


def _lines(task_type: str) -> int:
    return _LAST_LINES_OF_SPARK if task_type in _SPARK else LAST_LINES


def _first(lines: list[str], task_type: str) -> tuple[Rule, str] | None:
    """The most telling rule, and the last line that shows it."""
    for rule in RULES:
        if rule.types and task_type not in rule.types:
            continue
        for line in reversed(lines):
            if rule.pattern.search(line):
                return rule, line
    return None


def _place(tail: str) -> str:
    """The line of the code that the last traceback comes from, "" if there is none."""
    numbers = _FRAME.findall(tail[tail.rfind(_TRACEBACK) :]) if _TRACEBACK in tail else []
    return numbers[-1] if numbers else ""


def line_of_code(message: str) -> int | None:
    """The line of the code that `message`, made by `diagnose`, names."""
    found = _LINE_SAID.search(message)
    return int(found[1]) if found else None


def _with_command(lines: list[str], message: str) -> str:
    for line in reversed(lines):
        if match := _NOT_FOUND.search(line):
            place = f" on line {match[1]}" if match[1] else ""
            return f"{match[2][:100]}: command not found{place} ({message})"
    return message


def codes() -> Iterator[str]:
    """Every code that a rule may give."""
    yield from dict.fromkeys(rule.code for rule in RULES)
