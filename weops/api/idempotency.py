"""A mutation with the header `Idempotency-Key` is carried out once: repeated, it gets the first answer again.

While it is being carried out, however long that takes, the process that does so renews a lease on it, and the same request is
refused. One whose lease has run out died with its process, and is carried out when it is repeated. Times are the database's.

Keys are of their user and count for a day; another token of the user, which may do less, is told nothing by them. Only answers
of success are kept: what was refused has changed nothing, and may be tried again under the same key.
"""

import datetime as dt
import hashlib
import logging
import threading
from typing import Any

from django.db import DatabaseError, connection
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from weops.api.errors import Wrong
from weops.api.models import Answer

log = logging.getLogger(__name__)
HEADER = "Idempotency-Key"
LIVES = dt.timedelta(days=1)
# One who was not heard of for so long is dead; seconds between two signs of life.
LEASE = dt.timedelta(minutes=1)
BEAT = 10.0
MOST_CHARS = 128
KEPT_HEADERS = ("ETag", "Location")


_CLAIM = """
INSERT INTO api_answer (user_id, key, digest, headers, body) VALUES (%s, %s, %s, '{}', '')
ON CONFLICT DO NOTHING RETURNING id
"""
_CLEAN = (
    "DELETE FROM api_answer WHERE id IN (SELECT id FROM api_answer "
    "WHERE created_at < %s AND (status IS NOT NULL OR alive_at < now() - make_interval(secs => %s)) LIMIT 10)"
)


class Replayed(Exception):
    """The request was carried out before; `response` is what was answered."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__("answered before")
        self.response = response


def claim(request: Request) -> int | None:
    """What `keep` settles; None: there is no key.

    Raises Replayed, and Wrong: the key is used for another request, or this one is being carried out right now.
    """
    key = request.headers.get(HEADER, "")
    if not key:
        return None
    if len(key) > MOST_CHARS or not key.isprintable() or not key.isascii():
        raise Wrong(400, "invalid", f"{HEADER} has 1 to {MOST_CHARS} visible ASCII characters.")
    digest, now = _digest(request), timezone.now()
    mine = Answer.objects.filter(user=request.user.pk, key=key)
    old = Q(created_at__lt=now - LIVES) & ~Q(status=None)
    mine.filter(old | Q(status=None, alive_at__lt=Now() - LEASE)).delete()
    with connection.cursor() as cursor:
        # Everybody's oldest go by and by; nobody else need look after this table.
        cursor.execute(_CLEAN, [now - LIVES, LEASE.total_seconds()])
        cursor.execute(_CLAIM, [request.user.pk, key, digest])
        if row := cursor.fetchone():
            _heart.add(int(row[0]))
            return int(row[0])
    found = mine.first()
    if found is not None and found.digest != digest:
        raise Wrong(
            409,
            "idempotency_key_reused",
            f"This {HEADER} was used for another request.",
            "Take a new key for a new request.",
        )
    if found is None or found.status is None:
        raise Wrong(
            409,
            "idempotency_key_busy",
            "The same request is being carried out right now.",
            "Repeat it in a moment; it will get the same answer.",
        )
    headers = {**found.headers, "Idempotency-Replayed": "true"}
    raise Replayed(
        HttpResponse(found.body, content_type="application/json", status=found.status, headers=headers)
    )


def _digest(request: Request) -> str:
    plain: Any = request._request
    token = str(getattr(request.auth, "pk", ""))
    said = [plain.method or "", plain.get_full_path(), request.content_type or "", token]
    return hashlib.sha256("\n".join(said).encode() + b"\n" + plain.body).hexdigest()


def keep(claimed: int, response: Response) -> None:
    """Settles a claim: a success is kept with its body, everything else lets the key go."""
    _heart.discard(claimed)
    mine = Answer.objects.filter(pk=claimed)
    if not 200 <= response.status_code < 300:
        mine.delete()
        return
    headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    body = "" if response.data is None else JSONRenderer().render(response.data).decode()
    mine.update(status=response.status_code, headers=headers, body=body, created_at=Now())


class _Heart:
    """Renews the leases of all that this process carries out, in one thread, which ends when there is nothing to renew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._beats = False

    def add(self, claimed: int) -> None:
        with self._lock:
            self._held.add(claimed)
            if not self._beats:
                self._beats = True
                threading.Thread(target=self._beat, name="idempotency", daemon=True).start()

    def discard(self, claimed: int) -> None:
        with self._lock:
            self._held.discard(claimed)

    def _beat(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(BEAT)
            with self._lock:
                if not self._held:
                    self._beats = False
                    return
                held = list(self._held)
            try:
                Answer.objects.filter(pk__in=held, status=None).update(alive_at=Now())
            except DatabaseError as error:
                # The next beat may still come in time.
                log.warning("requests under way cannot say that they live: %s", error)
            finally:
                connection.close()


_heart = _Heart()
