"""Worker processes: who is alive, and how busy."""

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.insight.workers import ALIVE
from instances.models import WorkerProcess
from weops.console.present import Look, badge, span, stamp
from weops.console.scoped import ReadOnlyAdmin

_WORKERS = {
    "alive": Look("green", "check_circle", _("Alive")),
    "stopping": Look("amber", "logout", _("Stopping")),
    "silent": Look("red", "error", _("Silent")),
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

    @admin.display(description=_("State"))
    def life_cell(self, worker: WorkerProcess) -> SafeString:
        silent = timezone.now() - worker.seen_at
        word = "silent" if silent > ALIVE else "stopping" if worker.stopping else "alive"
        return badge(_WORKERS, word, title=gettext("Last seen %(time)s ago") % {"time": span(silent)})

    @admin.display(description=_("Threads busy"))
    def busy_cell(self, worker: WorkerProcess) -> SafeString:
        share = min(100, round(100 * worker.busy / worker.slots)) if worker.slots else 0
        meter = '<span class="wo-meter" aria-hidden="true"><span style="width:{}%"></span></span>{}'
        said = gettext("%(number)s of %(total)s") % {"number": worker.busy, "total": worker.slots}
        return format_html(meter, share, said)

    @admin.display(description=_("Started"))
    def started_cell(self, worker: WorkerProcess) -> SafeString:
        return stamp(worker.started_at)

    @admin.display(description=_("Last seen"))
    def seen_cell(self, worker: WorkerProcess) -> SafeString:
        return stamp(worker.seen_at)
