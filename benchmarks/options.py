"""What the command line chose."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """`runs`: measured runs of each figure; `rows`: instances in the full table; `quick`: small, to see that it works."""

    runs: int
    rows: int
    quick: bool


def say(line: str) -> None:
    """Progress, for whoever watches."""
    print(f"  {line}", file=sys.stderr, flush=True)
