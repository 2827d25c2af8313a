"""GetTaskInstanceLog: the tries of one life, one after the other, page by page."""

from typing import Any

from instances.engine import logs
from instances.engine.secrets import masker_of
from instances.models import Execution
from weops.projects.access import Right
from weops.wedata import instances
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import ApiError, bad_value
from weops.wedata.fields import Text, Whole

# Characters of one page; or lines, if only those of a level are wanted.
PAGE = 256 * 1024
LINES = 2000
LEVELS = ("All", "Info", "Debug", "Warn", "Error")


def _cursor(text: str) -> tuple[int, int]:
    """(execution, character) where the next page begins."""
    execution, _, position = text.partition(".")
    if not (execution.isdecimal() and position.isdecimal() and len(text) < 40):
        raise bad_value("NextCursor", "Send the NextCursor of the page before, as it is.")
    return int(execution), int(position)


@action(
    "GetTaskInstanceLog",
    Right.VIEW,
    **instances.KEY,
    LifeRoundNum=Whole(least=0),
    LogLevel=Text(one_of=LEVELS, default="All"),
    NextCursor=Text(most=60),
)
def get_task_instance_log(call: Call) -> Any:
    """While the run is on there is always a next page; NextCursor is null when no more will ever come."""
    row = instances.find(call)
    life = row.life_round if call["LifeRoundNum"] is None else call["LifeRoundNum"]
    tries = list(
        Execution.objects.filter(instance=row, life_round=life)
        .select_related("version")
        .order_by("try_number", "id")
    )
    if call["LifeRoundNum"] is not None and not tries and life > row.life_round:
        raise bad_value(
            "LifeRoundNum", f"The instance is in life {row.life_round}; there is no life {life} yet."
        )
    version = tries[-1].version if tries else row.version
    mask = masker_of(row.task_id, *(one.pk for one in tries))
    text, cursor = _page(tries, *_cursor(call["NextCursor"] or "0.0"), call["LogLevel"].lower())
    if cursor is None and row.life_round == life and row.state not in ("success", "failed", "skipped"):
        # Another try may follow.
        cursor = f"{tries[-1].pk if tries else 0}.{1 << 40}"
    return {
        "InstanceKey": str(row.pk),
        "ProjectId": str(row.project_id),
        "CodeContent": mask.mask_text(version.code) if version else None,
        "LogInfo": text,
        "NextCursor": cursor,
    }


def _page(tries: list[Execution], execution: int, position: int, level: str) -> tuple[str, str | None]:
    """Text from the cursor on, and the next cursor; None if all that there is has been read.

    A cursor counts characters; where only lines of a level are wanted, lines.
    """
    text = ""
    for one in tries:
        if one.pk < execution:
            continue
        start = position if one.pk == execution else 0
        try:
            found, position, done = _read(one, start, PAGE - len(text), level)
        except OSError as error:
            raise ApiError(
                "FailedOperation", f"The stored log cannot be read: {type(error).__name__}."
            ) from error
        text += found
        if not done or len(text) >= PAGE:
            return text, f"{one.pk}.{position}"
    return text, None


def _read(one: Execution, start: int, limit: int, level: str) -> tuple[str, int, bool]:
    """(text, where to read on, whether no more will ever come)"""
    if level == "all":
        page = logs.read(one, start, limit)
        return page.text, page.next_cursor, page.done
    lines = logs.lines(one, max(start, 1), LINES, level)
    text = "".join(f"{line.text}\n" for line in lines.lines)
    return text, lines.next_line or 0, lines.next_line is None
