"""From the names that a branch was told to the tasks that wait for it. Only reads."""

from collections.abc import Sequence

from django.db.models import F, Q

from instances.language import gettext, listed_plainly
from instances.models import Dependency


class UnknownTasks(LookupError):
    """None of the tasks that wait for the branch has one of these names."""


def ids_of(branch_id: int, names: Sequence[str], all_names: Sequence[str] = ()) -> list[int]:
    """Ids of the tasks called `names` that wait for the task `branch_id`. Raises UnknownTasks if one of `names` or
    `all_names` is none of them."""
    rows = Dependency.objects.filter(upstream=branch_id).annotate(
        own=Q(task__workflow__project=F("upstream__workflow__project"))
    )
    waiting = list(rows.values_list("task_id", "task__name", "own").distinct())
    if missing := sorted({*names, *all_names} - {name for _, name, _ in waiting}):
        # Who reads this sees the branch; tasks of other projects are for those who see them.
        known = {name for _, name, own in waiting if own}
        message = gettext(
            "no task called %(names)s waits for this branch; %(known)s do: "
            "correct the names, or let them depend on it"
        )
        names_of = {
            "names": listed_plainly(missing),
            "known": listed_plainly(sorted(known) or [gettext("none")]),
        }
        raise UnknownTasks(message % names_of)
    wanted = set(names)
    return sorted({task_id for task_id, name, _ in waiting if name in wanted})
