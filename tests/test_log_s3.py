"""Sealed logs in an S3-compatible store: moto's server, django-storages, boto3. Parts of a log are read, never the whole."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from django.core.files.storage import storages

from instances.engine import lifecycle, logs, maintenance
from instances.engine.logs import LogWriter, blocks
from instances.models import Execution, Instance, LogChunk
from tests.engine.harness import JANUARY, _django_db_helper, due, good, started

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

KEYS = {"access_key": "testing", "secret_key": "testing"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, settings: Any, request: pytest.FixtureRequest) -> SimpleNamespace:
    """The store of logs is a new bucket. `ranges`: what was asked of it, in order; None for a whole object."""
    name = f"logs-{abs(hash(request.node.name)) % 10**8}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    client.create_bucket(Bucket=name)
    options = {"bucket_name": name, "endpoint_url": endpoint, "region_name": "us-east-1", **KEYS}
    settings.STORAGES = {
        **settings.STORAGES,
        "logs": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {"file_overwrite": False, **options},
        },
    }
    ranges: list[str | None] = []
    events = storages["logs"].bucket.meta.client.meta.events  # type: ignore[attr-defined]
    events.register(
        "before-send.s3.GetObject", lambda request, **_: ranges.append(request.headers.get("Range"))
    )

    def names() -> list[str]:
        return [one["Key"] for one in client.list_objects_v2(Bucket=name).get("Contents", [])]

    return SimpleNamespace(names=names, ranges=ranges)


@pytest.fixture
def running() -> Any:
    [day] = due(code="true")
    return started(day)[0]


def put(pk: int, text: str) -> None:
    LogChunk.objects.create(execution_id=pk, seq=0, start=0, text=text)


def test_a_short_log_goes_there_at_once(bucket: SimpleNamespace, running: Any) -> None:
    writer = LogWriter()
    writer.start()
    sink = writer.sink(running.execution_id)
    sink.write("output", "Größe\n".encode())
    sink.close()
    writer.stop()
    execution = Execution.objects.get()
    assert bucket.names() == [execution.log_file]
    assert logs.read(execution).text == "Größe\n"
    assert not LogChunk.objects.exists()


def test_a_long_log_is_read_in_parts(
    bucket: SimpleNamespace, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4096)
    monkeypatch.setattr(blocks, "_TAIL", 2048)
    text = "".join(
        f"line {n} {n * 7919 % 1000003} {'ERROR' if n == 5000 else ''}\n" for n in range(1, 10_001)
    )
    put(running.execution_id, text)
    logs.seal(running.execution_id)
    execution = Execution.objects.get()
    assert execution.log_file
    bucket.ranges.clear()
    assert [line.number for line in logs.tail(execution, 3).lines] == [9998, 9999, 10000]
    assert bucket.ranges, "it was asked for"
    assert None not in bucket.ranges, "never for the whole object"
    assert len(bucket.ranges) <= 5
    bucket.ranges.clear()
    assert logs.first_error(execution).lines[0].number == 5000
    assert len(bucket.ranges) <= 2, "the index is remembered, and names the block"
    assert logs.search(execution, "line 7777 ").lines[0].number == 7777
    assert "".join(logs.pieces(execution)) == text


def test_retention_deletes_it_there(bucket: SimpleNamespace, running: Any) -> None:
    put(running.execution_id, "old\n")
    lifecycle.finish([good(running)])
    logs.seal(running.execution_id)
    assert bucket.names()
    Instance.objects.update(created_at=JANUARY)
    maintenance.hourly()
    assert bucket.names() == []


def test_what_is_not_there_is_an_error_of_its_own(bucket: SimpleNamespace, running: Any) -> None:
    Execution.objects.update(log_file="0/000/gone.log.gz")
    with pytest.raises(FileNotFoundError, match="not in the bucket"):
        logs.read(Execution.objects.get())


def test_a_store_that_is_away_loses_nothing(bucket: SimpleNamespace, running: Any, settings: Any) -> None:
    """The chunks stay in the database until a store takes them."""
    put(running.execution_id, "kept\n")
    working = settings.STORAGES
    away = {
        **working["logs"],
        "OPTIONS": {**working["logs"]["OPTIONS"], "endpoint_url": "http://127.0.0.1:1"},
    }
    settings.STORAGES = {**working, "logs": away}
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        logs.seal(running.execution_id)
    assert logs.read(Execution.objects.get()).text == "kept\n"
    settings.STORAGES = working
    logs.seal(running.execution_id)
    assert logs.read(Execution.objects.get()).text == "kept\n"
    assert len(bucket.names()) == 1
