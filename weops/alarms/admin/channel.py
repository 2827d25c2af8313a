"""Channels of alarms: their address goes in and never comes out."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminPasswordWidget

from weops.alarms import channels, transport
from weops.alarms.models import Channel
from weops.alarms.testing import send_test_to
from weops.console.scoped import ScopedAdmin, VisibleFilter, signed_in
from weops.projects.access import Right


class ChannelForm(forms.ModelForm):
    address = forms.CharField(
        label=gettext_lazy("Address"),
        required=False,
        max_length=2000,
        widget=UnfoldAdminPasswordWidget(
            render_value=False, attrs={"autocomplete": "off", "spellcheck": "false"}
        ),
        help_text=gettext_lazy(
            "As the service gives it, such as https://hooks.slack.com/services/... Stored encrypted and never shown "
            "again. Leave it empty to keep the present one."
        ),
    )

    class Meta:
        model = Channel
        fields = ("project", "name", "kind", "enabled")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        address, kind = values.get("address", ""), values.get("kind")
        if not address and (not self.instance.pk or "kind" in self.changed_data):
            self.add_error("address", _("Write the channel's address."))
        elif address and kind:
            try:
                transport.shown(kind, address)
            except ValueError as error:
                self.add_error("address", str(error))
        return values


@admin.register(Channel)
class ChannelAdmin(ScopedAdmin):
    form = ChannelForm
    change_form_template = "alarms/channel_form.html"
    view_right = change_right = Right.ADMINISTER
    list_display = ("name", "project", "kind", "shown", "enabled", "updated_at")
    list_filter = (("project", VisibleFilter), "kind")
    list_select_related = ("project",)
    search_fields = ("name",)
    fields = ("project", "name", "kind", "address", "enabled")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("project",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        values = form.cleaned_data
        project = values.get("project") or obj.project
        try:
            channels.save(
                signed_in(request),
                project,
                name=values["name"],
                kind=values["kind"],
                address=values["address"],
                enabled=values["enabled"],
                channel=obj,
            )
        except ValidationError as error:
            # Somebody else took the name meanwhile.
            messages.error(request, " ".join(error.messages))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.test)
        return [path("<int:pk>/test/", view, name="alarms_channel_test"), *super().get_urls()]

    @method_decorator(require_POST)
    def test(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Sends a message to the channel, now, and says how it went."""
        channel = self.get_queryset(request).filter(pk=pk).first() if pk < 2**63 else None
        if channel is None:
            raise Http404(_("There is no such channel, or it is of a project that you cannot administer."))
        if error := send_test_to(channel, signed_in(request), "admin"):
            messages.error(request, f"{channel.name}: {error}")
        else:
            messages.success(request, _("%s: sent.") % channel.name)
        return redirect("admin:alarms_channel_change", channel.pk)
