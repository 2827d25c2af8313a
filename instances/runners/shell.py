"""SHELL: the code is a bash script."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

from instances.runners import exits
from instances.runners.base import (
    COMMAND_NOT_FOUND,
    NOT_EXECUTABLE,
    OUT_OF_MEMORY,
    Control,
    LogSink,
    Outcome,
    RunSpec,
)
from instances.runners.host import Host
from instances.runners.printed import NAME, PrintedVariable
from instances.runners.process import Program, run_program

_CHECK_SECONDS = 5.0
# The task's setting that names the variable: a script that prints `events="EventA,20260325;"` fires that once it succeeds.
EVENTS_SETTING = "events_variable"


class ShellRunner:
    """Runs `bash script`: a file, since that bears any size, keeps standard input free, and shows nobody in
    ps what the script holds. No startup file is read."""

    type = "SHELL"

    def __init__(self, host: Host) -> None:
        self._host = host

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        wrong = _setting_faults(settings)
        if problem := exits.unusable(code):
            return [*wrong, problem]
        bash = shutil.which("bash")
        if bash is None:
            return wrong  # the web host need not have what the workers have
        try:
            # -n reads without running; extglob on, or scripts that switch it on themselves would look wrong.
            done = subprocess.run(
                [bash, "--norc", "-O", "extglob", "-n"],
                input=code.encode("utf-8", "replace"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"LANG": "C.UTF-8"},
                timeout=_CHECK_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return wrong
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        return wrong + ([line.partition(": ")[2] for line in lines] if done.returncode else [])

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        bash = shutil.which("bash") or "/bin/bash"
        program = Program([bash, "--norc", "--noprofile"], spec.code, "task.sh")
        name = spec.settings.get(EVENTS_SETTING)
        printed = PrintedVariable(name) if isinstance(name, str) and NAME.match(name) else None
        return run_program(program, spec, log, control, self._host, judge, printed)


def _setting_faults(settings: Mapping[str, Any]) -> list[str]:
    name = settings.get(EVENTS_SETTING)
    if name is None or (isinstance(name, str) and NAME.match(name)):
        return []
    return [
        f"{EVENTS_SETTING} names the variable that the script prints events in, such as events; {name!r} is no name."
    ]


def judge(code: int) -> Outcome:
    """bash's own meanings of exit codes: 126, 127, and 128 + n when a command was ended by signal n."""
    if code == 127:
        return Outcome(False, code, None, COMMAND_NOT_FOUND, "exit code 127: a command was not found")
    if code == 126:
        return Outcome(False, code, None, NOT_EXECUTABLE, "exit code 126: a command cannot be executed")
    if code == 128 + signal.SIGKILL:
        text = "exit code 137: a command of the script was killed by SIGKILL, probably for lack of memory"
        return Outcome(False, code, None, OUT_OF_MEMORY, text)
    outcome = exits.judge(code)
    if 128 < code < 128 + signal.NSIG:
        hint = f"a command of the script was probably ended by {exits.signal_name(code - 128)}"
        return Outcome(False, code, None, outcome.error_code, f"{outcome.message} ({hint})")
    return outcome
