"""The traversals of a For-each instance on its page, and the page of one traversal: its DAG with the states of its steps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.admin import graphs
from instances.admin.looks import state_badge
from instances.engine.secrets import masker_of
from instances.insight import traversals
from instances.insight.traversals import ListedTraversal, Step
from instances.models import ForEachRun, Instance
from instances.models.traversal import TraversalState
from instances.runners.masker import Masker
from weops.console.present import Look, badge, between, span, stamp

if TYPE_CHECKING:
    from instances.admin.instance import InstanceAdmin

LOOKS: dict[str, Look] = {
    TraversalState.PENDING.value: Look("slate", "hourglass_top", _("Not started")),
    TraversalState.ACTIVE.value: Look("blue", "progress_activity", _("Under way")),
    TraversalState.SUCCESS.value: Look("green", "check_circle", _("Success")),
    TraversalState.FAILED.value: Look("red", "error", _("Failed")),
    TraversalState.STOPPED.value: Look("grey", "block", _("Not run")),
}
# Characters of an item in the list; the page of its traversal shows all.
SHORT = 120


@dataclass(frozen=True)
class Row:
    number: int
    item: str
    badge: SafeString
    started: SafeString
    ended: SafeString
    duration: str
    done: str
    percent: int
    failed: int
    is_old: bool


@dataclass(frozen=True)
class Panel:
    """`chosen`: the states that are shown, empty for all. `after`: where the next page begins, None if there is none."""

    run: ForEachRun
    rows: list[Row]
    counts: list[tuple[str, SafeString, int]]
    chosen: str
    after: int | None
    first: bool


def panel(instance: Instance, given_after: str, state: str, mask: Masker) -> Panel | None:
    """The list on the page of a For-each instance; None if it is none, or has not begun any traversal. `mask` hides what is
    secret in its items."""
    if instance.task_type != "FOR_EACH":
        return None
    after = int(given_after) if given_after.isdecimal() and len(given_after) <= 9 else -1
    chosen = state if state in TraversalState.values else ""
    found = traversals.listed(instance.pk, after, [chosen] if chosen else [])
    if found is None:
        return None
    return Panel(
        run=found.run,
        rows=[_row(one, mask) for one in found.rows],
        counts=[
            (one, badge(LOOKS, one), getattr(found.run, one)) for one in LOOKS if getattr(found.run, one)
        ],
        chosen=chosen,
        after=found.after,
        first=after < 0,
    )


def _row(one: ListedTraversal, mask: Masker) -> Row:
    row, progress = one.row, one.progress
    item = mask.mask_text(row.item)
    ended = (
        progress.success
        + progress.failed
        + (progress.made - progress.open - progress.success - progress.failed)
    )
    return Row(
        number=row.number,
        item=item if len(item) <= SHORT else f"{item[: SHORT - 1]}…",
        badge=badge(LOOKS, row.state),
        started=stamp(row.started_at),
        ended=stamp(row.ended_at),
        duration=span(traversals.duration(row, timezone.now())),
        done=f"{ended} / {progress.tasks}",
        percent=100 * ended // progress.tasks if progress.tasks else 100,
        failed=progress.failed,
        is_old=one.is_old,
    )


@dataclass(frozen=True)
class StepCard:
    step: Step
    badge: SafeString | None
    duration: str
    title: str


def view(model_admin: "InstanceAdmin", request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """The page of one traversal."""
    instance = model_admin.visible(request, pk)
    found = traversals.drawn(instance.pk, number) if number < 2**31 else None
    if found is None:
        raise Http404(gettext("There is no such traversal."))
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "original": instance,
        "title": _("Traversal %(number)s of %(name)s") % {"number": number, "name": instance.task.name},
        "instance": instance,
        "traversal": found.row,
        "item": masker_of(instance.task_id).mask_text(found.row.item),
        "is_old": found.is_old,
        "badge": badge(LOOKS, found.row.state),
        "started": stamp(found.row.started_at),
        "ended": stamp(found.row.ended_at),
        "duration": span(traversals.duration(found.row, timezone.now())),
        "layers": [[_card(step) for step in layer] for layer in found.layers],
        "live": found.row.state in (TraversalState.PENDING, TraversalState.ACTIVE) and not found.is_old,
        "data_time": stamp(instance.data_time, instance.task.timezone, named=True),
    }
    return TemplateResponse(request, "instances/traversal.html", context)


def data(instance: Instance, number: int) -> HttpResponse:
    """The DAG of one traversal as JSON (docs/graph-format.md)."""
    found = traversals.drawn(instance.pk, number) if number < 2**31 else None
    if found is None:
        raise Http404(gettext("There is no such traversal."))
    return graphs.instances_data(traversals.graph_of(found, timezone.now()))


def _card(step: Step) -> StepCard:
    child = step.instance
    if child is None:
        return StepCard(step, None, "", str(_("Not begun")))
    now = timezone.now() if child.state in ("running", "terminating") else None
    return StepCard(
        step,
        state_badge(child.state, child.error_code, child.error_message),
        between(child.start_time, child.end_time, now),
        step.name,
    )
