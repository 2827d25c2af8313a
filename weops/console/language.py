"""In which language a request is answered."""

from functools import cache

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils import translation


def in_console(request: HttpRequest) -> bool:
    return request.path_info.startswith(_console(get_urlconf(), get_script_prefix()))


@cache
def _console(urlconf: str | None, prefix: str) -> str:
    """Asked for several times a request, it is looked up once."""
    return reverse("admin:index", urlconf)


class ConsoleLocaleMiddleware(LocaleMiddleware):
    """The console speaks the reader's language (cookie, Accept-Language). Programs are always answered in English: what they
    compare, store and log must not depend on a header that their HTTP library happens to send."""

    def process_request(self, request: HttpRequest) -> None:
        if in_console(request):
            super().process_request(request)
        else:
            translation.activate(settings.LANGUAGE_CODE)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        answer = super().process_response(request, response) if in_console(request) else response
        # What this thread does next is not for this reader.
        translation.activate(settings.LANGUAGE_CODE)
        return answer
