"""Metrics: who may read them, what they say, and that a scrape is a fixed number of bounded queries."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from instances.models import WorkerProcess
from tests import factories as make
from tests.alarms.scene import begin, claim, fail, make_rule, succeed
from tests.engine.harness import _django_db_helper, due
from weops.alarms import evaluate, sending
from weops.observe import metrics
from weops.observe.pulse import pulse

__all__ = ["_django_db_helper"]
pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = {"Authorization": "Bearer s3cret-token"}


@pytest.fixture(autouse=True)
def _fresh(settings: Any) -> Iterator[None]:
    settings.WEOPS_METRICS_TOKEN = "s3cret-token"
    settings.WEOPS_METRICS_SECONDS = 60
    metrics.forget()
    yield
    metrics.forget()


def scrape() -> dict[tuple[str, tuple[str, ...]], float]:
    """{(name, values of the labels): value}"""
    metrics.forget()
    response = Client().get("/metrics", headers=TOKEN)
    assert response.status_code == 200
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def test_who_may_read_them(settings: Any) -> None:
    client = Client()
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert client.get("/metrics", headers=TOKEN).status_code == 200
    settings.WEOPS_METRICS_NETWORKS = ["10.0.0.0/8"]
    assert client.get("/metrics").status_code == 403
    settings.WEOPS_METRICS_NETWORKS = ["127.0.0.0/8"]
    assert client.get("/metrics").status_code == 200
    settings.WEOPS_METRICS_NETWORKS = []
    settings.WEOPS_METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 403
    client.force_login(make.make_user("dana"))
    assert client.get("/metrics").status_code == 403
    client.force_login(make.make_user("susan"))
    assert client.get("/metrics").status_code == 200


def test_what_they_say() -> None:
    first, second, third, *_rest = due(5, group=make.make_group(3, name="etl"))
    make_rule(first.task)
    WorkerProcess.objects.create(name="w1", host="h", pid=1, slots=4, busy=1)
    begin()
    fail(first)
    succeed(second)
    claim(third)
    evaluate.evaluate()
    sending.work()
    with pulse("tick"):
        pass
    found = scrape()
    assert found["weops_instances", ("running",)] == 1
    assert found["weops_instances", ("wait_run",)] == 2
    assert found["weops_slots", ("etl",)] == 3
    assert found["weops_slots_used", ("etl",)] == 3
    assert found["weops_queue_age_seconds", ("etl",)] >= 0
    assert found["weops_leases", ()] == 1
    assert 0 <= found["weops_lease_age_seconds", ()] < 60
    assert 0 <= found["weops_beat_age_seconds", ("tick",)] < 60
    assert found["weops_workers", ()] == 1
    assert found["weops_worker_threads_busy", ()] == 1
    assert found["weops_alarm_deliveries", ()] == 1
    assert found["weops_alarms_recent", ()] == 1
    assert found["weops_operations", ()] == 0
    assert found["weops_executions_window", ()] == 3
    assert found["weops_dispatch_latency_seconds_bucket", ("+Inf",)] == 3
    buckets = [value for (name, _l), value in found.items() if name == "weops_queue_wait_seconds_bucket"]
    assert buckets == sorted(buckets)


def test_a_scrape_costs_the_same_whatever_exists_and_is_kept() -> None:
    client = Client()
    with CaptureQueriesContext(connection) as empty:
        client.get("/metrics", headers=TOKEN)
    due(20)
    with CaptureQueriesContext(connection) as kept:
        client.get("/metrics", headers=TOKEN)
    assert len(kept) == 0
    metrics.forget()
    with CaptureQueriesContext(connection) as full:
        client.get("/metrics", headers=TOKEN)
    assert len(full) == len(empty) <= 14


def test_no_statement_reads_a_whole_table() -> None:
    """With nothing else to go by than their indexes, every part seeks."""
    due(3)
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        try:
            for statement, parameters, _make in metrics._PARTS:
                cursor.execute(f"EXPLAIN {statement}", parameters)
                plan = "\n".join(row[0] for row in cursor.fetchall())
                for table in (
                    "instances_instance",
                    "instances_execution",
                    "alarms_delivery",
                    "alarms_message",
                ):
                    assert f"Seq Scan on {table}" not in plan, plan
        finally:
            cursor.execute("RESET enable_seqscan")


def test_names_of_groups_cannot_break_the_format() -> None:
    make.make_group(name="plain")
    group = make.make_group()
    type(group).objects.filter(pk=group.pk).update(name='a"b\n# HELP x\\')
    assert scrape()["weops_slots", ('a"b\n# HELP x\\',)] == 16
