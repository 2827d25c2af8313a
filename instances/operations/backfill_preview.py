"""What a backfill plan would do, worked out as it will be when it is made, and nothing written down."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from instances.engine import plan_tasks
from instances.engine.backlog import array
from instances.engine.plan_expansion import Expansion, Rule, Runs
from instances.engine.plan_spec import PlanSpec
from instances.engine.plan_tasks import TaskFacts
from instances.engine.states import SelfDependency
from instances.models import Task
from instances.models.backfill import RunState
from instances.operations import expected
from instances.operations.expected import Load
from instances.operations.parsing import OptionError
from instances.operations.words import counted, roughly
from weops.projects.models import ResourceGroup

# Data times that one statement asks about.
_CHUNK = 20_000
_EXISTING = """
SELECT w.task_id, i.state, count(*)
FROM unnest(%s::bigint[], %s::int[]) AS w(task_id, place)
LEFT JOIN instances_instance i
  ON i.task_id = w.task_id AND i.data_time = (%s::timestamptz[])[w.place] AND i.traversal = ''
GROUP BY 1, 2
"""


@dataclass(slots=True)
class OfTask:
    """What would become of the runs of one task. `whys`: {why: count} of those that are left or refused."""

    facts: TaskFacts
    downstream: bool
    first: str
    last: str
    new: int = 0
    again: int = 0
    skipped: int = 0
    refused: int = 0
    whys: Counter[str] = field(default_factory=Counter)

    @property
    def started(self) -> int:
        return self.new + self.again

    def as_json(self) -> dict[str, Any]:
        return {
            "task": self.facts.id,
            "name": self.facts.name,
            "downstream": self.downstream,
            "first": self.first,
            "last": self.last,
            "new": self.new,
            "again": self.again,
            "skipped": self.skipped,
            "refused": self.refused,
            "why": [{"why": why, "count": count} for why, count in self.whys.most_common()],
        }


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """`token` stands for the options and for what they would do now; `summary` is JSON-like, see `summarize`."""

    spec: PlanSpec
    summary: dict[str, Any]
    token: str


def preview(spec: PlanSpec) -> PlanPreview:
    """Raises OptionError if there is nothing to run, too much, or a definition that cannot be used."""
    try:
        made = plan_tasks.expansion(spec)
    except ValueError as error:
        raise OptionError("ranges", str(error)) from error
    if not made.total:
        message = _("No task has a data time in these ranges that is due already.")
        raise OptionError("ranges", message)
    tasks = _of_tasks(spec, made)
    return PlanPreview(spec, summarize(spec, made, tasks), _token(spec, tasks))


def _of_tasks(spec: PlanSpec, made: Expansion) -> list[OfTask]:
    facts = plan_tasks.facts(made.runs)
    found: dict[int, OfTask] = {}
    for task_id, runs in made.runs.items():
        if runs.occurrences:
            first, last = (runs.occurrences[place].data_time.isoformat() for place in (0, -1))
            found[task_id] = OfTask(facts[task_id], task_id in spec.downstream, first, last)
    for task_id, state, count in _existing(made.runs):
        one = found[task_id]
        outcome, why = plan_tasks.verdict(one.facts, state, spec.reprocess)
        if outcome == RunState.SKIPPED:
            one.skipped += count
        elif outcome == RunState.REFUSED:
            one.refused += count
        elif state is None:
            one.new += count
        else:
            one.again += count
        if why:
            one.whys[why] += count
    return list(found.values())


def _existing(runs: Mapping[int, Runs]) -> Iterator[tuple[int, str | None, int]]:
    """(task, state of the instance or None, how many data times)."""
    pairs = [(task_id, o.data_time) for task_id, one in runs.items() for o in one.occurrences]
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        places: dict[Any, int] = {}
        of_pair = [places.setdefault(time, len(places) + 1) for _task, time in chunk]
        with connection.cursor() as cursor:
            cursor.execute(_EXISTING, [array(task for task, _time in chunk), array(of_pair), array(places)])
            yield from cursor.fetchall()


def _token(spec: PlanSpec, tasks: Sequence[OfTask]) -> str:
    # Without the words of why: they are those of who previewed it.
    told = [{**one.as_json(), "why": sorted(one.whys.values())} for one in tasks]
    text = json.dumps([spec.as_json(), told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def summarize(spec: PlanSpec, made: Expansion, tasks: Sequence[OfTask]) -> dict[str, Any]:
    """`tasks` (see `OfTask.as_json`), upstream first; their sums `total`, `new`, `again`, `skipped`, `refused`; `data_times`
    (how many), `waves`, `first`, `last`; `duration` of what would run (`expected.Expected`), `sentences`."""
    sums = {name: sum(getattr(one, name) for one in tasks) for name in ("new", "again", "skipped", "refused")}
    found: dict[str, Any] = {
        "tasks": [one.as_json() for one in tasks],
        "total": made.total,
        **sums,
        "data_times": made.data_times,
        "waves": made.waves,
        "first": min(one.first for one in tasks),
        "last": max(one.last for one in tasks),
        "duration": asdict(_duration(spec, tasks)),
    }
    found["sentences"] = _sentences(spec, found)
    return found


def _duration(spec: PlanSpec, tasks: Sequence[OfTask]) -> expected.Expected:
    started = {one.facts.id: one.started for one in tasks if one.started}
    rows = Task.objects.filter(pk__in=started).values_list("pk", "self_dependency", "resource_group")
    loads = {
        pk: Load(
            started[pk], _width(spec, self_dependency), {spec.resource_group_id or group_id: started[pk]}
        )
        for pk, self_dependency, group_id in rows
    }
    slots = dict(ResourceGroup.objects.values_list("pk", "slots"))
    return expected.expect(loads, _pairs(plan_tasks.rules(started)), expected.average_seconds(started), slots)


def _pairs(rules: Mapping[int, Sequence[Rule]]) -> list[tuple[int, int]]:
    """(parent, child)."""
    pairs: dict[int, set[int]] = defaultdict(set)
    for child, found in rules.items():
        pairs[child] |= {rule.upstream_id for rule in found}
    return [(parent, child) for child, parents in pairs.items() for parent in sorted(parents)]


def _width(spec: PlanSpec, self_dependency: str) -> int | None:
    if spec.parallelism:
        return spec.parallelism
    return None if (spec.self_dependency or self_dependency) == SelfDependency.PARALLEL else 1


def _sentences(spec: PlanSpec, found: Mapping[str, Any]) -> list[str]:
    started = found["new"] + found["again"]
    tasks = [one for one in found["tasks"] if one["new"] + one["again"]]
    said = [
        _("%(runs)s of %(tasks)s at %(times)s: %(new)s new, %(again)s again.")
        % {
            "runs": counted(started, "run"),
            "tasks": counted(len(tasks), "task"),
            "times": counted(found["data_times"], "data time"),
            "new": f"{found['new']:,}",
            "again": f"{found['again']:,}",
        }
    ]
    if found["skipped"]:
        message = _("%(instances)s stay as they are: the plan leaves them out.")
        said.append(message % {"instances": counted(found["skipped"], "instance")})
    if found["refused"]:
        message = _("%(runs)s would be refused; the others go on.")
        said.append(message % {"runs": counted(found["refused"], "run")})
    if spec.parallelism:
        said.append(_("At most %(times)s at once.") % {"times": counted(spec.parallelism, "data time")})
    duration = found["duration"]
    if duration["instances_known"]:
        message = _(
            "It takes %(wall)s if nothing else runs; all runs together take %(work)s, judged by the last ones."
        )
        times = {"wall": roughly(duration["wall_seconds"]), "work": roughly(duration["work_seconds"])}
        said.append(message % times)
    if duration["instances_unknown"]:
        message = _("How long %(runs)s will take is unknown: no run has succeeded lately.")
        said.append(message % {"runs": counted(duration["instances_unknown"], "run")})
    if spec.check_parents:
        said.append(_("Each run waits for all of its parents, those outside the plan too."))
    return said
