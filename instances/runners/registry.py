"""Task type -> runner."""

from __future__ import annotations

from instances.runners.base import Runner
from instances.runners.host import Host
from instances.runners.python import PythonRunner
from instances.runners.shell import ShellRunner
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
        known = ", ".join(types())
        raise UnknownTaskType(f"unknown task type {task_type!r}; known types: {known}") from None


def types() -> list[str]:
    return sorted(_runners)


def configure(host: Host) -> None:
    """Gives the built-in runners this host's limits; a worker calls it once, before its first run."""
    for runner in (ShellRunner(host), PythonRunner(host), SqlRunner(host), VirtualRunner()):
        register(runner)


configure(Host())
