"""How the answer to "why is it not running?" looks: on the page of an instance, and in the card that hovers over a list."""

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from instances.insight.answers import Cause, Diagnosis, Fix, Link
from instances.insight.why import why
from instances.kinds import KINDS
from instances.models import Instance
from weops.console.present import Look, stamp
from weops.projects.access import AnyUser

# Tone and icon of each cause; its words are its own.
_LOOKS: dict[str, Look] = {
    code: Look(tone, icon, code)
    for code, tone, icon in (
        ("frozen", "cyan", "ac_unit"),
        ("not_due", "cyan", "schedule"),
        ("retry_due", "amber", "replay"),
        ("event", "violet", "notifications_paused"),
        ("upstream", "slate", "account_tree"),
        ("self_dependency", "cyan", "linear_scale"),
        ("lane", "cyan", "linear_scale"),
        ("group_disabled", "amber", "block"),
        ("group_full", "amber", "tune"),
        ("no_worker", "red", "memory"),
        ("handed_over", "cyan", "outgoing_mail"),
        ("queued", "cyan", "hourglass_top"),
        ("worker_silent", "red", "memory"),
        ("running", "blue", "progress_activity"),
        ("terminating", "orange", "stop_circle"),
        ("failed", "red", "error"),
        ("skipped", "grey", "step_over"),
    )
}
_PAGES = {
    "instance": "admin:instances_instance_change",
    "task": "admin:instances_task_change",
    "event": "admin:events_event_change",
    "group": "admin:projects_resourcegroup_change",
    "plan": "admin:instances_backfillplan_change",
}
_OTHER_FIXES = {"enable_group": "toggle_on", "more_slots": "tune"}


@dataclass(frozen=True)
class Way:
    """A link of the answer: to a thing, or to what would help (`about` whom, unless it is the instance itself)."""

    title: str
    address: str
    icon: str = ""
    about: str = ""


@dataclass(frozen=True)
class ShownCause:
    cause: Cause
    look: Look
    since: SafeString | None
    until: SafeString | None
    links: list[Way]
    fixes: list[Way]

    @property
    def title(self) -> str:
        return self.cause.title

    @property
    def lines(self) -> tuple[str, ...]:
        return self.cause.lines


def shown(diagnosis: Diagnosis) -> list[ShownCause]:
    """The causes as pages show them, the answer first."""
    return [
        ShownCause(
            cause=cause,
            look=_LOOKS[cause.code],
            since=stamp(cause.since) if cause.since else None,
            until=stamp(cause.until) if cause.until else None,
            links=[Way(link.title, address_of(link)) for link in cause.links],
            fixes=[way_to(fix, diagnosis.instance_id) for fix in cause.fixes],
        )
        for cause in diagnosis.causes
    ]


def address_of(link: Link) -> str:
    """Of the page of what is named; of nothing that may not be opened: empty."""
    if link.kind == "workers":
        return reverse("admin:instances_workerprocess_changelist")
    return reverse(_PAGES[link.kind], args=(link.id,)) if link.id is not None else ""


def way_to(fix: Fix, asked: int | None = None) -> Way:
    """The page where it is done. `asked`: the instance in question, which need not be named."""
    kind = KINDS.get(fix.kind)
    if fix.kind == "fire_event":
        asks = urlencode([("event", str(fix.target.id)), ("data_time", fix.data_time)])
        return Way(
            fix.title,
            f"{reverse('admin:events_eventinstance_fire')}?{asks}",
            "campaign",
            f"{fix.target.title} {fix.data_time}",
        )
    if kind is None:
        return Way(fix.title, address_of(fix.target), _OTHER_FIXES.get(fix.kind, "build"), fix.target.title)
    address = reverse("admin:instances_instance_operate", args=(fix.kind,))
    about = "" if asked in (None, fix.target.id) else fix.target.title
    return Way(kind.title, f"{address}?{urlencode({'ids': fix.target.id or 0})}", kind.icon, about)


def of_page(instance: Instance, user: AnyUser) -> list[ShownCause]:
    """For the page of `instance`; a failure is told there by its own error."""
    return [one for one in shown(why(instance, user)) if one.cause.code != "failed"]


def why_view(request: HttpRequest, instance: Instance) -> HttpResponse:
    """The card that hovers over a state in a list."""
    context = {"causes": shown(why(instance, request.user)), "instance": instance, "hovers": True}
    return TemplateResponse(request, "instances/why.html", context)
