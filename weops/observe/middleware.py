"""Every request has an id: the caller's X-Request-ID or a new one. It is echoed, logged, and one span if traces are on."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from weops.observe import context, traces

HEADER = "X-Request-ID"


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        identity = context.chosen_id(request.headers.get(HEADER, ""))
        with context.serving(identity), traces.request(request, identity) as span:
            response = self.get_response(request)
            span(response.status_code)
            response.headers[HEADER] = identity
            return response
