"""How workflows and tasks are made, changed and deleted, whatever the door. `definitions` judges what a task may be.

    WORKFLOWS.create({"project": 1, "name": "sales"}, user=user, source="api")
    TASKS.create({"workflow": 1, "name": "load", ...,
                  "dependencies": [{"upstream": 2, "scope": "", "offsets": ""}],
                  "listeners": [{"event": 1, "max_wait": 2, "max_wait_unit": "HOURS"}], "emitters": [{"event": 1}]},
                 user=user, source="api", submit=True, note="first")

What is given of `dependencies`, `listeners` and `emitters` replaces all of the task's; `secrets` are given by their ids.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from events.models import Emitter, Listener
from instances import definitions
from instances.engine import dependencies as scopes
from instances.engine.states import TaskStatus
from instances.models import Dependency, Instance, Task, Workflow
from instances.task_operations import may_own
from weops.projects.access import Right
from weops.projects.defining import Definition, require
from weops.projects.models import Project, Secret

_NOT_GIVEN = ("id", "task")
MOST_PARTS = 1_000


class _Workflows(Definition[Workflow]):
    model = Workflow
    columns = ("project", "folder", "name", "description", "owner", "parameters")
    choice_rights = {"owner": Right.AUTHOR}

    def held(self, row: Workflow) -> str:
        related: Any = row
        if related.tasks.exists():
            return _("it has tasks")
        return _("its instances are still there") if Instance.objects.filter(workflow=row).exists() else ""


@dataclass
class _Parts:
    """What a task is told besides its columns; None: left as it is."""

    secrets: list[Secret] | None = None
    rows: dict[str, list[Any]] = field(default_factory=dict)


class _Tasks(Definition[Task]):
    model = Task
    columns = tuple(
        column.name
        for column in Task._meta.concrete_fields
        if column.editable and column.name not in ("id", "status")
    )
    anchor = "workflow"
    # The owner of a task that exists is changed by an operation, which its instances and the record know of.
    fixed = ("owner",)
    fixed_words = gettext_noop("The owner of a task that exists is changed by the operation `owner`.")
    choice_rights = {
        "for_each": Right.AUTHOR,
        "folder": Right.AUTHOR,
        "data_source": Right.AUTHOR,
        "secrets": Right.AUTHOR,
        "owner": Right.AUTHOR,
        # To fire an event is to operate on whoever listens to it.
        "emitters": Right.OPERATE,
    }
    parts: dict[str, type[models.Model]] = {
        "dependencies": Dependency,
        "listeners": Listener,
        "emitters": Emitter,
    }

    def project_of(self, row: Task) -> Project | None:
        return row.workflow.project

    def held(self, row: Task) -> str:
        related: Any = row
        if related.instances.exists():
            return _("its instances are still there; take it offline instead")
        if related.inner_tasks.exists():
            return _("it has inner tasks")
        return _("other tasks wait for it") if related.dependents.exists() else ""

    @transaction.atomic
    def create(
        self,
        values: Mapping[str, Any],
        *,
        user: User | None,
        source: str = "system",
        submit: bool = False,
        note: str = "",
    ) -> Task:
        """A draft, or with `submit` scheduled as version 1. The owner is by default the user."""
        definitions.lock_dependencies()
        task = Task(owner=user)
        columns, given = self._split(values)
        self.begin(task, columns, user)
        self.set(task, columns, user)
        if task.workflow_id is None:
            raise ValidationError({"workflow": _("Choose a workflow.")})
        require(user, self.project_of(task), self.right)
        self._keep(task, self._read(task, given, user), user)
        self.log(task, ADDITION, user, source)
        if submit:
            definitions.submit(task, user=user, note=note, source=source)  # type: ignore[arg-type]
        return task

    @transaction.atomic
    def update(
        self,
        row: Task,
        values: Mapping[str, Any],
        *,
        user: User | None,
        source: str = "system",
        submit: bool = False,
        note: str = "",
    ) -> Task:
        """Changes what is saved of the task; what runs is its submitted version, until it is submitted again.

        The lock that comes first: a caller that locks the row before calls `definitions.lock_dependencies` before that.
        """
        definitions.lock_dependencies()
        require(user, self.project_of(row), self.right)
        columns, given = self._split(values)
        changed = [*self.set(row, columns, user), *given]
        require(user, self.project_of(row), self.right)
        self._keep(row, self._read(row, given, user), user)
        if changed:
            self.log(row, CHANGE, user, source, changed)
        if submit:
            definitions.submit(row, user=user, note=note, source=source)  # type: ignore[arg-type]
        return row

    @transaction.atomic
    def delete(self, row: Task, *, user: User | None, source: str = "system") -> None:
        definitions.lock_dependencies()
        require(user, self.project_of(row), self.right)
        self.check_unused(row)
        # Its versions go with it, and the present one is held by the row itself.
        Task.objects.filter(pk=row.pk).update(status=TaskStatus.OFFLINE, current_version=None)
        super().delete(row, user=user, source=source)

    def _split(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        known = {"secrets", *self.parts}
        columns = {name: value for name, value in values.items() if name not in known}
        return columns, {name: value for name, value in values.items() if name in known}

    def _read(self, task: Task, given: Mapping[str, Any], user: User | None) -> _Parts:
        """The parts as rows, unsaved where they are new. Raises ValidationError for all that cannot be read."""
        parts, wrong = _Parts(), dict[str, list[str]]()
        for name, value in given.items():
            if not isinstance(value, list | tuple) or len(value) > MOST_PARTS:
                wrong[name] = [_("Write a list, of at most %(most)s.") % {"most": f"{MOST_PARTS:,}"}]
                continue
            try:
                if name == "secrets":
                    parts.secrets = self.chosen(Secret, name, value, user)
                else:
                    parts.rows[name] = self._rows(task, name, value, user)
            except ValidationError as error:
                wrong[name] = error.messages
        if wrong:
            raise ValidationError(wrong)
        return parts

    def _rows(self, task: Task, name: str, given: Any, user: User | None) -> list[Any]:
        model: Any = self.parts[name]
        kept = list(model.objects.filter(task=task)) if task.pk else []
        rows, new = [], []
        for one in given:
            row = self._row(task, model, one)
            same = next((old for old in kept if _alike(old, row)), None)
            rows.append(same or row)
            if same is None:
                new.append(row)
        target = "upstream" if model is Dependency else "event"
        chosen = model._meta.get_field(target).remote_field.model
        # What stands there already may be of a project that this user does not see.
        found = self.chosen(chosen, name, [getattr(row, f"{target}_id") for row in new], user)
        for row, target_row in zip(new, found, strict=True):
            setattr(row, target, target_row)
            row.full_clean(exclude=["task"], validate_unique=False, validate_constraints=False)
        return rows

    @staticmethod
    def _row(task: Task, model: Any, given: Any) -> Any:
        """An unsaved row of names and values; a foreign key is its id, under its own name."""
        known = {column.name: column for column in model._meta.concrete_fields}
        names = [name for name in known if name not in _NOT_GIVEN]
        if not isinstance(given, Mapping) or not set(given) <= set(names):
            raise ValidationError(_("Write objects with %(names)s.") % {"names": ", ".join(names)})
        row = model(task=task)
        for name, value in given.items():
            setattr(row, known[name].attname, getattr(value, "pk", value))
        if isinstance(row, Dependency) and (row.scope or row.offsets):
            try:
                row.offsets = scopes.canonical(row.scope or _("The default"), row.offsets)
            except scopes.DependencyError as error:
                raise ValidationError(str(error)) from None
        return row

    def _keep(self, task: Task, parts: _Parts, user: User | None) -> None:
        """Judges the whole and saves it."""
        self._judge(task, parts, user)
        self.save(task)
        if parts.secrets is not None:
            task.secrets.set(parts.secrets)
        for name, rows in parts.rows.items():
            model: Any = self.parts[name]
            model.objects.filter(task=task).exclude(pk__in=[row.pk for row in rows if row.pk]).delete()
            for row in rows:
                if row.pk is None:
                    row.task = task
                    row.save()

    def _judge(self, task: Task, parts: _Parts, user: User | None) -> None:
        wrong: dict[str, list[str]] = {}
        rows = parts.rows.get("dependencies")
        try:
            definitions.validate(task, rows if rows is not None or task.pk else [], reader=user)
        except ValidationError as error:
            wrong = error.message_dict
            if parts.secrets is not None:
                # What is saved of them is about to be replaced.
                wrong.pop("secrets", None)
        wrong |= belongings(
            task.workflow.project, task.owner if task._state.adding else None, parts.secrets or ()
        )
        for name in ("listeners", "emitters"):
            events = [row.event_id for row in parts.rows.get(name, ())]
            if len(set(events)) < len(events):
                wrong[name] = [_("An event is listed twice.")]
        if wrong:
            raise ValidationError(wrong)


def belongings(project: Project, owner: User | None, secrets: Iterable[Secret]) -> dict[str, list[str]]:
    """Column -> why a task of the project cannot have this owner or these secrets; empty if it can."""
    wrong: dict[str, list[str]] = {}
    foreign = [one.name for one in secrets if one.project_id != project.pk]
    if foreign:
        message = _("Of another project than the workflow: %(names)s.")
        wrong["secrets"] = [message % {"names": ", ".join(foreign)}]
    if owner and not may_own(owner, project.pk):
        message = _("%(user)s may not edit tasks of project %(project)s.")
        wrong["owner"] = [message % {"user": owner, "project": project}]
    return wrong


def _alike(one: models.Model, other: models.Model) -> bool:
    columns = [column.attname for column in one._meta.concrete_fields if column.name != "id"]
    return all(getattr(one, name) == getattr(other, name) for name in columns)


WORKFLOWS = _Workflows()
TASKS = _Tasks()
