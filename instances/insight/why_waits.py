"""Causes before execution: events, upstream instances, the period before. See `why`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from events.models import Wait
from instances.engine.errors import explain
from instances.engine.schedule import ScheduleError, planned_time
from instances.engine.states import LABELS, State, TaskStatus
from instances.engine.trigger_policies import WORDS, Policy
from instances.insight.answers import Cause, Fix, Link
from instances.insight.names import Names
from instances.insight.topmost import Missing, Topmost, topmost
from instances.models import Edge, Instance
from weops.console.present import clock, plain_time, span
from weops.projects.access import Right, rights

if TYPE_CHECKING:
    from instances.insight.why import Case

MOST_NAMED = 5


def event(case: Case) -> Cause:
    """What it listens for; the first to run out of time first. One query."""
    rows = Wait.objects.filter(
        instance=case.instance.pk, satisfied_at__isnull=True, withdrawn_at__isnull=True
    )
    waits = sorted(
        rows.select_related("event__project").order_by("event_id")[:100],
        key=lambda wait: (wait.deadline is None, wait.deadline or case.now),
    )
    lines, links, fixes = [], [], []
    for wait in waits[:MOST_NAMED]:
        shown = case.names.sees(wait.event.project_id)
        name = (
            str(wait.event.name) if shown else _("Event #%(id)d of another project") % {"id": wait.event_id}
        )
        left = _("waits without a limit")
        if wait.deadline is not None:
            ahead = wait.deadline - case.now
            left = (
                _("%(span)s left") % {"span": span(ahead)}
                if ahead.total_seconds() > 0
                else _("its time is over")
            )
        lines.append(f"{name} {wait.data_time}: {left}")
        if shown:
            link = Link("event", wait.event_id, name)
            links.append(link)
            if case.user is None or Right.OPERATE in rights(case.user, wait.event.project_id):
                fixes.append(Fix("fire_event", _("Fire the event"), link, wait.data_time))
    count = max(1, len(waits))
    return Cause(
        "event",
        ngettext(
            "It waits for an event that has not come.",
            "It waits for %(count)d events that have not come.",
            count,
        )
        % {"count": count},
        since=case.since,
        until=min((wait.deadline for wait in waits if wait.deadline), default=None),
        lines=tuple(lines),
        links=tuple(links),
        fixes=(*fixes, *case.fixes("mark_success", "terminate")),
    )


def upstream(case: Case) -> Iterator[Cause]:
    """What it waits for in the end, and apart from that the period before of its own task."""
    found = topmost(case.instance.pk)
    if found:
        yield _upstream(case, found)
    edge = (
        Edge.objects.filter(
            instance=case.instance,
            is_self=True,
            satisfied_at__isnull=True,
            removed_at__isnull=True,
            waived=False,
        )
        .select_related("upstream__task")
        .first()
    )
    if edge is not None:
        yield _previous(case, edge)


def _upstream(case: Case, found: Topmost) -> Cause:
    named = [(case.names.instance(one), stands(case, one)) for one in found.instances[:MOST_NAMED]]
    named += [
        (_missing_link(case, one), not_there(case.names, case.now, one)) for one in found.missing[:MOST_NAMED]
    ]
    count = len(found.instances) + len(found.missing)
    title = ngettext(
        "It waits for %(count)s upstream instance in the end.",
        "It waits for %(count)s upstream instances in the end.",
        count,
    ) % {"count": f"{count}+" if found.capped else count}
    if found.between:
        through = ngettext(
            "%(count)s other instance waits between them.",
            "%(count)s other instances wait between them.",
            found.between,
        ) % {"count": f"{found.between}+" if found.capped else found.between}
        title = f"{title} {through}"
    lines = [f"{link.title}: {text}" for link, text in named[:MOST_NAMED]]
    if count > len(lines):
        lines.append(_("and %(count)d more") % {"count": count - len(lines)})
    if case.instance.trigger_policy:
        words = _(WORDS[Policy(case.instance.trigger_policy)])
        lines.append(_("It runs when %(policy)s.") % {"policy": words})
    fixes = case.fixes("remove_dependency", "mark_success")
    if found.instances:
        fixes = (*case.helps(found.instances[0]), *fixes)
    return Cause(
        "upstream",
        title,
        since=case.since,
        lines=tuple(lines),
        links=tuple(link for link, _text in named[:MOST_NAMED] if link.id is not None),
        fixes=fixes,
    )


def skipped(case: Case) -> Cause:
    """What decided that it is not run: its policy, and how its upstream ended. One query."""
    policy = Policy(case.instance.trigger_policy or Policy.ALL_SUCCESS)
    edges = Edge.objects.filter(
        instance=case.instance, upstream__isnull=False, excused="", removed_at__isnull=True, waived=False
    )
    if policy == Policy.ALL_SUCCESS:
        # The others are beside the point: a skipped one skips it, and so does a branch that does not take it.
        edges = edges.filter(
            Q(upstream__state=State.SKIPPED) | Q(upstream__not_taken__contains=[case.instance.task_id])
        )
    found = list(
        edges.select_related("upstream__task", "upstream__project").order_by(
            "upstream_task_id", "upstream_data_time"
        )[: MOST_NAMED + 1]
    )
    parents = [edge.upstream for edge in found[:MOST_NAMED] if edge.upstream is not None]
    named = [(case.names.instance(one), one) for one in parents]
    lines = [_("It runs when %(policy)s.") % {"policy": _(WORDS[policy])}]
    for link, one in named:
        not_chosen = case.names.sees(one.project_id) and case.instance.task_id in (one.not_taken or ())
        how = _("a branch that did not take it") if not_chosen else stands(case, one)
        lines.append(f"{link.title}: {how}")
    if len(found) > MOST_NAMED:
        lines.append(_("and more"))
    return Cause(
        "skipped",
        _("It was skipped because of how its upstream ended."),
        since=case.instance.end_time,
        lines=(*lines, _("When an upstream instance is run again, it is decided again.")),
        links=tuple(link for link, _one in named if link.id is not None),
        fixes=case.fixes("remove_dependency", "mark_success"),
    )


def _missing_link(case: Case, missing: Missing) -> Link:
    title = case.names.at(missing.task, missing.project_id, missing.data_time)
    return Link("task", missing.task.pk if case.names.sees(missing.project_id) else None, title)


def stands(case: Case, one: Instance) -> str:
    """How a blocker stands, in a few words."""
    text = _(LABELS[State(one.state)])
    if not case.names.sees(one.project_id):
        return text
    if one.frozen_at is not None and one.state in (State.WAIT_RUN, State.WAIT_EVENT, State.FAILED_RETRY):
        return _("%(state)s, frozen since %(time)s") % {"state": text, "time": plain_time(one.frozen_at)}
    if one.state == State.FAILED_RETRY:
        return _("%(state)s, next try at %(time)s") % {"state": text, "time": plain_time(one.not_before)}
    if one.state == State.WAIT_RUN and one.not_before > case.now:
        return _("%(state)s, not due before %(time)s") % {"state": text, "time": plain_time(one.not_before)}
    if one.state == State.FAILED and (error := explain(one.error_code)):
        return f"{text}, {error.code}: {error.title}"
    if one.state in (State.RUNNING, State.TERMINATING) and one.start_time:
        return _("%(state)s since %(time)s") % {"state": text, "time": plain_time(one.start_time)}
    return text


def not_there(names: Names, now: dt.datetime, missing: Missing) -> str:
    """Why an instance that is waited for has not been generated."""
    task = missing.task
    if not names.sees(missing.project_id):
        return _("not generated yet")
    if not task.workflow.project.enabled:
        return _("not generated: its project is disabled")
    if task.status == TaskStatus.PAUSED:
        return _("not generated: its task is paused")
    if task.status == TaskStatus.OFFLINE:
        return _("not generated: its task is offline")
    if task.generation_error:
        return _("not generated: the schedule of its task cannot be read")
    try:
        planned = planned_time(task.schedule(), missing.data_time)
    except (ScheduleError, ValueError):
        return _("not generated: the schedule of its task cannot be read")
    if planned is None and not task.for_each_id:
        return _("its task has no such data time; remove the dependency")
    if (
        planned is not None
        and task.generated_until is not None
        and planned <= task.generated_until
        and (task.next_due_at is None or task.next_due_at > now)
    ):
        return _("its task has no instance of this data time; backfill it, or remove the dependency")
    if planned is not None and planned > now:
        return _("not generated yet; it is planned for %(time)s") % {"time": plain_time(planned)}
    if task.next_due_at is not None:
        return _("not generated yet; its task is due next at %(time)s") % {
            "time": plain_time(task.next_due_at)
        }
    return _("not generated yet")


def _previous(case: Case, edge: Edge) -> Cause:
    before = edge.upstream
    line = clock(edge.upstream_data_time, case.instance.task.timezone)
    line += f": {stands(case, before)}" if before else _(": not generated yet")
    fixes = case.helps(before) if before else ()
    return Cause(
        "self_dependency",
        _("Its task runs in order: the data time before it has not succeeded."),
        since=case.since,
        lines=(line,),
        links=(case.names.instance(before),) if before else (),
        fixes=(*fixes, *case.fixes("remove_dependency")),
    )
