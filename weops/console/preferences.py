"""The language and the time zone that each user reads the console in (docs/adr/0026-zones-and-languages.md)."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from instances.engine.zone import zone_names, zone_problem
from weops.console.language import in_console
from weops.console.models import Preference
from weops.console.present import known_zone
from weops.console.scoped import signed_in


@dataclass(frozen=True)
class Chosen:
    """`language` None: as the browser says. `zone` None: the server's."""

    language: str | None = None
    zone: ZoneInfo | None = None


def chosen_by(user: Any) -> Chosen:
    """What the user prefers, as far as it still exists. No query for a user that `JoinedBackend` has read."""
    row = getattr(user, "preference", None)
    if row is None:
        return Chosen()
    language = row.language if row.language in dict(settings.LANGUAGES) else None
    return Chosen(language, known_zone(row.time_zone))


class PreferencesMiddleware:
    """Pages of the console are in the language and the zone of whoever reads them; all else stays as it is.

    Both are put back when the answer is made: the next request of the same thread may be a program's.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not in_console(request):
            return self.get_response(request)
        chosen = chosen_by(request.user)
        with ExitStack() as stack:
            stack.enter_context(timezone.override(chosen.zone))
            if chosen.language:
                stack.enter_context(translation.override(chosen.language))
                request.LANGUAGE_CODE = chosen.language
            response = self.get_response(request)
        if chosen.language:
            response.headers["Content-Language"] = chosen.language
        return response


class PreferencesForm(forms.Form):
    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        required=False,
        choices=[("", gettext_lazy("As the browser says")), *settings.LANGUAGES],
    )
    time_zone = forms.CharField(
        label=gettext_lazy("Time zone"),
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"list": "wo-zones", "autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_time_zone(self) -> str:
        """As the zone is spelled, whatever the case it was written in."""
        text: str = self.cleaned_data["time_zone"].strip().replace(" ", "_")
        if not text:
            return ""
        name = _spelled().get(text.lower(), text)
        if problem := zone_problem(name):
            raise forms.ValidationError(problem)
        return name


def _spelled() -> dict[str, str]:
    return {name.lower(): name for name in zone_names()}


def page(request: HttpRequest) -> HttpResponse:
    """GET: the form; POST: keeps the choice."""
    user = signed_in(request)
    row = Preference.objects.filter(user=user.pk).first()
    initial = {"language": row.language, "time_zone": row.time_zone} if row else {}
    form = PreferencesForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        Preference.objects.update_or_create(user_id=user.pk, defaults=form.cleaned_data)
        with translation.override(form.cleaned_data["language"] or translation.get_language()):
            messages.success(request, _("Your preferences are saved."))
        return redirect("admin:preferences")
    context = {
        **admin.site.each_context(request),
        "title": _("Preferences"),
        "form": form,
        "zones": sorted(name for name in zone_names() if not name.startswith(("posix/", "right/"))),
        "server_zone": timezone.get_default_timezone_name(),
    }
    return TemplateResponse(request, "console/preferences.html", context)
