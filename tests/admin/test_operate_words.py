"""Options of records in words."""

from typing import Any

import pytest

from instances.admin.operate_words import in_a_line, option_words

PLAN: dict[str, Any] = {
    "plan": 4,
    "name": "november",
    "tasks": [7],
    "downstream": [8, 9],
    "ranges": [["2026-11-10", "2026-11-18"]],
    "order": "NORMAL",
    "reprocess": "all",
    "on_failure": "go_on",
    "check_parents": False,
    "until": "2026-11-22T21:28:09.335643+00:00",
}


def test_a_backfill_is_told_in_words() -> None:
    told = dict(option_words(PLAN))
    assert told == {
        "Plan": "#4",
        "Name": "november",
        "Tasks": "#7",
        "Downstream tasks": "#8, #9",
        "Days": "2026-11-10 to 2026-11-18",
        "Order": "No particular order",
        "What is run": "Everything",
        "When a data time fails": "Go on with the other data times",
        "Parents": "those outside the plan do not count",
        "Due until": "2026-11-22 21:28:09 UTC",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": 3, "name": "load"}, ""),
        ({"check_parents": "all"}, "Parents: All direct parents"),
        ({"check_parents": True}, "Parents: those outside the plan count"),
        ({"ranges": "broken", "tasks": 3, "order": ["x"]}, "Tasks: 3; Days: broken; Order: ['x']"),
        (None, ""),
    ],
)
def test_others_in_a_line(options: Any, said: str) -> None:
    assert in_a_line(options) == said
