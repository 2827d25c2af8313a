"""Group commit: what many threads submit at once is carried out together, each with its own answer."""

import threading
from functools import partial
from typing import Any

import pytest

from instances.engine.group_commit import GroupCommit
from tests.engine import harness
from tests.engine.harness import Racer, until

pytestmark = pytest.mark.engine


def test_everybody_gets_his_own_answer() -> None:
    batches: list[int] = []

    def commit(items: Any) -> list[int]:
        batches.append(len(items))
        return [item * 2 for item in items]

    group: GroupCommit[int, int] = GroupCommit(commit, most=7)

    def submit_many(n: int) -> list[int]:
        return [group.submit(n * 100 + m) for m in range(50)]

    racers = [Racer(partial(submit_many, n)) for n in range(8)]
    assert [racer.result() for racer in racers] == [[(n * 100 + m) * 2 for m in range(50)] for n in range(8)]
    assert sum(batches) == 400
    assert max(batches) <= 7


def test_an_error_reaches_everybody_of_the_batch_and_nobody_else() -> None:
    entered, go = threading.Event(), threading.Event()

    def commit(items: Any) -> list[int]:
        entered.set()
        assert go.wait(harness.PATIENCE)
        if any(item < 0 for item in items):
            raise ValueError("no")
        return list(items)

    group: GroupCommit[int, int] = GroupCommit(commit)
    first = Racer(lambda: group.submit(1))
    assert entered.wait(harness.PATIENCE)
    second, third = Racer(lambda: group.submit(-1)), Racer(lambda: group.submit(2))
    until(lambda: len(group._waiting) == 2)
    go.set()
    assert first.result() == 1
    for racer in (second, third):
        with pytest.raises(ValueError, match="no"):
            racer.result()
    assert group.submit(3) == 3
