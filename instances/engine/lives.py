"""What a new life of an instance is told: which parents it waits for, what it runs, beside whom. Standard library only.

The rules are in docs/adr/0009-lives.md; `lifecycle.rerun` carries them out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from instances.engine.states import RunType, SelfDependency

CHECKS = ("none", "all", "selection")
CODES = ("latest", "as_it_ran")


@dataclass(frozen=True)
class Life:
    """Options of a new life; as they are by default, it runs at once, as the task is defined now.

    `check_parents`: direct parents outside the operation that count: none, all, or those in its selection.
    `check_previous`: an orderly task's previous period counts, though it is outside the operation.
    `parameters`, `application_parameters`: values that override, by name, in this life only.
    `self_dependency`: in place of the task's. `parallelism`: so many of the lane at once, in place of any
    self-dependency; `lane` is a number of the caller's own (negative, so that none is ever made twice), or None for
    one lane per operation and task. `code`: the version of then (latest), or version and parameters of the last run.
    `resource_group_id`: in place of the task's. `priority_offset` is added to the task's priority.
    `plan_id`: the backfill plan that the life belongs to. `failed_traversals`: a For-each task runs those traversals again that
    have not succeeded, in place of all.
    """

    run_type: str = RunType.RERUN
    check_parents: str = "none"
    check_previous: bool = False
    ignore_events: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    application_parameters: Mapping[str, Any] = field(default_factory=dict)
    self_dependency: str = ""
    parallelism: int | None = None
    code: str = "latest"
    resource_group_id: int | None = None
    priority_offset: int = 0
    plan_id: int | None = None
    failed_traversals: bool = False
    lane: int | None = None

    def __post_init__(self) -> None:
        if self.check_parents not in CHECKS:
            raise ValueError(f"check_parents is one of {', '.join(CHECKS)}, not {self.check_parents!r}")
        if self.code not in CODES:
            raise ValueError(f"code is one of {', '.join(CODES)}, not {self.code!r}")
        if self.self_dependency and self.self_dependency not in list(SelfDependency):
            raise ValueError(
                f"self_dependency is one of {', '.join(SelfDependency)}, not {self.self_dependency!r}"
            )
        if self.parallelism is not None and (self.parallelism < 1 or self.self_dependency):
            raise ValueError(
                "a parallelism is at least 1 and replaces the self-dependency: give one of the two"
            )
        if self.lane is not None and (self.parallelism is None or self.lane >= 0):
            raise ValueError("a lane of one's own has a negative number and a parallelism")
