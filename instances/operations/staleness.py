"""What has changed since a set was frozen: a preview is applied only if this is nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from instances.engine.states import LABELS, State
from instances.models import FrozenSet
from instances.operations import downstream
from instances.operations.downstream import Reach, Roots
from instances.operations.words import counted

# The version of an instance `i` that a frozen set remembers.
MARK = "i.state || ':' || i.life_round || ':' || i.tries"
# Of each sort, so many are named; all are counted.
NAMED = 100
# How many of the named ones a sentence repeats.
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Changed:
    """`name`: task and data time (UTC). `then` and `now` are marks: `state:life round:retries`."""

    id: int
    name: str
    then: str
    now: str

    def sentence(self) -> str:
        then, now = _Mark.read(self.then), _Mark.read(self.now)
        if then.state != now.state:
            message = _("%(instance)s was %(then)s, is %(now)s")
        elif then.life != now.life:
            message = _("%(instance)s is %(now)s in another life")
        else:
            message = _("%(instance)s is %(now)s after %(retries)s, not %(tries)s")
        return message % {
            "instance": self.name,
            "then": then.label,
            "now": now.label,
            "retries": counted(now.tries, "retry"),
            "tries": then.tries,
        }


@dataclass(frozen=True, slots=True)
class Named:
    """An instance; `name` is task and data time (UTC), or its number if it is gone."""

    id: int
    name: str

    def sentence(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class _Mark:
    label: str
    state: str
    life: int
    tries: int

    @classmethod
    def read(cls, mark: str) -> "_Mark":
        state, life, tries = mark.split(":")
        return cls(_(LABELS[State(state)]), state, int(life), int(tries))


@dataclass(frozen=True, slots=True)
class Difference:
    """What a frozen set is not any more; false if it is as it was. Of each sort the first hundred are named."""

    changed: tuple[Changed, ...] = ()
    gone: tuple[Named, ...] = ()
    joined: tuple[Named, ...] = ()
    left: tuple[Named, ...] = ()
    changed_count: int = 0
    gone_count: int = 0
    joined_count: int = 0
    left_count: int = 0

    def __bool__(self) -> bool:
        return bool(self.changed_count or self.gone_count or self.joined_count or self.left_count)

    def sentences(self) -> list[str]:
        """One for each sort of difference, with examples."""
        found: list[tuple[int, str, Sequence[Changed | Named]]] = [
            (
                self.changed_count,
                ngettext(
                    "%(count)s instance has changed: %(examples)s.",
                    "%(count)s instances have changed: %(examples)s.",
                    self.changed_count,
                ),
                self.changed,
            ),
            (
                self.gone_count,
                ngettext(
                    "%(count)s instance is not there any more: %(examples)s.",
                    "%(count)s instances are not there any more: %(examples)s.",
                    self.gone_count,
                ),
                self.gone,
            ),
            (
                self.joined_count,
                ngettext(
                    "%(count)s instance is downstream since: %(examples)s.",
                    "%(count)s instances are downstream since: %(examples)s.",
                    self.joined_count,
                ),
                self.joined,
            ),
            (
                self.left_count,
                ngettext(
                    "%(count)s instance left the downstream: %(examples)s.",
                    "%(count)s instances left the downstream: %(examples)s.",
                    self.left_count,
                ),
                self.left,
            ),
        ]
        return [
            message % {"count": f"{count:,}", "examples": _examples(count, named)}
            for count, message, named in found
            if count
        ]

    def as_json(self) -> dict[str, Any]:
        """All of it, with `sentences`."""
        return {**asdict(self), "sentences": self.sentences()}


def _examples(count: int, named: Sequence[Changed | Named]) -> str:
    examples = [one.sentence() for one in named[:_EXAMPLES]]
    if count > len(examples):
        examples.append(_("%(count)s more") % {"count": f"{count - len(examples):,}"})
    return "; ".join(examples)


_FROZEN = """
SELECT f.id, f.mark, f.layer, b.seq, f.place FROM instances_frozenbatch b
CROSS JOIN unnest(b.instance_ids, b.marks, b.layers) WITH ORDINALITY AS f(id, mark, layer, place)
WHERE b.frozen_set_id = %(set)s
"""

# The data time is shown in UTC: the set may be of many zones.
_NAME = "t.name || ' ' || to_char(i.data_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"

_CHANGED = f"""
WITH off AS (
    SELECT f.*, i.id IS NULL AS gone, {MARK} AS now, i.task_id, i.data_time
    FROM ({_FROZEN}) f LEFT JOIN instances_instance i
        ON i.id = f.id AND (%(sight)s::bigint[] IS NULL OR i.project_id = ANY(%(sight)s::bigint[]))
    WHERE i.id IS NULL OR {MARK} <> f.mark
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY gone ORDER BY seq, place) AS number, count(*) OVER (PARTITION BY gone) AS of
    FROM off
)
SELECT i.gone, i.of, i.id, {_NAME}, i.mark, i.now FROM numbered i LEFT JOIN instances_task t ON t.id = i.task_id
WHERE i.number <= {NAMED} ORDER BY i.gone, i.number
"""  # noqa: S608 - constants

# EXCEPT, which sorts or hashes whatever the planner believes of the sizes; it knows nothing of arrays.
_JOINED = f"""
WITH joined AS (SELECT id FROM weops_reached EXCEPT SELECT id FROM ({_FROZEN}) f), numbered AS (
    SELECT r.*, count(*) OVER () AS of FROM joined JOIN weops_reached r ON r.id = joined.id
    ORDER BY r.layer, r.id LIMIT {NAMED}
)
SELECT i.of, i.id, {_NAME} FROM numbered i JOIN instances_task t ON t.id = i.task_id ORDER BY i.layer, i.id
"""  # noqa: S608 - constants

_LEFT = f"""
WITH lost AS (SELECT id FROM ({_FROZEN}) f EXCEPT SELECT id FROM weops_reached), numbered AS (
    SELECT i.*, count(*) OVER () AS of FROM lost JOIN instances_instance i
        ON i.id = lost.id AND (%(sight)s::bigint[] IS NULL OR i.project_id = ANY(%(sight)s::bigint[]))
    ORDER BY i.id LIMIT {NAMED}
)
SELECT i.of, i.id, {_NAME} FROM numbered i JOIN instances_task t ON t.id = i.task_id ORDER BY i.id
"""  # noqa: S608 - constants


def difference(frozen: FrozenSet) -> Difference:
    """Compares the set with the present: marks, and for sets with downstream who has come and who has left.

    Downstream is what the set's user sees now, and what that user does not see any more is gone. Changes nothing, and
    locks nothing: whoever applies the set meets what changes after this call as a refusal.
    """
    reach = Reach.of(frozen.kind, frozen.options)
    seen = downstream.sight(frozen.user)
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED, {"set": frozen.pk, "sight": seen})
        rows = cursor.fetchall()
    changed = [(of, Changed(pk, name, then, now)) for gone, of, pk, name, then, now in rows if not gone]
    gone = [(of, Named(pk, f"#{pk}")) for is_gone, of, pk, *_ in rows if is_gone]
    joined, left = _closure(frozen, reach, seen) if reach else ([], [])
    return Difference(
        tuple(one for _of, one in changed),
        tuple(one for _of, one in gone),
        tuple(one for _of, one in joined),
        tuple(one for _of, one in left),
        *(found[0][0] if found else 0 for found in (changed, gone, joined, left)),
    )


def _closure(
    frozen: FrozenSet, reach: Reach, seen: list[int] | None
) -> tuple[list[tuple[int, Named]], list[tuple[int, Named]]]:
    """Who has come and who has left downstream, each with how many there are."""
    roots = Roots(
        "SELECT unnest(instance_ids) FROM instances_frozenroots WHERE frozen_set_id = %s", (frozen.pk,)
    )
    with downstream.reached() as cursor:
        found = downstream.start(cursor, roots, seen)
        downstream.spread(cursor, reach, seen, found)
        downstream.prune(cursor, reach)
        values = {"set": frozen.pk, "sight": seen}
        return _named(cursor, _JOINED, values), _named(cursor, _LEFT, values)


def _named(cursor: CursorWrapper, statement: str, values: dict[str, Any]) -> list[tuple[int, Named]]:
    cursor.execute(statement, values)
    return [(of, Named(pk, name)) for of, pk, name in cursor.fetchall()]
