"""What workers and beat hold in memory: nothing that only pages, the API or single task types need."""

import os
import subprocess
import sys

UNWANTED = (
    "rest_framework.views", "rest_framework.serializers", "drf_spectacular.utils", "instances.admin.instance", "apprise",
    "sqlalchemy", "xlsxwriter", "simpleeval", "httpx", "jsonschema", "prometheus_client", "boto3", "pyspark",
)  # fmt: skip


def test_workers_do_without_pages_and_api() -> None:
    code = f"import sys, weops.celery; print([name for name in {UNWANTED!r} if name in sys.modules])"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "weops.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
