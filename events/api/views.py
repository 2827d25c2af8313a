"""REST: events, who listens, firing them, event instances with their consumers, near misses."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from events import firing, formats, near_misses, words
from events.api import serializers as shapes
from events.definitions import EVENTS
from events.filters import EventInstanceFilter
from events.firing import Entry, FiringError
from events.formats import DataTimeError, EventCycle
from events.models import Consumption, Event, EventInstance, Listener, Source, Stray
from weops.api.errors import Problem, explains
from weops.api.filtering import FormFilters
from weops.api.filtersets import ByColumn, IdFilter
from weops.api.views import Actions, Defined, Listed, Rows, read_body, user_of
from weops.console.paging import time_limit
from weops.projects import access
from weops.projects.access import Right
from weops.projects.defining import require
from weops.projects.models import Project

READ = ("get", "head", "options")
NEAR_MISS_SECONDS = 10


@explains(FiringError)
def _firing(error: FiringError) -> Problem:
    return Problem(400, "invalid", str(error), errors=(("firings", str(error)),))


@explains(DataTimeError)
def _data_time(error: DataTimeError) -> Problem:
    said = words.told(error)
    return Problem(400, "invalid", said, errors=(("data_time", said),))


class Events(Defined):
    """Events of your projects."""

    queryset = Event.objects.select_related("project", "owner")
    serializer_class = shapes.EventSerializer
    rules = EVENTS
    filterset_fields = ("project", "name", "cycle", "delivery")

    @extend_schema(request=shapes.FireSerializer, responses=shapes.FiredSerializer)
    @action(methods=["post"], detail=False)
    def fire(self, request: Request) -> Response:
        """Fires events of one project, up to 100,000 data times in one call. What cannot be meant is refused one by one."""
        sent = read_body(shapes.FireSerializer, request).validated_data
        user = user_of(request)
        project = _project(user, sent["project"])
        require(user, project, Right.OPERATE)
        fired = firing.fire(
            project,
            _entries(project, sent["firings"]),
            source=Source.API,
            user=user,
            request_id=sent["request_id"],
        )
        return Response(shapes.FiredSerializer(fired).data)


def _project(user: Any, pk: int) -> Project:
    return get_object_or_404(access.projects_with(user, Right.VIEW), pk=pk)


def _entries(project: Project, given: list[dict[str, str]]) -> list[Entry]:
    """(name, data time) of each, ranges spread out. Raises DataTimeError, FiringError."""
    cycles: dict[str, str] = {}
    if any("last" in one for one in given):
        cycles = dict(Event.objects.filter(project=project).values_list("name", "cycle"))
    found: list[Entry] = []
    for one in given:
        name, first, last = one["event"], one["data_time"], one.get("last")
        if last is None or name not in cycles:
            found.append((name, first))
        else:
            found += [(name, text) for text in formats.span(first, last, EventCycle(cycles[name]))]
        if len(found) > firing.MOST_ENTRIES:
            said = _("Fire at most %(most)s events in one call.")
            raise FiringError(said % {"most": f"{firing.MOST_ENTRIES:,}"})
    return found


class ListenerFilters(ByColumn):
    project = IdFilter("event__project")

    class Meta:
        model = Listener
        fields = ("event", "task")


class Listeners(Rows):
    """Which tasks listen to which events. They are changed with their task."""

    queryset = Listener.objects.select_related("event", "task__workflow")
    serializer_class = shapes.ListenerSerializer
    project_path = "event__project_id"
    filterset_class = ListenerFilters
    http_method_names = READ

    def get_serializer_context(self) -> dict[str, Any]:
        return {
            **super().get_serializer_context(),
            "visible": access.project_ids(self.request.user, Right.VIEW),
        }


class EventInstances(Rows):
    """Firings, one for each data time. The filters are those of the list in the admin."""

    queryset = EventInstance.objects.select_related("event", "firing")
    serializer_class = shapes.EventInstanceSerializer
    project_path = "event__project_id"
    filter_backends = [FormFilters]
    filter_form = EventInstanceFilter
    order = ("-id",)
    slow = True
    http_method_names = READ


class Consumptions(Listed):
    """Which instances consumed an event instance."""

    queryset = Consumption.objects.select_related("instance__task")
    serializer_class = shapes.ConsumptionSerializer
    order = ("instance_id",)
    filterset_fields = ()
    http_method_names = READ

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        seen = access.within(EventInstance.objects.all(), self.request.user, "event__project_id")
        return rows.filter(event_instance=get_object_or_404(seen, pk=self.kwargs["event_instance"]))

    def get_serializer_context(self) -> dict[str, Any]:
        return {
            **super().get_serializer_context(),
            "visible": access.project_ids(self.request.user, Right.VIEW),
        }


class NearMisses(Actions):
    """Firings that nobody listened to, next to what they may have meant."""

    @extend_schema(responses=shapes.NearMissSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Those of the last two weeks, the newest first."""
        with time_limit(NEAR_MISS_SECONDS):
            found = near_misses.find(access.project_ids(user_of(request), Right.VIEW))
        return Response(shapes.NearMissSerializer(found, many=True).data)

    @extend_schema(request=shapes.FireAsMeantSerializer, responses=shapes.FiredSerializer)
    @action(methods=["post"], detail=False)
    def fire(self, request: Request) -> Response:
        """Fires what was meant, once, and takes a stray out of the inbox."""
        sent = read_body(shapes.FireAsMeantSerializer, request).validated_data
        user = user_of(request)
        seen = access.within(Event.objects.select_related("project"), user, "project_id")
        event = get_object_or_404(seen, pk=sent["event"])
        require(user, event.project, Right.OPERATE)
        fired = near_misses.fire_as_meant(sent["kind"], sent["id"], event, sent["data_time"], user)
        return Response(shapes.FiredSerializer(fired).data)

    @extend_schema(request=shapes.DismissSerializer, responses={204: None})
    @action(methods=["post"], detail=False)
    def dismiss(self, request: Request) -> Response:
        """Takes a stray out of the inbox; with `alike` all of its project and name."""
        sent = read_body(shapes.DismissSerializer, request).validated_data
        user = user_of(request)
        rows = Stray.objects.select_related("firing").filter(resolved_at__isnull=True)
        stray = access.within(rows, user, "firing__project_id").filter(pk=sent["id"]).first()
        if stray is None:
            raise Http404
        require(user, stray.firing.project_id, Right.OPERATE)
        if sent["alike"]:
            near_misses.dismiss_alike(stray, user)
        else:
            near_misses.dismiss(stray.pk, user)
        return Response(status=status.HTTP_204_NO_CONTENT)
