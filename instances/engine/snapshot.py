"""What an execution runs: the code of its version with its frozen parameters filled in.

A pure function of rows that do not change after dispatch, so the page that shows the executed code computes the same
text as the worker did.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from instances.engine import parameters
from instances.models import Execution, TaskVersion
from instances.runners import registry, settings_schema


@dataclass(frozen=True, slots=True)
class Rendered:
    """Code and parameters with everything filled in."""

    code: str
    parameters: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)


def render(
    version: TaskVersion, raw: dict[str, str], data_time: dt.datetime, planned_time: dt.datetime
) -> Rendered:
    """Fills in parameters and time expressions in the task's own zone. Raises parameters.ParameterError."""
    timezone: str = version.definition.get("timezone", "UTC")
    clock: dict[str, Any] = {"data_time": data_time, "timezone": timezone, "scheduled_time": planned_time}
    values = parameters.resolve(raw, **clock)

    def fill(text: str) -> str:
        return parameters.substitute(text, values=values, **clock)

    given = version.definition.get("settings") or {}
    if version.task_type in registry.types() and given:
        given = settings_schema.substituted(registry.get(version.task_type).schema, given, fill)
    return Rendered(fill(version.code), values, given)


def rendered(execution: Execution) -> Rendered:
    """What this execution ran or will run. Raises parameters.ParameterError."""
    if execution.version is None:
        return Rendered("", dict(execution.parameters))
    instance = execution.instance
    return render(execution.version, execution.parameters, instance.data_time, instance.planned_time)
