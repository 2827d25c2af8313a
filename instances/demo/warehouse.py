"""The database `warehouse`: a schema of its own, the weather's landing table, and the results to read."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from instances.demo import DemoError
from instances.demo.data import open_weather
from instances.demo.expected import Delays, Row

SCHEMA = "weops_demo"

_TABLES = """
CREATE TABLE landed_weather (
    origin text, year text, month text, day text, hour text, temp text, dewp text, humid text, wind_dir text,
    wind_speed text, wind_gust text, precip text, pressure text, visib text, time_hour text
);
CREATE INDEX ON landed_weather (year, month, day, hour);
CREATE TABLE weather (
    origin text, observed_at timestamptz, local_hour timestamp NOT NULL, temperature_c numeric(4, 1),
    wind_mph double precision, visibility_miles double precision, rain_inches double precision,
    PRIMARY KEY (origin, observed_at)
);
CREATE INDEX ON weather (local_hour);
CREATE TABLE flights (
    day date NOT NULL, origin text NOT NULL, dest text NOT NULL, carrier text NOT NULL, flight integer NOT NULL,
    scheduled_hour timestamptz NOT NULL, dep_delay integer, arr_delay integer
);
CREATE INDEX ON flights (day);
CREATE TABLE daily_delays (
    day date, origin text, flights integer NOT NULL, not_departed integer NOT NULL, delay_minutes integer NOT NULL,
    bad_weather_flights integer NOT NULL, PRIMARY KEY (day, origin)
);
CREATE TABLE monthly_report (
    month date, origin text, flights integer NOT NULL, not_departed integer NOT NULL, delay_minutes integer NOT NULL,
    bad_weather_flights integer NOT NULL, mean_delay numeric(8, 2), PRIMARY KEY (month, origin)
);
"""


@contextmanager
def connect(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A transaction in the demo's schema. Raises DemoError when the database cannot be reached."""
    if not url:
        raise DemoError(
            "The demo needs a PostgreSQL database beside WeOps's own: set WEOPS_WAREHOUSE_URL to "
            "postgresql://user:password@host/name (`make up` and `make demo` do it themselves)."
        )
    try:
        connection = psycopg.connect(url, connect_timeout=10, options=f"-c search_path={SCHEMA}")
    except psycopg.Error as error:
        raise DemoError(f"The warehouse of WEOPS_WAREHOUSE_URL cannot be reached: {error}") from error
    with connection:
        yield connection


def create(url: str) -> None:
    """The schema anew, empty but for the weather's landing table, which gets the whole year at once."""
    with connect(url) as connection, connection.cursor() as cursor, open_weather() as weather:
        name = sql.Identifier(SCHEMA)
        # Two loads at once would meet in the middle of this.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [SCHEMA])
        cursor.execute("SET client_min_messages = warning")
        cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        cursor.execute(_TABLES)
        with cursor.copy("COPY landed_weather FROM STDIN (FORMAT csv, HEADER true)") as copy:
            while text := weather.read(1 << 20):
                copy.write(text)


def flights_by_day(url: str) -> dict[date, int]:
    """How many flights are loaded, by day."""
    with connect(url) as connection:
        return dict(connection.execute("SELECT day, count(*) FROM flights GROUP BY day").fetchall())


def report(url: str) -> list[Row]:
    """The monthly report: by month, then the airports, the total over them last."""
    with connect(url) as connection:
        rows = connection.execute(
            "SELECT month, origin, flights, not_departed, delay_minutes, bad_weather_flights, mean_delay "
            "FROM monthly_report ORDER BY month, origin = 'ALL', origin"
        ).fetchall()
    return [Row(month, origin, Delays(*counts), mean) for month, origin, *counts, mean in rows]
