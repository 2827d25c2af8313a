"""Who is alive, and who holds the slots of a resource group or lane."""

import datetime as dt
from typing import Any

from django.db.models import Q, QuerySet

from instances.engine.states import HOLDING_SLOT
from instances.models import Execution, WorkerProcess

# A worker that was not seen for so long is dead or deaf.
ALIVE = dt.timedelta(seconds=15)
_HOLDING = [state.value for state in HOLDING_SLOT]


def alive(now: dt.datetime, group_id: int | None = None) -> QuerySet[WorkerProcess]:
    """Workers that were seen within `ALIVE` and take work; of the resource group, if one is given."""
    rows = WorkerProcess.objects.filter(seen_at__gte=now - ALIVE, stopping=False)
    if group_id is None:
        return rows
    return rows.filter(Q(groups__isnull=True) | Q(groups__contains=[group_id]))


def alive_workers(now: dt.datetime) -> int:
    return alive(now).count()


def holding(**of: Any) -> QuerySet[Execution]:
    """Executions that hold a slot now: of a `resource_group_id`, a `serial_task_id` or a `lane`."""
    return Execution.objects.filter(state__in=_HOLDING, **of)
