"""The code of the demo's tasks, as a user would write it. Each may run any number of times for its data time."""

INGEST_WEATHER = """\
-- One hour of weather at the three airports, from the landing table, cleaned. The source leaves some hours out.
DELETE FROM ${schema}.weather WHERE local_hour = '${yyyy-MM-dd HH:mm:ss}';

INSERT INTO ${schema}.weather
    (origin, observed_at, local_hour, temperature_c, wind_mph, visibility_miles, rain_inches)
SELECT origin, time_hour::timestamptz, '${yyyy-MM-dd HH:mm:ss}',
       (nullif(temp, 'NA')::numeric - 32) * 5 / 9, nullif(wind_speed, 'NA')::float,
       nullif(visib, 'NA')::float, nullif(precip, 'NA')::float
FROM ${schema}.landed_weather
WHERE year = '2013' AND '${yyyy}' = '2013'
  AND month = '${MM}'::int::text AND day = '${dd}'::int::text AND hour = '${HH}'::int::text;
"""

INGEST_FLIGHTS = '''\
"""One day of flights, from the csv file that landed for it."""

import csv
import os

import psycopg

day = "${yyyy-MM-dd}"
path = os.path.join(os.environ["WEOPS_PARAM_landing"], f"flights-{day}.csv")


def number(text):
    return None if text == "NA" else int(text)


with open(path, newline="", encoding="utf-8") as file:
    flights = list(csv.DictReader(file))
if not flights:
    raise SystemExit(f"{path} holds no flight")

with psycopg.connect(os.environ["warehouse_url"]) as warehouse, warehouse.cursor() as cursor:
    cursor.execute("DELETE FROM ${schema}.flights WHERE day = %s", [day])
    with cursor.copy(
        "COPY ${schema}.flights (day, origin, dest, carrier, flight, scheduled_hour, dep_delay, arr_delay) FROM STDIN"
    ) as copy:
        for flight in flights:
            copy.write_row([
                day, flight["origin"], flight["dest"], flight["carrier"], number(flight["flight"]),
                flight["time_hour"], number(flight["dep_delay"]), number(flight["arr_delay"]),
            ])
print(f"{len(flights)} flights of {day}")
'''

ARCHIVE_FLIGHTS = """\
# Packs the day's file away, once it is in the warehouse.
set -euo pipefail
file="flights-${yyyy-MM-dd}.csv"
folder="$WEOPS_PARAM_archive/${yyyyMM}"
mkdir -p "$folder"
gzip -c "$WEOPS_PARAM_landing/$file" > "$folder/$file.gz.$WEOPS_EXECUTION_ID"
gzip -t < "$folder/$file.gz.$WEOPS_EXECUTION_ID"
mv "$folder/$file.gz.$WEOPS_EXECUTION_ID" "$folder/$file.gz"
echo "$file: $(wc -c < "$WEOPS_PARAM_landing/$file") bytes, packed $(wc -c < "$folder/$file.gz")"
"""

DELAYS = """\
-- Departure delays of one day, with the weather of each flight's hour.
DELETE FROM ${schema}.daily_delays WHERE day = '${yyyy-MM-dd}';

INSERT INTO ${schema}.daily_delays (day, origin, flights, not_departed, delay_minutes, bad_weather_flights)
SELECT f.day, f.origin, count(*), count(*) FILTER (WHERE f.dep_delay IS NULL), coalesce(sum(f.dep_delay), 0),
       count(*) FILTER (WHERE w.visibility_miles < ${bad_visibility} OR w.wind_mph >= ${bad_wind})
FROM ${schema}.flights f
LEFT JOIN ${schema}.weather w ON w.origin = f.origin AND w.observed_at = f.scheduled_hour
WHERE f.day = '${yyyy-MM-dd}'
GROUP BY f.day, f.origin;

SELECT * FROM ${schema}.daily_delays WHERE day = '${yyyy-MM-dd}' ORDER BY origin;
"""

REPORT = """\
-- The month by airport, and over all airports.
DELETE FROM ${schema}.monthly_report WHERE month = '${month_first_day:yyyy-MM-dd}';

INSERT INTO ${schema}.monthly_report
    (month, origin, flights, not_departed, delay_minutes, bad_weather_flights, mean_delay)
SELECT '${month_first_day:yyyy-MM-dd}', coalesce(origin, 'ALL'), sum(flights), sum(not_departed), sum(delay_minutes),
       sum(bad_weather_flights), round(sum(delay_minutes)::numeric / nullif(sum(flights - not_departed), 0), 2)
FROM ${schema}.daily_delays
WHERE day BETWEEN '${month_first_day:yyyy-MM-dd}' AND '${month_last_day:yyyy-MM-dd}'
GROUP BY GROUPING SETS ((origin), ());

SELECT * FROM ${schema}.monthly_report WHERE month = '${month_first_day:yyyy-MM-dd}' ORDER BY origin;
"""
