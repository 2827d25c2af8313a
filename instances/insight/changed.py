"""What changed since the last success: a failed execution beside the last one of its task that succeeded.

    found = compare(execution, user)        everything a page shows, a fixed number of queries
    as_json(found)                          the same as plain values, for the API

The caller has checked that the user sees the execution. Values of the task's secrets are masked in all texts, and names of
projects that the user cannot see do not appear.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db.models import OuterRef, Q, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from instances import operations
from instances.engine import logs, secrets, worker_names
from instances.engine.parameters import ParameterError
from instances.engine.snapshot import Rendered, rendered
from instances.engine.states import LABELS, ExecutionState, InstanceType, State
from instances.insight.names import Names
from instances.insight.text_diff import FirstDifference, Row, diff, first_difference
from instances.language import listed_plainly
from instances.models import Edge, Execution, Instance, OperationItem
from instances.runners.masker import Masker
from weops.projects import access
from weops.projects.access import AnyUser, Right

MOST_UPSTREAM = 200
MOST_OPERATIONS = 50
# Characters of each log that are compared.
MOST_LOG = 512 * 1024
# What of a version's definition is compared elsewhere, or says nothing about a run.
_ELSEWHERE = {"code", "parameters", "description", "owner", "name", "settings"}


@dataclass(frozen=True, slots=True)
class Value:
    """Something named, then and now; None: it was not there. `name` is English, or somebody's own word."""

    name: str
    before: str | None
    after: str | None

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Upstream:
    """What an upstream task's instance was like then and is like now. `pk`: the present instance, None if hidden."""

    name: str
    pk: int | None
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Operated:
    """An operation since the success, on this instance (`on` is empty) or on an upstream one."""

    at: dt.datetime
    kind: str
    operator: str
    on: str
    outcome: str
    record_id: int


@dataclass(slots=True)
class Changes:
    """`baseline` None: the task never succeeded before. `which`: same_instance or earlier_data_time."""

    execution: Execution
    baseline: Execution | None = None
    which: str = ""
    code: list[Row] = field(default_factory=list)
    versions: list[Value] = field(default_factory=list)
    definition: list[Value] = field(default_factory=list)
    parameters: list[Value] = field(default_factory=list)
    resolved: list[Value] = field(default_factory=list)
    surroundings: list[Value] = field(default_factory=list)
    upstream: list[Upstream] = field(default_factory=list)
    operations: list[Operated] = field(default_factory=list)
    log: FirstDifference | None = None
    log_problem: str = ""
    # Durations of the two runs, seconds.
    seconds: tuple[float | None, float | None] = (None, None)

    @property
    def summary(self) -> list[tuple[str, bool]]:
        """(part, whether it changed), the parts in the order in which people look."""
        return [
            ("code", bool(self.code)),
            ("definition", any(one.changed for one in self.definition)),
            ("parameters", any(one.changed for one in self.parameters)),
            ("upstream", any(one.changed for one in self.upstream)),
            ("operations", bool(self.operations)),
            # Two workers of one host are the same to a task.
            ("worker", any(one.changed for one in self.surroundings if one.name == "host")),
            ("log", self.log is not None),
        ]


def last_success(execution: Execution) -> tuple[Execution | None, str]:
    """The execution to compare with, and which it is: an earlier one of the same instance, else the newest of the nearest
    earlier data time. Dry runs do not count."""
    instance = execution.instance
    rows = Execution.objects.filter(
        state=ExecutionState.SUCCESS, dry_run=False, run_started_at__isnull=False
    ).select_related("instance__task", "version__created_by", "resource_group")
    same = rows.filter(instance=instance, pk__lt=execution.pk).order_by("-pk").first()
    if same is not None:
        return same, "same_instance"
    earlier = rows.filter(
        instance__task=instance.task_id,
        # A test run is compared with what ran in earnest.
        instance__traversal="" if instance.instance_type == InstanceType.TEST else instance.traversal,
        instance__data_time__lt=instance.data_time,
    )
    return earlier.order_by("-instance__data_time", "-pk").first(), "earlier_data_time"


def compare(execution: Execution, user: AnyUser) -> Changes:
    """`execution` with its `instance__task`, `version` and `resource_group` loaded beside the last success before it."""
    baseline, which = last_success(execution)
    found = Changes(execution)
    if baseline is None:
        return found
    found.baseline, found.which = baseline, which
    mask = secrets.masker_of(execution.instance.task_id, execution.pk, baseline.pk)
    _compare_versions(found, baseline, mask, Names.of(user))
    _compare_values(found, baseline, mask)
    found.surroundings = _surroundings(baseline, execution)
    found.seconds = _seconds(baseline), _seconds(execution)
    _compare_upstream(found, baseline, access.project_ids(user, Right.VIEW))
    _compare_logs(found, baseline)
    return found


def _compare_versions(found: Changes, baseline: Execution, mask: Masker, names: Names) -> None:
    old, new = baseline.version, found.execution.version
    if old is None or new is None:
        return
    found.versions = [
        Value(gettext_noop("version"), _number(old), _number(new)),
        Value(gettext_noop("submitted by"), _submitter(old), _submitter(new)),
        Value(gettext_noop("submitted at"), _time(old.created_at), _time(new.created_at)),
        Value(gettext_noop("note"), old.note, new.note),
    ]
    if old.pk == new.pk:
        return
    found.code = diff(mask.mask_text(old.code), mask.mask_text(new.code))
    before, after = names.definitions([old.definition, new.definition])
    found.definition = [one for one in _values(_flat(before, mask), _flat(after, mask)) if one.changed]


def _number(version: Any) -> str:
    """Of a test run's code as it was edited, words."""
    return _("as edited") if version.number is None else str(version.number)


def _submitter(version: Any) -> str:
    return version.created_by.get_username() if version.created_by else ""


def _flat(definition: Mapping[str, Any], mask: Masker) -> dict[str, str]:
    """Columns of a definition as texts; settings one by one."""
    flat = {name: value for name, value in definition.items() if name not in _ELSEWHERE}
    flat |= {f"settings.{name}": value for name, value in (definition.get("settings") or {}).items()}
    return {
        name: mask.mask_text(value if isinstance(value, str) else repr(value)) for name, value in flat.items()
    }


def _values(before: Mapping[str, str], after: Mapping[str, str]) -> list[Value]:
    """All names of both, those that changed first."""
    both = [Value(name, before.get(name), after.get(name)) for name in sorted({*before, *after})]
    return sorted(both, key=lambda one: not one.changed)


def _compare_values(found: Changes, baseline: Execution, mask: Masker) -> None:
    def texts(values: Mapping[str, Any]) -> dict[str, str]:
        return {name: mask.mask_text(str(value)) for name, value in values.items()}

    found.parameters = _values(texts(_written(baseline)), texts(_written(found.execution)))
    found.resolved = _values(texts(_resolved(baseline)), texts(_resolved(found.execution)))


def _written(execution: Execution) -> dict[str, Any]:
    application = {f"application.{name}": value for name, value in execution.application_parameters.items()}
    return {**execution.parameters, **application}


def _resolved(execution: Execution) -> dict[str, str]:
    """Values as the run got them; of those that could not be filled in, what was written."""
    try:
        ran = rendered(execution)
    except ParameterError:
        ran = Rendered("", execution.parameters)
    return ran.parameters


def _surroundings(old: Execution, new: Execution) -> list[Value]:
    def of(one: Execution) -> dict[str, str]:
        return {
            # A worker that was restarted is the same one.
            gettext_noop("worker"): worker_names.lasting(one.worker),
            gettext_noop("host"): worker_names.host(one.worker),
            gettext_noop("resource group"): one.resource_group.name,
            gettext_noop("run type"): one.run_type.lower(),
            gettext_noop("data time"): _time(one.instance.data_time),
            gettext_noop("started"): _time(one.run_started_at),
            gettext_noop("waited for a slot"): _length(one.queue_started_at, one.run_started_at),
            gettext_noop("duration"): _length(one.run_started_at, one.run_ended_at or one.ended_at),
            gettext_noop("exit code"): "" if one.exit_code is None else str(one.exit_code),
            gettext_noop("lines of log"): str(one.log_lines),
        }

    before, after = of(old), of(new)
    return [Value(name, before[name], after[name]) for name in before]


def _time(at: dt.datetime | None) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def _length(start: dt.datetime | None, end: dt.datetime | None) -> str:
    return f"{(end - start).total_seconds():,.1f} s" if start and end else ""


def _seconds(one: Execution) -> float | None:
    end = one.run_ended_at or one.ended_at
    return (end - one.run_started_at).total_seconds() if one.run_started_at and end else None


def _compare_upstream(found: Changes, baseline: Execution, visible: list[int] | None) -> None:
    """Upstream tasks of both instances; what was done since to this instance and to those it depends on now."""
    now, then = found.execution.instance, baseline.instance
    newest = Execution.objects.filter(instance=OuterRef("upstream")).order_by("-pk")
    edges = list(
        Edge.objects.filter(instance__in={now.pk, then.pk})
        .select_related("upstream_task__workflow", "upstream")
        .annotate(ran_version=Subquery(newest.values("version__number")[:1]))
        .order_by("instance_id", "upstream_task_id", "upstream_data_time")[: 2 * MOST_UPSTREAM]
    )
    sides: dict[int, dict[tuple[int, float], Edge]] = {now.pk: {}, then.pk: {}}
    for edge in edges:
        # Of two data times the same: as far before their own instance.
        own = now if edge.instance_id == now.pk else then
        distance = (own.data_time - edge.upstream_data_time).total_seconds()
        sides[own.pk][edge.upstream_task_id, distance] = edge
    names: dict[int, str] = {}
    for key in sorted({*sides[now.pk], *sides[then.pk]}):
        new, old = sides[now.pk].get(key), sides[then.pk].get(key)
        either = new or old
        assert either is not None
        hidden = visible is not None and either.upstream_task.workflow.project_id not in visible
        name = _("task #%(id)s of another project") % {"id": key[0]}
        if not hidden:
            name = either.upstream_task.name
        pk = new.upstream_id if new is not None and not hidden else None
        if new is not None and new.upstream_id:
            names[new.upstream_id] = name
        found.upstream.append(
            Upstream(f"{name}, {_time(either.upstream_data_time)}", pk, _words(old), _words(new))
        )
    found.upstream.sort(key=lambda one: not one.changed)
    found.operations = _operations(now, names, baseline.ended_at)


def _words(edge: Edge | None) -> str:
    """How an upstream instance stands, in words that are the same when nothing changed."""
    if edge is None:
        return _("not waited for")
    if edge.removed_at is not None:
        return _("dependency removed")
    upstream = edge.upstream
    if upstream is None:
        return _("not generated")
    version = getattr(edge, "ran_version", None)
    words = _(LABELS[State(upstream.state)]).lower()
    if upstream.error_code:
        words += f" ({upstream.error_code})"
    parts = [words]
    if upstream.life_round:
        rounds = upstream.life_round
        parts.append(ngettext("rerun %(count)s time", "rerun %(count)s times", rounds) % {"count": rounds})
    if version is not None:
        parts.append(_("version %(number)s") % {"number": version})
    if edge.waived:
        parts.append(_("not checked"))
    return listed_plainly(parts)


def _operations(now: Instance, names: Mapping[int, str], since: dt.datetime | None) -> list[Operated]:
    rows = OperationItem.objects.filter(Q(instance_id=now.pk) | Q(instance_id__in=list(names)))
    if since is not None:
        rows = rows.filter(at__gte=since)
    rows = rows.select_related("operation").defer("before", "after").order_by("-id")[:MOST_OPERATIONS]
    return [
        Operated(
            row.at,
            _verb(row.operation.kind),
            row.operation.operator_name,
            names.get(row.instance_id, "") if row.instance_id != now.pk else "",
            row.outcome,
            row.operation_id,
        )
        for row in rows
    ]


def _verb(kind: str) -> str:
    return operations.get(kind).verb() if kind in operations.kinds() else kind.replace("_", " ")


def _compare_logs(found: Changes, baseline: Execution) -> None:
    try:
        old, new = (logs.read(one, 0, MOST_LOG).text.split("\n") for one in (baseline, found.execution))
    except OSError as error:
        found.log_problem = _("A stored log cannot be read: %(error)s.") % {"error": error}
        return
    found.log = first_difference(old, new)


def as_json(found: Changes) -> dict[str, Any]:
    """Plain values; times as ISO 8601."""
    baseline = found.baseline
    if baseline is None:
        return {"execution_id": found.execution.pk, "baseline": None}
    return {
        "execution_id": found.execution.pk,
        "baseline": {
            "execution_id": baseline.pk,
            "instance_id": baseline.instance_id,
            "data_time": baseline.instance.data_time.isoformat(),
            "which": found.which,
        },
        "changed": [name for name, changed in found.summary if changed],
        "code": [asdict(row) for row in found.code],
        **{
            name: _plain(getattr(found, name))
            for name in ("versions", "definition", "parameters", "resolved", "surroundings", "upstream")
        },
        "operations": [{**asdict(one), "at": one.at.isoformat()} for one in found.operations],
        "seconds": list(found.seconds),
        "log": asdict(found.log) if found.log else None,
        "log_problem": found.log_problem,
    }


def _plain(values: Iterable[Value | Upstream]) -> list[dict[str, Any]]:
    return [{**asdict(one), "changed": one.changed} for one in values]


def of_failed(execution_id: int, instance: Instance) -> Execution | None:
    """The execution of this instance, loaded as `compare` wants it."""
    rows = Execution.objects.select_related(
        "instance__task__data_source__url", "version__created_by", "resource_group"
    )
    return rows.filter(pk=execution_id, instance=instance).first()
