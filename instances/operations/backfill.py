"""Backfill plans, as every door makes and steers them; `engine.plans` carries them out. docs/backfill.md

Everything that is done to a plan is on record: backfill, pause_backfill, resume_backfill, stop_backfill.
"""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import gettext

from instances.engine import hints, plan_tasks, plans
from instances.engine.plan_spec import PlanSpec
from instances.models import BackfillPlan, OperationRecord
from instances.models.backfill import PlanState, RunState
from instances.models.operation import OperationState
from instances.operations import backfill_options, backfill_preview, records
from instances.operations.backfill_preview import PlanPreview
from instances.operations.parsing import OptionError
from weops.projects import access
from weops.projects.access import AnyUser, Right

log = logging.getLogger(__name__)

# A plan of so many runs is prepared and begun before the door answers, a larger one in the background.
SMALL = 2000
# How long a preview may be started.
PREVIEW_LIFE = dt.timedelta(days=1)


class StalePlan(Exception):
    """What the plan would do has changed since it was previewed; `preview` is what it would do now."""

    def __init__(self, preview: PlanPreview) -> None:
        super().__init__(
            gettext("Instances or tasks have changed since the preview, so nothing was started.")
        )
        self.preview = preview


@dataclass(frozen=True, slots=True)
class Token:
    """Stands for a preview: what is due was judged at `until`; `digest` is of what the plan would have done."""

    until: dt.datetime
    digest: str

    def __str__(self) -> str:
        return f"{self.until.isoformat()}~{self.digest}"

    @classmethod
    def read(cls, text: str) -> "Token":
        """Raises OptionError for a text that is none, or is too old."""
        moment, _, digest = text.partition("~")
        try:
            until = dt.datetime.fromisoformat(moment).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            until = dt.datetime.min.replace(tzinfo=dt.UTC)
        if not timezone.now() - PREVIEW_LIFE <= until <= timezone.now():
            message = gettext("There is no such preview, or it is older than a day. Preview it again.")
            raise OptionError("token", message)
        return cls(until, digest)


def preview(
    options: Mapping[str, Any], *, user: User | None, now: dt.datetime | None = None
) -> tuple[PlanPreview, Token]:
    """What a plan with these options (`backfill_options.parse`) would do; nothing is written. Raises OptionError."""
    spec = backfill_options.parse(options, user=user, now=now)
    made = backfill_preview.preview(spec)
    return made, Token(spec.until, made.token)


def create(
    options: Mapping[str, Any],
    *,
    user: User | None,
    source: str,
    reason: str = "",
    name: str = "",
    token: str = "",
) -> BackfillPlan:
    """Makes a plan and begins it. With the `token` of a preview it does what that showed, or raises StalePlan.

    Raises OptionError.
    """
    told = Token.read(token) if token else None
    made, now = preview(options, user=user, now=told.until if told else None)
    if told and told.digest != now.digest:
        raise StalePlan(made)
    with transaction.atomic():
        plan = _insert(made, user, source, records.storable(reason), records.storable(name, 200))
    _go_on(plan, at_once=made.summary["total"] <= SMALL)
    return plan


def _insert(made: PlanPreview, user: User | None, source: str, reason: str, name: str) -> BackfillPlan:
    spec = made.spec
    tasks = plan_tasks.facts(spec.all_tasks)
    plan = BackfillPlan.objects.create(
        name=name or _name(spec, tasks[spec.tasks[0]].name),
        created_by=user,
        created_by_name=records.operator_name(user),
        reason=reason,
        options=spec.as_json(),
        task_ids=list(spec.all_tasks),
        project_ids=sorted({one.project_id for one in tasks.values()}),
    )
    record = OperationRecord.objects.create(
        kind="backfill",
        operator=user,
        operator_name=records.operator_name(user),
        source=source,
        reason=reason,
        options={"plan": plan.pk, "name": plan.name, **plan.options},
        project_ids=plan.project_ids,
        total=made.summary["total"] - made.summary["skipped"],
        state=OperationState.RUNNING,
        started_at=Now(),
    )
    plan.operation_id = record.pk
    plan.save(update_fields=["operation_id"])
    return plan


def _name(spec: PlanSpec, task: str) -> str:
    """`sales of 2026-01-01 to 2026-01-31`"""
    first, last = spec.ranges[0][0], spec.ranges[-1][1]
    more = len(spec.all_tasks) - 1
    what = task.rpartition("/")[2] + (f" and {more} more" if more else "")
    return f"{what} of {first}" + (f" to {last}" if last != first else "")


# Steering


def visible(user: User | None) -> QuerySet[BackfillPlan]:
    """The plans that have tasks in a project that `user` sees."""
    ids = None if user is None else access.project_ids(user, Right.VIEW)
    rows = BackfillPlan.objects.all()
    return rows if ids is None else rows.filter(project_ids__overlap=ids)


def may_steer(plan: BackfillPlan, user: AnyUser | None) -> bool:
    """Whether `user` may pause, resume and stop it: may operate in all of its projects."""
    return user is None or all(Right.OPERATE in access.rights(user, pk) for pk in plan.project_ids)


def pause(plan: BackfillPlan, *, user: User | None, source: str, reason: str = "") -> bool:
    """Starts nothing new until it is resumed; what is under way goes on. False: it is not running."""
    return _move(plan, "pause_backfill", (PlanState.PREPARING, PlanState.RUNNING), user, source, reason)


def resume(plan: BackfillPlan, *, user: User | None, source: str, reason: str = "") -> bool:
    """Goes on. False: it is not paused."""
    return _move(plan, "resume_backfill", (PlanState.PAUSED,), user, source, reason)


def stop(
    plan: BackfillPlan, *, user: User | None, source: str, reason: str = "", running: bool = False
) -> bool:
    """Ends the plan: nothing new is started, and what waits is terminated; with `running` what runs, too.

    False: it is over, or being stopped already.
    """
    _check_may_steer(plan, user)
    with transaction.atomic():
        row = plans.locked(plan.pk)
        if row is None or not row.unfinished or row.state == PlanState.STOPPING:
            return False
        plans.stop(
            row,
            running=running,
            operator=user,
            operator_name=records.operator_name(user),
            source=source,
            reason=records.storable(reason),
        )
        row.save(update_fields=plans.KEPT)
    _go_on(plan)
    return True


def _check_may_steer(plan: BackfillPlan, user: User | None) -> None:
    if not may_steer(plan, user):
        message = gettext("You may not operate in every project of the plan %(plan)s.")
        raise PermissionDenied(message % {"plan": plan})


def _move(
    plan: BackfillPlan, kind: str, sources: Sequence[PlanState], user: User | None, source: str, reason: str
) -> bool:
    _check_may_steer(plan, user)
    with transaction.atomic():
        row = plans.locked(plan.pk)
        if row is None or row.state not in sources:
            return False
        if kind == "pause_backfill":
            row.state = PlanState.PAUSED
        else:
            row.state = PlanState.RUNNING if row.prepared_at else PlanState.PREPARING
        row.save(update_fields=["state"])
        records.note(
            kind,
            user=user,
            source=source,
            reason=reason,
            options={"plan": plan.pk, "name": plan.name},
            project_ids=plan.project_ids,
        )
    _go_on(plan)
    return True


def _go_on(plan: BackfillPlan, *, at_once: bool = True) -> None:
    """One step of what the plan may do now, so that the door sees something; the rest is for those who look after plans."""
    try:
        # What is put on record is English, whoever asked.
        with translation.override("en"):
            if at_once and plans.advance(plan.pk):
                plans.advance(plan.pk)
    except (OperationalError, InterfaceError):
        # It is on record: whoever sweeps next goes on with it.
        log.exception("plan %d does not move yet", plan.pk)
    hints.plans.send([plan.pk])
    plan.refresh_from_db()


# Progress


@dataclass(frozen=True, slots=True)
class DataTime:
    """The runs of one data time by state, {state: count}."""

    data_time: dt.datetime
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values()) - self.counts.get(RunState.SKIPPED, 0)


_BY_DATA_TIME = """
SELECT data_time, state, count(*) FROM instances_backfillrun
WHERE plan_id = %(plan)s AND data_time IN (
    SELECT DISTINCT data_time FROM instances_backfillrun
    WHERE plan_id = %(plan)s AND (%(after)s::timestamptz IS NULL OR data_time > %(after)s)
    ORDER BY data_time LIMIT %(limit)s)
GROUP BY data_time, state ORDER BY data_time
"""


def by_data_time(plan: BackfillPlan, after: dt.datetime | None = None, limit: int = 50) -> list[DataTime]:
    """Progress of each data time after `after`, ascending, `limit` at most."""
    found: dict[dt.datetime, dict[str, int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_BY_DATA_TIME, {"plan": plan.pk, "after": after, "limit": limit})
        for data_time, state, count in cursor.fetchall():
            found.setdefault(data_time, {})[state] = count
    return [DataTime(data_time, counts) for data_time, counts in found.items()]
