"""TC3-HMAC-SHA256: who has signed a request, and whether it is as it was signed.

    canonical request   method, path, query, headers, their names, SHA-256 of the body; each on a line
    text to sign        TC3-HMAC-SHA256, timestamp, date/service/tc3_request, SHA-256 of the canonical request
    key                 HMAC of HMAC of HMAC of ("TC3" + secret) over the date, the service, "tc3_request"

Pure functions. https://cloud.tencent.com/document/api/1267/76290 describes the method.
"""

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weops.wedata.errors import ApiError

ALGORITHM = "TC3-HMAC-SHA256"
SERVICE = "wedata"
# A signature is good for so many seconds before and after its timestamp.
WINDOW = 300
_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256 Credential=(?P<id>[A-Za-z0-9]{1,64})/(?P<date>\d{4}-\d{2}-\d{2})/(?P<service>[a-z0-9]{1,32})/tc3_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]{1,400}), ?Signature=(?P<signature>[0-9a-f]{64})\Z",
    re.ASCII,
)
_MUST_BE_SIGNED = {"content-type", "host"}


@dataclass(frozen=True, slots=True)
class Claim:
    """What an Authorization header says; nothing of it is proved yet."""

    secret_id: str
    date: str
    service: str
    headers: tuple[str, ...]
    signature: str


def _failure(message: str) -> ApiError:
    return ApiError("AuthFailure.SignatureFailure", message)


def read(authorization: str) -> Claim:
    """Raises ApiError for a header of another form or method."""
    found = _AUTHORIZATION.match(authorization)
    if found is None:
        raise _failure(
            f"Sign requests with {ALGORITHM}: Authorization: {ALGORITHM} Credential=ID/DATE/{SERVICE}/tc3_request, "
            "SignedHeaders=content-type;host, Signature=..."
        )
    headers = tuple(found["headers"].split(";"))
    if not _MUST_BE_SIGNED.issubset(headers) or list(headers) != sorted(set(headers)):
        raise _failure("The signed headers must be content-type, host, and any others, in alphabetic order.")
    return Claim(found["id"], found["date"], found["service"], headers, found["signature"])


def check_scope(claim: Claim, timestamp: str, now: float) -> None:
    """Service, date and time. Raises ApiError."""
    if not re.fullmatch(r"[0-9]{1,11}", timestamp, re.ASCII):
        raise _failure("X-TC-Timestamp must be the present time, in seconds since 1970.")
    seconds = int(timestamp)
    if abs(now - seconds) > WINDOW:
        raise ApiError(
            "AuthFailure.SignatureExpire",
            f"The request was signed at {seconds}, and it is {int(now)}: more than {WINDOW} seconds apart. Is a clock wrong?",
        )
    if claim.service != SERVICE:
        raise _failure(f"The scope names the service {claim.service!r}; this is {SERVICE!r}.")
    if claim.date != dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat():
        raise _failure("The date of the scope is not that of the timestamp, in UTC.")


def verify(
    claim: Claim,
    secret: str,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    timestamp: str,
) -> None:
    """Raises ApiError unless whoever knows `secret` signed exactly this. `headers`: by names in lower case.

    Takes as long whether or not the signature is right, and wherever it differs.
    """
    payload = hashlib.sha256(body).hexdigest()
    right = False
    # The method says that values are signed in lower case; the SDK for Python signs them as they are.
    values = {name: headers.get(name, "").strip() for name in claim.headers}
    for written in (values, {name: value.lower() for name, value in values.items()}):
        lines = "".join(f"{name}:{value}\n" for name, value in written.items())
        canonical = "\n".join((method, path, query, lines, ";".join(claim.headers), payload))
        right |= hmac.compare_digest(sign(claim, secret, canonical, timestamp), claim.signature)
    if not right:
        raise _failure("The signature is not that of this request and this key.")


def sign(claim: Claim, secret: str, canonical: str, timestamp: str) -> str:
    """The signature of a canonical request."""
    scope = f"{claim.date}/{claim.service}/tc3_request"
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    text = "\n".join((ALGORITHM, timestamp, scope, digest))
    return _chain(f"TC3{secret}".encode(), (claim.date, claim.service, "tc3_request", text)).hex()


def _chain(key: bytes, messages: Iterable[str]) -> bytes:
    for message in messages:
        key = hmac.new(key, message.encode(), hashlib.sha256).digest()
    return key
