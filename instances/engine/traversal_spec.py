"""What the settings of a For-each task say of its traversals: how many at once, what their ends mean. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

PARALLELISM = 5


@dataclass(frozen=True, slots=True)
class TraversalSpec:
    """`success`: all | any | tolerate (at most `tolerated` failures). `stops`: nothing more is started once the run can
    only fail."""

    parallelism: int = PARALLELISM
    success: str = "all"
    tolerated: int = 0
    stops: bool = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """From the settings of a version, which were checked when it was submitted."""
        return cls(
            parallelism=max(1, int(settings.get("parallelism", PARALLELISM))),
            success=str(settings.get("success", "all")),
            tolerated=int(settings.get("tolerated", 0)),
            stops=settings.get("on_failure") == "stop",
        )

    def may_fail(self, total: int) -> int:
        """So many of `total` traversals may fail, or not be run, in a successful run."""
        if self.success == "any":
            return total - 1
        return min(self.tolerated, total) if self.success == "tolerate" else 0

    def is_lost(self, total: int, failed: int) -> bool:
        """Whether the run can only fail, whatever becomes of the others."""
        return failed > self.may_fail(total)

    def succeeded(self, total: int, success: int) -> bool:
        """Whether a run that is over has succeeded."""
        return total - success <= self.may_fail(total)


def in_order(follows: Mapping[int, list[int]]) -> list[list[Any]]:
    """The inner DAG as a run keeps it: [[task, [those that it follows]], ...], each after those that it follows.

    `follows`: {inner task: those that it follows}; what is no inner task itself is left out. Raises ValueError for a circle.
    """
    left = {task: [up for up in ups if up in follows] for task, ups in sorted(follows.items())}
    found: list[list[Any]] = []
    done: set[int] = set()
    while left:
        ready = [task for task, ups in left.items() if done.issuperset(ups)]
        if not ready:
            raise ValueError("the inner tasks follow one another in a circle")
        found += [[task, sorted(set(left.pop(task)))] for task in ready]
        done.update(ready)
    return found
