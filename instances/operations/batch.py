"""One batch of an operation inside its transaction: who is refused, what is changed, what became of each."""

import logging
from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _

from instances.engine import lifecycle
from instances.engine.backlog import array
from instances.models import Instance, OperationRecord, Task
from instances.models.operation import ItemOutcome
from instances.operations import outcomes
from instances.operations.base import Changed, get
from instances.operations.outcomes import GONE, INTERNAL_ERROR, Outcomes, Untouched
from instances.operations.records import SYSTEM, storable
from instances.operations.words import rights_named
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Project

log = logging.getLogger(__name__)
_STATEMENT_TIMEOUT = "57014"


def passing(error: Exception) -> bool:
    """Whether it is the database that is away, full or busy: a later try may do better, with nothing changed."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    # A statement that took too long is about this batch: a half of it may be quick enough.
    return getattr(error.__cause__, "sqlstate", None) != _STATEMENT_TIMEOUT


class Rights:
    """What the operator may now: asked anew for each batch, since rights are withdrawn and accounts closed meanwhile."""

    def __init__(self, record: OperationRecord, needed: frozenset[Right]) -> None:
        self._needed = needed
        self._everything = record.operator_id is None and record.operator_name == SYSTEM
        self._user = User.objects.filter(pk=record.operator_id or 0).first()
        self._name = record.operator_name
        self._known: dict[int | None, str] = {}

    def refusal(self, project_id: int | None) -> str:
        """Why nothing may be done in the project; '' if all that is needed may."""
        if self._everything:
            return ""
        if project_id not in self._known:
            self._known[project_id] = self._ask(project_id)
        return self._known[project_id]

    def _ask(self, project_id: int | None) -> str:
        if self._user is None or not self._user.is_active:
            return _("The account %(name)s is closed.") % {"name": self._name}
        missing = sorted(self._needed - access.rights(self._user, project_id))
        if not missing:
            return ""
        project = Project.objects.filter(pk=project_id or 0).values_list("name", flat=True).first()
        message = _("%(user)s does not have the right to %(rights)s in project %(project)s.")
        return message % {"user": self._name, "rights": rights_named(missing), "project": project}


class Batch:
    """`ids` of `record`, to be applied in the transaction of the caller."""

    def __init__(self, record: OperationRecord, ids: Sequence[int]) -> None:
        self.record = record
        self.ids = ids
        self.operation = get(record.kind)
        self.options = self.operation.parse(record.options)
        self.failed: dict[int, str] = {}

    def apply(self, *, apart: bool) -> Outcomes:
        """Changes what can be changed. `apart`: an instance that cannot be changed for an error fails alone."""
        lifecycle.hold(self.ids, parents=self.operation.locks_parents)
        outcomes.remember(self.ids)
        rows = _rows(self.ids)
        refused = self._refusals(rows)
        allowed = sorted(rows.keys() - refused.keys())
        changed = self._change_apart(allowed) if apart else self._change(allowed)
        why = changed.messages | refused
        untouched = [
            self._untouched(pk, rows.get(pk), why.get(pk, "")) for pk in self.ids if pk not in changed.states
        ]
        return Outcomes(sorted(changed.states), changed.messages, untouched, changed.touched)

    def _untouched(self, pk: int, row: Instance | None, why: str) -> Untouched:
        if row is None:
            return Untouched(pk, ItemOutcome.REFUSED, GONE)
        if pk in self.failed:
            return Untouched(pk, ItemOutcome.FAILED, self.failed[pk], row.state)
        nothing = _("%(instance)s is left as it was: there is nothing to %(verb)s.")
        why = why or nothing % {"instance": row, "verb": self.operation.verb()}
        return Untouched(pk, ItemOutcome.REFUSED, why, row.state)

    def _refusals(self, rows: dict[int, Instance]) -> dict[int, str]:
        """Why those are refused that are; {} if all are allowed."""
        rights = Rights(self.record, self.operation.rights(self.options))
        refused = {pk: why for pk, row in rows.items() if (why := rights.refusal(row.project_id))}
        asked = [row for pk, row in rows.items() if pk not in refused]
        return refused | self.operation.refusals(asked, self.options)

    def _change(self, ids: Sequence[int]) -> Changed:
        return self.operation.change(ids, self.record, self.options) if ids else Changed({})

    def _change_apart(self, ids: Sequence[int]) -> Changed:
        """Changes `ids`, by halves where that fails; a single one that fails is noted in `failed`."""
        try:
            with transaction.atomic():
                changed = self._change(ids)
                # What would fail only at the end of the transaction fails here, where it is known whose fault it is.
                with connection.cursor() as cursor:
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
                return changed
        except Exception as error:
            if passing(error):
                raise
            if len(ids) == 1:
                log.exception("operation %d failed on instance %d", self.record.pk, ids[0])
                self.failed[ids[0]] = _message(error)
                return Changed({})
        half = len(ids) // 2
        return _both(self._change_apart(ids[:half]), self._change_apart(ids[half:]))


def _message(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    return f"{INTERNAL_ERROR} It begins: {storable(first_line, 300) or type(error).__name__}"


def _both(one: Changed, other: Changed) -> Changed:
    one.touched.add(other.touched)
    return Changed(one.states | other.states, one.touched, one.messages | other.messages)


# What refusals look at; each further one would cost every batch.
_COLUMNS = ("task_id", "project_id", "data_time", "state", "life_round", "frozen_at", "thaw_at")


def _rows(ids: Sequence[int]) -> dict[int, Instance]:
    """The instances, each with its task; a task of many is read once."""
    chosen = RawSQL("SELECT unnest(%s::bigint[])", [array(ids)])
    found = Instance.objects.filter(pk__in=chosen).only(*_COLUMNS).order_by("pk")
    rows = {row.pk: row for row in found}
    tasks = Task.objects.in_bulk({row.task_id for row in rows.values()})
    for row in rows.values():
        row.task = tasks[row.task_id]
    return rows
