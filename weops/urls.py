"""Addresses of the product."""

from django.contrib import admin
from django.urls import include, path

from weops import health
from weops.console import preferences
from weops.console.choosing import FoundView
from weops.observe import metrics
from weops.wedata.view import home

admin.autodiscover()

# Beside the pages of the models, before the address that answers all others below admin/.
_pages, _app, _namespace = admin.site.urls
_own = [
    path("preferences/", admin.site.admin_view(preferences.page), name="preferences"),
    path(
        "autocomplete/",
        admin.site.admin_view(FoundView.as_view(admin_site=admin.site)),
        name="autocomplete",
    ),
]

urlpatterns = [
    path("", home, name="home"),
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("api/", include("weops.api.urls")),
    path("metrics", metrics.view, name="metrics"),
    path("admin/", ([*_own, *_pages], _app, _namespace)),
]
