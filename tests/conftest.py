"""Fixtures of all tests. Tests of the engine use real commits (`transactional_db`), since races need them."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests import template_database

# Machines are shared: a slow example is no failure, a wrong one is.
hypothesis_settings.register_profile(
    "weops", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
hypothesis_settings.load_profile("weops")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: Any
) -> None:
    """On the servers of `make test`, Django's test database is a copy of one that is migrated already."""
    if os.environ.get("WEOPS_PG_FAST") == "1":
        at = django_settings.DATABASES["default"]
        at.setdefault("TEST", {})["TEMPLATE"] = template_database.ready(at)


@pytest.fixture(autouse=True)
def _own_home(settings: Any, tmp_path: Path) -> None:
    """Sealed logs of a test go to a folder of its own."""
    settings.WEOPS_HOME = tmp_path
    # A slow hash is right for passwords of people, and most of the time of tests that log in.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES = {
        **settings.STORAGES,
        "logs": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "logs")},
        },
    }


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """`eventually(probe, seconds=20)` calls `probe` until it gives something true, and returns that."""

    def wait(probe: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := probe()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not so within {seconds} s: {probe}")
            time.sleep(0.02)
        return found

    return wait
