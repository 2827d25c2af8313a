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
    CPU_TIME,
    NOT_EXECUTABLE,
    OUT_OF_MEMORY,
    Control,
    LogSink,
    Outcome,
    RunSpec,
    TaskType,
)
from instances.runners.host import Host
from instances.runners.printed import NAME, PrintedVariable
from instances.runners.process import Program, run_program
from instances.runners.settings_schema import gettext_noop as _
from instances.runners.settings_schema import settings, text

_CHECK_SECONDS = 5.0
# The task's setting that names the variable: a script that prints `events="EventA,20260325;"` fires that once it succeeds.
EVENTS_SETTING = "events_variable"


class ShellRunner(TaskType):
    """Runs `bash script`: a file, since that bears any size, keeps standard input free, and shows nobody in
    ps what the script holds. No startup file is read."""

    type = "SHELL"
    label = _("Shell")
    icon = "terminal"
    code_is = _("A bash script.")
    language = "bash"
    schema = settings(
        **{
            EVENTS_SETTING: text(
                _("Variable of events"),
                _(
                    "Name of the variable that the script prints events in, such as events; "
                    "what it names is fired once the task has succeeded."
                ),
                pattern=rf"^{NAME.pattern}",
            )
        }
    )
    codes = (COMMAND_NOT_FOUND, NOT_EXECUTABLE)

    def __init__(self, host: Host) -> None:
        self._host = host

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        if problem := exits.unusable(code):
            return [problem]
        bash = shutil.which("bash")
        if bash is None:
            return []  # the web host need not have what the workers have
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
            return []
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        return [line.partition(": ")[2] for line in lines] if done.returncode else []

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        bash = shutil.which("bash") or "/bin/bash"
        program = Program([bash, "--norc", "--noprofile"], spec.code, "task.sh")
        name = spec.settings.get(EVENTS_SETTING)
        printed = PrintedVariable(name) if isinstance(name, str) and NAME.match(name) else None
        return run_program(program, spec, log, control, self._host, judge, printed)


def judge(code: int) -> Outcome:
    """bash's own meanings of exit codes: 126, 127, and 128 + n when a command was ended by signal n."""
    if code == 127:
        return Outcome(False, code, None, COMMAND_NOT_FOUND, "exit code 127: a command was not found")
    if code == 126:
        return Outcome(False, code, None, NOT_EXECUTABLE, "exit code 126: a command cannot be executed")
    if code == 128 + signal.SIGKILL:
        text = "exit code 137: a command of the script was killed by SIGKILL, probably for lack of memory"
        return Outcome(False, code, None, OUT_OF_MEMORY, text)
    if code == 128 + signal.SIGXCPU:
        text = "exit code 152: a command of the script used more CPU time than it may"
        return Outcome(False, code, None, CPU_TIME, text)
    outcome = exits.judge(code)
    if 128 < code < 128 + signal.NSIG:
        hint = f"a command of the script was probably ended by {exits.signal_name(code - 128)}"
        return Outcome(False, code, None, outcome.error_code, f"{outcome.message} ({hint})")
    return outcome
