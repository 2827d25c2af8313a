"""What a backfill plan was told, as the engine reads it from the plan's row. Doors fill it in through
`operations.backfill_options`, which checks it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


class Order(StrEnum):
    """By data time. NORMAL promises nothing; the others hold if all tasks share a cycle, and dependencies win over them."""

    NORMAL = "NORMAL"
    ORDER = "ORDER"
    REVERSE = "REVERSE"


class Reprocess(StrEnum):
    """Which of the instances that exist already are run again."""

    MISSING = "missing"
    FAILED = "failed"
    ALL = "all"


class OnFailure(StrEnum):
    GO_ON = "go_on"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """
    tasks, downstream       ids; those that were chosen, and those that came with them
    ranges                  first and last day, in order, apart from each other; on the wall clock of `timezone`
    timezone                IANA name; empty: each task's own
    window_start, window_end    inclusive times of day, for data times of minute and hour tasks
    first_of_month          day tasks on the 1st of each month only, in their own zone
    parallelism             so many data times at once; None: no limit, `self_dependency` (or the task's) holds instead
    until                   what is planned later is left to the schedule
    """

    tasks: tuple[int, ...]
    ranges: tuple[tuple[dt.date, dt.date], ...]
    until: dt.datetime
    downstream: tuple[int, ...] = ()
    timezone: str = ""
    window_start: dt.time | None = None
    window_end: dt.time | None = None
    first_of_month: bool = False
    order: Order = Order.NORMAL
    parallelism: int | None = None
    self_dependency: str = ""
    resource_group_id: int | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    application_parameters: dict[str, str] = field(default_factory=dict)
    check_parents: bool = False
    ignore_events: bool = True
    reprocess: Reprocess = Reprocess.ALL
    on_failure: OnFailure = OnFailure.GO_ON

    @property
    def all_tasks(self) -> tuple[int, ...]:
        return self.tasks + self.downstream

    @property
    def ordered(self) -> bool:
        return self.order is not Order.NORMAL

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        return cls(**values | {name: read(values[name]) for name, read in _READERS.items() if name in values})


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, dt.time):
        return value.isoformat("minutes")
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _time(value: str | None) -> dt.time | None:
    return None if value is None else dt.time.fromisoformat(value)


_READERS: dict[str, Any] = {
    "tasks": tuple,
    "downstream": tuple,
    "ranges": lambda days: tuple((dt.date.fromisoformat(a), dt.date.fromisoformat(b)) for a, b in days),
    "until": dt.datetime.fromisoformat,
    "window_start": _time,
    "window_end": _time,
    "order": Order,
    "reprocess": Reprocess,
    "on_failure": OnFailure,
}
