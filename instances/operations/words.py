"""Numbers and lengths of time in plain sentences."""

from collections.abc import Iterable


def counted(number: int, one: str, many: str = "") -> str:
    """`1 instance`, `1,200 instances`; `many` if it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(words: Iterable[str], most: int = 5) -> str:
    """`a`, `a and b`, `a, b and c`; of more than `most` the first, and how many more."""
    words = list(words)
    if len(words) > most:
        words = [*words[:most], f"{len(words) - most:,} more"]
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def about(seconds: float) -> str:
    """`less than a minute`, `12 minutes`, `1 hour 30 minutes`, `3 days 2 hours`: as exact as a guess deserves."""
    if seconds < 60:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 60:
        return counted(minutes, "minute")
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _both(counted(hours, "hour"), minutes, "minute")
    days, hours = divmod(hours, 24)
    return _both(counted(days, "day"), hours, "hour")


def roughly(seconds: float) -> str:
    """`less than a minute`, `about 12 minutes`: for the middle of a sentence."""
    return about(seconds) if seconds < 60 else f"about {about(seconds)}"


def _both(large: str, small: int, unit: str) -> str:
    return f"{large} {counted(small, unit)}" if small else large
