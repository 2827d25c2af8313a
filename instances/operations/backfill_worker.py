"""The thread that looks after backfill plans in the background: plans take turns, so none waits for a big one."""

import logging

from django.db import InterfaceError, OperationalError, connection

from instances.engine import plans
from instances.operations.applying import Progress
from instances.operations.worker import TURN_SECONDS, Applier

log = logging.getLogger(__name__)


class Advancer(Applier):
    """`take` a plan's id at any time, as often as one likes; `stop` ends the thread after the turn that is on."""

    def __init__(self, turn_seconds: float = TURN_SECONDS) -> None:
        super().__init__(turn_seconds)
        # Something has happened to these since their turn began.
        self._again: set[int] = set()

    def take(self, plan_id: int) -> None:
        """Advances the plan as far as it will go now."""
        self._again.add(plan_id)
        super().take(plan_id)

    def _advance(self, plan_id: int) -> Progress:
        self._again.discard(plan_id)
        try:
            rests = plans.work(plan_id, self._turn)
            return Progress.FINISHED if rests and plan_id not in self._again else Progress.MORE
        except (OperationalError, InterfaceError) as error:
            log.warning("plan %d waits for the database: %s", plan_id, error)
        except Exception:
            log.exception("plan %d stands still", plan_id)
        finally:
            # Back to the pool, whole or broken.
            connection.close()
        return Progress.ELSEWHERE
