"""API tokens in the admin: made, shown this once, listed with their last use, revoked."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

from weops.api import tokens
from weops.api.models import Token
from weops.console.present import stamp
from weops.console.scoped import ScopedAdmin, signed_in
from weops.projects.access import RIGHT_WORDS, Right, is_superuser


class TokenForm(forms.ModelForm):
    rights = forms.MultipleChoiceField(
        label=_("Rights"),
        choices=[(right.value, capfirst(word)) for right, word in RIGHT_WORDS.items()],
        initial=[Right.VIEW, Right.OPERATE],
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Of your own rights, those that the token has."),
    )
    expires_at = forms.SplitDateTimeField(
        label=_("Expires at"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text=_("Empty: never."),
    )

    class Meta:
        model = Token
        fields = ("name", "rights", "project", "expires_at")

    def clean_expires_at(self) -> Any:
        moment = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise forms.ValidationError(_("This time has passed."))
        return moment


@admin.register(Token)
class TokenAdmin(ScopedAdmin):
    """One's own; superusers see and revoke those of all."""

    project_path = None
    form = TokenForm
    choice_rights = {"project": Right.VIEW}
    list_display = ("name", "user", "rights_cell", "project", "last_used_cell", "expires_cell", "state_cell")
    list_select_related = ("user", "project")
    search_fields = ("name", "user__username")
    fields = ("name", "rights", "project", "expires_at")
    actions = ("revoke_tokens",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        return rows if is_superuser(signed_in(request)) else rows.filter(user=signed_in(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_right(request, Right.VIEW)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        token, text = tokens.issue(
            signed_in(request),
            obj.name,
            rights=[Right(right) for right in obj.rights],
            project=obj.project,
            expires_at=obj.expires_at,
        )
        obj.pk = token.pk
        messages.warning(request, _("Copy the token now, it is never shown again: %s") % text)

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: Any = None) -> HttpResponse:
        return redirect("admin:api_token_changelist")

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke_tokens(self, request: HttpRequest, chosen: QuerySet[Token]) -> None:
        for token in chosen:
            tokens.revoke(token)
            self.log_change(request, token, "Revoked.")
        messages.success(request, _("Revoked; they never count again."))

    @admin.display(description=_("Rights"))
    def rights_cell(self, token: Token) -> str:
        return ", ".join(str(RIGHT_WORDS[Right(right)]) for right in token.rights)

    @admin.display(description=_("Last used"))
    def last_used_cell(self, token: Token) -> SafeString:
        return stamp(token.last_used_at)

    @admin.display(description=_("Expires"))
    def expires_cell(self, token: Token) -> SafeString:
        return stamp(token.expires_at)

    @admin.display(description=_("State"))
    def state_cell(self, token: Token) -> Any:
        if token.revoked_at:
            return _("revoked")
        return _("expired") if token.expires_at and token.expires_at <= timezone.now() else _("in use")
