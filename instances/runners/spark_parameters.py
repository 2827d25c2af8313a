"""Application parameters of Spark tasks: what an operator may set for one rerun without being able to run code with it.

An author may configure Spark as they like: who edits a task runs code anyhow. An operator may not edit tasks, but much of
Spark's configuration runs code (extra Java options, jars, listeners, plugins, serializers, class paths). So this is a list of
what is allowed, sizes and switches, each with the form of its value; everything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from instances.language import gettext, listed_plainly

_SIZE: Final = r"[0-9]{1,12}[bkmgtpBKMGTP]?[bB]?"
_NUMBER: Final = r"-?[0-9]{1,12}"
_SHARE: Final = r"0?\.[0-9]{1,6}|[01]"
_SWITCH: Final = r"true|false"
_TIME: Final = r"[0-9]{1,9}(us|ms|s|m|min|h|d)?"
_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"

OVERRIDABLE: Final[Mapping[str, str]] = {
    "spark.cores.max": _NUMBER,
    "spark.default.parallelism": _NUMBER,
    "spark.driver.cores": _NUMBER,
    "spark.driver.maxResultSize": _SIZE,
    "spark.driver.memory": _SIZE,
    "spark.driver.memoryOverhead": _SIZE,
    "spark.dynamicAllocation.enabled": _SWITCH,
    "spark.dynamicAllocation.initialExecutors": _NUMBER,
    "spark.dynamicAllocation.maxExecutors": _NUMBER,
    "spark.dynamicAllocation.minExecutors": _NUMBER,
    "spark.executor.cores": _NUMBER,
    "spark.executor.instances": _NUMBER,
    "spark.executor.memory": _SIZE,
    "spark.executor.memoryOverhead": _SIZE,
    "spark.locality.wait": _TIME,
    "spark.memory.fraction": _SHARE,
    "spark.memory.storageFraction": _SHARE,
    "spark.network.timeout": _TIME,
    "spark.speculation": _SWITCH,
    "spark.sql.adaptive.enabled": _SWITCH,
    "spark.sql.autoBroadcastJoinThreshold": rf"{_NUMBER}|{_SIZE}",
    "spark.sql.broadcastTimeout": _TIME,
    "spark.sql.files.maxPartitionBytes": _SIZE,
    "spark.sql.shuffle.partitions": _NUMBER,
    "spark.task.cpus": _NUMBER,
    "spark.task.maxFailures": _NUMBER,
    "spark.yarn.queue": _NAME,
}


def fault(given: Mapping[str, str]) -> str:
    """Why these may not be set, "" when they may."""
    for name, value in given.items():
        form = OVERRIDABLE.get(name)
        if form is None:
            message = gettext(
                "%(name)r cannot be set for one run; application parameters are sizes and switches of Spark: "
                "%(known)s."
            )
            return message % {"name": name[:80], "known": listed_plainly(OVERRIDABLE)}
        if not re.fullmatch(form, value):
            return gettext("%(value)r is no value of %(name)s.") % {"value": value[:80], "name": name}
    return ""
