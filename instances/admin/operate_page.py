"""How a preview looks: what the summary of a frozen set says, in tables and sentences, and its instances in order."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext

from instances import operations
from instances.admin.looks import STATE_LOOKS, state_badge
from instances.models import FrozenBatch, FrozenSet, Instance, Task
from instances.operations.selection import BATCH
from instances.operations.words import listed
from weops.console.present import Look, plain_time, span
from weops.projects import access
from weops.projects.access import AnyUser

# Lines of a table of counts; the rest is summed up.
MOST_LINES = 8
# Instances shown below a preview, and on a page of the whole set.
FIRST_ROWS = 10
PAGE = 100
# A larger set is previewed anew only when one asks for it.
QUICK = 5_000


@dataclass(frozen=True)
class CountLine:
    name: str
    count: int
    percent: str
    look: Look | None


@dataclass(frozen=True)
class CountTable:
    title: str
    lines: list[CountLine]
    more: int


@dataclass(frozen=True)
class SetRow:
    """An instance of a frozen set. `layer`: its distance from the chosen ones. `why_not`: why it would be refused now."""

    pk: int
    name: str
    project: str
    data_time: str
    badge: SafeString
    layer: int
    why_not: str


@dataclass(frozen=True)
class PreviewPage:
    """What the template shows of a preview. `quick`: it may be done again with each change of an option."""

    frozen: FrozenSet
    token: str
    total: int
    allowed: int
    refused: int
    sentences: list[str]
    refusals: list[Mapping[str, Any]]
    tables: list[CountTable]
    layers: list[Mapping[str, Any]]
    duration: str
    rows: list[SetRow]
    quick: bool


def preview_page(frozen: FrozenSet, user: AnyUser) -> PreviewPage:
    summary: Mapping[str, Any] = frozen.summary
    duration = summary.get("duration") or {}
    layers = summary.get("layers") or []
    return PreviewPage(
        frozen=frozen,
        token=str(frozen.token),
        total=summary["total"],
        allowed=summary["allowed"],
        refused=summary["refused"],
        sentences=list(summary.get("sentences", ())),
        refusals=[_refusal(one) for one in summary.get("refusals", ())],
        tables=_tables(summary),
        layers=list(layers) if len(layers) > 1 else [],
        duration=_duration(duration),
        rows=set_rows(frozen, 0, FIRST_ROWS, user),
        quick=frozen.total <= QUICK,
    )


def _refusal(one: Mapping[str, Any]) -> dict[str, Any]:
    examples = [
        {**example, "badge": state_badge(example["state"]), "at": _utc(example["data_time"])}
        for example in one["examples"]
    ]
    return {"why": one["why"], "count": one["count"], "examples": examples}


def _utc(text: str) -> str:
    return f"{plain_time(dt.datetime.fromisoformat(text), 'UTC')} UTC"


def _duration(duration: Mapping[str, Any]) -> str:
    """How long all runs take together, from the last runs; the summary's sentences say how soon. Empty if not known."""
    if not duration.get("instances_known"):
        return ""
    return gettext("%(time)s of runs together, judged by the last ones.") % {
        "time": span(dt.timedelta(seconds=duration["work_seconds"]))
    }


def _tables(summary: Mapping[str, Any]) -> list[CountTable]:
    titles = {
        "by_state": gettext("State now"),
        "by_project": gettext("Project"),
        "by_workflow": gettext("Workflow"),
        "by_owner": gettext("Owner"),
    }
    return [
        _table(title, summary[name], STATE_LOOKS if name == "by_state" else {})
        for name, title in titles.items()
        if summary.get(name)
    ]


def _table(title: str, counts: list[tuple[str, int]], looks: dict[str, Look]) -> CountTable:
    largest = max(count for _, count in counts)
    lines = [
        CountLine(
            name=looks[name].text if name in looks else str(name or "–"),
            count=count,
            percent=f"{100 * count / largest:.1f}",
            look=looks.get(name),
        )
        for name, count in counts[:MOST_LINES]
    ]
    return CountTable(title, lines, sum(count for _, count in counts[MOST_LINES:]))


def set_rows(frozen: FrozenSet, start: int, most: int, user: AnyUser) -> list[SetRow]:
    """At most `most` instances of the set from the place `start` on, in the order of applying; within one batch.

    Those that `user` may not see any more are left out.
    """
    batch = FrozenBatch.objects.filter(frozen_set=frozen, seq=start // BATCH + 1).first()
    if batch is None:
        return []
    place = start % BATCH
    ids, layers = batch.instance_ids[place : place + most], batch.layers[place : place + most]
    seen = access.within(Instance.objects.select_related("project"), user, "project_id")
    rows = seen.in_bulk(ids)
    tasks = Task.objects.in_bulk({row.task_id for row in rows.values()})
    for row in rows.values():
        row.task = tasks[row.task_id]
    why_not = _refusals(frozen, list(rows.values()), user)
    return [
        _set_row(rows[pk], layer, why_not.get(pk, ""))
        for pk, layer in zip(ids, layers, strict=True)
        if pk in rows
    ]


def _refusals(frozen: FrozenSet, rows: list[Instance], user: AnyUser) -> dict[int, str]:
    """{id: why it would be refused now}."""
    operation = operations.get(frozen.kind)
    options = operation.parse(frozen.options)
    found = operation.refusals(rows, options)
    needed = operation.rights(options)
    for row in rows:
        missing = sorted(needed - access.rights(user, row.project_id))
        if missing:
            found[row.pk] = gettext("You do not have the right to %(rights)s in project %(project)s.") % {
                "rights": listed(gettext(str(right)) for right in missing),
                "project": row.project,
            }
    return found


def _set_row(row: Instance, layer: int, why_not: str) -> SetRow:
    return SetRow(
        pk=row.pk,
        name=row.task.name,
        project=row.project.name,
        data_time=f"{plain_time(row.data_time, row.task.timezone)} {row.task.timezone}",
        badge=state_badge(row.state, row.error_code),
        layer=layer,
        why_not=why_not,
    )
