"""Short transactions that survive a deadlock or a lock timeout by trying again."""

import logging
import random
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import OperationalError, transaction

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)

# deadlock_detected, serialization_failure, lock_not_available
_TRY_AGAIN = {"40P01", "40001", "55P03"}
_TRIES = 6


def retried(function: Callable[P, R]) -> Callable[P, R]:
    """Runs `function` in a transaction of its own, again when the database asks for it.

    Locks are taken in ascending order of id, parents first; two doors may still meet head on (an operation on chosen
    rows, a finished parent releasing its children), and PostgreSQL then ends one of them.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, _TRIES + 1):
            try:
                with transaction.atomic():
                    return function(*args, **kwargs)
            except OperationalError as error:
                state = getattr(error.__cause__, "sqlstate", None)
                if (
                    state not in _TRY_AGAIN
                    or attempt == _TRIES
                    or transaction.get_connection().in_atomic_block
                ):
                    raise
                log.info("%s meets another transaction (%s), try %d", function.__name__, state, attempt + 1)
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
        raise AssertionError("unreachable")

    return run
