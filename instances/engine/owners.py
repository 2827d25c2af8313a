"""The owner of a task is copied to its instances when they are generated; this gives those that go on a new one."""

from collections.abc import Sequence

from django.db import connection
from django.db.models import Q, QuerySet

from instances.engine.states import FINAL, State
from instances.engine.transactions import retried
from instances.models import Instance

_GOING_ON = [state.value for state in State if state not in FINAL]
_HAND_OVER = """
UPDATE instances_instance i SET owner_id = %(owner)s
FROM (SELECT id FROM instances_instance WHERE task_id = ANY(%(tasks)s::bigint[]) AND (state = ANY(%(states)s)) IS TRUE
      AND owner_id IS DISTINCT FROM %(owner)s ORDER BY id LIMIT %(limit)s FOR UPDATE) mine
WHERE i.id = mine.id
"""


@retried
def _batch(task_ids: Sequence[int], owner_id: int | None, limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            _HAND_OVER,
            {"tasks": list(task_ids), "owner": owner_id, "states": _GOING_ON, "limit": limit},
        )
        return int(cursor.rowcount)


def hand_over(task_ids: Sequence[int], owner_id: int | None, limit: int = 1000) -> int:
    """Makes `owner_id` the owner of the tasks' instances that have not ended, in short transactions; how many it changed.

    What has ended keeps the owner that it had. Safe to repeat: a second call changes nothing.
    """
    changed = 0
    while batch := _batch(task_ids, owner_id, limit):
        changed += batch
    return changed


def left_behind(task_id: int, owner_id: int | None) -> QuerySet[Instance]:
    """Instances of the task that have not ended and belong to somebody else than `owner_id`."""
    others = Q(owner__isnull=False) if owner_id is None else ~Q(owner_id=owner_id) | Q(owner__isnull=True)
    return Instance.objects.filter(others, task_id=task_id, state__in=_GOING_ON)
