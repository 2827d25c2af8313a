"""The shape of an answer to "why is it not running?", as pages and the API show it."""

import datetime as dt
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Link:
    """Something that the answer names. `kind`: instance, task, event, group, plan or workers (without `id`)."""

    kind: str
    id: int | None
    title: str


@dataclass(frozen=True)
class Fix:
    """What would help. `kind`: an operation on the instance `target.id`, or what to do on the page of another target.

    `data_time`: the one for which an event is to be fired.
    """

    kind: str
    title: str
    target: Link
    data_time: str = ""


@dataclass(frozen=True)
class Cause:
    """One thing that keeps an instance from running.

    `code`: see `why.ORDER`. `since`: when it began to, as far as that is known. `until`: when it ends by itself.
    `lines`: particulars, the worst first.
    """

    code: str
    title: str
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    lines: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Everything that keeps the instance, in order: the first is the answer, the others hold it after that.

    No cause: nothing keeps it (it succeeded).
    """

    instance_id: int
    state: str
    causes: tuple[Cause, ...]

    @property
    def answer(self) -> Cause | None:
        return self.causes[0] if self.causes else None

    def as_json(self) -> dict[str, Any]:
        """For the API: texts, numbers, ISO times."""
        return {
            "instance_id": self.instance_id,
            "state": self.state,
            "causes": [_cause(cause) for cause in self.causes],
        }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "code": cause.code,
        "title": cause.title,
        "since": cause.since.isoformat() if cause.since else None,
        "until": cause.until.isoformat() if cause.until else None,
        "lines": list(cause.lines),
        "links": [_link(link) for link in cause.links],
        "fixes": [
            {"kind": fix.kind, "title": fix.title, "target": _link(fix.target), "data_time": fix.data_time}
            for fix in cause.fixes
        ],
    }


def _link(link: Link) -> dict[str, Any]:
    return {"kind": link.kind, "id": link.id, "title": link.title}
