"""PYSPARK: the code is a Python program that spark-submit runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import Any

from instances.runners import exits
from instances.runners.base import SPAWN_FAILED, Control, LogSink, Outcome, RunSpec
from instances.runners.process import Program
from instances.runners.python import syntax_errors
from instances.runners.settings_schema import gettext_noop as _
from instances.runners.settings_schema import settings, text, texts
from instances.runners.spark import PROPERTIES, SparkRunner


class PySparkRunner(SparkRunner):
    type = "PYSPARK"
    label = _("PySpark")
    icon = "electric_bolt"
    code_is = _("A Python program that makes its SparkSession.")
    language = "python"
    schema = settings(
        arguments=texts(
            _("Arguments"), _("Of the program, one a line; ${...} is filled in."), **{"x-expressions": True}
        ),
        python=text(
            _("Interpreter"),
            _("Path or name of a Python interpreter; default: the worker's own."),
            minLength=1,
            pattern=r"\S",
        ),
        py_files=texts(_("Python files"), _("Modules for driver and executors, one a line.")),
        **PROPERTIES,
    )

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        problems = [problem] if (problem := exits.unusable(code)) else []
        if not settings.get("python") and not problems:
            problems += syntax_errors(code)
        return problems + self.conf_faults(settings)

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        wanted = str(spec.settings.get("python") or sys.executable)
        interpreter = shutil.which(wanted)
        if interpreter is None:
            text = f"cannot start {wanted}: no such interpreter on this worker"
            return Outcome(False, error_code=SPAWN_FAILED, message=text)
        arguments = [str(one) for one in spec.settings.get("arguments") or ()]
        program = Program([], spec.code, "task.py", arguments)
        return self.submit(spec, log, control, program, interpreter)
