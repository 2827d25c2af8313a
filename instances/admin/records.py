"""What the engine keeps for people to read: operation records and worker processes."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from instances.admin.listing import CappedChangeList
from instances.admin.looks import OPERATION_LOOKS, state_badge
from instances.admin.waiting import ALIVE
from instances.models import Instance, OperationItem, OperationRecord, Task, WorkerProcess
from weops.console.paging import CappedPaginator
from weops.console.present import Look, badge, plain_time, span, stamp
from weops.console.scoped import ReadOnlyAdmin
from weops.projects import access
from weops.projects.access import AnyUser, Right

MOST_ITEMS = 500


def visible_items(user: AnyUser) -> QuerySet[OperationItem]:
    """Outcomes on instances of projects that `user` sees."""
    ids = access.project_ids(user, Right.VIEW)
    items = OperationItem.objects.all()
    if ids is None:
        return items
    return items.filter(Exists(Instance.objects.filter(pk=OuterRef("instance_id"), project__in=ids)))


def visible_records(queryset: QuerySet[Any], user: AnyUser) -> QuerySet[Any]:
    """Records of operations on instances or tasks of projects that the user sees."""
    if access.project_ids(user, Right.VIEW) is None:
        return queryset
    tasks = access.within(Task.objects.all(), user, "workflow__project_id").values_list("pk", flat=True)
    on_instances = Exists(visible_items(user).filter(operation=OuterRef("pk")))
    return queryset.filter(Q(on_instances) | Q(options__task__in=list(tasks)))


@admin.register(OperationRecord)
class OperationRecordAdmin(ReadOnlyAdmin):
    project_path = None
    paginator = CappedPaginator
    show_full_result_count = False
    list_max_show_all = 0
    list_display = (
        "id",
        "kind_cell",
        "about_cell",
        "state_cell",
        "total",
        "done",
        "refused",
        "failed",
        "operator",
        "source",
        "reason",
        "created_cell",
        "took_cell",
    )
    list_filter = ("state",)
    list_select_related = ("operator",)
    sortable_by = ()
    ordering = ("-id",)
    fields = (
        ("kind_cell", "state_cell"),
        ("operator", "source"),
        ("created_cell", "took_cell"),
        "reason",
        "counts_cell",
        "options",
        "items_cell",
    )
    readonly_fields = (
        "kind_cell",
        "state_cell",
        "operator",
        "source",
        "created_cell",
        "took_cell",
        "reason",
        "counts_cell",
        "options",
        "items_cell",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return visible_records(super().get_queryset(request), request.user)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CappedChangeList]:
        return CappedChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            found.seen_items = list(
                visible_items(request.user).filter(operation=found).order_by("instance_id")[: MOST_ITEMS + 1]
            )
        return found

    @admin.display(description="Operation")
    def kind_cell(self, record: OperationRecord) -> str:
        return record.kind.replace("_", " ").capitalize()

    @admin.display(description="Task")
    def about_cell(self, record: OperationRecord) -> str:
        return str(record.options.get("name", "")) if isinstance(record.options, dict) else ""

    @admin.display(description="State")
    def state_cell(self, record: OperationRecord) -> SafeString:
        return badge(OPERATION_LOOKS, record.state)

    @admin.display(description="At")
    def created_cell(self, record: OperationRecord) -> SafeString:
        return stamp(record.created_at)

    @admin.display(description="Took")
    def took_cell(self, record: OperationRecord) -> str:
        return span(record.finished_at - record.created_at) if record.finished_at else "–"

    @admin.display(description="Instances")
    def counts_cell(self, record: OperationRecord) -> str:
        return f"{record.total} chosen: {record.done} done, {record.refused} refused, {record.failed} failed"

    @admin.display(description="Outcome of each")
    def items_cell(self, record: Any) -> Any:
        items: list[OperationItem] = getattr(record, "seen_items", [])
        if not items:
            return "It changed no instance."
        found = Instance.objects.filter(pk__in=[item.instance_id for item in items]).select_related("task")
        named = {row.pk: row for row in found.only("data_time", "task__name", "task__timezone")}
        body = format_html_join(
            "", _ITEM, (_item_cells(item, named.get(item.instance_id)) for item in items[:MOST_ITEMS])
        )
        more = f"Only the first {MOST_ITEMS} are shown." if len(items) > MOST_ITEMS else ""
        return format_html(_ITEMS, body, more)


_ITEM = (
    '<tr><td class="wo-name"><a class="wo-link" href="{}">{}</a></td><td>{}</td><td>{}</td><td>{}</td>'
    '<td class="wo-name">{}</td></tr>'
)
_ITEMS = (
    '<div class="wo-scroll"><table class="wo-table"><thead><tr><th>Instance</th><th>Outcome</th><th>From</th><th>To</th>'
    "<th>Message</th></tr></thead><tbody>{}</tbody></table></div>{}"
)


def _item_cells(item: OperationItem, instance: Instance | None) -> tuple[Any, ...]:
    name = f"#{item.instance_id}"
    if instance is not None:
        name = f"{instance.task.name} {plain_time(instance.data_time, instance.task.timezone)}"
    return (
        reverse("admin:instances_instance_change", args=(item.instance_id,)),
        name,
        badge(OPERATION_LOOKS, item.outcome),
        state_badge(item.from_state) if item.from_state else "–",
        state_badge(item.to_state) if item.to_state else "–",
        item.message,
    )


_WORKERS = {
    "alive": Look("green", "check_circle", "Alive"),
    "stopping": Look("amber", "logout", "Stopping"),
    "silent": Look("red", "error", "Silent"),
}


@admin.register(WorkerProcess)
class WorkerProcessAdmin(ReadOnlyAdmin):
    project_path = None
    list_display = ("name", "life_cell", "host", "pid", "busy_cell", "started_cell", "seen_cell")
    search_fields = ("name", "host")
    sortable_by = ()
    ordering = ("-seen_at",)
    fields = ("name", "life_cell", ("host", "pid"), "busy_cell", ("started_cell", "seen_cell"))
    readonly_fields = ("name", "life_cell", "host", "pid", "busy_cell", "started_cell", "seen_cell")

    @admin.display(description="State")
    def life_cell(self, worker: WorkerProcess) -> SafeString:
        silent = timezone.now() - worker.seen_at
        word = "silent" if silent > ALIVE else "stopping" if worker.stopping else "alive"
        return badge(_WORKERS, word, title=f"Last seen {span(silent)} ago")

    @admin.display(description="Threads busy")
    def busy_cell(self, worker: WorkerProcess) -> SafeString:
        share = min(100, round(100 * worker.busy / worker.slots)) if worker.slots else 0
        meter = '<span class="wo-meter" aria-hidden="true"><span style="width:{}%"></span></span>{} of {}'
        return format_html(meter, share, worker.busy, worker.slots)

    @admin.display(description="Started")
    def started_cell(self, worker: WorkerProcess) -> SafeString:
        return stamp(worker.started_at)

    @admin.display(description="Last seen")
    def seen_cell(self, worker: WorkerProcess) -> SafeString:
        return stamp(worker.seen_at)
