"""Exports of operation records and their outcomes, which are put on record themselves."""

import json
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from instances.admin.record_page import named_instances
from instances.engine.secrets import masked
from instances.insight.shown import hide_options
from instances.kinds import look_up
from instances.models import OperationItem, OperationRecord
from instances.operations import records
from instances.record_filters import operator_of
from weops.console.exports import PORTION, stream_csv
from weops.console.present import plain_time
from weops.console.scoped import signed_in

RECORD_COLUMNS = (
    "id",
    "operation",
    "state",
    "operator",
    "source",
    "asked for (UTC)",
    "started (UTC)",
    "finished (UTC)",
    "instances",
    "done",
    "refused",
    "failed",
    "cancelled",
    "undoes",
    "reason",
    "options",
)
ITEM_COLUMNS = (
    "instance id",
    "project",
    "task",
    "data time",
    "time zone",
    "outcome",
    "state before",
    "state after",
    "message",
    "at (UTC)",
    "before",
    "after",
)


def export_records(request: HttpRequest, rows: QuerySet[OperationRecord], words: dict[str, str]) -> Any:
    """All of `rows`, newest first. `words`: the filters in use, kept on record."""
    noted = _note(request, "export_records", {"filter": words} if words else {})
    # What is asked for from now on, this export too, is not in it.
    rows = rows.filter(pk__lt=noted.pk).select_related("operator").order_by("-pk")

    def portion(last: int | None) -> tuple[list[list[Any]], int | None]:
        found = list((rows if last is None else rows.filter(pk__lt=last))[:PORTION])
        hide_options(found)
        return [_record_cells(one) for one in found], found[-1].pk if found else None

    return stream_csv(request, "operations.csv", RECORD_COLUMNS, portion)


def export_items(
    request: HttpRequest, record: OperationRecord, rows: QuerySet[OperationItem], outcome: str
) -> Any:
    """All outcomes of `record` that are in `rows`, by instance id."""
    asked: dict[str, Any] = {"of_operation": record.pk}
    _note(request, "export_outcomes", asked | ({"outcome": outcome} if outcome else {}))
    rows = rows.order_by("instance_id")
    mask = hide_options([record])

    def portion(last: int | None) -> tuple[list[list[Any]], int | None]:
        found = list((rows if last is None else rows.filter(instance_id__gt=last))[:PORTION])
        instances = named_instances([one.instance_id for one in found])
        cells = [masked(_item_cells(one, instances.get(one.instance_id)), mask) for one in found]
        return cells, found[-1].instance_id if found else None

    return stream_csv(request, f"operation-{record.pk}.csv", ITEM_COLUMNS, portion)


def _note(request: HttpRequest, kind: str, options: dict[str, Any]) -> OperationRecord:
    return records.note(kind, user=signed_in(request), source="admin", options=options)


def _record_cells(record: OperationRecord) -> list[Any]:
    return [
        record.pk,
        look_up(record.kind).title,
        record.state,
        operator_of(record),
        record.source,
        plain_time(record.created_at, "UTC"),
        plain_time(record.started_at, "UTC"),
        plain_time(record.finished_at, "UTC"),
        record.total,
        record.done,
        record.refused,
        record.failed,
        record.cancelled,
        record.undoes_id,
        record.reason,
        json.dumps(record.options, ensure_ascii=False),
    ]


def _item_cells(item: OperationItem, instance: Any) -> list[Any]:
    zone = instance.task.timezone if instance else "UTC"
    return [
        item.instance_id,
        instance.project.name if instance else "",
        instance.task.name if instance else "",
        plain_time(instance.data_time, zone) if instance else "",
        zone if instance else "",
        item.outcome,
        item.from_state,
        item.to_state,
        item.message,
        plain_time(item.at, "UTC"),
        json.dumps(item.before, ensure_ascii=False) if item.before is not None else "",
        json.dumps(item.after, ensure_ascii=False) if item.after is not None else "",
    ]
