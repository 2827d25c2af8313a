"""What a rerun can be told, with its defaults; every door fills in the same form and gets the same errors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from instances.engine.states import SelfDependency
from instances.language import listed_plainly
from instances.operations.parsing import OptionError, application_parameters, flag, one_of, only, texts


class Scope(StrEnum):
    THIS = "this"
    WITH_DOWNSTREAM = "with_downstream"
    DOWNSTREAM = "downstream"


class Range(StrEnum):
    """How far downstream goes from each chosen instance."""

    WORKFLOW = "workflow"
    PROJECT = "project"
    ALL = "all"
    CHOSEN = "chosen"


class CheckParents(StrEnum):
    """Which direct parents the new life waits for. Parents that are rerun by the same operation always count."""

    NONE = "none"
    ALL = "all"
    SELECTION = "selection"


class Code(StrEnum):
    LATEST = "latest"
    AS_IT_RAN = "as_it_ran"


# By kind of option: members of two kinds that have the same value are equal.
LABELS: dict[type[StrEnum], dict[str, Any]] = {
    Scope: {
        Scope.THIS: gettext_lazy("This instance"),
        Scope.WITH_DOWNSTREAM: gettext_lazy("This instance and downstream instances"),
        Scope.DOWNSTREAM: gettext_lazy("Downstream instances only"),
    },
    Range: {
        Range.WORKFLOW: gettext_lazy("In the same workflow"),
        Range.PROJECT: gettext_lazy("In the same project"),
        Range.ALL: gettext_lazy("In all projects"),
        Range.CHOSEN: gettext_lazy("Hand-picked instances"),
    },
    CheckParents: {
        CheckParents.NONE: gettext_lazy("Do not check parents"),
        CheckParents.ALL: gettext_lazy("All direct parents"),
        CheckParents.SELECTION: gettext_lazy("Only parents in the selection"),
    },
    Code: {
        Code.LATEST: gettext_lazy("Code and parameters of the last version"),
        Code.AS_IT_RAN: gettext_lazy("Code and parameters as it ran"),
    },
}


@dataclass(frozen=True, slots=True)
class RerunOptions:
    """`chosen`: ids of downstream instances, with range `chosen` only. `parameters` and `application_parameters`
    override by name, for this life. `parallelism`: so many instances of a task at once, in place of its self-dependency.
    `failed_traversals`: For-each tasks run only those traversals again that have not succeeded."""

    scope: Scope = Scope.THIS
    range: Range = Range.WORKFLOW
    chosen: tuple[int, ...] = ()
    check_parents: CheckParents = CheckParents.NONE
    check_previous: bool = False
    ignore_events: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    application_parameters: dict[str, str] = field(default_factory=dict)
    self_dependency: str = ""
    parallelism: int | None = None
    code: Code = Code.LATEST
    failed_traversals: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """From JSON-like values. Raises OptionError for an unknown name, a wrong value, or two that exclude each other."""
        only(given, cls.__dataclass_fields__)
        options = cls(
            scope=one_of(Scope, given, "scope", Scope.THIS),
            range=one_of(Range, given, "range", Range.WORKFLOW),
            chosen=_ids(given.get("chosen", ())),
            check_parents=one_of(CheckParents, given, "check_parents", CheckParents.NONE),
            check_previous=flag(given, "check_previous"),
            ignore_events=flag(given, "ignore_events"),
            parameters=texts(given, "parameters"),
            application_parameters=application_parameters(given),
            self_dependency=_self_dependency(given.get("self_dependency") or ""),
            parallelism=_parallelism(given.get("parallelism")),
            code=one_of(Code, given, "code", Code.LATEST),
            failed_traversals=flag(given, "failed_traversals"),
        )
        options._check()
        return options

    def _check(self) -> None:
        if self.chosen and self.range != Range.CHOSEN:
            raise OptionError("chosen", _("Hand-picked instances need the range 'chosen'."))
        if self.range == Range.CHOSEN and self.scope != Scope.THIS and not self.chosen:
            message = _("Choose at least one downstream instance, or another range.")
            raise OptionError("chosen", message)
        if self.parallelism is not None and self.self_dependency:
            message = _("A parallelism replaces the self-dependency; give one of the two, not both.")
            raise OptionError("parallelism", message)

    def as_json(self) -> dict[str, Any]:
        """What `parse` takes; without those that are as by default."""
        default = asdict(type(self)())
        return {name: value for name, value in asdict(self).items() if value != default[name]}


def _ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(type(one) is int and 0 < one < 2**63 for one in value):
        raise OptionError("chosen", _("Write a list of instance ids."))
    return tuple(sorted(set(value)))


def _self_dependency(value: Any) -> str:
    if value and value not in list(SelfDependency):
        message = _("%(value)r is none of %(known)s.")
        raise OptionError(
            "self_dependency", message % {"value": value, "known": listed_plainly(SelfDependency)}
        )
    return str(value)


def _parallelism(value: Any) -> int | None:
    if value is None or value == "":
        return None
    if type(value) is not int or not 1 <= value <= 1000:
        raise OptionError("parallelism", _("Write a whole number from 1 to %(most)s.") % {"most": 1000})
    return value
