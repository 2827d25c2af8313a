"""What the benchmarks found, as text for people and as markdown for the documentation."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil


@dataclass(slots=True)
class Figure:
    """One measured thing: a value per run, beside the raw limit's value per run (if there is one), in the same unit.

    `target` says what is to be reached, in words. Ratio = median / raw median.
    """

    name: str
    unit: str
    ours: list[float]
    raw_name: str = ""
    raw: list[float] = field(default_factory=list)
    target: str = ""

    def cells(self) -> list[str]:
        median = statistics.median(self.ours)
        beside = ["", ""]
        if self.raw:
            raw = statistics.median(self.raw)
            beside = [f"{self.raw_name}: {number(raw)} {self.unit}", f"{median / raw:.2f}"]
        return [self.name, f"{number(median)} {self.unit}", spread(self.ours), *beside, self.target]


FIGURE_HEADS = ["measured", "median", "lowest to highest", "raw limit, same run", "ratio", "target"]


@dataclass(slots=True)
class Section:
    """All that one benchmark has to say. `counted`: what exactly is counted, from when to when."""

    name: str
    title: str
    counted: str
    figures: list[Figure] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def tables(self) -> list[tuple[list[str], list[list[str]]]]:
        found = []
        if self.figures:
            found.append((FIGURE_HEADS, [figure.cells() for figure in self.figures]))
        if self.rows:
            found.append((self.heads, self.rows))
        return found


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value >= 1000:
        return f"{round(value, -1 if value < 10_000 else -2):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return "1 run"
    return f"{number(min(values))} to {number(max(values))} ({len(values)} runs)"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine(postgres: str, broker: str) -> list[str]:
    """The machine and the versions, one fact a line."""
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"{len(os.sched_getaffinity(0))} cores ({_processor()}), {memory:.0f} GB of memory, {platform.system()}",
        f"PostgreSQL {postgres}, {broker}, Python {platform.python_version()}, "
        f"Celery {version('celery')}, Django {version('django')}",
        f"load average at the start (1, 5, 15 minutes): {load}",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def as_text(section: Section) -> str:
    lines = [f"{section.title}", f"  {section.counted}"]
    for heads, rows in section.tables():
        widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
        lines += [_aligned(row, widths) for row in [heads, ["-" * width for width in widths], *rows]]
    return "\n".join(lines) + "\n"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def as_markdown(section: Section, command: str) -> str:
    lines = [f"## {section.title}", "", section.counted, "", f"`{command}`", ""]
    for heads, rows in section.tables():
        lines += [_line(heads), _line(["---"] * len(heads)), *(_line(row) for row in rows), ""]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
