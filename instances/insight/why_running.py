"""It runs, or is being stopped: since when, and whether anything is heard of it. See `why`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.translation import gettext as _

from instances.engine.states import ExecutionState, State
from instances.insight.answers import Cause
from instances.models import Execution, ForEachRun, LogChunk
from weops.console.present import span

if TYPE_CHECKING:
    from instances.insight.why import Case


def running(case: Case) -> Cause:
    """Two queries."""
    instance = case.instance
    execution = Execution.objects.filter(pk=instance.execution_id or 0).select_related("lease").first()
    if execution is not None and execution.state == ExecutionState.DELEGATED:
        return _delegated(case)
    beat = _heartbeat(execution)
    worker = execution.worker if execution else ""
    if beat is not None and case.now - beat > _patience():
        return Cause(
            "worker_silent",
            _("Worker %(name)s, which runs it, is silent.") % {"name": worker},
            since=beat,
            until=beat + dt.timedelta(seconds=settings.WEOPS_LEASE_SECONDS),
            lines=(_("When its lease ends, the run counts as lost, and is retried if a try is left."),),
            fixes=case.fixes("terminate", "mark_success"),
        )
    heard = _last_line(execution)
    lines = (
        (_("Its log has been silent for %(span)s.") % {"span": span(case.now - heard)},)
        if heard
        else (_("It has written no log yet."),)
    )
    if case.state == State.TERMINATING:
        return Cause(
            "terminating",
            _("It is being stopped; its processes are not confirmed dead yet."),
            since=case.since,
            lines=lines,
        )
    return Cause(
        "running",
        _("It runs on worker %(name)s.") % {"name": worker or "?"},
        since=instance.start_time,
        lines=lines,
        fixes=case.fixes("terminate", "mark_success"),
    )


def _delegated(case: Case) -> Cause:
    """The traversals of a For-each instance; one query more."""
    run = ForEachRun.objects.filter(pk=case.instance.pk).first()
    lines: tuple[str, ...] = ()
    if run is not None:
        over = run.success + run.failed + run.stopped
        lines = (
            _(
                "%(over)d of %(total)d traversals are over, %(failed)d of them failed; %(active)d are under way."
            )
            % {"over": over, "total": run.total, "failed": run.failed, "active": run.active},
        )
    if case.state == State.TERMINATING:
        words = _("It is being stopped; its inner instances are not confirmed dead yet.")
        return Cause("terminating", words, since=case.since, lines=lines)
    return Cause(
        "running",
        _("Its traversals are run; no worker is taken up by it."),
        since=case.instance.start_time,
        lines=lines,
        fixes=case.fixes("terminate", "mark_success"),
    )


def _patience() -> dt.timedelta:
    return dt.timedelta(seconds=max(5.0, 3 * float(settings.WEOPS_HEARTBEAT_SECONDS)))


def _heartbeat(execution: Execution | None) -> dt.datetime | None:
    lease = getattr(execution, "lease", None) if execution else None
    return lease.heartbeat_at if lease else None


def _last_line(execution: Execution | None) -> dt.datetime | None:
    if execution is None:
        return None
    chunks = LogChunk.objects.filter(execution=execution).order_by("-seq")
    return chunks.values_list("created_at", flat=True).first()
