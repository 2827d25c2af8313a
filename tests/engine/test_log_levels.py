"""Which level a line has."""

import pytest

from instances.engine.logs.levels import Level, at_least, level_of, levels_of, summary


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("plain text", Level.INFO),
        ("2026-03-25 00:00:01,123 ERROR root: no such table", Level.ERROR),
        ("26/03/25 00:00:01 WARN TaskSetManager: Lost task 0.0", Level.WARN),
        ("2026-03-25T00:00:01Z [debug] cache miss", Level.DEBUG),
        ('{"time": 1, "level": "error", "msg": "x"}', Level.ERROR),
        ("time=1 level=warning msg=x", Level.WARN),
        ("error: cannot open file", Level.ERROR),
        ("TRACE very fine", Level.TRACE),
        ("INFO 3 errors were mended", Level.INFO),
        ("\x1b[31mERROR\x1b[0m red", Level.ERROR),
        ("CRITICAL:root:gone", Level.ERROR),
        ("Traceback (most recent call last):", Level.ERROR),
        ("ValueError: bad", Level.ERROR),
        ("java.lang.NullPointerException: null", Level.ERROR),
        ("Caused by: java.io.IOException", Level.ERROR),
        # Words that only look like levels.
        ("0 errors, 12 warnings", Level.INFO),
        ("ERROR_COUNT=0", Level.INFO),
        ("no-ERROR-here", Level.INFO),
        ("errors.log was written", Level.INFO),
        ("[weops] EXIT_NONZERO: ended with 3", Level.ERROR),
        ("[weops] 2026-03-25 00:00:01 UTC  LOST: the worker is gone", Level.ERROR),
        ("[weops] what to do: read the ERROR above", Level.INFO),
    ],
)
def test_a_line_by_itself(line: str, level: Level) -> None:
    assert level_of(line) == level


def test_a_stack_trace_is_one_error() -> None:
    text = (
        "INFO begins\nTraceback (most recent call last):\n  File x, line 1\n    raise E\nValueError: bad\n"
        "\nDuring handling of the above exception, another exception occurred:\n\nINFO goes on"
    )
    found = list(levels_of(text.split("\n")))
    assert found == [Level.INFO, *[Level.ERROR] * 7, Level.INFO]


def test_java_frames_belong_to_their_error() -> None:
    lines = ["ERROR x failed", "\tat a.b.C(D.java:1)", "\t... 12 more", "plain"]
    assert list(levels_of(lines)) == [Level.ERROR, Level.ERROR, Level.ERROR, Level.INFO]


def test_a_summary_says_what_the_lines_say() -> None:
    assert summary("") == (0, Level.INFO)
    assert summary("a\n b\n") == (1 << Level.INFO, Level.INFO)
    mask, after = summary("WARN a\n b\n", Level.INFO)
    assert (mask, after) == (1 << Level.WARN, Level.WARN)
    mask, _ = summary(" frame\nINFO\n", Level.ERROR)
    assert mask == 1 << Level.ERROR | 1 << Level.INFO
    assert mask & at_least(Level.ERROR)
    assert not mask & at_least(Level.ERROR) & ~(1 << Level.ERROR)
