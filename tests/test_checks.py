"""What `manage.py check --deploy` refuses."""

from typing import Any

import pytest

from weops.checks import deployment

SAFE: dict[str, Any] = {
    "DEBUG": False,
    "SECRET_KEY": "x" * 64,
    "WEOPS_ENCRYPTION_KEYS": ["k"],
    "CELERY_BROKER_URL": "amqp://broker//",
    "SESSION_COOKIE_SECURE": True,
}


def _ids(settings: Any, **changes: Any) -> list[str | None]:
    for name, value in {**SAFE, **changes}.items():
        setattr(settings, name, value)
    return [message.id for message in deployment()]


def test_a_safe_deployment_passes(settings: Any) -> None:
    assert _ids(settings) == []


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("DEBUG", True, "weops.E001"),
        ("SECRET_KEY", "insecure-key-for-commands-that-need-none", "weops.E002"),
        ("WEOPS_ENCRYPTION_KEYS", [], "weops.E003"),
        ("CELERY_BROKER_URL", "", "weops.E004"),
        ("SESSION_COOKIE_SECURE", False, "weops.E005"),
        ("WEOPS_ALLOWED_NETWORKS", ["10.1"], "weops.E006"),
        ("WEOPS_METRICS_NETWORKS", ["everybody"], "weops.E006"),
    ],
)
def test_each_danger_is_named(settings: Any, name: str, value: Any, found: str) -> None:
    assert _ids(settings, **{name: value}) == [found]
