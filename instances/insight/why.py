"""Why is it not running? The ordered answer for one instance, with since when, where to look and what would help.

Each cause is found by a function of its own, in the order of `ORDER`; all of those that hold now are told, and the first is the
answer. A fixed number of queries, whatever the history and however deep the chain of what it waits for.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from instances import operations
from instances.engine.errors import explain
from instances.engine.states import ACTIVE, WAITING, State
from instances.insight import why_queue, why_running, why_waits
from instances.insight.answers import Cause, Diagnosis, Fix, Link
from instances.insight.names import Names
from instances.models import Instance, StateChange
from weops.projects import access
from weops.projects.access import AnyUser

# Codes of causes, in the order in which they are told.
ORDER = (
    "frozen",
    "not_due",
    "retry_due",
    "event",
    "upstream",
    "self_dependency",
    "lane",
    "group_disabled",
    "group_full",
    "no_worker",
    "handed_over",
    "queued",
    "worker_silent",
    "running",
    "terminating",
    "failed",
    "skipped",
)


@dataclass(frozen=True)
class Case:
    """The instance in question, with its task, project and resource group read; who asks; and when."""

    instance: Instance
    names: Names
    user: AnyUser | None
    now: dt.datetime
    # When it got into its present state, as far as its history tells.
    since: dt.datetime

    @property
    def state(self) -> State:
        return State(self.instance.state)

    def fixes(self, *kinds: str, on: Instance | None = None) -> tuple[Fix, ...]:
        """Those of the operations that may be done now, by this user, on the instance `on` or the one in question."""
        about = on or self.instance
        rights = access.rights(self.user, about.project_id) if self.user is not None else access.EVERY_RIGHT
        found = []
        for kind in kinds:
            operation = operations.get(kind)
            able = about.frozen_at is not None if kind == "thaw" else about.state in operation.allowed_from()
            if operation.right in rights and able:
                found.append(Fix(kind, operation.verb().capitalize(), self.names.instance(about)))
        return tuple(found)

    def helps(self, one: Instance) -> tuple[Fix, ...]:
        """What lets those go on that wait for `one`, the nearest remedy first."""
        if one.frozen_at is not None:
            return self.fixes("thaw", "mark_success", on=one)
        if one.state in (State.FAILED, State.FAILED_RETRY, State.SKIPPED):
            return self.fixes("rerun", "mark_success", on=one)
        return self.fixes("terminate", "mark_success", on=one)


def why(instance: Instance, user: AnyUser | None = None, now: dt.datetime | None = None) -> Diagnosis:
    """Everything that keeps `instance` (with task, project and resource group) from running, or from having succeeded.

    `user`: who will read it; what belongs to projects that he cannot see is not named, and only what he may do is
    offered. None: everything.
    """
    case = Case(instance, Names.of(user), user, now or timezone.now(), _since(instance))
    found = sorted(_causes(case), key=lambda cause: ORDER.index(cause.code))
    return Diagnosis(instance.pk, instance.state, tuple(found))


def _since(instance: Instance) -> dt.datetime:
    last = StateChange.objects.filter(instance_id=instance.pk).order_by("-id").values_list("at", "to_state")
    for at, state in last[:1]:
        if state == instance.state:
            return at
    return instance.wait_since


def _causes(case: Case) -> Iterator[Cause]:
    instance, state = case.instance, case.state
    if state in WAITING or state == State.FAILED_RETRY:
        yield from _held(case)
    if state == State.FAILED_RETRY:
        yield _retry(case)
    elif state == State.WAIT_EVENT:
        yield why_waits.event(case)
    elif state == State.WAIT_UPSTREAM:
        yield from why_waits.upstream(case)
    elif state == State.WAIT_RUN and instance.not_before <= case.now and instance.frozen_at is None:
        yield from why_queue.causes(case)
    elif state in ACTIVE:
        yield why_running.running(case)
    elif state == State.FAILED:
        yield _failed(case)
    elif state == State.SKIPPED:
        yield why_waits.skipped(case)


def _held(case: Case) -> Iterator[Cause]:
    instance = case.instance
    if instance.frozen_at is not None:
        yield Cause(
            "frozen",
            _("It is frozen: it is not started until it is thawed."),
            since=instance.frozen_at,
            until=instance.thaw_at,
            fixes=case.fixes("thaw"),
        )
    if case.state in WAITING and instance.not_before > case.now:
        yield Cause(
            "not_due",
            _("It is not due yet."),
            since=case.since,
            until=instance.not_before,
            lines=(_("It may start at its planned time."),),
            links=(Link("task", instance.task_id, instance.task.name),),
        )


def _retry(case: Case) -> Cause:
    instance = case.instance
    error = explain(instance.error_code)
    left = max(0, instance.task.retry_limit - instance.tries)
    tries = ngettext("%(count)d try is left.", "%(count)d tries are left.", left) % {"count": left}
    return Cause(
        "retry_due",
        _("The last try failed; the next one starts when the retry wait is over."),
        since=case.since,
        until=instance.not_before,
        lines=(*((f"{error.code}: {error.title}",) if error else ()), tries),
        fixes=case.fixes("rerun", "terminate"),
    )


def _failed(case: Case) -> Cause:
    instance = case.instance
    error = explain(instance.error_code)
    lines = (f"{error.code}: {error.title}", *error.causes, error.advice) if error else ()
    return Cause(
        "failed",
        _("It failed, and no try is left in this life."),
        since=instance.end_time,
        lines=lines,
        fixes=case.fixes("rerun", "mark_success", "acknowledge"),
    )
