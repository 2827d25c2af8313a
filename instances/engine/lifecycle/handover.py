"""A For-each execution whose worker has read the array is delegated to traversals. docs/adr/0014-for-each.md"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instances.engine.lifecycle import handover_statements as statements
from instances.engine.traversal_spec import in_order


@dataclass(frozen=True, slots=True)
class Handover:
    """`array`: its items as texts. `parameters`: the execution's own, resolved."""

    instance_id: int
    execution_id: int
    array: Sequence[str]
    parameters: Mapping[str, str]


def literal(text: str) -> str:
    """A value that reads as this text, whatever stands in it: what came from outside is never an expression."""
    return text.replace("${", "$${")


def hand_over(cursor: Any, handover: Handover) -> None:
    """Whose lease the caller has ended, and whose running instance it holds; that goes on running."""
    cursor.execute(statements.INNER, [handover.execution_id])
    inner, failed_only = cursor.fetchone()
    dag = in_order({row["task"]["id"]: list(row["after"]) for row in json.loads(inner)})
    values = {
        "instance": handover.instance_id,
        "execution": handover.execution_id,
        "failed_only": failed_only,
        "dag": json.dumps(dag),
        "parameters": json.dumps({name: literal(value) for name, value in handover.parameters.items()}),
        "items": list(handover.array),
    }
    for statement in (statements.DELEGATE, statements.TRAVERSALS, statements.COUNT):
        cursor.execute(statement, values)
