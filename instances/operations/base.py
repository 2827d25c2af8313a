"""What a kind of operation is: its right, its options, whom it refuses, how it changes a set through the lifecycle.

One class each, registered by its kind. It never writes outcomes and knows no batches: `applying` calls it for one batch at
a time, inside the batch's transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.utils.translation import gettext, gettext_noop

from instances.engine import lifecycle, states
from instances.engine.lifecycle import Touched
from instances.models import Instance, OperationRecord
from instances.operations.parsing import only
from weops.projects.access import Right


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the old state of each instance that it changed, and what that made ready.

    `messages`: what to put on record of an instance: why it was left as it was, or what was done.
    """

    states: dict[int, str]
    touched: Touched = field(default_factory=Touched)
    messages: dict[int, str] = field(default_factory=dict)


class InstanceOperation:
    """One kind of operation.

    `right`: what its user must have in an instance's project. `reason_required`: it must be told why. `undoable`: undo may
    put back what it did; `why_not_undoable` says why not. `locks_parents`: its change looks at what the instances wait for,
    which is locked before them. `of_tests`: test runs, too, can be operated on so.
    """

    kind: ClassVar[str]
    right: ClassVar[Right]
    reason_required: ClassVar[bool] = False
    undoable: ClassVar[bool] = True
    why_not_undoable: ClassVar[str] = ""
    locks_parents: ClassVar[bool] = False
    of_tests: ClassVar[bool] = True

    def parse(self, given: Mapping[str, Any]) -> Any:
        """The options, from JSON-like values. Raises OptionError. By default there are none."""
        only(given, ())
        return {}

    def check(self, options: Any) -> None:
        """Raises OptionError for what may stand on record but cannot be asked for now, such as a time that has passed."""

    def as_json(self, options: Any) -> dict[str, Any]:
        """What `parse` takes, to be kept on record."""
        return dict(options.as_json() if hasattr(options, "as_json") else options)

    def rights(self, options: Any) -> frozenset[Right]:
        """All that its user must have in an instance's project."""
        return frozenset({self.right})

    def refusal(self, instance: Instance, options: Any) -> str:
        """Why `instance` (with its task) is refused as it is now; '' if it is not. By default the states' table decides."""
        if instance.instance_type == states.InstanceType.TEST and not self.of_tests:
            message = gettext(
                "%(instance)s is a test run: %(verb)s is not for those; start another one instead."
            )
            return message % {"instance": instance, "verb": self.verb()}
        if instance.state in self.allowed_from():
            return ""
        return states.refusal(states.Operation(self.kind), instance.state, str(instance))

    def refusals(self, instances: Sequence[Instance], options: Any) -> dict[int, str]:
        """{id: why it is refused}, for many instances at once."""
        return {instance.pk: why for instance in instances if (why := self.refusal(instance, options))}

    def change(self, ids: Sequence[int], record: OperationRecord, options: Any) -> Changed:
        """Changes those of `ids` (ascending, locked, not refused) that it can, in the caller's transaction."""
        raise TypeError(f"{type(self).__name__} does not say how it changes instances")

    def revert(
        self, before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]], record: OperationRecord
    ) -> Changed:
        """Undoes its change on behalf of `record`: {id: image} before and after it, of instances that are locked."""
        return Changed(*lifecycle.restore(before, after, record.pk, self.kind))

    @classmethod
    def allowed_from(cls) -> tuple[str, ...]:
        """States from which it is allowed; all, if it is not in the states' table."""
        if cls.kind in states.OPERATIONS:
            return states.sources(states.Operation(cls.kind))
        return tuple(states.State)

    @classmethod
    def verb(cls) -> str:
        """Its kind in words: `mark success`."""
        return gettext(_VERBS.get(cls.kind, cls.kind))


_VERBS: dict[str, str] = {
    **states.VERBS,
    "acknowledge": gettext_noop("acknowledge"),
    "withdraw_acknowledgement": gettext_noop("withdraw acknowledgement"),
}
_kinds: dict[str, InstanceOperation] = {}


def register(operation: type[InstanceOperation]) -> type[InstanceOperation]:
    _kinds[operation.kind] = operation()
    return operation


def get(kind: str) -> InstanceOperation:
    """The operation called `kind`. Raises KeyError with the known kinds."""
    try:
        return _kinds[kind]
    except KeyError:
        raise KeyError(f"unknown operation {kind!r}; known: {', '.join(kinds())}") from None


def kinds() -> list[str]:
    """The names of all operations on instances."""
    return sorted(_kinds)
