"""Access keys: made, named and revoked by those whose they are. The secret is shown once, on the page that answers its making."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from weops.console.scoped import ScopedAdmin, signed_in
from weops.projects import access, keys
from weops.projects.models import AccessKey


class KeyForm(forms.ModelForm):
    revoke = forms.BooleanField(
        required=False,
        label=_("Revoke this key"),
        help_text=_("Nothing that is signed with it is accepted from then on. This cannot be taken back."),
    )

    class Meta:
        model = AccessKey
        fields = ("name", "user")


@admin.register(AccessKey)
class AccessKeyAdmin(ScopedAdmin):
    """Everybody sees their own; superusers see all."""

    form = KeyForm
    project_path = None
    list_display = ("name_cell", "secret_id", "user", "state_cell", "created_at", "last_used_at")
    list_display_links = ("name_cell",)
    list_select_related = ("user",)
    search_fields = ("name", "secret_id", "user__username")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        return rows if access.is_superuser(request.user) else rows.filter(user=signed_in(request))

    def _may(self, request: HttpRequest, obj: Model | None = None) -> bool:
        if not (request.user.is_active and request.user.is_staff):
            return False
        own = not isinstance(obj, AccessKey) or obj.user_id == request.user.pk
        return own or access.is_superuser(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # What has signed requests stays on the list, revoked.
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("name", "user") if access.is_superuser(request.user) else ("name",)
        told = ("user", "secret_id", "created_at", "last_used_at")
        return ("name", *told, "revoked_at" if obj.revoked_at else "revoke")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ("user", "secret_id", "created_at", "last_used_at", "revoked_at") if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=["name"])
            if form.cleaned_data.get("revoke"):
                keys.revoke(obj)
            return
        pair = keys.create(obj.user if obj.user_id else signed_in(request), obj.name)
        obj.pk = pair.key.pk
        obj.refresh_from_db()
        obj.made_pair = pair

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """No redirect: what a message or an address carried would lie in a cookie or a history."""
        context = {
            **self.admin_site.each_context(request),
            "pair": obj.made_pair,
            "title": _("The key is made"),
        }
        response = TemplateResponse(request, "projects/key_made.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description=_("Name"))
    def name_cell(self, key: AccessKey) -> str:
        return str(key)

    @admin.display(description=_("State"))
    def state_cell(self, key: AccessKey) -> str:
        return str(_("Revoked") if key.revoked_at else _("In force"))
