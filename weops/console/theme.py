"""The look of the admin: names, colours, navigation. `settings.UNFOLD` is this dictionary."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


def _file(path: str) -> Callable[[HttpRequest], str]:
    return lambda request: static(path)


def may_see(model_label: str) -> Callable[[HttpRequest], bool]:
    """A sidebar link shows if the model's admin lets this user view or change it."""

    def permitted(request: HttpRequest) -> bool:
        from django.apps import apps
        from django.contrib import admin

        registered = admin.site._registry.get(apps.get_model(model_label))
        return registered is not None and registered.has_view_or_change_permission(request)

    return permitted


def _link(title: Any, icon: str, model_label: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model_label.replace('.', '_').lower()}_changelist"),
        "permission": may_see(model_label),
    }


# Pages with links of their own whose addresses lie below that of the instances.
_BESIDE = ("/blockers/", "/gantt/", "/grid/")


def _among_instances(request: HttpRequest) -> bool:
    return "/instances/instance/" in request.path and not request.path.endswith(_BESIDE)


def _beside(title: Any, icon: str, name: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:instances_instance_{name}"),
        "permission": may_see("instances.Instance"),
    }


def _among_event_instances(request: HttpRequest) -> bool:
    """Near misses, whose address lies below, have a link of their own."""
    return "/events/eventinstance/" in request.path and "/near-misses/" not in request.path


_NAVIGATION: list[dict[str, Any]] = [
    {
        "title": pgettext_lazy("part of the menu", "Operations"),
        "items": [
            {"title": _("Overview"), "icon": "monitoring", "link": reverse_lazy("admin:index")},
            {**_link(_("Instances"), "view_list", "instances.Instance"), "active": _among_instances},
            _beside(_("Blockers"), "block", "blockers"),
            _beside(_("Time line"), "view_timeline", "gantt"),
            _beside(_("Grid"), "grid_on", "grid"),
            _link(_("Backfill plans"), "date_range", "instances.BackfillPlan"),
            _link(_("Operation records"), "history", "instances.OperationRecord"),
            _link(_("Alarm messages"), "notifications_active", "alarms.Message"),
            {
                **_link(_("Event instances"), "notifications", "events.EventInstance"),
                "active": _among_event_instances,
            },
            {
                "title": _("Near misses"),
                "icon": "notification_important",
                "link": reverse_lazy("admin:events_eventinstance_near_misses"),
                "permission": may_see("events.EventInstance"),
            },
        ],
    },
    {
        "title": _("Definitions"),
        "separator": True,
        "items": [
            _link(_("Projects"), "deployed_code", "projects.Project"),
            _link(_("Workflows"), "account_tree", "instances.Workflow"),
            _link(_("Tasks"), "task", "instances.Task"),
            _link(_("Events"), "campaign", "events.Event"),
            _link(_("Folders"), "folder", "projects.Folder"),
            _link(_("Calendars"), "calendar_month", "projects.Calendar"),
            _link(_("Data sources"), "database", "projects.DataSource"),
            _link(_("Alarm rules"), "add_alert", "alarms.Rule"),
            _link(_("Alarm channels"), "forum", "alarms.Channel"),
            _link(_("Secrets"), "key", "projects.Secret"),
        ],
    },
    {
        "title": _("System"),
        "separator": True,
        "items": [
            _link(_("Resource groups"), "tune", "projects.ResourceGroup"),
            _link(_("Workers"), "memory", "instances.WorkerProcess"),
            _link(_("API tokens"), "vpn_key", "api.Token"),
            _link(_("Access keys"), "encrypted", "projects.AccessKey"),
            _link(_("Users"), "person", "auth.User"),
            _link(_("Groups"), "group", "auth.Group"),
        ],
    },
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """What this user may see. Asked here, since the theme makes a class for each permission on each page."""
    return [
        {
            **group,
            "items": [
                {key: value for key, value in item.items() if key != "permission"}
                for item in group["items"]
                if "permission" not in item or item["permission"](request)
            ],
        }
        for group in _NAVIGATION
    ]


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "WeOps",
    "SITE_HEADER": "WeOps",
    "SITE_SUBHEADER": _("Operations center"),
    "SITE_SYMBOL": "schedule",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _file("console/favicon.svg")}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": False,
    "BORDER_RADIUS": "6px",
    "STYLES": [_file("console/weops.css")],
    "SCRIPTS": [_file("console/shell.js")],
    "ACCOUNT": {
        "navigation": [
            {"title": _("Preferences"), "link": reverse_lazy("admin:preferences")},
            {"title": _("Change password"), "link": reverse_lazy("admin:password_change")},
        ],
    },
    "DASHBOARD_CALLBACK": "weops.console.dashboard.dashboard",
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.6)",
            "100": "oklch(93.2% .032 255.6)",
            "200": "oklch(88.2% .059 254.1)",
            "300": "oklch(80.9% .105 251.8)",
            "400": "oklch(70.7% .165 254.6)",
            "500": "oklch(62.3% .214 259.8)",
            "600": "oklch(54.6% .245 262.9)",
            "700": "oklch(48.8% .243 264.4)",
            "800": "oklch(42.4% .199 265.6)",
            "900": "oklch(37.9% .146 265.5)",
            "950": "oklch(28.2% .091 267.9)",
        },
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": navigation,
    },
}
