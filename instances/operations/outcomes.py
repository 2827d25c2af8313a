"""What an operation did to the instances of a batch, and how that is put on record: images never pass through Python."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils.translation import gettext_noop

from instances.engine import lifecycle
from instances.engine.backlog import array
from instances.engine.lifecycle import Touched
from instances.models.operation import ItemOutcome

INTERNAL_ERROR = gettext_noop("An error inside WeOps; its log has the traceback.")
GONE = gettext_noop("There is no such instance any more.")

_BEFORE = (
    "SELECT to_regclass('pg_temp.weops_before') IS NULL",
    # Made once a connection; each transaction finds it empty, but may apply more than one batch.
    "CREATE TEMPORARY TABLE weops_before (id bigint NOT NULL, image jsonb NOT NULL) ON COMMIT DELETE ROWS",
    "DELETE FROM weops_before",
    f"INSERT INTO weops_before {lifecycle.IMAGE}",
)

_DONE = f"""
INSERT INTO instances_operationitem
    (operation_id, instance_id, from_state, to_state, outcome, message, before, after)
SELECT %(operation)s, a.id, b.image->>'state', a.image->>'state', 'done', coalesce(%(messages)s::jsonb->>a.id::text, ''),
       b.image, a.image
FROM ({lifecycle.IMAGE}) a JOIN weops_before b ON b.id = a.id ORDER BY a.id
"""  # noqa: S608 - constants

_UNTOUCHED = """
INSERT INTO instances_operationitem (operation_id, instance_id, from_state, to_state, outcome, message)
SELECT %s, (o->>'id')::bigint, o->>'state', '', o->>'outcome', o->>'message'
FROM jsonb_array_elements(%s::jsonb) o ORDER BY 2
"""


@dataclass(frozen=True, slots=True)
class Untouched:
    """An instance that was left as it was, in `state`, and why."""

    id: int
    outcome: ItemOutcome
    message: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of one batch: the ids of those that were changed, what to say of some of them, and the others."""

    done: Sequence[int] = ()
    messages: dict[int, str] = field(default_factory=dict)
    untouched: Sequence[Untouched] = ()
    touched: Touched = field(default_factory=Touched)

    def counts(self) -> Counter[str]:
        """How many there are of each outcome."""
        found = Counter(one.outcome.value for one in self.untouched)
        found[ItemOutcome.DONE.value] = len(self.done)
        return +found


def alike(ids: Iterable[int], outcome: ItemOutcome, message: str) -> Outcomes:
    """The same for each of `ids`, none of which was touched."""
    return Outcomes(untouched=[Untouched(pk, outcome, message) for pk in ids])


def remember(ids: Sequence[int]) -> None:
    """Keeps the images of the instances for `write`, to the end of the caller's transaction or the next call."""
    look, make, clear, keep = _BEFORE
    with connection.cursor() as cursor:
        cursor.execute(look)
        cursor.execute(make if cursor.fetchone()[0] else clear)
        cursor.execute(keep, {"ids": array(ids)})


def write(operation_id: int, found: Outcomes) -> None:
    """Puts the outcomes on record, in the caller's transaction; those that are done with their images of now, too."""
    with connection.cursor() as cursor:
        if found.done:
            values: dict[str, Any] = {
                "operation": operation_id,
                "ids": array(found.done),
                "messages": json.dumps(found.messages),
            }
            cursor.execute(_DONE, values)
        if found.untouched:
            rows = [
                {"id": one.id, "outcome": one.outcome, "message": one.message, "state": one.state}
                for one in found.untouched
            ]
            cursor.execute(_UNTOUCHED, [operation_id, json.dumps(rows)])
