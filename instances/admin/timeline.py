"""The pages that show time: a time line of a day, a workflow or a plan, and a grid of tasks by data times."""

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django import forms
from django.db import OperationalError
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from instances.admin.looks import STATE_LOOKS, diagnosis
from instances.insight.gantt import MOST, Bar, Gantt, of_rows
from instances.insight.grid import Cell, Grid, grid
from instances.models import BackfillPlan, Instance, Task, Workflow
from instances.models.choices import CYCLES
from weops.console.paging import time_limit
from weops.console.present import Look, between, plain_time, stamp, zone_name
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Project

SECONDS = 10
_TICKS = 6


class ScopeForm(forms.Form):
    """What the time line shows: a day of data times, of a project or workflow; or a plan as a whole."""

    day = forms.DateField(
        label=gettext_lazy("Day of the data time"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
    )
    project = forms.ModelChoiceField(Project.objects.none(), label=gettext_lazy("Project"), required=False)
    workflow = forms.ModelChoiceField(Workflow.objects.none(), label=gettext_lazy("Workflow"), required=False)
    plan = forms.ModelChoiceField(
        BackfillPlan.objects.none(),
        label=gettext_lazy("Backfill plan"),
        required=False,
        widget=forms.HiddenInput,
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.GET)
        _offer(self, request)
        plans = BackfillPlan.objects.all()
        ids = access.project_ids(request.user, Right.VIEW)
        self._choose("plan", plans if ids is None else plans.filter(project_ids__overlap=ids))

    def _choose(self, name: str, rows: QuerySet[Any]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = rows


def _offer(form: forms.Form, request: HttpRequest) -> None:
    for name, rows, every in (
        ("project", access.projects_with(request.user, Right.VIEW), _("All projects")),
        (
            "workflow",
            access.within(Workflow.objects.order_by("name"), request.user, "project_id"),
            _("All workflows"),
        ),
    ):
        field = form.fields.get(name)
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = rows
            field.empty_label = every


def _page(request: HttpRequest) -> int:
    text = request.GET.get("p", "")
    return int(text) if text.isdecimal() and len(text) < 7 else 1


def _pages(request: HttpRequest, page: int, pages: int) -> dict[str, Any]:
    """Addresses of the pages before and after."""

    def address(number: int) -> str:
        query = request.GET.copy()
        query["p"] = str(number)
        return f"?{query.urlencode()}"

    page = min(max(1, page), pages)
    return {
        "number": page,
        "count": pages,
        "before": address(page - 1) if page > 1 else "",
        "after": address(page + 1) if page < pages else "",
    }


@dataclass(frozen=True)
class Row:
    """A bar as the page draws it; places and widths in percent of the time line."""

    bar: Bar
    look: Look
    title: str
    data_time: SafeString
    wait_left: float
    wait_width: float
    run_left: float
    run_width: float
    duration: str


def gantt_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """The time line, bounded to MOST instances; a page of them at a time."""
    now = timezone.now()
    form = ScopeForm(request)
    rows = access.within(Instance.objects.filter(traversal=""), request.user, "project_id")
    plan, problem = None, ""
    day = timezone.localdate(now)
    if form.is_valid():
        chosen = form.cleaned_data
        plan, day = chosen["plan"], chosen["day"] or day
        rows = _scope(rows, chosen, day)
    else:
        rows, problem = rows.none(), _("These choices cannot be read; begin anew.")
    found = Gantt()
    try:
        with time_limit(SECONDS):
            found = of_rows(rows, now, _page(request))
    except OperationalError:
        problem = _("The database needed more than %(seconds)d seconds; choose a workflow.") % {
            "seconds": SECONDS
        }
    context |= {
        "title": _("Time line"),
        "form": form,
        "plan": plan,
        "day": day,
        "days": {"before": day - dt.timedelta(days=1), "after": day + dt.timedelta(days=1)},
        "gantt": found,
        "rows": [_row(bar, found, now) for bar in found.bars],
        "ticks": _ticks(found),
        "now_left": _share(now, found)
        if found.begin and found.end and found.begin <= now <= found.end
        else None,
        "done": stamp(found.done) if found.done else None,
        "done_ahead": found.done is not None and found.done > now,
        "pages": _pages(request, _page(request), found.pages),
        "most": MOST,
        "problem": problem,
        "zone_name": zone_name(),
    }
    return TemplateResponse(request, "instances/gantt.html", context)


def _scope(rows: QuerySet[Instance], chosen: dict[str, Any], day: dt.date) -> QuerySet[Instance]:
    if chosen["plan"] is not None:
        return rows.filter(plan_id=chosen["plan"].pk)
    begin = timezone.make_aware(dt.datetime.combine(day, dt.time()))
    rows = rows.filter(data_time__gte=begin, data_time__lt=begin + dt.timedelta(days=1))
    if chosen["workflow"] is not None:
        rows = rows.filter(workflow=chosen["workflow"].pk)
    if chosen["project"] is not None:
        rows = rows.filter(project=chosen["project"].pk)
    return rows


def _share(time: dt.datetime, found: Gantt) -> float:
    """Where `time` stands on the time line, in percent."""
    assert found.begin is not None
    assert found.end is not None
    whole = (found.end - found.begin).total_seconds() or 1.0
    return round(min(100.0, max(0.0, 100 * (time - found.begin).total_seconds() / whole)), 3)


def _row(bar: Bar, found: Gantt, now: dt.datetime) -> Row:
    one = bar.instance
    waited, began, ended = (
        _share(time, found) if time else None for time in (bar.waited, bar.began, bar.ended)
    )
    wait_left = waited if waited is not None else (began or 0.0)
    run_left = began if began is not None else wait_left
    run_end = ended if ended is not None else run_left
    words = [str(STATE_LOOKS[one.state].text), f"{plain_time(bar.began)} – {plain_time(bar.ended)}"]
    if bar.expected:
        words.append(_("expected"))
    return Row(
        bar=bar,
        look=STATE_LOOKS[one.state],
        title="\n".join([*words, diagnosis(one.error_code)]).strip(),
        data_time=stamp(one.data_time, one.task.timezone),
        wait_left=wait_left,
        wait_width=max(0.0, run_left - wait_left),
        run_left=run_left,
        run_width=max(0.35, run_end - run_left),
        duration=between(bar.began, bar.ended, now),
    )


def _ticks(found: Gantt) -> list[tuple[float, str]]:
    """(place in percent, time) of the marks above the bars."""
    if found.begin is None or found.end is None:
        return []
    whole = found.end - found.begin
    cut = (
        slice(5, 16)
        if whole > dt.timedelta(days=1)
        else slice(11, 19 if whole < dt.timedelta(minutes=30) else 16)
    )
    return [
        (100 * place / _TICKS, plain_time(found.begin + whole * place / _TICKS)[cut])
        for place in range(_TICKS)
    ]


class GridForm(forms.Form):
    """Which tasks the grid shows: those of a workflow, or of a project, with one cycle type."""

    project = forms.ModelChoiceField(Project.objects.none(), label=gettext_lazy("Project"), required=False)
    workflow = forms.ModelChoiceField(Workflow.objects.none(), label=gettext_lazy("Workflow"), required=False)
    cycle = forms.ChoiceField(
        label=gettext_lazy("Cycle type"),
        choices=[("", gettext_lazy("The most frequent")), *CYCLES],
        required=False,
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.GET)
        _offer(self, request)


@dataclass(frozen=True)
class GridRow:
    task: Task
    cells: list[tuple[Cell, Look, str] | None]
    failed: int


def grid_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """The grid; columns are data times of the tasks shown, `before` leads to earlier ones."""
    form = GridForm(request)
    tasks = access.within(Task.objects.order_by("workflow_id", "name"), request.user, "workflow__project_id")
    problem, cycle = "", ""
    if form.is_valid():
        chosen = form.cleaned_data
        if chosen["workflow"] is not None:
            tasks = tasks.filter(workflow=chosen["workflow"].pk)
        if chosen["project"] is not None:
            tasks = tasks.filter(workflow__project=chosen["project"].pk)
        cycle = chosen["cycle"] or _most_frequent(tasks)
        tasks = tasks.filter(cycle_type=cycle)
    else:
        tasks, problem = tasks.none(), _("These choices cannot be read; begin anew.")
    found = grid(tasks, _page(request), _moment(request.GET.get("before", "")))
    zones = Counter(task.timezone for task, _cells in found.rows)
    zone = zones.most_common(1)[0][0] if zones else ""
    context |= {
        "title": _("Grid"),
        "form": form,
        "cycle": dict(CYCLES).get(cycle, ""),
        "grid": found,
        "heads": [_head(time, zone) for time in found.times],
        "rows": [_grid_row(task, cells, found) for task, cells in found.rows],
        "legend": _legend(found),
        "zone": zone,
        "span": _days(found, zone),
        "earlier": _earlier(request, found),
        "latest": _without(request, "before") if request.GET.get("before") else "",
        "pages": _pages(request, _page(request), found.pages),
        "problem": problem,
    }
    return TemplateResponse(request, "instances/grid.html", context)


def _most_frequent(tasks: QuerySet[Task]) -> str:
    found = tasks.order_by().values_list("cycle_type").annotate(n=Count("pk")).order_by("-n", "cycle_type")
    return str(found[0][0]) if found else ""


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _head(time: dt.datetime, zone: str) -> dict[str, str]:
    """Its date and its time of day, as far as that is not midnight."""
    text = plain_time(time, zone)
    return {"full": text, "date": text[5:10], "time": text[11:16] if text[11:16] != "00:00" else ""}


def _days(found: Grid, zone: str) -> str:
    """The days of the first and the last column, with their years, which the heads of columns leave out."""
    if not found.times:
        return ""
    first, last = (plain_time(time, zone)[:10] for time in (found.times[0], found.times[-1]))
    return first if first == last else f"{first} – {last}"


def _grid_row(task: Task, cells: list[Cell | None], found: Grid) -> GridRow:
    shown: list[tuple[Cell, Look, str] | None] = []
    for cell, time in zip(cells, found.times, strict=True):
        if cell is None:
            shown.append(None)
            continue
        look = STATE_LOOKS[cell.state]
        words = f"{task.name} {plain_time(time, task.timezone)}: {look.text}"
        shown.append((cell, look, f"{words}\n{diagnosis(cell.error_code)}".strip()))
    return GridRow(task, shown, sum(1 for cell in cells if cell is not None and cell.state == "failed"))


def _legend(found: Grid) -> list[Look]:
    used = {cell.state for _task, cells in found.rows for cell in cells if cell is not None}
    return [look for state, look in STATE_LOOKS.items() if state in used]


def _without(request: HttpRequest, name: str) -> str:
    query = request.GET.copy()
    query.pop(name, None)
    return f"?{query.urlencode()}"


def _earlier(request: HttpRequest, found: Grid) -> str:
    if found.earlier is None:
        return ""
    query = request.GET.copy()
    query["before"] = found.earlier.isoformat()
    return f"?{query.urlencode()}"
