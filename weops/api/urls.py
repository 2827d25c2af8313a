"""Addresses of the REST API."""

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.routers import SimpleRouter

from events.api import views as events
from instances.api import backfill_views, instance_views, operation_views, overview, problems, task_views
from weops.alarms.api import views as alarms
from weops.api import schema_extensions, views
from weops.api.docs import docs
from weops.projects.api import views as projects

# Importing them tells how the exceptions of operations look, and how callers show who they are. Workers and beat, which
# have no addresses, do without REST framework in their memory.
_REGISTERED = (problems, schema_extensions)

# Looked through in this order: what is asked for most comes first.
_NOUNS = (
    ("instances", instance_views.Instances),
    ("executions", instance_views.Executions),
    ("projects", projects.Projects),
    ("members", projects.Members),
    ("folders", projects.Folders),
    ("resource-groups", projects.ResourceGroups),
    ("calendars", projects.Calendars),
    ("secrets", projects.Secrets),
    ("data-sources", projects.DataSources),
    ("users", projects.Users),
    ("workflows", task_views.Workflows),
    ("tasks/operations", task_views.TaskOperations),
    ("tasks", task_views.Tasks),
    ("versions", task_views.Versions),
    ("dependencies", task_views.Dependencies),
    (r"operations/(?P<operation>[0-9]{1,18})/outcomes", operation_views.Outcomes),
    ("operations", operation_views.Operations),
    (r"backfills/(?P<plan>[0-9]{1,18})/runs", backfill_views.BackfillRuns),
    ("backfills", backfill_views.Backfills),
    ("overview", overview.Overview),
    ("blockers", overview.Blockers),
    ("events", events.Events),
    ("listeners", events.Listeners),
    (r"event-instances/(?P<event_instance>[0-9]{1,18})/consumptions", events.Consumptions),
    ("event-instances", events.EventInstances),
    ("near-misses", events.NearMisses),
    ("alarm-rules", alarms.AlarmRules),
    ("alarm-channels", alarms.AlarmChannels),
    ("alarm-messages", alarms.AlarmMessages),
)


class Router(SimpleRouter):
    """Numbers only; whole rows are never replaced, so that there is no PUT."""

    routes = [route._replace(mapping={m: a for m, a in route.mapping.items() if m != "put"})
              if hasattr(route, "mapping") else route for route in SimpleRouter.routes]  # fmt: skip


router = Router()
for prefix, view in _NOUNS:
    view.lookup_value_regex = "[0-9]{1,18}"
    name = prefix.split("/")[0] + ("-" + prefix.rsplit("/", 1)[1] if "/" in prefix else "")
    router.register(prefix, view, basename=name)

app_name = "api"
urlpatterns = [
    path("v1/", include(router.urls)),
    path("schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs/", docs, name="docs"),
    re_path(r"^.*$", views.not_found, name="missing"),
]
