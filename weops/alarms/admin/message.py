"""Alarm messages: the list, one with its deliveries, and that somebody takes care of it."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from instances.models import Instance
from weops.alarms import kept
from weops.alarms import messages as alarms
from weops.alarms.filters import MessageFilter
from weops.alarms.kinds import Level, Sending
from weops.alarms.models import Message
from weops.console.changelist import FilteredChangeList
from weops.console.present import Look, badge, clock, or_nothing, plain_time, stamp, zone_name
from weops.console.row_pages import RowPageAdmin
from weops.console.scoped import signed_in
from weops.projects import access
from weops.projects.access import Right

STATES: dict[str, Look] = {
    Sending.TO_SEND.value: Look("cyan", "schedule_send", Sending.TO_SEND.label),
    Sending.SENT.value: Look("green", "mark_email_read", Sending.SENT.label),
    Sending.FAILED.value: Look("red", "unsubscribe", Sending.FAILED.label),
}
LEVELS = {
    "1": Look("grey", "notifications", Level.NORMAL.label),
    "2": Look("amber", "notification_important", Level.IMPORTANT.label),
    "3": Look("red", "e911_emergency", Level.URGENT.label),
}


class MessageChangeList(FilteredChangeList):
    filter_class = MessageFilter

    def before(self, rows: QuerySet[Message], mark: str) -> QuerySet[Message]:
        if not mark.isdecimal() or len(mark) > 18:
            raise ValueError(f"{mark!r} is no mark of a page.")
        return rows.filter(pk__lt=int(mark))

    def mark(self, row: Message) -> str:
        return str(row.pk)


@admin.register(Message)
class MessageAdmin(RowPageAdmin):
    change_list_template = "alarms/message_list.html"
    page_template = "alarms/message_detail.html"
    absent = gettext_lazy("There is no such message, or it is of a project that you cannot see.")
    list_select_related = ("project", "acknowledged_by")
    ordering = ("-id",)
    actions = ("acknowledge_chosen",)
    list_display = (
        "found_cell",
        "level_cell",
        "task_cell",
        "reason_cell",
        "state_cell",
        "receivers_cell",
        "care_cell",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MessageChangeList]:
        return MessageChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filter bar's own parameters never come here; any other lookup could scan the table."""
        return False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if access.has_anywhere(request.user, Right.OPERATE) else {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {
            "title": _("Alarm messages"),
            "times_note": _("Times, also those of the filters, are in %(zone)s.") % {"zone": zone_name()},
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=gettext_lazy("Found"))
    def found_cell(self, row: Message) -> SafeString:
        address = reverse("admin:alarms_message_change", args=(row.pk,))
        return format_html('<a class="wo-link" href="{}">{}</a>', address, stamp(row.created_at))

    @admin.display(description=gettext_lazy("Level"))
    def level_cell(self, row: Message) -> SafeString:
        return badge(LEVELS, str(row.level))

    @admin.display(description=gettext_lazy("Instance"))
    def task_cell(self, row: Message) -> SafeString:
        return format_html(
            '<span class="wo-two-lines"><a class="wo-link" href="{}">{}</a><span class="wo-dim">{}, {}</span></span>',
            reverse("admin:instances_instance_change", args=(row.instance_id,)),
            row.task_name,
            clock(row.data_time, row.timezone),
            row.project.name,
        )

    @admin.display(description=gettext_lazy("Alarm"))
    def reason_cell(self, row: Message) -> SafeString:
        said = Truncator(kept.reason(row.reason)).chars(160)
        return format_html(
            '<span class="wo-two-lines"><span>{}</span><span class="wo-dim">{}, {}</span></span>',
            said,
            row.get_kind_display(),
            row.rule_name,
        )

    @admin.display(description=gettext_lazy("State"))
    def state_cell(self, row: Message) -> SafeString:
        return badge(STATES, row.state, title=kept.error(row.error))

    @admin.display(description=gettext_lazy("Told"))
    def receivers_cell(self, row: Message) -> Any:
        return or_nothing(", ".join(row.receivers[:3]) + (" …" if len(row.receivers) > 3 else ""))

    @admin.display(description=gettext_lazy("Taken care of by"))
    def care_cell(self, row: Message) -> Any:
        return or_nothing(_care(row))

    @admin.action(description=gettext_lazy("Acknowledge"))
    def acknowledge_chosen(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        self._acknowledge(request, list(queryset.values_list("pk", flat=True)))

    def _acknowledge(self, request: HttpRequest, ids: list[int]) -> None:
        count = alarms.acknowledge(signed_in(request), ids)
        said = ngettext("%d message is acknowledged.", "%d messages are acknowledged.", count) % count
        (messages.success if count else messages.warning)(request, said)

    # One message

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.acknowledge)
        return [path("<int:pk>/acknowledge/", view, name="alarms_message_acknowledge"), *super().get_urls()]

    def page_rows(self, request: HttpRequest) -> QuerySet[Any]:
        return super().page_rows(request).select_related("project", "acknowledged_by")

    def page_context(self, request: HttpRequest, row: Message) -> dict[str, Any]:
        deliveries = [
            {
                "where": one.address
                or (one.channel.name if one.channel else _("a channel that was deleted")),
                "state": badge(STATES, one.state),
                "attempts": one.attempts,
                "when": stamp(one.sent_at or (one.next_at if one.state == Sending.TO_SEND else None)),
                "error": kept.error(one.error),
            }
            for one in row.deliveries.select_related("channel").defer("channel__ciphertext")[:200]
        ]
        return {
            "title": f"{row.task_name}: {row.get_kind_display()}",
            "level": badge(LEVELS, str(row.level)),
            "state": badge(STATES, row.state),
            "reason": kept.reason(row.reason),
            "error": kept.error(row.error),
            "care": _care(row),
            "data_time": clock(row.data_time, row.timezone),
            "times": [
                (_("Found"), stamp(row.created_at)),
                (_("Limit"), stamp(row.limit_at)),
                (_("Last told"), stamp(row.sent_at)),
            ],
            "instance_is_there": Instance.objects.filter(pk=row.instance_id).exists(),
            "deliveries": deliveries,
            "may_acknowledge": row.acknowledged_at is None
            and Right.OPERATE in access.rights(request.user, row.project_id),
        }

    @method_decorator(require_POST)
    def acknowledge(self, request: HttpRequest, pk: int) -> HttpResponse:
        row = self.visible(request, pk)
        if Right.OPERATE not in access.rights(request.user, row.project_id):
            raise PermissionDenied(_("You do not have the right to operate in project %s.") % row.project)
        self._acknowledge(request, [row.pk])
        return redirect("admin:alarms_message_change", row.pk)


def _care(row: Message) -> str:
    if row.acknowledged_at is None:
        return ""
    who = row.acknowledged_by.get_username() if row.acknowledged_by else _("somebody who left")
    return f"{who}, {plain_time(row.acknowledged_at)}"
