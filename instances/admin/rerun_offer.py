"""Who submits a task that has failed has most likely mended it: the page that answers leads to the rerun of what failed."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from instances.engine.states import State
from instances.models import Instance, Task
from weops.console.scoped import signed_in
from weops.projects import access
from weops.projects.access import Right


def offer(request: HttpRequest, task: Task) -> None:
    """A message with the way to a rerun of all failed instances of `task`, if there are any and the user may."""
    if Right.OPERATE not in access.rights(signed_in(request), task.workflow.project_id):
        return
    # As the list shows them: test runs are nobody's work.
    failed = Instance.objects.filter(task=task, state=State.FAILED, for_each_id=None)
    ids = list(failed.values_list("pk", flat=True)[:2])
    if not ids:
        return
    chosen: dict[str, Any] = {"ids": ids[0]}
    words = _("Rerun the one that failed")
    if len(ids) > 1:
        chosen = {"all": 1, "query": urlencode({"q": f"#{task.pk}", "state": State.FAILED})}
        words = _("Rerun all that failed")
    address = f"{reverse('admin:instances_instance_operate', args=('rerun',))}?{urlencode(chosen)}"
    link = format_html('<a class="wo-link" href="{}">{}</a>', address, words)
    messages.warning(
        request, format_html("{} {}", _("What had failed before stays so until it is rerun."), link)
    )
