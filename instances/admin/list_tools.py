"""What stands above the instance list beside its filters: saved views, the choice of columns, downloads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from instances.admin import list_columns, list_export
from instances.filters import InstanceFilter
from weops.console import finding, layouts, saved_views
from weops.console.models import SavedView
from weops.console.scoped import signed_in
from weops.projects.models import Project

if TYPE_CHECKING:
    from instances.admin.instance import InstanceAdmin

LIST = "admin:instances_instance_changelist"


@dataclass(frozen=True)
class Choice:
    """One column in the choice of columns: `shown` now or not; the first column cannot be left out."""

    key: str
    title: Any
    shown: bool


def layout(user: Any) -> list[Choice]:
    """All columns but the first: those in view in their order, then the others."""
    chosen = layouts.columns_of(user, list_columns.PAGE, list_columns.KEYS, list_columns.PINNED)
    keys = [*chosen, *(key for key in list_columns.KEYS if key not in chosen)]
    return [
        Choice(key, list_columns.BY_KEY[key].title, key in chosen)
        for key in keys
        if key != list_columns.PINNED
    ]


@dataclass(frozen=True)
class View:
    """A saved view as the user sees it. `current`: the list shows it now; `own`: the user may delete it."""

    pk: int
    name: str
    address: str
    shared: str
    current: bool
    own: bool


@dataclass(frozen=True)
class Views:
    """The user's views, and with whom a new one may be shared. `query`: what would be saved."""

    found: list[View]
    projects: list[Project]
    everybody: bool
    query: str


def views(request: HttpRequest) -> Views:
    """For the menu above the list, in two queries."""
    query = request.GET.urlencode()
    found = [_view(view, request) for view in saved_views.visible(request.user, list_columns.PAGE)]
    shareable = list(saved_views.shareable(request.user)[:100])
    return Views(found, shareable, request.user.is_superuser, query)


def _view(view: SavedView, request: HttpRequest) -> View:
    shared = ""
    if view.everybody:
        shared = _("everybody")
    elif view.project is not None:
        shared = view.project.name
    own = view.user_id == request.user.pk
    if not own:
        shared = f"{shared} · {view.user}"
    current = view.query == request.GET.urlencode() and bool(view.query)
    return View(view.pk, view.name, f"?{view.query}", shared, current, own or request.user.is_superuser)


def urls(model_admin: "InstanceAdmin", view: Callable[..., Any]) -> list[URLPattern]:
    """Addresses of what is posted here; each leads back to the list that it came from."""

    @require_POST
    def download(request: HttpRequest) -> HttpResponseBase:
        return list_export.download(request, model_admin.get_queryset(request))

    @require_GET
    def found(request: HttpRequest, field: str) -> HttpResponse:
        if field not in InstanceFilter.FOUND or not model_admin.has_view_permission(request):
            raise Http404
        one: Any = InstanceFilter(request, QueryDict()).fields[field]
        return finding.answer(request, one)

    return [
        path("find/<str:field>/", view(found), name="instances_instance_find"),
        path("columns/", view(_arrange), name="instances_instance_columns"),
        path("views/", view(_save), name="instances_instance_views"),
        path("views/<int:pk>/delete/", view(_delete), name="instances_instance_view_delete"),
        path("download/", view(download), name="instances_instance_download"),
    ]


def _back(request: HttpRequest) -> HttpResponse:
    query = request.POST.get("query", "")
    return redirect(f"{redirect(LIST).url}{'?' if query else ''}{query}")


@require_POST
def _arrange(request: HttpRequest) -> HttpResponse:
    if "reset" in request.POST:
        layouts.reset(request.user, list_columns.PAGE)
        return _back(request)
    try:
        layouts.arrange(
            signed_in(request), list_columns.PAGE, request.POST.getlist("column"), list_columns.KEYS
        )
    except ValueError as error:
        messages.error(request, str(error))
    return _back(request)


@require_POST
def _save(request: HttpRequest) -> HttpResponse:
    asked = request.POST
    try:
        view = saved_views.save(
            signed_in(request),
            list_columns.PAGE,
            asked.get("name", ""),
            asked.get("query", ""),
            asked.get("share", ""),
        )
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return _back(request)
    messages.success(request, _("The view “%(name)s” is saved.") % {"name": view.name})
    return redirect(f"{redirect(LIST).url}?{view.query}")


@require_POST
def _delete(request: HttpRequest, pk: int) -> HttpResponse:
    if not saved_views.delete(request.user, list_columns.PAGE, pk):
        messages.error(request, _("There is no such view of yours."))
    return _back(request)
