"""The thread that applies operations in the background: several take turns of a few seconds, so none waits for a big one.

A thread of its own, and not the one that got the message: an operation on a million instances takes minutes, and ticks must
not wait for it. What is lost when the process ends is nothing but the turn; the sweep finds operations that stand still.
"""

import logging
import threading
from collections import deque

from django.db import InterfaceError, OperationalError, connection

from instances.operations import applying
from instances.operations.applying import Progress

log = logging.getLogger(__name__)
TURN_SECONDS = 2.0


class Applier:
    """`take` an operation's id at any time, as often as one likes; `stop` ends the thread after the batch that is on."""

    def __init__(self, turn_seconds: float = TURN_SECONDS) -> None:
        self._turn = turn_seconds
        self._waiting: deque[int] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._on: int | None = None
        self._stopping = False

    def take(self, operation_id: int) -> None:
        """Applies the operation's batches until it is finished, unless another process is at it."""
        with self._changed:
            if self._stopping or operation_id == self._on or operation_id in self._waiting:
                return
            self._waiting.append(operation_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="operations", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self, seconds: float = 10.0) -> bool:
        """Takes nothing more and waits for the turn that is on; True: nothing is on any more."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
            return not thread.is_alive()
        return True

    def _run(self) -> None:
        while (operation_id := self._next()) is not None:
            progress = self._advance(operation_id)
            with self._changed:
                self._on = None
                if progress is Progress.MORE and not self._stopping:
                    self._waiting.append(operation_id)

    def _next(self) -> int | None:
        """Whose turn it is; waits for one. None: it is time to stop."""
        with self._changed:
            while not self._waiting:
                if self._stopping:
                    return None
                self._changed.wait()
            self._on = self._waiting.popleft()
            return self._on

    def _advance(self, operation_id: int) -> Progress:
        try:
            return applying.advance(operation_id, self._turn, lambda: self._stopping)
        except (OperationalError, InterfaceError) as error:
            log.warning("operation %d waits for the database: %s", operation_id, error)
        except Exception:
            log.exception("operation %d stands still", operation_id)
        finally:
            # Back to the pool, whole or broken.
            connection.close()
        return Progress.ELSEWHERE
