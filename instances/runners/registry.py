"""Task type -> runner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instances.language import gettext, listed_plainly
from instances.runners import settings_schema
from instances.runners.base import Runner
from instances.runners.branch import BranchRunner
from instances.runners.for_each import ForEachRunner
from instances.runners.host import Host
from instances.runners.http import HttpRunner
from instances.runners.pyspark import PySparkRunner
from instances.runners.python import PythonRunner
from instances.runners.shell import ShellRunner
from instances.runners.spark_sql import SparkSqlRunner
from instances.runners.sql import SqlRunner
from instances.runners.virtual import VirtualRunner


class UnknownTaskType(LookupError):
    """No runner for this type; the text names the known ones."""


_runners: dict[str, Runner] = {}


def register(runner: Runner) -> None:
    """Makes `runner` the one for its type; a later one replaces an earlier one."""
    _runners[runner.type] = runner


def get(task_type: str) -> Runner:
    """The runner of a type. Raises UnknownTaskType."""
    try:
        return _runners[task_type]
    except KeyError:
        message = gettext("unknown task type %(type)r; known types: %(known)s")
        raise UnknownTaskType(message % {"type": task_type, "known": listed_plainly(types())}) from None


def types() -> list[str]:
    return sorted(_runners)


def runners() -> list[Runner]:
    """All of them, in the order in which they were registered: that of lists of choice."""
    return list(_runners.values())


def choices() -> list[tuple[str, str]]:
    """(type, label), as Django's fields take them; called whenever they are shown, so that a new type is there, too."""
    return [(runner.type, gettext(runner.label)) for runner in runners()]


def setting_faults(runner: Runner, settings: Any) -> list[settings_schema.Fault]:
    """What its schema says is wrong with them, each setting once; every message begins with `the setting`."""
    return settings_schema.faults(runner.schema, settings, runner.label)


def check(task_type: str, settings: Mapping[str, Any], code: str) -> list[str]:
    """Everything that is wrong with a task's settings and code, a line each. Raises UnknownTaskType."""
    runner = get(task_type)
    wrong = [fault.message for fault in setting_faults(runner, settings)]
    return wrong or runner.check(settings, code)


def configure(host: Host) -> None:
    """Gives the built-in runners this host's limits; a worker calls it once, before its first run."""
    built_in: tuple[Runner, ...] = (
        ShellRunner(host),
        PythonRunner(host),
        SqlRunner(host),
        HttpRunner(host),
        SparkSqlRunner(host),
        PySparkRunner(host),
        VirtualRunner(),
        ForEachRunner(host),
        BranchRunner(),
    )
    for runner in built_in:
        register(runner)


configure(Host())
