"""MainCyclicConfig, SubordinateCyclicConfig and Offset of a dependency: ours is a scope, and offsets for ranges and lists."""

from collections.abc import Sequence
from typing import Any

from instances.engine.dependency_scopes import SCOPES, takes_offsets
from weops.wedata.errors import bad_value

MAIN = tuple(dict.fromkeys(scope.dimension for scope in SCOPES.values()))
SUBORDINATE = tuple(name for name in SCOPES if not takes_offsets(name))


def scope_of(main: str, subordinate: str, offset: str, path: str) -> tuple[str, str]:
    """(scope, offsets); an empty scope is the default of the two cycles. Raises ApiError."""
    if takes_offsets(main):
        if subordinate:
            raise bad_value(f"{path}.SubordinateCyclicConfig", f"{main} takes an Offset, and none of these.")
        return main, offset
    if offset:
        raise bad_value(f"{path}.Offset", "Only ranges and lists take offsets.")
    if not subordinate:
        return "", ""
    dimension = SCOPES[subordinate].dimension
    if main and main != dimension:
        raise bad_value(
            f"{path}.MainCyclicConfig", f"{subordinate} is counted in {dimension}, not in {main}."
        )
    return subordinate, ""


def shown(upstream_id: int, scope: str, offsets: str) -> dict[str, Any]:
    """A dependency as the API writes it; `scope` is not empty."""
    ranged = takes_offsets(scope)
    return {
        "TaskId": str(upstream_id),
        "MainCyclicConfig": SCOPES[scope].dimension,
        "SubordinateCyclicConfig": None if ranged else scope,
        "Offset": offsets if ranged else None,
    }


def strategy(bad_parents: Sequence[str], minutes: int | None) -> dict[str, Any]:
    """DependencyStrategyTask: which bad parents are not waited for."""
    if not bad_parents:
        return {"PollingNullStrategy": "WAITING"}
    return {
        "PollingNullStrategy": "EXECUTING",
        "TaskDependencyExecutingStrategies": list(bad_parents),
        "TaskDependencyExecutingTimeoutValue": minutes,
    }
