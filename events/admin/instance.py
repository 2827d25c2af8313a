"""Event instances: the list, who consumed one, firing by hand, and the near-miss inbox. Nothing is edited here."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from events import near_misses
from events.admin import consumption, fire
from events.admin.fire import FireForm
from events.admin.listing import EventInstanceChangeList, listeners_wait
from events.admin.looks import SOURCES, STATE_LOOKS
from events.firing import FiringError
from events.models import Event, EventInstance, Stray
from weops.console.paging import time_limit
from weops.console.present import badge, or_nothing, stamp, zone_name
from weops.console.row_pages import RowPageAdmin
from weops.console.scoped import signed_in
from weops.projects import access
from weops.projects.access import Right

NEAR_MISS_SECONDS = 10


@admin.register(EventInstance)
class EventInstanceAdmin(RowPageAdmin):
    project_path = "event__project_id"
    change_list_template = "events/event_instance_list.html"
    page_template = "events/event_instance_detail.html"
    absent = gettext_lazy("There is no such event instance, or it is of a project that you cannot see.")
    list_disable_select_all = True
    list_select_related = ("event__project", "firing")
    ordering = ("-id",)
    list_display = (
        "event_cell",
        "data_time_cell",
        "cycle_cell",
        "validity_cell",
        "state_cell",
        "triggered_cell",
        "consumed_cell",
        "fired_by_cell",
        "operations_cell",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[EventInstanceChangeList]:
        return EventInstanceChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filter bar's own parameters never come here; any other lookup could scan the table."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {
            "title": _("Event instances"),
            "times_note": _(
                "Trigger and consume times are in %(zone)s; a data time is a wall clock without a zone."
            )
            % {"zone": zone_name()},
            "may_fire": access.has_anywhere(request.user, Right.OPERATE),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # The list

    @admin.display(description=gettext_lazy("Event name"))
    def event_cell(self, row: EventInstance) -> SafeString:
        return format_html(
            '<span class="wo-two-lines"><a class="wo-link wo-time" href="{}">{}</a><span class="wo-dim">{}</span></span>',
            reverse("admin:events_event_change", args=(row.event_id,)),
            row.event.name,
            row.event.project.name,
        )

    @admin.display(description=gettext_lazy("Data time"))
    def data_time_cell(self, row: EventInstance) -> SafeString:
        return data_time(row)

    @admin.display(description=gettext_lazy("Cycle type"))
    def cycle_cell(self, row: EventInstance) -> str:
        return row.event.get_cycle_display()

    @admin.display(description=gettext_lazy("Validity time"))
    def validity_cell(self, row: Any) -> SafeString:
        waits = getattr(row, "listeners_wait", "")
        said = _("listeners wait %(time)s") % {"time": waits} if waits else _("no task listens")
        return format_html(
            '<span class="wo-two-lines"><span>{}</span><span class="wo-dim">{}</span></span>',
            _("lives %(time)s") % {"time": row.event.lives},
            said,
        )

    @admin.display(description=gettext_lazy("Status"))
    def state_cell(self, row: EventInstance) -> SafeString:
        return badge(STATE_LOOKS, row.state)

    @admin.display(description=gettext_lazy("Trigger time"))
    def triggered_cell(self, row: EventInstance) -> SafeString:
        return stamp(row.triggered_at)

    @admin.display(description=gettext_lazy("Consume time"))
    def consumed_cell(self, row: EventInstance) -> SafeString:
        return stamp(row.consumed_at)

    @admin.display(description=gettext_lazy("Fired by"))
    def fired_by_cell(self, row: EventInstance) -> SafeString:
        who: str = row.firing.user_name
        if not who and row.firing.instance_id:
            who = format_html(
                '<a class="wo-link" href="{}">{}</a>',
                reverse("admin:instances_instance_change", args=(row.firing.instance_id,)),
                _("instance #%(id)d") % {"id": row.firing.instance_id},
            )
        return format_html(
            '<span class="wo-two-lines"><span>{}</span><span class="wo-dim">{}</span></span>',
            or_nothing(who),
            SOURCES.get(row.firing.source, row.firing.source),
        )

    @admin.display(description=gettext_lazy("Operations"))
    def operations_cell(self, row: EventInstance) -> SafeString:
        return format_html(
            '<a class="wo-link" href="{}">{}</a> <span class="wo-dim">{}</span>',
            reverse("admin:events_eventinstance_change", args=(row.pk,)),
            _("View consumption task"),
            f"{row.consumers:,}",
        )

    # Pages

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("fire/", view(self.fire), name="events_eventinstance_fire"),
            path("near-misses/", view(self.near_misses), name="events_eventinstance_near_misses"),
            path("near-misses/fire/", view(self.fire_as_meant), name="events_eventinstance_fire_as_meant"),
            path("near-misses/dismiss/", view(self.dismiss), name="events_eventinstance_dismiss"),
            *super().get_urls(),
        ]

    def page_rows(self, request: HttpRequest) -> QuerySet[Any]:
        return super().page_rows(request).select_related("event__project", "event__owner", "firing")

    def page_context(self, request: HttpRequest, row: EventInstance) -> dict[str, Any]:
        return {
            "title": f"{row.event} {row.data_time}",
            "event": row.event,
            "state": badge(STATE_LOOKS, row.state),
            "data_time": data_time(row),
            "listeners_wait": listeners_wait({row.event_id}).get(row.event_id, ""),
            "times": [
                (_("Trigger time"), stamp(row.triggered_at)),
                (_("Consume time"), stamp(row.consumed_at)),
                (_("Expires"), stamp(row.expires_at)),
            ],
            "fired_by": self.fired_by_cell(row),
            "page": consumption.page(row, request.user, request.GET.get("p", "")),
        }

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "title": title, "heading": title}

    def fire(self, request: HttpRequest) -> HttpResponse:
        """The form that fires an event for one data time or a range of them."""
        if not access.has_anywhere(request.user, Right.OPERATE):
            raise PermissionDenied
        if request.method == "POST":
            form = FireForm(request.user, request.POST)
            if form.is_valid() and fire.carry_out(request, form):
                return redirect(
                    f"{reverse('admin:events_eventinstance_changelist')}?q={form.cleaned_data['event'].name}"
                )
        else:
            asked = {"event": request.GET.get("event", ""), "first": request.GET.get("data_time", "")}
            form = FireForm(request.user)
            form.initial.update(asked)
        return TemplateResponse(
            request, "events/fire.html", {**self._context(request, _("Fire an event")), "form": form}
        )

    def near_misses(self, request: HttpRequest) -> HttpResponse:
        """Firings that nobody listened to, next to what they may have meant."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self._context(request, _("Near misses"))
        try:
            with time_limit(NEAR_MISS_SECONDS):
                context["found"] = near_misses.find(access.project_ids(request.user, Right.VIEW))
        except OperationalError:
            context["problem"] = _("The database needed more than %(seconds)d seconds; try again later.") % {
                "seconds": NEAR_MISS_SECONDS
            }
        operable = access.project_ids(request.user, Right.OPERATE)
        context |= {"operable": operable, "everywhere": operable is None, "days": near_misses.DAYS}
        return TemplateResponse(request, "events/near_misses.html", context)

    @method_decorator(require_POST)
    def fire_as_meant(self, request: HttpRequest) -> HttpResponse:
        sent = request.POST
        event = Event.objects.select_related("project").filter(pk=_number(sent.get("event"))).first()
        kind = sent.get("kind", "")
        if event is None or kind not in (near_misses.STRAY, near_misses.IDLE):
            return HttpResponseBadRequest(
                _("There is no such event."), content_type="text/plain; charset=utf-8"
            )
        fire.may_fire(request.user, event)
        try:
            fired = near_misses.fire_as_meant(
                kind, _number(sent.get("pk")), event, sent.get("data_time", ""), signed_in(request)
            )
        except FiringError as error:
            messages.error(request, str(error))
        else:
            fire.tell(request, event, fired)
        return redirect("admin:events_eventinstance_near_misses")

    @method_decorator(require_POST)
    def dismiss(self, request: HttpRequest) -> HttpResponse:
        stray = (
            Stray.objects.select_related("firing__project").filter(pk=_number(request.POST.get("pk"))).first()
        )
        if stray is None or Right.VIEW not in access.rights(request.user, stray.firing.project_id):
            raise Http404(_("There is no such firing, or it is of a project that you cannot see."))
        if Right.OPERATE not in access.rights(request.user, stray.firing.project_id):
            raise PermissionDenied(
                _("You do not have the right to operate in project %s.") % stray.firing.project
            )
        if "alike" in request.POST:
            count = near_misses.dismiss_alike(stray, signed_in(request))
            said = ngettext(
                "%(count)s firing of %(event)s is out of the inbox.",
                "%(count)s firings of %(event)s are out of the inbox.",
                count,
            )
            messages.success(request, said % {"event": stray.name, "count": f"{count:,}"})
        elif near_misses.dismiss(stray.pk, signed_in(request)):
            messages.success(request, _("%(event)s is out of the inbox.") % {"event": stray.name})
        return redirect("admin:events_eventinstance_near_misses")


def _number(text: str | None) -> int:
    """A row's number; 0, which no row has, for anything else."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 18 else 0


def data_time(row: EventInstance) -> SafeString:
    """As it was fired, with the clock it stands for beside it."""
    return format_html(
        '<span class="wo-two-lines"><span class="wo-time">{}</span><span class="wo-dim">{}</span></span>',
        row.data_time,
        f"{row.moment:%Y-%m-%d %H:%M:%S}",
    )
