"""Addresses of the product."""

from django.contrib import admin
from django.urls import include, path

from weops import health
from weops.observe import metrics
from weops.wedata.view import home

admin.autodiscover()

urlpatterns = [
    path("", home, name="home"),
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("api/", include("weops.api.urls")),
    path("metrics", metrics.view, name="metrics"),
    path("admin/", admin.site.urls),
]
