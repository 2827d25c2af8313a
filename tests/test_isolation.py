"""Tests that run side by side: each process has a database of the broker of its own."""

import pytest

from tests.isolation import broker_of


@pytest.mark.parametrize(
    ("worker", "url", "expected"),
    [
        ("", "redis+socket:///run/valkey.sock", "redis+socket:///run/valkey.sock"),
        ("gw0", "redis+socket:///run/valkey.sock", "redis+socket:///run/valkey.sock?virtual_host=1"),
        ("gw3", "redis://127.0.0.1:6379", "redis://127.0.0.1:6379/4"),
        ("gw1", "redis://:word@127.0.0.1:6379/9", "redis://:word@127.0.0.1:6379/11"),
        ("gw1", "amqp://guest@127.0.0.1//", "amqp://guest@127.0.0.1//"),
    ],
)
def test_brokers(worker: str, url: str, expected: str) -> None:
    assert broker_of(worker, url) == expected
