"""What tests of alarms share: rules on tasks, and runs that end as they are told."""

import datetime as dt
from typing import Any

from django.contrib.auth.models import User

from instances.engine import lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Claimed
from instances.models import Execution, Instance, Task
from tests import factories as make
from tests.engine.harness import bad, good, groups
from weops.alarms import evaluate, rules
from weops.alarms.groups import GroupSpec
from weops.alarms.models import Message, Rule
from weops.alarms.rules import RuleSpec

MINUTE = dt.timedelta(minutes=1)


def make_rule(task: Task, *, tell: list[GroupSpec] | None = None, **values: Any) -> Rule:
    """A rule on `task` about its failure, which tells its owner, unless `values` (of RuleSpec) say otherwise."""
    project = task.workflow.project
    owner = task.owner
    assert isinstance(owner, User)
    make.make_user(owner.username, project=project, role="developer")
    spec: dict[str, Any] = {
        "name": make.unique("rule"),
        "object_kind": "task",
        "object_ids": [task.pk],
        "kinds": ["failure"],
        "groups": tell or [GroupSpec(receivers="owner")],
    }
    return rules.create(owner, project, RuleSpec(**{**spec, **values}))


def begin() -> None:
    """The first pass: all that was before is not told."""
    evaluate.evaluate()


def claim(*instances: Instance) -> list[Claimed]:
    """Starts these instances and no others of their groups."""
    dispatch(groups(*instances))
    rows = Execution.objects.filter(instance__in=instances, state="dispatched").order_by("id")
    return lifecycle.claim(list(rows.values_list("id", flat=True)), "w1")


def fail(*instances: Instance, code: str = "EXIT_NONZERO", message: str = "It ended with 1.") -> None:
    lifecycle.finish([bad(claimed, code, message) for claimed in claim(*instances)])


def succeed(*instances: Instance) -> None:
    lifecycle.finish([good(claimed) for claimed in claim(*instances)])


def told() -> list[tuple[str, int, str]]:
    """(kind, life, reason) of all messages, in order."""
    return list(Message.objects.order_by("id").values_list("kind", "life_round", "reason"))
