"""The page that shows the API and lets one try it: Swagger UI as its package ships it, no file from elsewhere."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import reverse

# Swagger UI draws with inline styles and shows its own icons from data: URLs; no script of its is inline.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DIST = "drf_spectacular_sidecar/swagger-ui-dist"


@login_required(login_url="admin:login")
def docs(request: HttpRequest) -> HttpResponse:
    context = {
        "schema": reverse("api:schema"),
        "styles": static(f"{_DIST}/swagger-ui.css"),
        "bundle": static(f"{_DIST}/swagger-ui-bundle.js"),
        "icon": static(f"{_DIST}/favicon-32x32.png"),
    }
    response = TemplateResponse(request, "api/docs.html", context).render()
    response["Content-Security-Policy"] = POLICY
    return response
