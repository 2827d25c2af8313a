"""Test runs: instances that wait for nothing, and that nobody waits for. docs/adr/0025-test-runs.md"""

import datetime as dt
import json
from collections.abc import Mapping

from django.db import connection

from instances.engine.lifecycle import trials_statements as statements
from instances.engine.lifecycle.common import Touched
from instances.engine.transactions import retried


@retried
def begin_trial(
    version_id: int, data_time: dt.datetime, parameters: Mapping[str, str], longest: float
) -> tuple[int, Touched]:
    """Makes a test run of the version, ready to be dispatched; its id. `longest`: seconds that it waits at most."""
    with connection.cursor() as cursor:
        cursor.execute(
            statements.MAKE,
            {
                "version": version_id,
                "data_time": data_time,
                "parameters": json.dumps(dict(parameters)),
                "longest": longest,
            },
        )
        instance_id, group_id = cursor.fetchone()
    touched = Touched(instances=1)
    touched.freed(group_id, None, None)
    return instance_id, touched
