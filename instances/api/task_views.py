"""REST: workflows, tasks, their versions, dependencies, and operations on tasks."""

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from instances import definitions, task_operations
from instances.api import definition_serializers as shapes
from instances.api.insight_serializers import GridSerializer
from instances.api.version_serializers import (
    ComparisonSerializer,
    RestoreSerializer,
    TrialSerializer,
    edited_by,
)
from instances.insight import versions
from instances.insight.grid import grid
from instances.insight.names import Names
from instances.models import Dependency, Task, TaskVersion, Workflow
from instances.operations.parsing import flag, only
from instances.run_once import RunOnce, run_once
from instances.task_definitions import TASKS, WORKFLOWS
from instances.task_operations import ChangeOwner, Outcome, Pause, Resume, Submit, TakeOffline, TaskOperation
from instances.task_versions import RestoreVersion, restore
from instances.trial_run import TrialRun, start
from weops.api.errors import Wrong
from weops.api.fields import LARGEST, Choice, WithReason
from weops.api.filtersets import ByColumn, IdFilter, PartOfName
from weops.api.views import LIST_SECONDS, SOURCE, Actions, Defined, Rows, number, read_body, user_of
from weops.console.paging import time_limit
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Secret


class WorkflowFilters(ByColumn):
    q = PartOfName()

    class Meta:
        model = Workflow
        fields = ("project", "folder", "name", "owner")


class Workflows(Defined):
    """Workflows hold tasks."""

    queryset = Workflow.objects.select_related("project", "owner")
    serializer_class = shapes.WorkflowSerializer
    rules = WORKFLOWS
    filterset_class = WorkflowFilters


class RunOnceSerializer(WithReason):
    data_time = serializers.DateTimeField(
        required=False, allow_null=True, help_text="With its zone; by default now."
    )
    check_parents = serializers.BooleanField(required=False, default=False)
    parameters = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False), required=False
    )


class OutcomeSerializer(serializers.Serializer):
    """What became of one task: `operation` is its record; refused, `message` says why."""

    task = serializers.IntegerField(source="task_id")
    name = serializers.CharField()
    done = serializers.BooleanField()
    message = serializers.CharField()
    operation = serializers.SerializerMethodField()

    def get_operation(self, outcome: Outcome) -> int | None:
        return outcome.record.pk if outcome.record else None


class TaskFilters(ByColumn):
    project = IdFilter("workflow__project")
    q = PartOfName()

    class Meta:
        model = Task
        fields = {
            "id": ["in"],
            "workflow": ["exact"],
            "for_each": ["exact"],
            "folder": ["exact"],
            "name": ["exact"],
            "status": ["exact"],
            "task_type": ["exact"],
            "cycle_type": ["exact"],
            "owner": ["exact"],
            "resource_group": ["exact"],
        }


class Tasks(Defined):
    """Tasks, as they are saved. What runs is the submitted version: send `submit` with a change, or submit it later."""

    queryset = Task.objects.select_related(
        "workflow__project", "owner", "resource_group", "calendar", "current_version"
    )
    rules = TASKS
    project_path = "workflow__project_id"
    filterset_class = TaskFilters

    def get_serializer_class(self) -> Any:
        return shapes.TaskSerializer if self.action == "list" else shapes.TaskDetailSerializer

    def rows(self) -> Any:
        rows = super().rows()
        if self.action == "list":
            rows = rows.defer(*(f"current_version__{name}" for name in ("code", "parameters", "definition")))
            return rows if "code" in (self._wanted() or ()) else rows.defer("code")
        waits = Prefetch(
            "dependencies", Dependency.objects.select_related("upstream__workflow").order_by("id")
        )
        secrets = Prefetch("secrets", Secret.objects.only("pk").order_by("pk"))
        return rows.prefetch_related(waits, secrets, "listeners__event", "emitters__event")

    def before_locking(self) -> None:
        definitions.lock_dependencies()

    def make(self, values: dict[str, Any]) -> Task:
        submit, note = values.pop("submit", False), values.pop("note", "")
        return TASKS.create(values, user=user_of(self.request), source=SOURCE, submit=submit, note=note)

    def change(self, row: Task, values: dict[str, Any]) -> None:
        submit, note = values.pop("submit", False), values.pop("note", "")
        TASKS.update(row, values, user=user_of(self.request), source=SOURCE, submit=submit, note=note)

    @extend_schema(request=RunOnceSerializer, responses={201: OutcomeSerializer})
    @action(methods=["post"], detail=True)
    def run(self, request: Request, **kwargs: Any) -> Response:
        """Runs the task once, now, outside its schedule: no parent is waited for and none is falsified."""
        task = self.get_object()
        sent = read_body(RunOnceSerializer, request)
        values = sent.validated_data
        operation = RunOnce(
            data_time=values.get("data_time"),
            check_parents=values["check_parents"],
            parameters=values.get("parameters", {}),
        )
        outcome = run_once(operation, task.pk, user=user_of(request), source=SOURCE, reason=values["reason"])
        return _begun(outcome, operation, task, request)

    @extend_schema(request=RestoreSerializer, responses={201: OutcomeSerializer})
    @action(methods=["post"], detail=True)
    def restore(self, request: Request, **kwargs: Any) -> Response:
        """Saves what a version defined and submits it, as a new version."""
        task = self.get_object()
        sent = read_body(RestoreSerializer, request).validated_data
        operation = RestoreVersion(sent["number"])
        outcome = restore(operation, task.pk, user=user_of(request), source=SOURCE, reason=sent["reason"])
        return _begun(outcome, operation, task, request)

    @extend_schema(request=TrialSerializer, responses={201: OutcomeSerializer})
    @action(methods=["post"], detail=True)
    def test(self, request: Request, **kwargs: Any) -> Response:
        """A test run of what is saved, with `changes`, or of a version: no schedule, dependency, event, alarm or figure knows of
        it. The operation's outcome names the instance, whose log can be followed."""
        task = self.get_object()
        sent = read_body(TrialSerializer, request).validated_data
        operation = TrialRun(
            edited=None if sent.get("version") else edited_by(task, sent.get("changes", {})),
            number=sent.get("version"),
            data_time=sent.get("data_time"),
            parameters=sent.get("parameters", {}),
        )
        outcome = start(operation, task.pk, user=user_of(request), source=SOURCE, reason=sent["reason"])
        return _begun(outcome, operation, task, request)

    @extend_schema(
        responses=GridSerializer,
        filters=True,
        parameters=[
            OpenApiParameter("page", {"type": "integer", "minimum": 1, "default": 1}),
            OpenApiParameter("before", OpenApiTypes.DATETIME, description="Data times before this one."),
        ],
    )
    @action(detail=False, pagination_class=None)
    def grid(self, request: Request) -> Response:
        """Tasks that match the filters by their newest data times: how each instance stands. Forty tasks a page."""
        self._check_parameters({"page", "before", *self._filter_names()})
        before = None
        if text := request.query_params.get("before"):
            before = serializers.DateTimeField().run_validation(text)
        page = number(request, "page", 1, 100_000, least=1)
        tasks = self.filter_queryset(self.visible(Task.objects.order_by("workflow_id", "name")))
        with time_limit(LIST_SECONDS):
            return Response(GridSerializer(grid(tasks, page, before)).data)

    @extend_schema(responses=shapes.OccurrenceSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def schedule(self, request: Request, **kwargs: Any) -> Response:
        """The next ten runs of what is saved of the task."""
        self._check_parameters(())
        runs = definitions.preview(self.get_object())
        return Response(shapes.OccurrenceSerializer(runs, many=True).data)


def _begun(outcome: Outcome, operation: TaskOperation, task: Task, request: Request) -> Response:
    """What an operation on one task has begun. Raises Wrong if it was refused."""
    if outcome.done:
        return Response(OutcomeSerializer(outcome).data, status=201)
    if operation.rights() - access.rights(user_of(request), task.workflow.project_id):
        raise Wrong(403, "permission_denied", outcome.message)
    raise Wrong(409, "refused", outcome.message, "Do as the message says, then try again.")


class OperateTasksSerializer(WithReason):
    """`kill` with pause and offline, `generate_missed` with resume, `owner` with owner."""

    kind = Choice(choices=["pause", "resume", "submit", "offline", "owner"])
    tasks = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=LARGEST), min_length=1, max_length=1000
    )
    kill = serializers.BooleanField(required=False, help_text="Terminate their instances, too.")
    generate_missed = serializers.BooleanField(required=False, help_text="Generate what was missed.")
    owner = serializers.CharField(required=False, max_length=150, help_text="The new owner's user name.")

    def operation(self, user: Any) -> TaskOperation:
        """Raises OptionError, ValidationError."""
        given = {name: value for name, value in self.validated_data.items() if name not in _COMMON}
        kind = self.validated_data["kind"]
        only(given, _OWN.get(kind, ()))
        if kind == "owner":
            return ChangeOwner(owner=_account(given.get("owner", ""), user))
        if kind == "resume":
            return Resume(generate_missed=flag(given, "generate_missed"))
        if kind == "submit":
            return Submit()
        return (Pause if kind == "pause" else TakeOffline)(kill=flag(given, "kill"))


_COMMON = ("kind", "tasks", "reason")
_OWN = {"pause": ("kill",), "offline": ("kill",), "resume": ("generate_missed",), "owner": ("owner",)}


def _account(name: str, user: Any) -> Any:
    found = access.colleagues(user, Right.AUTHOR).filter(username=name).first()
    if found is None:
        raise ValidationError({"owner": f"There is no active account {name!r} in your projects."})
    return found


class TaskOutcomesSerializer(serializers.Serializer):
    done = serializers.IntegerField()
    refused = serializers.IntegerField()
    outcomes = OutcomeSerializer(many=True)


class TaskOperations(Actions):
    """Operations on tasks, one or a thousand: each that cannot be operated on is refused with its reason."""

    @extend_schema(request=OperateTasksSerializer, responses=TaskOutcomesSerializer)
    def create(self, request: Request) -> Response:
        """Pauses, resumes, submits, takes offline, or gives tasks to another owner."""
        sent = read_body(OperateTasksSerializer, request)
        user = user_of(request)
        outcomes = task_operations.apply(
            sent.operation(user),
            sent.validated_data["tasks"],
            user=user,
            source=SOURCE,
            reason=sent.validated_data["reason"],
        )
        done = sum(one.done for one in outcomes)
        found = {"done": done, "refused": len(outcomes) - done, "outcomes": outcomes}
        return Response(TaskOutcomesSerializer(found).data)


class Versions(Rows):
    """What was submitted of a task, never changed afterwards."""

    queryset = TaskVersion.objects.select_related("created_by")
    serializer_class = shapes.VersionSerializer
    project_path = "task__workflow__project_id"
    order = ("-id",)
    filterset_fields = ("task", "number")
    http_method_names = ("get", "head", "options")

    @extend_schema(
        responses=ComparisonSerializer,
        filters=False,
        parameters=[
            OpenApiParameter(
                "with",
                {"type": "integer", "minimum": 1},
                description="A number; by default the version before.",
            )
        ],
    )
    @action(detail=True, pagination_class=None, filter_backends=[])
    def diff(self, request: Request, **kwargs: Any) -> Response:
        """What differs from another version of the task: the code line by line, all else by name."""
        self._check_parameters({"with"})
        new = self.get_object()
        others = new.task.versions.order_by("-number")
        other = number(request, "with", 0, LARGEST)
        old = others.filter(number=other).first() if other else others.filter(number__lt=new.number).first()
        if old is None:
            raise Wrong(404, "not_found", "The task has no such other version.")
        found = versions.compare(new.task, versions.of(old), versions.of(new), user_of(request))
        return Response(ComparisonSerializer(found).data)

    def decorate(self, page: list[Any]) -> list[Any]:
        shown = Names.of(user_of(self.request)).definitions([version.definition for version in page])
        for version, definition in zip(page, shown, strict=True):
            version.definition = definition
        return page


class DependencyFilters(ByColumn):
    workflow = IdFilter("task__workflow")
    project = IdFilter("task__workflow__project")

    class Meta:
        model = Dependency
        fields = ("task", "upstream")


class Dependencies(Rows):
    """What tasks wait for. They are changed with the task that waits."""

    queryset = Dependency.objects.select_related("task", "upstream__workflow")
    serializer_class = shapes.TaskDependencySerializer
    project_path = "task__workflow__project_id"
    filterset_class = DependencyFilters
    http_method_names = ("get", "head", "options")
