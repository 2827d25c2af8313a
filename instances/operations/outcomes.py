"""What an operation did to each instance, as it is put on record: one statement for a batch."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from instances.models.operation import ItemOutcome

INTERNAL_ERROR = "An error inside WeOps; its log has the traceback."
GONE = "There is no such instance any more."
_INSERT = """
INSERT INTO instances_operationitem
    (operation_id, instance_id, from_state, to_state, outcome, message, before, after)
SELECT %s, instance_id, from_state, to_state, outcome, message, before::jsonb, after::jsonb
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
  AS o(instance_id, from_state, to_state, outcome, message, before, after)
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one instance; `before` and `after` are its images if it was changed."""

    instance_id: int
    outcome: ItemOutcome
    from_state: str = ""
    to_state: str = ""
    message: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


def alike(ids: Iterable[int], outcome: ItemOutcome, message: str) -> list[Outcome]:
    """The same for each of `ids`, none of which was touched."""
    return [Outcome(pk, outcome, message=message) for pk in ids]


def write(operation_id: int, found: Sequence[Outcome]) -> None:
    """Inserts them, in the caller's transaction."""
    columns: list[list[Any]] = [
        [one.instance_id for one in found],
        [one.from_state for one in found],
        [one.to_state for one in found],
        [one.outcome.value for one in found],
        [one.message for one in found],
        [_json(one.before) for one in found],
        [_json(one.after) for one in found],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [operation_id, *columns])


def _json(image: dict[str, Any] | None) -> str | None:
    return None if image is None else json.dumps(image, separators=(",", ":"), ensure_ascii=False)
