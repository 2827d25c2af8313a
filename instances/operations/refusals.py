"""Who of a previewed set would be refused, and why, said of many instances at once.

The instances are put into groups by all that a refusal can depend on; then the operation itself, which decides when it is
applied, is asked about one instance of each group. So a preview of a million asks as often as one of ten, and says what
will happen.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from instances.engine.states import LABELS, Operation, State
from instances.models import Instance
from instances.models.choices import RerunAllowed
from instances.operations.base import InstanceOperation
from instances.operations.words import counted, rights_named
from weops.projects import access

_ALWAYS = "i.state, i.instance_type = 'test', t.rerun_allowed, i.project_id, i.frozen_at IS NULL"
_OF_KIND = {
    "freeze": "i.thaw_at IS NOT DISTINCT FROM %(thaw_at)s::timestamptz",
    "withdraw_acknowledgement": """EXISTS (
        SELECT 1 FROM instances_acknowledgement a WHERE a.instance_id = i.id AND a.life_round = i.life_round
        AND a.withdrawn_at IS NULL AND (a.expires_at IS NULL OR a.expires_at > now()))""",
    "remove_dependency": """EXISTS (
        SELECT 1 FROM instances_edge e WHERE e.instance_id = i.id AND e.removed_at IS NULL AND CASE
            WHEN %(edge_tasks)s::bigint[] IS NULL THEN e.satisfied_at IS NULL AND NOT e.waived
            ELSE (e.upstream_task_id, e.upstream_data_time) IN (
                SELECT * FROM unnest(%(edge_tasks)s::bigint[], %(edge_times)s::timestamptz[])) END)""",
}


def facts(kind: str, options: Any) -> tuple[str, dict[str, Any]]:
    """All that a refusal can depend on as one SQL text, over the instance `i` and its task `t`; and its parameters."""
    edges = getattr(options, "edges", None)
    params = {
        "thaw_at": getattr(options, "thaw_at", None),
        "edge_tasks": None if edges is None else [task for task, _ in edges],
        "edge_times": None if edges is None else [time for _, time in edges],
    }
    return ", ".join(filter(None, [_ALWAYS, _OF_KIND.get(kind)])), params


@dataclass(frozen=True, slots=True)
class Why:
    """Why instances are refused: the same sentence of one and of many; `{n}` stands for the number and the noun."""

    one: str
    many: str

    def of(self, number: int) -> str:
        sentence = self.one if number == 1 else self.many
        return sentence.replace("{n}", counted(number, "instance"))


class Judge:
    """Asks the operation and the rights of `user` (None: the system, which may everything)."""

    def __init__(self, operation: InstanceOperation, options: Any, user: User | None) -> None:
        self._operation = operation
        self._options = options
        self._user = user
        self._needed = operation.rights(options)

    def refused(self, examples: Mapping[str, int]) -> dict[str, Why]:
        """{group: why} of the groups that are refused, from {group: id of one of its instances}."""
        rows = Instance.objects.select_related("task", "project").in_bulk(set(examples.values()))
        said = self._operation.refusals(list(rows.values()), self._options)
        found = {}
        for group, pk in examples.items():
            # One that was removed this very moment is judged when the set is applied.
            if (row := rows.get(pk)) and (why := self._missing(row) or self._refusal(row, said.get(pk))):
                found[group] = why
        return found

    def _missing(self, row: Instance) -> Why | None:
        if self._user is None:
            return None
        missing = self._needed - access.rights(self._user, row.project_id)
        if not missing:
            return None

        def said(number: int) -> str:
            return ngettext(
                "%(n)s is in project %(project)s, where you do not have the right to %(rights)s.",
                "%(n)s are in project %(project)s, where you do not have the right to %(rights)s.",
                number,
            )

        return _why(said, project=row.project, rights=rights_named(missing))

    def _refusal(self, row: Instance, said: str | None) -> Why | None:
        if not said:
            return None
        said = said.replace(f"{row} is in state ", f"{row} is ")
        return self._by_task(row) or _of_many(said, str(row))

    def _by_task(self, row: Instance) -> Why | None:
        if self._operation.kind != Operation.RERUN or row.state not in self._operation.allowed_from():
            return None
        if row.task.rerun_allowed == RerunAllowed.NONE:
            return _why(
                lambda number: ngettext(
                    "%(n)s is of a task that must never be rerun.",
                    "%(n)s are of tasks that must never be rerun.",
                    number,
                )
            )
        return _why(
            lambda number: ngettext(
                "%(n)s is %(state)s, of a task that may be rerun only after a failure.",
                "%(n)s are %(state)s, of tasks that may be rerun only after a failure.",
                number,
            ),
            state=_(LABELS[State(row.state)]),
        )


def _why(said: Callable[[int], str], **values: Any) -> Why:
    """`said`: the sentence of so many, with `n` in the place of the number and the noun."""
    return Why(said(1) % {"n": "{n}", **values}, said(2) % {"n": "{n}", **values})


# What operations refuse is said of one; in English the verb of several is another.
_VERBS = {"is": "are", "has": "have", "does": "do", "was": "were", "waits": "wait", "depends": "depend"}


def _of_many(said: str, name: str) -> Why:
    """What is said of the instance called `name`, said of many: `X is not frozen.` becomes `2 instances are not...`"""
    one = said.replace(name, "{n}")
    verb, _, rest = one.removeprefix("{n} ").partition(" ")
    if not one.startswith("{n} ") or verb not in _VERBS:
        return Why(one, one)
    return Why(one, f"{{n}} {_VERBS[verb]} {rest}")


def merged(refused: Iterable[tuple[Why, int, list[Any]]], most: int) -> list[tuple[Why, int, list[Any]]]:
    """(why, count, examples) of groups put together by why, the most frequent first; up to `most` examples each."""
    found: dict[Why, tuple[int, list[Any]]] = {}
    for why, count, examples in refused:
        before, known = found.get(why, (0, []))
        found[why] = (before + count, known + examples)
    rows = [(why, count, sorted(examples)[:most]) for why, (count, examples) in found.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0].one))
