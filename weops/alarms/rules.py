"""Alarm rules: the one place that checks and writes them, whatever the door. Rights are checked here.

    rule = create(user, project, RuleSpec(name="nightly", object_kind="task", object_ids=[7], kinds=["failure"],
                                          groups=[GroupSpec(receivers="owner")]))
    update(user, rule.pk, enabled=False)

Raises ValidationError (field -> messages), PermissionDenied, and Rule.DoesNotExist for rules that are not there or
that the user cannot see. Reading needs the right to view the project, writing the right to author.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from instances.models import Task, Workflow
from weops.alarms.groups import GroupSpec, checked_groups, specs_of, write_groups
from weops.alarms.kinds import Kind, Level, ObjectKind, Trigger
from weops.alarms.limits import Limit
from weops.alarms.models import Rule, Target, Watch
from weops.projects import access
from weops.projects.access import AnyUser, Right
from weops.projects.defining import note
from weops.projects.models import Project

__all__ = ["GroupSpec", "RuleSpec", "create", "delete", "get", "spec_of", "update", "visible"]
MOST_OBJECTS = 1_000
MOST_LIMITS = 20


@dataclass(slots=True)
class RuleSpec:
    """All that is said of a rule. `limits` as `limits.Limit.read` takes them; `object_ids` are the project's own id, or
    those of its workflows or tasks."""

    name: str
    object_kind: str
    object_ids: Sequence[int]
    kinds: Sequence[str]
    groups: Sequence[GroupSpec]
    description: str = ""
    level: int = Level.NORMAL
    enabled: bool = True
    trigger: str = Trigger.FINAL
    rerun_trigger: str = Trigger.FINAL
    limits: Sequence[dict[str, Any]] = field(default_factory=list)


def visible(user: AnyUser, *, with_parts: bool = False) -> QuerySet[Rule]:
    """The rules that `user` may see; `with_parts` reads targets and groups along, in a fixed number of queries."""
    rows = access.within(Rule.objects.select_related("project", "creator"), user, "project_id")
    if with_parts:
        rows = rows.prefetch_related("targets", "groups__people", "groups__channels")
    return rows


def of_task(rules: QuerySet[Rule], task: Task) -> QuerySet[Rule]:
    """Those of the rules that watch `task`, by itself, its workflow or its project."""
    workflow = task.workflow
    return rules.filter(
        Q(targets__object_kind=ObjectKind.TASK, targets__object_id=task.pk)
        | Q(targets__object_kind=ObjectKind.WORKFLOW, targets__object_id=workflow.pk)
        | Q(targets__object_kind=ObjectKind.PROJECT, targets__object_id=workflow.project_id)
    ).distinct()


def telling(rules: QuerySet[Rule], user_id: int) -> QuerySet[Rule]:
    """Those of the rules that name this user as a receiver (not as an owner of tasks)."""
    return rules.filter(groups__people=user_id).distinct()


def get(user: AnyUser, rule_id: int) -> Rule:
    """Raises Rule.DoesNotExist for what is not there and for what the user may not see."""
    return visible(user, with_parts=True).get(pk=rule_id)


def create(user: User, project: Project, spec: RuleSpec, *, source: str = "system") -> Rule:
    """Makes a rule; what happened before is not told. `source`: the door, for the rule's history."""
    _may_write(user, project)
    checked = check(user, project, spec)
    with transaction.atomic():
        rule = Rule(project=project, creator=user)
        _write(rule, checked)
        note(rule, ADDITION, user, source)
    return rule


def update(user: User, rule_id: int, *, source: str = "system", **changes: Any) -> Rule:
    """Changes what is named (fields of RuleSpec) and keeps the rest. What happened before is not told anew."""
    rule = get(user, rule_id)
    _may_write(user, rule.project)
    present = spec_of(rule)
    checked = check(user, rule.project, replace(present, **changes), rule)
    changed = [name for name in RuleSpec.__slots__ if getattr(checked, name) != getattr(present, name)]
    with transaction.atomic():
        rule = Rule.objects.select_for_update(of=("self",)).select_related("project").get(pk=rule.pk)
        _write(rule, checked)
        note(rule, CHANGE, user, source, changed)
    return rule


def delete(user: User, rule_id: int, *, source: str = "system") -> None:
    """What it told stays in the list of messages; what it had still to tell is not sent any more."""
    rule = get(user, rule_id)
    _may_write(user, rule.project)
    with transaction.atomic():
        note(rule, DELETION, user, source)
        rule.delete()


def spec_of(rule: Rule) -> RuleSpec:
    return RuleSpec(
        name=rule.name,
        object_kind=rule.object_kind,
        object_ids=sorted(target.object_id for target in rule.targets.all()),
        kinds=list(rule.kinds),
        groups=specs_of(rule),
        description=rule.description,
        level=rule.level,
        enabled=rule.enabled,
        trigger=rule.trigger,
        rerun_trigger=rule.rerun_trigger,
        limits=list(rule.limits),
    )


def _may_write(user: AnyUser, project: Project) -> None:
    if Right.AUTHOR not in access.rights(user, project):
        raise PermissionDenied(_("You do not have the right to edit alarm rules in project %s.") % project)


def check(user: AnyUser, project: Project, spec: RuleSpec, rule: Rule | None = None) -> RuleSpec:
    """The spec in its normal form. Raises ValidationError that names every wrong field."""
    problems: dict[str, list[Any]] = {}

    def checked(name: str, value: Any) -> Any:
        try:
            return value()
        except ValidationError as error:
            problems.setdefault(name, []).extend(error.error_list)
            return None

    name = checked("name", lambda: _name(project, spec.name, rule))
    kinds = checked("kinds", lambda: _known(spec.kinds, Kind.values, _("What it alarms about")))
    object_kind = checked(
        "object_kind", lambda: _known([spec.object_kind], ObjectKind.values, _("What it watches"))[0]
    )
    # Of a kind that there is not, nothing can be looked for.
    ids = checked(
        "object_ids", lambda: _objects(project, spec.object_kind, spec.object_ids) if object_kind else []
    )
    limits = checked("limits", lambda: _limits(spec.limits, spec.kinds))
    checked("level", lambda: _known([spec.level], Level.values, _("The level")))
    checked("trigger", lambda: _known([spec.trigger], Trigger.values, _("The trigger")))
    checked("rerun_trigger", lambda: _known([spec.rerun_trigger], Trigger.values, _("The trigger")))
    groups = checked("groups", lambda: checked_groups(project, spec.groups))
    if problems:
        raise ValidationError(problems)
    return RuleSpec(
        **{
            **{key: value for key, value in asdict(spec).items() if key != "groups"},
            "name": name,
            "description": str(spec.description).replace("\0", " ")[:2000],
            "kinds": kinds,
            "object_kind": object_kind,
            "object_ids": ids,
            "limits": limits,
            "groups": groups,
        }
    )


def _name(project: Project, name: str, rule: Rule | None) -> str:
    name = " ".join(str(name).replace("\0", " ").split())
    if not name or len(name) > 100:
        raise ValidationError(_("Write a name of 1 to 100 characters."))
    others = Rule.objects.filter(project=project, name=name)
    if (others.exclude(pk=rule.pk) if rule else others).exists():
        raise ValidationError(
            _("The project has a rule of this name already; choose another."), code="unique"
        )
    return name


def _known(values: Sequence[Any], allowed: Sequence[Any], what: str) -> list[Any]:
    wrong = [value for value in values if value not in allowed]
    if wrong or not values:
        raise ValidationError(
            _("%(what)s: choose from %(allowed)s.")
            % {"what": what, "allowed": ", ".join(str(value) for value in allowed)}
        )
    return [value for value in allowed if value in values]


def _objects(project: Project, kind: str, ids: Sequence[int]) -> list[int]:
    wanted = sorted(set(ids))
    if kind == ObjectKind.PROJECT:
        if wanted not in ([], [project.pk]):
            raise ValidationError(_("A rule watches its own project."))
        return [project.pk]
    if not wanted:
        raise ValidationError(_("Choose what the rule watches."))
    if len(wanted) > MOST_OBJECTS:
        raise ValidationError(
            _("Choose at most %d objects, or watch their workflow or project.") % MOST_OBJECTS
        )
    rows: QuerySet[Any] = (
        Task.objects.filter(workflow__project=project)
        if kind == ObjectKind.TASK
        else Workflow.objects.filter(project=project)
    )
    found = rows.filter(pk__in=wanted).values_list("pk", flat=True)
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ValidationError(
            _("The project has no such object: %s.") % ", ".join(f"#{pk}" for pk in missing[:10])
        )
    return wanted


def _limits(limits: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[dict[str, Any]]:
    if Kind.OVERTIME not in kinds:
        if limits:
            raise ValidationError(_("Limits count only if the rule alarms about lateness."))
        return []
    if not limits:
        raise ValidationError(_("Say what late means: add a limit."))
    if len(limits) > MOST_LIMITS:
        raise ValidationError(_("At most %d limits.") % MOST_LIMITS)
    return [Limit.read(limit).write() for limit in limits]


def _write(rule: Rule, spec: RuleSpec) -> None:
    for name in ("name", "description", "level", "enabled", "object_kind", "trigger", "rerun_trigger"):
        setattr(rule, name, getattr(spec, name))
    rule.kinds, rule.limits = list(spec.kinds), list(spec.limits)
    rule.active_since = timezone.now()
    # What is active already is enrolled by the evaluator, for the limits as they are now.
    rule.enrolled_to = 0 if rule.limits and rule.enabled else None
    rule.save()
    rule.targets.all().delete()
    Target.objects.bulk_create(
        Target(rule=rule, object_kind=rule.object_kind, object_id=pk) for pk in spec.object_ids
    )
    Watch.objects.filter(rule=rule).delete()
    write_groups(rule, spec.groups)
