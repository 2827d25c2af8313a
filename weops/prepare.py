"""Makes the database of a home ready: tables, the first administrator, the demo when nothing is there yet.

`make up` runs it as a process of its own, `python -m weops.prepare`, so that the process that only watches
does not keep Django in memory. Lines for the user go to stderr, one JSON object to stdout:
{"admin_created": bool}.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _step(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"weops: {name} ({time.monotonic() - began:.1f} s)", file=sys.stderr, flush=True)


def _create_admin() -> bool:
    """The superuser `admin` with the password of WEOPS_ADMIN_PASSWORD, unless there is a superuser."""
    from django.contrib.auth import get_user_model
    from django.db.models import Q

    users = get_user_model()._default_manager
    if users.filter(Q(is_superuser=True) | Q(username="admin")).exists():
        return False
    users.create_superuser("admin", "", os.environ["WEOPS_ADMIN_PASSWORD"])
    return True


def _load_demo() -> None:
    from django.apps import apps
    from django.core.management import CommandError, call_command

    if os.environ.get("WEOPS_DEMO", "1") == "0" or apps.get_model("projects", "Project").objects.exists():
        return
    if not os.environ.get("WEOPS_WAREHOUSE_URL"):
        print("weops: no demo: WEOPS_WAREHOUSE_URL names no database for it", file=sys.stderr)
        return
    try:
        with _step("demo project loaded"):
            call_command("demo", load=True, stdout=sys.stderr)
    except CommandError as error:
        print(f"weops: no demo: {error}", file=sys.stderr)


def main() -> int:
    import django
    from django.core.management import call_command

    django.setup()
    with _step("database tables are up to date"):
        call_command("migrate", interactive=False, verbosity=0, stdout=sys.stderr)
    created = _create_admin()
    _load_demo()
    print(json.dumps({"admin_created": created}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
