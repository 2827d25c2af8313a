"""The page "what changed since the last success" of a failed execution."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.admin.looks import execution_badge
from instances.insight import changed
from instances.models import Instance
from weops.console.present import stamp

_PARTS = {
    "code": _("Code"),
    "definition": _("Definition"),
    "parameters": _("Parameters"),
    "upstream": _("Upstream"),
    "operations": _("Operations"),
    "worker": _("Worker"),
    "log": _("Log"),
}


def page(
    request: HttpRequest, site: AdminSite, opts: Any, instance: Instance, execution_id: int
) -> TemplateResponse:
    """For an instance that the user sees."""
    execution = changed.of_failed(execution_id, instance)
    if execution is None:
        raise Http404(gettext("This instance has no such execution."))
    found = changed.compare(execution, request.user)
    then = found.baseline
    context = {
        **site.each_context(request),
        "opts": opts,
        "original": instance,
        "title": _("What changed"),
        "found": found,
        "badge": execution_badge(execution.state, execution.error_code, execution.error_message),
        "then_data_time": stamp(then.instance.data_time, instance.task.timezone, named=True) if then else "",
        "then_ended": stamp(then.ended_at) if then else "",
        "parts": [(_PARTS[name], differs, name) for name, differs in found.summary],
        "operations": [(stamp(one.at), one) for one in found.operations],
    }
    return TemplateResponse(request, "instances/changed.html", context)
