"""When will a set of instances be done, and which chain of them decides that? Pure: times and edges in, times out.

An instance that has ended, ended then. One that runs takes as long as its task usually does. One that waits starts when what
it waits for is done, not before it may.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from instances.insight.forecast import Standing, predicted_finish


@dataclass(frozen=True)
class Outlook:
    """`finish`: {id: when it ends or is expected to}; those that nobody can tell are left out. `path`: ids of the chain
    that ends last, the first first. `end`: when that is."""

    finish: Mapping[int, dt.datetime]
    path: tuple[int, ...]
    end: dt.datetime | None


def outlook(
    standings: Mapping[int, Standing],
    runs: Mapping[int, dt.timedelta],
    edges: Iterable[tuple[int, int]],
    now: dt.datetime,
) -> Outlook:
    """`runs`: {id: how long its task usually takes}; without one it takes no time. `edges`: (parent, child) that count."""
    parents: dict[int, list[int]] = {}
    for parent, child in edges:
        if parent in standings and child in standings and parent != child:
            parents.setdefault(child, []).append(parent)
    finish: dict[int, dt.datetime] = {}
    for pk in _in_order(standings, parents):
        standing = standings[pk]
        known = [finish[parent] for parent in parents.get(pk, ()) if parent in finish]
        start = max([now, *known])
        # What waits cannot start before its parents are done; the others do not care any more.
        found = predicted_finish(standing, runs.get(pk, dt.timedelta(0)), start if _waits(standing) else now)
        if found is not None:
            finish[pk] = found
    if not finish:
        return Outlook({}, (), None)
    last = max(finish, key=lambda pk: (finish[pk], pk))
    path = [last]
    while before := [pk for pk in parents.get(path[-1], ()) if pk in finish and pk not in path]:
        path.append(max(before, key=lambda pk: (finish[pk], pk)))
    return Outlook(finish, tuple(reversed(path)), finish[last])


def _waits(standing: Standing) -> bool:
    return standing.started_at is None or standing.ended_at is not None


def _in_order(ids: Iterable[int], parents: Mapping[int, list[int]]) -> list[int]:
    """Parents before children; those of a ring last, in their order."""
    left = {pk: len(parents.get(pk, ())) for pk in ids}
    below: dict[int, list[int]] = {}
    for child, above in parents.items():
        for parent in above:
            below.setdefault(parent, []).append(child)
    ready = [pk for pk, count in left.items() if not count]
    order: list[int] = []
    while ready:
        pk = ready.pop()
        order.append(pk)
        for child in below.get(pk, ()):
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    placed = set(order)
    return order + [pk for pk in left if pk not in placed]
