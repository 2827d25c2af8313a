"""The preview of dependencies: which instances a task would wait for, for a date of the user's choice. Only reads.

The same functions that generate instances reckon it, from what is saved or from what stands on an unsaved page.
"""

import datetime as dt
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from instances.admin.dependency_inline import Choices, choices_of
from instances.admin.looks import STATE_LOOKS, state_badge
from instances.admin.waits_form import DraftForm, MomentForm, Row, saved_rows, sent_rows
from instances.definition_rules import dependency_faults
from instances.engine.dependencies import Required, problem, required, scopes
from instances.engine.dependency_scopes import SCOPES
from instances.engine.schedule import (
    Cycle,
    Schedule,
    ScheduleError,
    describe,
    errors,
    first_data_time,
    planned_time,
    previous_data_time,
)
from instances.engine.states import SelfDependency, TaskStatus
from instances.engine.zone import TICK, first_instant, zone
from instances.models import Task
from weops.console.present import plain_time, stamp
from weops.console.scoped import signed_in

if TYPE_CHECKING:
    from instances.admin.task import TaskAdmin

# Data times of one dependency that are shown, and that are looked up and counted.
MOST_SHOWN = 48
MOST_LOOKED_UP = 2_000

Key = tuple[int, dt.datetime]


@dataclass(frozen=True)
class Existing:
    pk: int
    state: str
    error_code: str


@dataclass(frozen=True)
class Line:
    """One instance that would be waited for. No badge: it is not generated yet, will never be (`never`), or would have been
    when its task was not scheduled (`missed`).
    """

    data_time: SafeString
    never: bool
    missed: bool
    pk: int | None = None
    badge: SafeString | None = None


@dataclass
class Group:
    """What one dependency comes to. `summary` counts all of it, `lines` are the first ones. `notes`: what keeps instances
    that are not there from coming.
    """

    place: int | None
    name: str
    task_id: int | None = None
    cycle: str = ""
    zone: str = ""
    scope: str = ""
    words: str = ""
    problem: str = ""
    choices: Choices = field(default_factory=list)
    summary: str = ""
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: int = 0


@dataclass
class Page:
    """What the template shows. `earlier` and `later` are (date, time) of the neighbouring data times."""

    data_time: SafeString | None = None
    problems: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    earlier: tuple[str, str] | None = None
    later: tuple[str, str] | None = None
    date: str = ""
    time: str = ""
    total: int = 0


def view(admin: "TaskAdmin", request: HttpRequest, pk: int | None) -> HttpResponse:
    """GET: the page, or for scripts its content alone. `draft=1`: what stands on the page that somebody edits."""
    user = signed_in(request)
    draft = "draft" in request.GET
    task = Task()
    if pk is not None:
        found = admin.get_queryset(request).select_related("workflow__project", "calendar").filter(pk=pk)
        task = found.first() or _nothing()
    if draft or pk is None:
        allowed = admin.has_change_permission(request, task) if pk else admin.has_add_permission(request)
        if not allowed:
            raise PermissionDenied
    problems: list[str] = []
    try:
        if draft:
            form = DraftForm(request.GET, task, user)
            problems = form.problems()
            rows = sent_rows(request.GET, task, user)
        else:
            rows = saved_rows(task, user) if pk else []
    except ValueError:
        return HttpResponseBadRequest(
            gettext("These are no rows of dependencies."), content_type="text/plain"
        )
    moment = MomentForm(request.GET)
    problems += [str(error) for of_field in moment.errors.values() for error in of_field]
    local = moment.local() if moment.is_valid() else None
    page = _build(task, rows, local, timezone.now()) if not problems else _with_choices(task, rows)
    page.problems = problems + page.problems
    if request.headers.get("X-Requested-With") == "fetch":
        return TemplateResponse(request, "instances/task_waits_found.html", {"page": page})
    title = (
        gettext("What %(name)s waits for") % {"name": task.name}
        if pk
        else gettext("What a new task would wait for")
    )
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "original": task if pk else None,
        "title": title,
        "heading": gettext("What it waits for") if pk else title,
        "task": task,
        "form": moment,
        "page": page,
    }
    return TemplateResponse(request, "instances/task_waits.html", context)


def _nothing() -> Task:
    raise Http404(gettext("There is no such task."))


def _with_choices(task: Task, rows: Sequence[Row]) -> Page:
    """A page that can say no more than which scopes there are."""
    return Page(groups=[_group(task, row) for row in rows])


def _build(task: Task, rows: Sequence[Row], local: dt.datetime | None, now: dt.datetime) -> Page:
    page = _with_choices(task, rows)
    try:
        # The page hides the fields that its cycle does not read; what is left in them changes nothing here.
        schedule = task.schedule().trimmed()
        page.problems = [f"{error.field}: {error.message}" for error in errors(schedule)]
    except (ScheduleError, ValueError) as error:
        page.problems = [str(error)]
    if page.problems:
        return page
    # A scope that cannot be is told where it stands; pairs and circles concern all of them.
    good = [
        row.dependency
        for row, group in zip(rows, page.groups, strict=True)
        if not (row.hidden or group.problem)
    ]
    page.problems = dependency_faults(task, good)
    data_time = _data_time(schedule, local, now)
    if data_time is None:
        page.problems.append(gettext("This schedule has no data time from then on."))
        return page
    _place_in_time(page, schedule, data_time)
    found = [_required(row, schedule, data_time, group) for row, group in zip(rows, page.groups, strict=True)]
    owners = [row.dependency.upstream for row in rows]
    previous = _previous(task, schedule, data_time)
    if previous is not None:
        name = gettext("Its own previous data time (self-dependency orderly)")
        page.groups.append(Group(None, name, zone=schedule.timezone, scope="orderly"))
        found.append((previous,))
        owners.append(task)
    known = _existing(
        (owner.pk, one.data_time)
        for owner, one_found in zip(owners, found, strict=True)
        for one in one_found[:MOST_LOOKED_UP]
    )
    for group, owner, one_found in zip(page.groups, owners, found, strict=True):
        _fill(group, owner, one_found, known)
    page.total = sum(map(len, found))
    return page


def _data_time(schedule: Schedule, local: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
    """The first data time from a local time on; without one the latest until now, or else the next."""
    if local is not None:
        return first_data_time(schedule, first_instant(zone(schedule.timezone), local)[0])
    return previous_data_time(schedule, now) or first_data_time(schedule, now)


def _place_in_time(page: Page, schedule: Schedule, data_time: dt.datetime) -> None:
    def parts(moment: dt.datetime | None) -> tuple[str, str] | None:
        if moment is None:
            return None
        date, _, time = plain_time(moment, schedule.timezone).partition(" ")
        return date, time[:5]

    page.data_time = stamp(data_time, schedule.timezone, named=True)
    page.date, page.time = parts(data_time) or ("", "")
    page.earlier = parts(previous_data_time(schedule, data_time))
    page.later = parts(first_data_time(schedule, data_time + TICK))


def _group(task: Task, row: Row) -> Group:
    dependency, upstream = row.dependency, row.dependency.upstream
    if row.hidden:
        return Group(row.place, gettext("A task of another project that you cannot see"))
    cycles = Cycle(task.cycle_type), Cycle(upstream.cycle_type)
    effective = dependency.scope or scopes(*cycles)[0]
    known = SCOPES.get(effective)
    return Group(
        row.place,
        f"{upstream.workflow.project} / {upstream.workflow} / {upstream.name}",
        upstream.pk,
        _schedule_words(upstream),
        upstream.timezone,
        f"{effective} {dependency.offsets}".strip(),
        known.words if known else "",
        problem(dependency.scope, *cycles, dependency.offsets),
        choices=choices_of(task.cycle_type, upstream.cycle_type),
    )


def _schedule_words(task: Task) -> str:
    try:
        return describe(task.schedule())
    except (ScheduleError, ValueError) as error:
        return str(error)


def _required(row: Row, schedule: Schedule, data_time: dt.datetime, group: Group) -> tuple[Required, ...]:
    """What a dependency comes to; nothing for one that is hidden or cannot be."""
    if row.hidden or group.problem:
        return ()
    dependency = row.dependency
    try:
        return required(
            dependency.scope, schedule, data_time, dependency.upstream.schedule(), dependency.offsets
        )
    except (ScheduleError, ValueError) as error:
        group.problem = str(error)
        return ()


def _previous(task: Task, schedule: Schedule, data_time: dt.datetime) -> Required | None:
    if task.self_dependency != SelfDependency.ORDERLY:
        return None
    before = previous_data_time(schedule, data_time)
    return None if before is None else Required(before, True)


_EXISTING = """
SELECT w.place, i.id, i.state, i.error_code
FROM unnest(%s::bigint[], %s::timestamptz[]) WITH ORDINALITY AS w(task_id, data_time, place)
JOIN instances_instance i ON i.task_id = w.task_id AND i.data_time = w.data_time AND i.traversal = ''
"""


def _existing(keys: Iterable[Key]) -> dict[Key, Existing]:
    """The instances among these (task id, data time), in one query."""
    wanted = list(keys)
    with connection.cursor() as cursor:
        cursor.execute(_EXISTING, [[task_id for task_id, _ in wanted], [time for _, time in wanted]])
        return {wanted[place - 1]: Existing(*rest) for place, *rest in cursor.fetchall()}


def _fill(group: Group, owner: Task, found: Sequence[Required], known: dict[Key, Existing]) -> None:
    counts: Counter[str] = Counter()
    passed = _passed(owner, found) if group.task_id else None
    any_missed = any_absent = False
    for place, one in enumerate(found[:MOST_LOOKED_UP]):
        instance = known.get((owner.pk, one.data_time))
        missed = instance is None and one.exists and passed is not None and one.data_time <= passed
        any_missed |= missed
        any_absent |= instance is None and one.exists
        if instance is not None:
            counts[str(STATE_LOOKS[instance.state].text).lower()] += 1
        elif missed:
            counts[gettext("missed")] += 1
        else:
            counts[gettext("not generated yet") if one.exists else gettext("never come")] += 1
        if place < MOST_SHOWN:
            group.lines.append(_line(one, owner.timezone, instance, missed=missed))
    if any_absent and group.task_id:
        group.notes += _standstill(owner)
    if any_missed:
        group.notes.append(
            gettext(
                "Missed: planned before this task was submitted or resumed. Only a backfill makes it; "
                "what waits for it waits until then."
            )
        )
    group.more = len(found) - len(group.lines)
    group.summary = _summary(len(found), counts)


def _passed(owner: Task, found: Sequence[Required]) -> dt.datetime | None:
    """The last of these data times that the schedule of `owner` has left behind; None if there is none.

    Found by halves, since what is planned later has the later data time.
    """
    until = owner.generated_until
    if until is None:
        return None
    schedule = owner.schedule()
    times = sorted(one.data_time for one in found if one.exists)
    place = bisect_right(times, until, key=lambda time: planned_time(schedule, time) or time)
    return times[place - 1] if place else None


def _standstill(owner: Task) -> list[str]:
    """Why its task generates nothing at all, if so."""
    if not owner.workflow.project.enabled:
        return [gettext("Nothing is generated: the project is disabled.")]
    if owner.status == TaskStatus.PAUSED:
        return [gettext("Nothing is generated: this task is paused.")]
    if owner.status == TaskStatus.OFFLINE:
        return [gettext("Nothing is generated: this task is offline.")]
    return []


def _line(one: Required, in_zone: str, instance: Existing | None, *, missed: bool) -> Line:
    shown = stamp(one.data_time, in_zone, named=False)
    if instance is None:
        return Line(shown, not one.exists, missed)
    return Line(shown, False, False, instance.pk, state_badge(instance.state, instance.error_code))


def _summary(total: int, counts: Counter[str]) -> str:
    """ "24 instances: 20 success, 3 not generated yet, 1 never come"."""
    if not total:
        return gettext("Nothing to wait for: its schedule has no data time there.")
    values = {
        "total": f"{total:,}",
        "most": f"{MOST_LOOKED_UP:,}",
        "named": ", ".join(f"{count:,} {words}" for words, count in counts.most_common()),
    }
    if total > MOST_LOOKED_UP:
        return gettext("%(total)s instances, of the first %(most)s: %(named)s") % values
    said = ngettext("%(total)s instance: %(named)s", "%(total)s instances: %(named)s", total)
    return said % values
