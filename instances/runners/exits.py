"""What exit codes and signals mean, and what no task's code may be."""

from __future__ import annotations

import signal

from instances.language import gettext
from instances.runners.base import CPU_TIME, EXIT_NONZERO, KILLED_BY_SIGNAL, OUT_OF_MEMORY, Outcome


def judge(code: int) -> Outcome:
    """The outcome of a child that ended by itself: its exit code, or minus the signal that ended it."""
    if code == 0:
        return Outcome(True, 0)
    if code > 0:
        return Outcome(False, code, None, EXIT_NONZERO, f"exit code {code}")
    number = -code
    if number == signal.SIGXCPU:
        return Outcome(
            False, None, number, CPU_TIME, "ended by SIGXCPU: a process used more CPU time than it may"
        )
    if number == signal.SIGKILL:
        # We did not send it. Nearly always that is the kernel's out-of-memory killer.
        text = "killed by SIGKILL, which WeOps did not send: probably out of memory"
        return Outcome(False, None, number, OUT_OF_MEMORY, text)
    return Outcome(False, None, number, KILLED_BY_SIGNAL, f"ended by {signal_name(number)}")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def unusable(code: str) -> str:
    """Why this cannot be code of any language, "" when it may be."""
    if not code.strip():
        return gettext("the code is empty")
    if "\0" in code:
        return gettext("the code holds a NUL character")
    return ""
