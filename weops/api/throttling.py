"""How many requests one caller may make: a bucket each, in the memory of the server process."""

import threading
import time
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.throttling import BaseThrottle

MOST_CALLERS = 10_000
# A caller that was quiet may make so many seconds' worth at once.
BURST_SECONDS = 4


class Bucket(BaseThrottle):
    """Fills at WEOPS_API_RATE requests a second; 0: no limit."""

    _lock = threading.Lock()
    # Caller -> (requests left, when that was reckoned).
    _left: ClassVar[dict[Any, tuple[float, float]]] = {}
    _wait = 0.0

    def size(self) -> tuple[float, float]:
        """(requests a second, requests at once)."""
        return settings.WEOPS_API_RATE, settings.WEOPS_API_RATE * BURST_SECONDS

    def allow_request(self, request: Any, view: Any) -> bool:
        rate, most = self.size()
        if not rate:
            return True
        caller, now = request.user.pk or self.get_ident(request), time.monotonic()
        with self._lock:
            left, then = self._left.get(caller, (most, now))
            left = min(most, left + (now - then) * rate)
            allowed = left >= 1
            if len(self._left) >= MOST_CALLERS:
                self._left.clear()
            self._left[caller] = (left - 1 if allowed else left, now)
        self._wait = 0.0 if allowed else (1 - left) / rate
        return allowed

    def wait(self) -> float:
        return self._wait


class Seldom(Bucket):
    """For what reaches people or strangers' servers: five at once, then six a minute."""

    _left: ClassVar[dict[Any, tuple[float, float]]] = {}

    def size(self) -> tuple[float, float]:
        return 0.1, 5
