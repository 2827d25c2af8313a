"""SPARK_SQL: the code is statements for Spark, run by a small driver of ours (`spark_sql_child`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instances.language import gettext
from instances.runners import exits
from instances.runners.base import Control, LogSink, Outcome, RunSpec
from instances.runners.process import Program
from instances.runners.settings_schema import gettext_noop as _
from instances.runners.settings_schema import settings
from instances.runners.spark import PROPERTIES, SparkRunner
from instances.runners.sql_split import SPARK, SqlSyntaxError, split

_ROOT = Path(__file__).resolve().parents[2]
_DRIVER = f"""import sys
sys.path.append({str(_ROOT)!r})
from instances.runners import own
own.start("instances.runners.spark_sql_child", "job.json")
"""


class SparkSqlRunner(SparkRunner):
    type = "SPARK_SQL"
    label = _("Spark SQL")
    icon = "bolt"
    code_is = _("Statements of Spark SQL, separated by semicolons.")
    language = "sql"
    schema = settings(**PROPERTIES)
    codes = (*SparkRunner.codes, "SPARK_SQL_ERROR")

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        problems = [problem] if (problem := exits.unusable(code)) else []
        try:
            if not split(code.replace("$${", "${"), SPARK) and not problems:
                problems.append(gettext("the code holds no statement"))
        except SqlSyntaxError as error:
            problems.append(str(error))
        return problems + self.conf_faults(settings)

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        job = {"code": spec.code}
        files = {"job.json": json.dumps(job)}
        return self.submit(
            spec, log, control, Program([], _DRIVER, "spark_sql.py", reports=True, files=files)
        )
