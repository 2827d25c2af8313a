"""What Spark SQL and PySpark tasks have in common: how spark-submit is called, and its settings.

The driver always runs here (deploy mode client), as a tree of processes under the run's session: terminating kills all of it,
the JVM included, and the cluster's manager takes the executors of a driver that is gone.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from instances.language import gettext
from instances.runners import exits, spark_parameters
from instances.runners.base import Control, LogSink, Outcome, RunSpec, TaskType
from instances.runners.host import Host
from instances.runners.process import WORK_DIRECTORY, Program, run_program
from instances.runners.settings_schema import (
    Schema,
    choice,
    filled,
    number,
    pairs,
    setting_is,
    text,
    texts,
)
from instances.runners.settings_schema import gettext_noop as _

UNAVAILABLE: Final = "SPARK_UNAVAILABLE"
BAD_PARAMETER: Final = "BAD_APPLICATION_PARAMETER"
_MEMORY: Final = r"^[0-9]{1,9}[kmgtKMGT]?\Z"
# Which master, and where the driver is, the deployment decides.
_FIXED: Final = ("spark.master", "spark.submit.deployMode", "spark.local.dir")
_JAVA_OPTIONS: Final = "spark.driver.extraJavaOptions"
_NAMED: Final = {
    "driver_memory": "spark.driver.memory",
    "executor_memory": "spark.executor.memory",
    "executor_cores": "spark.executor.cores",
    "executors": "spark.executor.instances",
    "log_level": "spark.log.level",
}
_LISTS: Final = {"jars": "--jars", "packages": "--packages", "files": "--files", "py_files": "--py-files"}

PROPERTIES: Final[Mapping[str, Schema]] = {
    "driver_memory": text(_("Memory of the driver"), _("Such as 2g."), pattern=_MEMORY),
    "executor_memory": text(_("Memory of an executor"), _("Such as 4g."), pattern=_MEMORY),
    "executor_cores": number(_("Cores of an executor"), _("On a cluster."), 1, 1000),
    "executors": number(_("Executors"), _("How many, on a cluster."), 1, 100_000),
    "conf": pairs(
        _("Spark configuration"),
        _("One a line, as spark.sql.shuffle.partitions: 200."),
        names=r"^spark\.[A-Za-z0-9_.-]+\Z",
    ),
    "jars": texts(_("Jars"), _("Paths or addresses, one a line.")),
    "packages": texts(_("Packages"), _("Maven coordinates, one a line.")),
    "files": texts(_("Files"), _("Put into each executor's working directory, one a line.")),
    "log_level": choice(
        _("Log level"),
        _("Of Spark's own lines in the log."),
        ("ERROR", "WARN", "INFO", "DEBUG"),
        default="INFO",
    ),
}


class SparkRunner(TaskType):
    codes: tuple[str, ...] = (UNAVAILABLE, BAD_PARAMETER)

    def __init__(self, host: Host) -> None:
        self._host = host

    def conf_faults(self, settings: Mapping[str, Any]) -> list[str]:
        return [
            setting_is("conf", gettext("cannot have %(name)s: the deployment decides it") % {"name": name})
            for name in settings.get("conf") or {}
            if name in _FIXED
        ]

    def submit(
        self,
        spec: RunSpec,
        log: LogSink,
        control: Control,
        program: Program,
        python: str = sys.executable,
    ) -> Outcome:
        """Runs `program`, whose command is what spark-submit gets before the path of its code."""
        if why := spark_parameters.fault(spec.application_parameters):
            return Outcome(False, error_code=BAD_PARAMETER, message=why)
        found = spark_submit(self._host)
        if isinstance(found, str):
            return Outcome(False, error_code=UNAVAILABLE, message=found)
        submit, home = found
        local = self._host.spark_master.startswith("local")
        environment = {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_DIRS": WORK_DIRECTORY,
            "PYSPARK_PYTHON": python,
            "PYSPARK_DRIVER_PYTHON": python,
            # Local mode talks to itself alone.
            **({"SPARK_LOCAL_IP": "127.0.0.1"} if local else {}),
        }
        command = [str(submit), *self._options(spec, local), *program.command]
        whole = Program(
            command,
            program.code,
            program.file_name,
            program.arguments,
            {**environment, **program.environment},
            program.reports,
            program.files,
        )
        return run_program(whole, spec, log, control, self._host, exits.judge)

    def _options(self, spec: RunSpec, local: bool) -> list[str]:
        settings = filled(self.schema, spec.settings)
        conf = {key: str(settings[name]) for name, key in _NAMED.items() if name in settings}
        conf |= {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
        conf |= {"spark.driver.host": "127.0.0.1"} if local else {}
        conf |= settings.get("conf") or {}
        conf |= spec.application_parameters
        java = f"-Djava.io.tmpdir={WORK_DIRECTORY} -XX:-UsePerfData {conf.pop(_JAVA_OPTIONS, '')}".strip()
        name = spec.context.get("WEOPS_TASK") or f"execution {spec.execution_id}"
        options = ["--master", self._host.spark_master, "--deploy-mode", "client", "--name", name]
        options += ["--driver-java-options", java]
        for key, value in conf.items():
            options += ["--conf", f"{key}={value}"]
        for setting, option in _LISTS.items():
            if settings.get(setting):
                options += [option, ",".join(settings[setting])]
        return options


def spark_submit(host: Host) -> tuple[Path, Path] | str:
    """(spark-submit, its SPARK_HOME) of this worker; or why there is none."""
    path = host.environment.get("PATH")
    java_home = host.environment.get("JAVA_HOME", "")
    if not (shutil.which("java", path=path) or (java_home and shutil.which(f"{java_home}/bin/java"))):
        return "no Java is found on this worker; Spark needs Java 17 or newer"
    if host.spark_submit:
        submit = Path(host.spark_submit)
    else:
        package = importlib.util.find_spec("pyspark")
        if package is None or package.origin is None:
            return "pyspark is not installed on this worker, and WEOPS_SPARK_SUBMIT names no spark-submit"
        submit = Path(package.origin).parent / "bin" / "spark-submit"
    if shutil.which(str(submit)) is None:
        return f"{submit} is no program on this worker"
    return submit, submit.parent.parent
