"""What an execution ran, as people may see it: no value of a secret is in it, from whichever door they look.

Code and parameters of a run are kept as they were written, for the next run needs them so; they are masked here, where they
are read to be shown. Messages of errors and output parameters are masked before they are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instances.engine import secrets
from instances.engine.parameters import ParameterError
from instances.engine.snapshot import Rendered, rendered
from instances.models import Execution, Instance, OperationRecord
from instances.runners.masker import Masker

_PARAMETERS = {"parameters", "application_parameters"}


@dataclass(frozen=True, slots=True)
class Shown:
    """`code` and `parameters` with everything filled in, as written if `problem` says why they cannot be; `written`: the
    parameters as they are written; `outputs`: by name. `mask` hides the same in other texts about the execution."""

    mask: Masker
    code: str = ""
    problem: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    def hidden(self, value: Any) -> Any:
        """A text, or JSON-like values, without secrets."""
        return secrets.masked(value, self.mask)


def shown(instance: Instance, execution: Execution | None) -> Shown:
    """Of `execution` of `instance`, with its `version` loaded; one query."""
    if execution is None:
        return Shown(secrets.masker_of(instance.task_id))
    mask = secrets.masker_of(instance.task_id, execution.pk)
    execution.instance = instance
    problem = ""
    try:
        ran = rendered(execution)
    except ParameterError as error:
        ran = Rendered(written_code(execution), execution.parameters)
        problem = str(error)
    return Shown(
        mask,
        mask.mask_text(ran.code),
        mask.mask_text(problem),
        secrets.masked(ran.parameters, mask),
        secrets.masked(execution.parameters, mask),
        secrets.masked(execution.outputs or {}, mask),
    )


def hide_options(records: Sequence[OperationRecord]) -> Masker:
    """Masks the parameters that operations were asked for with, in these rows, which are read to be shown. One query for all
    of them, none if no operation has parameters. The same mask hides what they made of instances."""
    told = [one for one in records if isinstance(one.options, dict) and _PARAMETERS & one.options.keys()]
    if not told:
        return Masker([])
    projects = {pk for one in told for pk in one.project_ids or ()}
    tasks = {one.options["task"] for one in told if isinstance(one.options.get("task"), int)}
    mask = secrets.masker_of_projects(projects, tasks)
    for one in told:
        one.options = secrets.masked(one.options, mask)
    return mask


def written_code(execution: Execution) -> str:
    """As it was submitted; it may hold secrets."""
    return execution.version.code if execution.version else ""
