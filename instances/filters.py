"""The filter bar of the instance list: which rows, from the address's parameters.

Everything resolves to columns of the instance itself, names first to ids, so that no filter joins or scans tasks of
ten million instances. A value that means nothing shows an error and no rows, never all rows.
"""

import re
from collections.abc import Sequence

from django import forms
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.engine.states import InstanceType
from instances.models import Instance, Task, Workflow
from instances.models.choices import CYCLES, STATES, task_types
from instances.models.instance import INSTANCE_TYPES
from instances.operations.acknowledging import FAILURES, acknowledged, acknowledged_ids
from weops.console.filter_bar import FilterForm, MomentField
from weops.console.finding import FinderInput, FoundChoice
from weops.console.folders import folder_paths
from weops.console.paging import Among
from weops.projects import access
from weops.projects.access import Right
from weops.projects.choices import choosable
from weops.projects.models import Folder, Project, ResourceGroup

MOST_TASKS = 2_000
MOST_IDS = 1_000


class FolderChoice(FoundChoice):
    """Folders by their paths: `project: etl/daily`."""

    words = ("name", "project__name", "parent__name", "parent__parent__name")

    def labels(self, rows: Sequence[Folder]) -> list[str]:
        paths = folder_paths(row.pk for row in rows)
        return [f"{row.project.name}: {paths.get(row.pk, row.name)}" for row in rows]

    def label_from_instance(self, obj: Folder) -> str:
        return self.labels([obj])[0]

    def last_word(self, label: str) -> str:
        return label.rpartition(": ")[2].rpartition("/")[2]


class WorkflowChoice(FoundChoice):
    words = ("name", "project__name")

    def label_from_instance(self, obj: Workflow) -> str:
        return f"{obj.project.name} / {obj.name}"

    def last_word(self, label: str) -> str:
        return label.rpartition(" / ")[2]


class OwnerChoice(FoundChoice):
    name_field = "username"
    words = ("username", "first_name", "last_name")


class InstanceFilter(FilterForm):
    q = forms.CharField(
        label=_("Task names or ids"),
        required=False,
        max_length=500,
        widget=forms.TextInput(
            attrs={"type": "search", "autocomplete": "off", "placeholder": _("Several: comma or space")}
        ),
    )
    data_from = MomentField(_("Data time from"))
    data_to = MomentField(_("Data time to"))
    project = forms.ModelChoiceField(
        Project.objects.none(), label=_("Project"), required=False, empty_label=_("All projects")
    )
    workflow = WorkflowChoice(
        Workflow.objects.none(),
        label=_("Workflow"),
        required=False,
        widget=FinderInput({"placeholder": _("All workflows")}),
    )
    type = forms.ChoiceField(
        label=_("Instance type"), choices=[("", _("All instance types")), *INSTANCE_TYPES], required=False
    )
    state = forms.MultipleChoiceField(
        label=_("State"), choices=STATES, required=False, widget=forms.MultipleHiddenInput
    )
    start_from = MomentField(_("Start time from"))
    start_to = MomentField(_("Start time to"))
    owner = OwnerChoice(
        access.User.objects.none(),
        label=_("Owner"),
        required=False,
        widget=FinderInput({"placeholder": _("All owners")}),
    )
    folder = FolderChoice(
        Folder.objects.none(),
        label=_("Folder"),
        required=False,
        widget=FinderInput({"placeholder": _("All folders")}),
    )
    task_type = forms.ChoiceField(
        label=_("Task type"), choices=lambda: [("", _("All task types")), *task_types()], required=False
    )
    group = forms.ModelChoiceField(
        ResourceGroup.objects.none(),
        label=_("Resource group"),
        required=False,
        empty_label=_("All resource groups"),
    )
    cycle = forms.ChoiceField(label=_("Cycle type"), choices=[("", _("All cycles")), *CYCLES], required=False)
    seen = forms.ChoiceField(
        label=_("Failures"),
        choices=[("", _("Acknowledged or not")), ("yes", _("Acknowledged")), ("no", _("Not acknowledged"))],
        required=False,
    )

    inner = forms.ChoiceField(
        label=_("Inner tasks"),
        choices=[
            ("", _("Without those of For-each tasks")),
            ("all", _("With those of For-each tasks")),
            ("only", _("Only those of For-each tasks")),
        ],
        required=False,
    )
    # The number of a For-each instance: those of its traversals.
    for_each = forms.IntegerField(
        label=_("Traversals of instance"),
        min_value=1,
        max_value=2**63 - 1,
        required=False,
        widget=forms.HiddenInput,
    )

    # Fields that find as one types.
    FOUND = ("workflow", "owner", "folder")
    FIRST = ("q", "data_from", "data_to", "project", "workflow", "type")
    MORE = ("start_from", "start_to", "owner", "folder", "task_type", "group", "cycle", "seen", "inner")
    COLUMNS = {
        "project": "project_id",
        "workflow": "workflow_id",
        "type": "instance_type",
        "owner": "owner_id",
        "folder": "folder_id",
        "task_type": "task_type",
        "group": "resource_group_id",
        "cycle": "cycle_type",
    }
    RANGES = {
        "data_from": "data_time__gte",
        "data_to": "data_time__lte",
        "start_from": "start_time__gte",
        "start_to": "start_time__lte",
    }

    advice = _("Narrow the data time, or name the tasks.")

    def __init__(self, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(request, data)
        models = {"project": Project, "workflow": Workflow, "folder": Folder, "group": ResourceGroup}
        for name, model in models.items():
            self._choice(name).queryset = choosable(model, self.user, Right.VIEW)
        workflows = self._choice("workflow")
        workflows.queryset = workflows.queryset.select_related("project").order_by("project__name", "name")
        self._choice("owner").queryset = access.colleagues(self.user)
        folders = self._choice("folder")
        folders.queryset = folders.queryset.select_related(None).select_related("project")

    @property
    def hidden_values(self) -> list[tuple[str, str]]:
        if not self.is_valid():
            return []
        sort = [("sort", self.data["sort"])] if self.data.get("sort") else []
        of = self.cleaned_data["for_each"]
        inside = [("for_each", str(of))] if of else []
        return [*(("state", state) for state in self.cleaned_data["state"]), *sort, *inside]

    def apply(self, queryset: QuerySet[Instance], *, with_state: bool = True) -> QuerySet[Instance]:
        queryset = super().apply(queryset)
        if not self.is_valid():
            return queryset
        queryset = queryset.filter(self._inner())
        if with_state and self.cleaned_data["state"]:
            queryset = queryset.filter(state__in=self.cleaned_data["state"])
        if self.cleaned_data["seen"]:
            queryset = self._seen(queryset.filter(state__in=FAILURES))
        if self.cleaned_data["q"]:
            queryset = queryset.filter(Among(F("task_id"), self._task_ids(self.cleaned_data["q"])))
        return queryset

    def _seen(self, failures: QuerySet[Instance]) -> QuerySet[Instance]:
        if self.cleaned_data["seen"] == "no":
            return failures.filter(~acknowledged())
        # What is acknowledged is usually little: its ids lead to it at once.
        ids = acknowledged_ids(MOST_IDS + 1)
        return failures.filter(acknowledged(), **({"pk__in": ids} if len(ids) <= MOST_IDS else {}))

    def _inner(self) -> Q:
        """Instances inside For-each tasks are many, and test runs are nobody's work: they are shown when asked for."""
        if of := self.cleaned_data["for_each"]:
            return Q(for_each_id=of)
        if self.cleaned_data["type"] == InstanceType.TEST:
            return Q()
        choice = self.cleaned_data["inner"]
        inner = Q() if choice == "all" else Q(for_each_id__isnull=choice != "only")
        return inner & ~Q(instance_type=InstanceType.TEST) if choice else inner

    def _task_ids(self, text: str) -> list[int]:
        """Ids of the visible tasks that the search names, by part of the name or by id; resolved once."""
        if not hasattr(self, "_found_tasks"):
            tasks = access.within(Task.objects.all(), self.user, "workflow__project_id")
            found = tasks.filter(named(text)).order_by("id").values_list("id", flat=True)
            self._found_tasks = list(found[: MOST_TASKS + 1])
        if len(self._found_tasks) > MOST_TASKS:
            message = gettext(
                "More than %(most)s tasks match; the first %(most)s are shown. Write more of the name."
            )
            self.too_many = message % {"most": f"{MOST_TASKS:,}"}
        return self._found_tasks[:MOST_TASKS]


def named(text: str) -> Q:
    """Tasks that any of the words names: by part of the name, or by id."""
    condition = Q()
    for word in filter(None, re.split(r"[\s,;]+", text)):
        condition |= Q(name__icontains=word)
        number = word.removeprefix("#")
        if number.isdecimal() and len(number) <= 18:
            condition |= Q(pk=int(number))
    return condition or Q(pk__in=[])
