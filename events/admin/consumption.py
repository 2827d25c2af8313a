"""Which instances consumed an event instance: a page of them, whatever their number."""

from dataclasses import dataclass

from django.core.paginator import Page
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from events.models import Consumption, EventInstance
from weops.console.paging import COUNT_CAP, CappedPaginator
from weops.console.present import capped, plain_time, stamp
from weops.projects import access
from weops.projects.access import AnyUser, Right

ROWS = 50


@dataclass(frozen=True)
class Consumer:
    """One row: the instance (its name hides what belongs to a project that the user cannot see), and when."""

    task: SafeString
    project: str
    data_time: str
    state: str
    at: SafeString


@dataclass(frozen=True)
class ConsumptionPage:
    rows: list[Consumer]
    page: Page
    count: str


def page(event_instance: EventInstance, user: AnyUser, number: str) -> ConsumptionPage:
    """The consumers of `event_instance` on the page `number` (text of the address; the first if it is none)."""
    found = (
        Consumption.objects.filter(event_instance=event_instance)
        .select_related("instance__task", "instance__project")
        .order_by("instance_id")
    )
    paginator = CappedPaginator(found, ROWS)
    current = paginator.get_page(number)
    visible = access.project_ids(user, Right.VIEW)
    rows = [_consumer(row, visible) for row in current.object_list]
    return ConsumptionPage(rows, current, capped(paginator.found, COUNT_CAP))


def _consumer(row: Consumption, visible: list[int] | None) -> Consumer:
    instance = row.instance
    at = stamp(row.at)
    if visible is not None and instance.project_id not in visible:
        hidden = format_html("{}", _("Instance #%(id)d of another project") % {"id": instance.pk})
        return Consumer(hidden, "", "", "", at)
    address = reverse("admin:instances_instance_change", args=(instance.pk,))
    return Consumer(
        format_html('<a class="wo-link" href="{}">{}</a>', address, instance.task.name),
        instance.project.name,
        f"{plain_time(instance.data_time, instance.task.timezone)} {instance.task.timezone}",
        instance.get_state_display(),
        at,
    )
