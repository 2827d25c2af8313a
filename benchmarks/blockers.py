"""The blocker board over a hundred thousand instances that wait."""

import time

from benchmarks import world
from benchmarks.operations import make
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from instances.insight.board import board
from instances.insight.why import why
from instances.models import Instance


def run(options: Options) -> Section:
    size = 5_000 if options.quick else 100_000
    make(size)
    say(f"{Instance.objects.count()} instances, {board().waiting} wait for upstream")
    last = Instance.objects.select_related("task", "project", "resource_group").order_by("-id")[0]
    boards, answers = [], []
    for _ in range(options.runs):
        began = time.perf_counter()
        found = board()
        boards.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        why(last)
        answers.append(1000 * (time.perf_counter() - began))
    assert found.waiting > size * 0.9
    world.clear()
    return Section(
        "blockers",
        "The blocker board",
        f"`insight.board.board()` with {size:,} instances, nearly all of which wait for upstream, each for two others, in chains "
        "of a thousand tasks; and `insight.why.why()` of the last of a chain.",
        [
            Figure("the board", "ms", boards),
            Figure("why it does not run, at the end of a chain", "ms", answers),
        ],
    )
