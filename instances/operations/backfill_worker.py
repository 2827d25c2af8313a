"""The thread that looks after backfill plans, or runs of For-each tasks: they take turns, so none waits for a big one."""

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection

from instances.engine import plans
from instances.operations.applying import Progress
from instances.operations.worker import TURN_SECONDS, Applier

log = logging.getLogger(__name__)


class Advancer(Applier):
    """`take` a plan's id at any time, as often as one likes; `stop` ends the thread after the turn that is on.

    `work(id, seconds)` advances one; True: nothing is left to do for now. `what` it is, for the log.
    """

    def __init__(
        self,
        turn_seconds: float = TURN_SECONDS,
        work: Callable[[int, float | None], bool] = plans.work,
        what: str = "plan",
    ) -> None:
        super().__init__(turn_seconds)
        self._work = work
        self._what = what
        # Something has happened to these since their turn began.
        self._again: set[int] = set()

    def take(self, plan_id: int) -> None:
        """Advances the plan as far as it will go now."""
        self._again.add(plan_id)
        super().take(plan_id)

    def _advance(self, plan_id: int) -> Progress:
        self._again.discard(plan_id)
        try:
            rests = self._work(plan_id, self._turn)
            return Progress.FINISHED if rests and plan_id not in self._again else Progress.MORE
        except (OperationalError, InterfaceError) as error:
            log.warning("%s %d waits for the database: %s", self._what, plan_id, error)
        except Exception:
            log.exception("%s %d stands still", self._what, plan_id)
        finally:
            # Back to the pool, whole or broken.
            connection.close()
        return Progress.ELSEWHERE
