"""Which instances an operation is asked for: those with given ids, or all that match the filter of the list."""

from dataclasses import dataclass

from django.core.exceptions import TooManyFieldsSent
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from instances.admin.looks import state_badge
from instances.filters import InstanceFilter
from instances.models import Instance
from weops.console.filter_bar import ZONE
from weops.console.paging import COUNT_CAP, capped_count
from weops.console.present import capped, stamp

MOST_IDS = 1_000


class ChoiceError(ValueError):
    """Nothing can be chosen so; the message is for people."""


@dataclass(frozen=True)
class Choice:
    """`rows`: the chosen instances that the user sees. `query`: the filter of the list that one came from, or that
    chooses if there are no `ids`; `words`: that filter for people, (label, value)."""

    rows: QuerySet[Instance]
    ids: tuple[int, ...]
    query: str
    words: tuple[tuple[str, str], ...] = ()

    @property
    def everything(self) -> bool:
        """All that match the filter are chosen, whichever these are when they are frozen."""
        return not self.ids

    @cached_property
    def found(self) -> int:
        """How many are chosen now; the cap and 1 for any more."""
        return capped_count(self.rows)

    @property
    def count(self) -> str:
        return capped(self.found, COUNT_CAP)

    @property
    def missing(self) -> int:
        """Ids that name no instance, or one that the user does not see."""
        return len(self.ids) - self.found if self.ids else 0

    @cached_property
    def only(self) -> Instance | None:
        """The chosen instance, if it is a single one."""
        if len(self.ids) != 1:
            return None
        return self.rows.select_related("task", "project", "owner").first()

    @property
    def data_time(self) -> SafeString:
        """Of `only`: the name of a task alone does not say which day is meant."""
        assert self.only is not None
        return stamp(self.only.data_time, self.only.task.timezone, named=True)

    @property
    def state(self) -> SafeString:
        """Of `only`."""
        assert self.only is not None
        return state_badge(self.only.state, self.only.error_code)

    @property
    def list_address(self) -> str:
        address = reverse("admin:instances_instance_changelist")
        return f"{address}?{self.query}" if self.query else address

    @property
    def back(self) -> str:
        """Where one comes from: the filtered list, or the instance itself if it is the only one."""
        if len(self.ids) == 1 and not self.query:
            return reverse("admin:instances_instance_change", args=self.ids)
        return self.list_address


def read(request: HttpRequest, visible: QuerySet[Instance], sent: QueryDict) -> Choice:
    """What `ids` (separated by commas), or `all` with the filter `query`, choose of `visible`. Raises ChoiceError."""
    query = _filter(sent.get("query", ""))
    if sent.get("all") == "1":
        return _matching(request, visible, query)
    ids = chosen(sent.get("ids", ""))
    return Choice(visible.filter(pk__in=ids), tuple(ids), query.urlencode())


def _filter(text: str) -> QueryDict:
    """The parameters of the list that filter; its page is none of them."""
    try:
        query = QueryDict(text, mutable=True)
    except TooManyFieldsSent:
        raise ChoiceError(gettext("The filter has too many parts.")) from None
    for name in [name for name in query if name not in {*InstanceFilter.base_fields, ZONE}]:
        del query[name]
    return query


def _matching(request: HttpRequest, visible: QuerySet[Instance], query: QueryDict) -> Choice:
    form = InstanceFilter(request, query)
    if not form.is_valid():
        faults = [
            f"{name}: {' '.join(str(error) for error in errors)}" for name, errors in form.errors.items()
        ]
        raise ChoiceError(gettext("The filter cannot be read: %(faults)s") % {"faults": "; ".join(faults)})
    rows = form.apply(visible)
    if form.too_many:
        # The list shows what it can; an operation on a part of what was meant would be a trap.
        raise ChoiceError(
            gettext(
                "The filter names too many tasks to operate on all of them at once. Write more of the name."
            )
        )
    return Choice(rows, (), query.urlencode(), tuple(form.in_words()))


def chosen(text: str) -> list[int]:
    """Ids from `1,2,3`; raises ChoiceError for anything else, for none, and for too many."""
    words = [word for word in text.split(",") if word]
    if not all(word.isdecimal() and len(word) <= 18 for word in words):
        raise ChoiceError(gettext("Instance ids are numbers, separated by commas."))
    ids = sorted({int(word) for word in words})
    if not ids:
        raise ChoiceError(gettext("No instance is chosen."))
    if len(ids) > MOST_IDS:
        raise ChoiceError(
            gettext("At most %(most)s instances by their ids; choose more by a filter of the list.")
            % {"most": f"{MOST_IDS:,}"}
        )
    return ids
