"""PYTHON: the code is a Python program."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from instances.language import gettext
from instances.runners import exits
from instances.runners.base import SPAWN_FAILED, Control, LogSink, Outcome, RunSpec, TaskType
from instances.runners.host import Host
from instances.runners.process import Program, run_program
from instances.runners.settings_schema import gettext_noop as _
from instances.runners.settings_schema import settings, text

_EXPRESSION = re.compile(r"\$\{[^{}]*\}")


class PythonRunner(TaskType):
    """Runs the worker's own interpreter, so its packages, or the one named by the setting `python`.

    -I: no PYTHON* variable, user's site or working directory decides what `import` finds. -u: what is printed
    is in the log at once.
    """

    type = "PYTHON"
    label = _("Python")
    icon = "code"
    code_is = _("A Python program.")
    language = "python"
    schema = settings(
        python=text(
            _("Interpreter"),
            _("Path or name of a Python interpreter; default: the worker's own, with its packages."),
            minLength=1,
            pattern=r"\S",
        )
    )

    def __init__(self, host: Host) -> None:
        self._host = host

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        problems = [problem] if (problem := exits.unusable(code)) else []
        if not settings.get("python") and not problems:
            problems += syntax_errors(code)  # of another interpreter the version, so the grammar, is unknown
        return problems

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        wanted = str(spec.settings.get("python") or sys.executable)
        interpreter = shutil.which(wanted)
        if interpreter is None:
            text = f"cannot start {wanted}: no such interpreter on this worker"
            return Outcome(False, error_code=SPAWN_FAILED, message=text)
        program = Program([interpreter, "-I", "-u"], spec.code, "task.py")
        return run_program(program, spec, log, control, self._host, exits.judge)


def syntax_errors(code: str) -> list[str]:
    """Parses only; time expressions stand where a number, or a part of a text or name, will."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(_EXPRESSION.sub("0", code))
    except SyntaxError as error:
        return [gettext("line %(line)s: %(error)s") % {"line": error.lineno, "error": error.msg}]
    except (ValueError, RecursionError, MemoryError) as error:
        return [gettext("the code cannot be parsed: %(error)s") % {"error": error}]
    return []
