"""Operation records: who sees which, and the filters of their list."""

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from instances.filters import named
from instances.kinds import KINDS
from instances.models import Instance, OperationItem, OperationRecord, Task
from instances.models.operation import OperationState
from weops.console.filter_bar import FilterForm, MomentField
from weops.projects import access
from weops.projects.access import AnyUser, Right

MOST_TASKS = 500
SOURCES: dict[str, Any] = {
    "admin": pgettext_lazy("where an operation came from", "Admin"),
    "api": _("API"),
    "wedata": _("WeData API"),
    "command": pgettext_lazy("where an operation came from", "Command"),
    "system": _("The system itself"),
}


def visible_items(user: AnyUser) -> QuerySet[OperationItem]:
    """Outcomes on instances of projects that `user` sees."""
    ids = access.project_ids(user, Right.VIEW)
    items = OperationItem.objects.all()
    if ids is None:
        return items
    return items.filter(Exists(Instance.objects.filter(pk=OuterRef("instance_id"), project__in=ids)))


def visible_records(queryset: QuerySet[Any], user: AnyUser) -> QuerySet[Any]:
    """Records of operations on instances or tasks of projects that the user sees, of what the user exported, and of what
    the user asked for that turned out to be on nothing."""
    ids = access.project_ids(user, Right.VIEW)
    if ids is None:
        return queryset
    tasks = access.within(Task.objects.all(), user, "workflow__project_id").values_list("pk", flat=True)
    own = Q(operator=user.pk) & ~Q(options__has_key="task")
    # Of the time before projects were kept on record: one look at the outcomes of each.
    on_instances = Exists(visible_items(user).filter(operation=OuterRef("pk")))
    without = own | Q(options__task__in=list(tasks)) | Q(on_instances)
    on_nothing = Q(operator=user.pk, project_ids=[])
    return queryset.filter(Q(project_ids__overlap=ids) | on_nothing | Q(without, project_ids__isnull=True))


def operator_of(record: OperationRecord) -> str:
    """As it was then, also when the account is gone."""
    return record.operator_name or (
        record.operator.get_username() if record.operator else gettext("(system)")
    )


class RecordFilter(FilterForm):
    q = forms.CharField(
        label=_("Reason, task or instance"),
        required=False,
        max_length=200,
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "autocomplete": "off",
                "placeholder": _("Words of the reason, task name, instance id"),
            }
        ),
    )
    kind = forms.ChoiceField(
        label=_("Operation"),
        choices=[("", _("All operations")), *((one.kind, _(one.name)) for one in KINDS.values())],
        required=False,
    )
    operator = forms.ModelChoiceField(
        User.objects.none(),
        label=pgettext_lazy("who did it", "Operator"),
        required=False,
        empty_label=_("Everybody"),
    )
    source = forms.ChoiceField(
        label=_("Came through"), choices=[("", _("All doors")), *SOURCES.items()], required=False
    )
    state = forms.ChoiceField(
        label=_("State"), choices=[("", _("All states")), *OperationState.choices], required=False
    )
    made_from = MomentField(_("Asked for from"))
    made_to = MomentField(_("Asked for to"))

    FIRST = ("q", "kind", "operator", "source", "state", "made_from", "made_to")
    COLUMNS = {"kind": "kind", "operator": "operator_id", "source": "source", "state": "state"}
    RANGES = {"made_from": "created_at__gte", "made_to": "created_at__lte"}
    advice = _("Narrow the time, or choose an operation.")

    def __init__(self, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(request, data)
        self._choice("operator").queryset = access.colleagues(self.user)

    def apply(self, queryset: QuerySet[OperationRecord]) -> QuerySet[OperationRecord]:
        queryset = super().apply(queryset)
        text = self.cleaned_data.get("q", "").strip() if self.is_valid() else ""
        return queryset.filter(self._about(text)) if text else queryset

    def _about(self, text: str) -> Q:
        """Records with `text` in their reason, on the instance or record with that number, or on a task so named."""
        found = Q(reason__icontains=text)
        tasks = self._tasks(text)
        number = text.removeprefix("#")
        instances = Q(pk__in=[])
        if number.isdecimal() and len(number) <= 18:
            found |= Q(pk=int(number))
            instances |= Q(pk=int(number))
        if tasks:
            found |= Q(options__task__in=tasks)
            instances |= Q(task_id__in=tasks)
        seen = access.within(Instance.objects.filter(instances), self.user, "project_id")
        items = OperationItem.objects.filter(instance_id__in=seen.values("pk"))
        return found | Q(pk__in=items.values("operation_id"))

    def _tasks(self, text: str) -> list[int]:
        """Ids of the visible tasks with `text` in their names."""
        rows = access.within(Task.objects.all(), self.user, "workflow__project_id")
        found = list(rows.filter(named(text)).order_by("id").values_list("id", flat=True)[: MOST_TASKS + 1])
        if len(found) > MOST_TASKS:
            message = gettext("More than %(most)s tasks match; operations on the first %(most)s are shown.")
            self.too_many = message % {"most": MOST_TASKS}
        return found[:MOST_TASKS]
