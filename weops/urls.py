"""Addresses of the product."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from weops import health
from weops.observe import metrics

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("api/", include("weops.api.urls")),
    path("metrics", metrics.view, name="metrics"),
    path("admin/", admin.site.urls),
]
