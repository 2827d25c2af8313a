"""`/metrics` for Prometheus: read from the database when it is scraped, so any web process gives the same answer.

Every number comes from a bounded read of an index (docs/monitoring.md says which are capped). What was read is
kept for some seconds. Histograms are of the last executions that started, not of this process's memory.
"""

import hmac
import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric

from weops.addresses import networks

log = logging.getLogger(__name__)
CAP = 50_000
WINDOW = 5_000
WINDOW_MINUTES = 15
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
STATEMENT_SECONDS = 3
_lock = threading.Lock()
_kept: tuple[float, bytes] | None = None


def view(request: HttpRequest) -> HttpResponse:
    """For a superuser, a bearer of WEOPS_METRICS_TOKEN, or an address within WEOPS_METRICS_NETWORKS; 403 for others."""
    if not may_read(request):
        return HttpResponse(
            "Send the token of WEOPS_METRICS_TOKEN (Authorization: Bearer ...), or sign in as a superuser.\n",
            status=403,
            content_type="text/plain",
        )
    try:
        body = _text()
    except DatabaseError as error:
        log.warning("metrics cannot be read: %s", error)
        return HttpResponse("The database does not answer.\n", status=503, content_type="text/plain")
    return HttpResponse(body, content_type=CONTENT_TYPE_LATEST)


def may_read(request: HttpRequest) -> bool:
    token = settings.WEOPS_METRICS_TOKEN
    given = request.headers.get("Authorization", "")
    if token and hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return True
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        address = None
    if address is not None and any(
        address in network for network in networks(settings.WEOPS_METRICS_NETWORKS)
    ):
        return True
    return request.user.is_active and request.user.is_superuser


def _text() -> bytes:
    """The metrics, at most WEOPS_METRICS_SECONDS old. Who comes while they are read waits for that reading."""
    global _kept
    with _lock:
        if _kept is None or time.monotonic() - _kept[0] > settings.WEOPS_METRICS_SECONDS:
            registry = CollectorRegistry(auto_describe=False)
            registry.register(Everything())
            _kept = (time.monotonic(), generate_latest(registry))
        return _kept[1]


def forget() -> None:
    """Drops what was kept."""
    global _kept
    with _lock:
        _kept = None


class Everything:
    """A collector: each part is a statement and what becomes of its rows."""

    def collect(self) -> Iterable[Metric]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{STATEMENT_SECONDS}s"])
            for statement, parameters, make in _PARTS:
                cursor.execute(statement, parameters)
                yield from make(cursor.fetchall())


Rows = Sequence[tuple[Any, ...]]


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], Any]]
) -> Metric:
    family = GaugeMetricFamily(f"weops_{name}", text, labels=labels)
    for label_values, value in values:
        if value is not None:
            family.add_metric([str(one) for one in label_values], float(value))
    return family


_STATES = """
SELECT s.state, (SELECT count(*) FROM (SELECT 1 FROM instances_instance i WHERE i.state = s.state LIMIT %s) c)
FROM unnest(ARRAY['wait_event', 'wait_upstream', 'wait_run', 'running', 'terminating', 'failed_retry']) AS s(state)
"""
_RECENT = """
SELECT s.state, (SELECT count(*) FROM (SELECT 1 FROM instances_instance i
    WHERE i.state = s.state AND i.data_time > now() - interval '24 hours' AND i.data_time <= now() LIMIT %s) c)
FROM unnest(ARRAY['failed', 'success', 'skipped']) AS s(state)
"""


def _states(rows: Rows) -> Iterable[Metric]:
    yield _gauge(
        "instances",
        f"Instances that are not final, by state; counted up to {CAP}.",
        ["state"],
        (([state], count) for state, count in rows),
    )


def _recent(rows: Rows) -> Iterable[Metric]:
    yield _gauge(
        "instances_recent",
        f"Final instances with a data time in the last 24 hours, by state; counted up to {CAP}.",
        ["state"],
        (([state], count) for state, count in rows),
    )


# The first thousand of each queue, in the order in which they are let in.
_GROUPS = """
SELECT g.name, g.slots, q.ready, q.age,
       (SELECT count(*) FROM instances_execution e
        WHERE e.resource_group_id = g.id AND e.state IN ('dispatched', 'running', 'stopping'))
FROM projects_resourcegroup g CROSS JOIN LATERAL (
    SELECT count(*) AS ready, extract(epoch FROM now() - min(greatest(f.ready_since, f.not_before))) AS age
    FROM (SELECT i.ready_since, i.not_before FROM instances_instance i
          WHERE i.resource_group_id = g.id AND i.state = 'wait_run' AND i.queue = 'ready' AND i.frozen_at IS NULL
          ORDER BY i.priority DESC, i.planned_time, i.id LIMIT 1000) f
) q ORDER BY g.name LIMIT 1000
"""


def _groups(rows: Rows) -> Iterable[Metric]:
    yield _gauge(
        "slots",
        "Executions that may run at once, by resource group.",
        ["group"],
        (([r[0]], r[1]) for r in rows),
    )
    yield _gauge(
        "slots_used",
        "Executions that hold a slot, by resource group.",
        ["group"],
        (([r[0]], r[4]) for r in rows),
    )
    yield _gauge(
        "queue_length",
        "Instances ready to run, by resource group; counted up to 1000.",
        ["group"],
        (([r[0]], r[2]) for r in rows),
    )
    yield _gauge(
        "queue_age_seconds",
        "How long the oldest of the first 1000 ready instances has been ready, by resource group.",
        ["group"],
        (([r[0]], max(0, r[3] or 0)) for r in rows),
    )


_LEASES = "SELECT count(*), extract(epoch FROM now() - min(heartbeat_at)) FROM instances_lease"
_PULSES = "SELECT name, extract(epoch FROM now() - at), seconds FROM alarms_pulse"
_WORKERS = """
SELECT count(*) FILTER (WHERE NOT stopping), coalesce(sum(slots), 0), coalesce(sum(busy), 0)
FROM instances_workerprocess WHERE seen_at > now() - interval '15 seconds'
"""


def _leases(rows: Rows) -> Iterable[Metric]:
    yield _gauge("leases", "Executions that a worker holds.", [], [([], rows[0][0])])
    yield _gauge(
        "lease_age_seconds", "Since the heartbeat that is the longest ago.", [], [([], rows[0][1] or 0)]
    )


def _pulses(rows: Rows) -> Iterable[Metric]:
    yield _gauge(
        "beat_age_seconds",
        "Since the task of beat last came to its end: tick, alarms, hourly.",
        ["task"],
        (([r[0]], r[1]) for r in rows),
    )
    yield _gauge("beat_duration_seconds", "How long it took then.", ["task"], (([r[0]], r[2]) for r in rows))


def _workers(rows: Rows) -> Iterable[Metric]:
    alive, slots, busy = rows[0]
    yield _gauge("workers", "Workers that are alive and take work.", [], [([], alive)])
    yield _gauge("worker_threads", "Threads of live workers.", [], [([], slots)])
    yield _gauge("worker_threads_busy", "Threads of live workers that run something.", [], [([], busy)])


# The newest executions; those that started within the window count.
_LATENCIES = f"""
SELECT extract(epoch FROM run_started_at - least(hinted_at, run_started_at))::float,
       extract(epoch FROM run_started_at - least(queue_started_at, run_started_at))::float, log_bytes
FROM (SELECT hinted_at, queue_started_at, run_started_at, log_bytes FROM instances_execution ORDER BY id DESC LIMIT %s) e
WHERE run_started_at > now() - interval '{WINDOW_MINUTES} minutes'
"""  # noqa: S608 - a constant


def _latencies(rows: Rows) -> Iterable[Metric]:
    span = f"of the last {WINDOW} executions, as far as they started in the last {WINDOW_MINUTES} minutes"
    yield _histogram(
        "dispatch_latency_seconds",
        f"From the last hint to a worker to the start, {span}.",
        [r[0] for r in rows],
    )
    yield _histogram("queue_wait_seconds", f"From being ready to the start, {span}.", [r[1] for r in rows])
    yield _gauge("executions_window", f"Executions counted here: {span}.", [], [([], len(rows))])
    yield _gauge("log_bytes_window", f"Bytes of their logs, {span}.", [], [([], sum(r[2] for r in rows))])


def _histogram(name: str, text: str, values: Sequence[float | None]) -> Metric:
    known = sorted(value for value in values if value is not None)
    family = GaugeHistogramMetricFamily(f"weops_{name}", text)
    buckets = [(str(edge), float(sum(value <= edge for value in known))) for edge in BUCKETS]
    family.add_metric([], [*buckets, ("+Inf", float(len(known)))], sum(known))
    return family


_OPERATIONS = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM instances_operationrecord WHERE state IN ('INIT', 'RUNNING') LIMIT %(cap)s) o),
       (SELECT extract(epoch FROM now() - min(created_at)) FROM
          (SELECT created_at FROM instances_operationrecord WHERE state IN ('INIT', 'RUNNING') ORDER BY id LIMIT 1) o)
"""
_ALARMS = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM alarms_delivery WHERE state = 'to_send' LIMIT %(cap)s) d),
       (SELECT greatest(0, extract(epoch FROM now() - min(next_at))) FROM
          (SELECT next_at FROM alarms_delivery WHERE state = 'to_send' ORDER BY next_at LIMIT 1) d),
       (SELECT count(*) FROM (SELECT 1 FROM alarms_message WHERE created_at > now() - interval '1 hour' LIMIT %(cap)s) m),
       (SELECT count(*) FROM (SELECT state FROM alarms_message WHERE created_at > now() - interval '1 hour' LIMIT %(cap)s) m
        WHERE m.state = 'failed')
"""


def _operations(rows: Rows) -> Iterable[Metric]:
    yield _gauge("operations", f"Operations in progress; counted up to {CAP}.", [], [([], rows[0][0])])
    yield _gauge(
        "operation_age_seconds", "Since the oldest of them was asked for.", [], [([], rows[0][1] or 0)]
    )


def _alarms(rows: Rows) -> Iterable[Metric]:
    waiting, overdue, recent, failed = rows[0]
    yield _gauge("alarm_deliveries", f"Alarms to send; counted up to {CAP}.", [], [([], waiting)])
    yield _gauge(
        "alarm_overdue_seconds", "How long the oldest alarm could have been sent.", [], [([], overdue or 0)]
    )
    yield _gauge("alarms_recent", f"Alarms found in the last hour; counted up to {CAP}.", [], [([], recent)])
    yield _gauge("alarms_failed_recent", "Those of them that nobody could be told of.", [], [([], failed)])


_PARTS: Sequence[tuple[str, Any, Callable[[Rows], Iterable[Metric]]]] = (
    (_STATES, [CAP], _states),
    (_RECENT, [CAP], _recent),
    (_GROUPS, None, _groups),
    (_LEASES, None, _leases),
    (_PULSES, None, _pulses),
    (_WORKERS, None, _workers),
    (_LATENCIES, [WINDOW], _latencies),
    (_OPERATIONS, {"cap": CAP}, _operations),
    (_ALARMS, {"cap": CAP}, _alarms),
)
