"""What a worker's operator decides about runs on this host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from instances.runners.caps import Caps
from instances.runners.guardian_client import GuardianClient
from instances.runners.limits import UsageWatch


@dataclass(frozen=True)
class Host:
    """Limits and surroundings of all runs of one worker process.

    `work_root`: where working directories are made (default: the system's temporary directory). `run_as`: the
    OS user that Shell and Python tasks run as; the worker must then be root. Without it a task runs as the
    worker's own user and can read what that user can read, /proc/<worker>/environ included. `environment`:
    variables every child gets besides the clean ones, such as HTTPS_PROXY. `drain_seconds`: how long what a
    task left running in the background may go on after the task's own end. `most_traversals`: items that the array of a For-each
    task may have.
    """

    caps: Caps = field(default_factory=Caps)
    work_root: str | None = None
    run_as: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    drain_seconds: float = 2.0
    connect_seconds: float = 10.0
    # Private networks that HTTP tasks may reach, such as 10.1.0.0/16.
    allowed_networks: tuple[str, ...] = ()
    # How Spark tasks start: the master, and the path of spark-submit ("": that of the installed pyspark).
    spark_master: str = "local[*]"
    spark_submit: str = ""
    most_traversals: int = 1000
    guardian: GuardianClient = field(init=False)
    usage: UsageWatch = field(init=False, default_factory=UsageWatch)

    def __post_init__(self) -> None:
        # Another user has to reach its own directory through ours.
        mode = 0o711 if self.run_as else 0o700
        object.__setattr__(self, "guardian", GuardianClient(self.work_root, mode))

    def close(self) -> None:
        """At the worker's end: kills what is left of its runs and removes its directory."""
        self.guardian.close()
