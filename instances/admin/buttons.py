"""The operations on the page of one instance: which of them are shown, and why one cannot be done now."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from instances import operations
from instances.kinds import ON_INSTANCES, Kind
from instances.models import Acknowledgement, Edge, Instance
from weops.projects import access
from weops.projects.access import AnyUser

# Always in their places; the others are shown only when they can be done.
_FIXED = ("rerun", "terminate", "mark_success", "freeze")


@dataclass(frozen=True)
class Button:
    kind: Kind
    why_not: str


def buttons(
    instance: Instance, user: AnyUser, edges: list[Edge], seen: Acknowledgement | None
) -> list[Button]:
    """Those that the user may do on the instance, which waits for `edges` and may be acknowledged by `seen`."""
    there: dict[str, Any] = {
        "remove_dependency": any(edge.removed_at is None for edge in edges),
        "withdraw_acknowledgement": seen is not None,
        "acknowledge": seen is None,
    }
    found = []
    for kind in ON_INSTANCES:
        operation = operations.get(kind.kind)
        if operation.right not in access.rights(user, instance.project_id):
            continue
        if kind.kind in ("remove_dependency", "withdraw_acknowledgement"):
            why_not = "" if there[kind.kind] else gettext("There is nothing to do.")
        else:
            why_not = operation.refusal(instance, operation.parse({}))
        if kind.kind in _FIXED or (not why_not and there.get(kind.kind, True)):
            found.append(Button(kind, why_not))
    return found
