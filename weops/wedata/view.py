"""POST / of the SDK: size, signature, action, envelope. A plain GET of the same address is the admin."""

import json
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.http.request import UnreadablePostError
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_exempt

from instances.operations import OptionError, ReasonRequired
from weops.projects import keys
from weops.projects.models import AccessKey
from weops.wedata import dispatch, signature
from weops.wedata.errors import ApiError, bad_value

log = logging.getLogger(__name__)

# As the real API's limit of a signed body.
MOST_BYTES = 10 * 2**20
MOST_DEPTH = 32


@csrf_exempt
def home(request: HttpRequest) -> HttpResponseBase:
    """Requests of the SDK are answered with status 200 always, as it expects; what is wrong stands in the envelope."""
    if request.method in ("GET", "HEAD") and "X-TC-Action" not in request.headers:
        return redirect("admin:index")
    request_id = str(uuid.uuid4())
    try:
        answer = _answer(request, request_id)
    except ApiError as error:
        answer = {"Error": {"Code": error.code, "Message": error.message}}
    response = JsonResponse(
        {"Response": {**answer, "RequestId": request_id}}, json_dumps_params={"ensure_ascii": False}
    )
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _answer(request: HttpRequest, request_id: str) -> dict[str, Any]:
    if request.method != "POST":
        raise ApiError(
            "UnsupportedProtocol", "Send requests as POST with a JSON body (the SDK's reqMethod POST)."
        )
    body = _body(request)
    key = _signer(request, body)
    action = dispatch.find(request.headers.get("X-TC-Version", ""), request.headers.get("X-TC-Action", ""))
    try:
        return action(key.user, _fields(body))
    except ApiError:
        raise
    except OptionError as error:
        raise bad_value(error.field, str(error)) from error
    except ReasonRequired as error:
        raise ApiError("MissingParameter", str(error)) from error
    except ValidationError as error:
        raise _invalid(error) from error
    except PermissionDenied as error:
        raise ApiError("UnauthorizedOperation", str(error) or "You may not do this.") from error
    except (OperationalError, InterfaceError) as error:
        log.warning("request %s: the database is away or too busy: %s", request_id, error)
        raise ApiError("InternalError", "The database is away or too busy; try again in a moment.") from error
    except Exception as error:
        log.exception("request %s: %s failed", request_id, action.name)
        raise ApiError(
            "InternalError", f"An error inside WeOps; its log has it under {request_id}."
        ) from error


def _invalid(error: ValidationError) -> ApiError:
    if hasattr(error, "message_dict"):
        field, messages = next(iter(error.message_dict.items()))
        return bad_value(field, " ".join(messages))
    return ApiError("InvalidParameterValue", " ".join(error.messages))


def _body(request: HttpRequest) -> bytes:
    length = request.headers.get("Content-Length", "")
    try:
        # What says that it is too long is not read at all.
        body = b"" if length.isdecimal() and int(length) > MOST_BYTES else request.read(MOST_BYTES + 1)
    except (UnreadablePostError, OSError) as error:
        raise ApiError("InvalidRequest", "The body of the request broke off.") from error
    if len(body) > MOST_BYTES or (length.isdecimal() and int(length) > MOST_BYTES):
        raise ApiError("RequestSizeLimitExceeded", f"A request has at most {MOST_BYTES:,} bytes.")
    return body


def _signer(request: HttpRequest, body: bytes) -> AccessKey:
    """The key that signed the request, of a user who may come in. Raises ApiError AuthFailure..."""
    claim = signature.read(request.headers.get("Authorization", ""))
    timestamp = request.headers.get("X-TC-Timestamp", "")
    signature.check_scope(claim, timestamp, time.time())
    if request.headers.get("X-TC-Content-SHA256", "").upper() == "UNSIGNED-PAYLOAD":
        raise ApiError("AuthFailure.SignatureFailure", "The body must be signed: leave unsignedPayload off.")
    key = keys.usable(claim.secret_id)
    if key is None:
        raise ApiError(
            "AuthFailure.SecretIdNotFound",
            "There is no such key, or it is revoked, or its user is not active.",
        )
    signature.verify(
        claim,
        key.reveal(),
        method="POST",
        path=request.path or "/",
        query=request.META.get("QUERY_STRING", ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        timestamp=timestamp,
    )
    keys.note_use(key)
    return key


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _fields(body: bytes) -> Mapping[str, Any]:
    """The object in the body; an empty body is an empty one."""
    try:
        found = json.loads(body.decode().strip() or "{}", parse_constant=_no_constant)
        if _depth(found, MOST_DEPTH):
            raise ValueError("too deep")
    except (ValueError, RecursionError) as error:
        raise ApiError(
            "InvalidParameter", f"The body is no JSON object in UTF-8, nested at most {MOST_DEPTH} deep."
        ) from error
    if not isinstance(found, dict):
        raise ApiError("InvalidParameter", "The body must be a JSON object.")
    return found


def _depth(value: Any, most: int) -> bool:
    """Whether it is nested deeper than `most`."""
    level = [value]
    for _ in range(most + 1):
        level = [
            one
            for outer in level
            if isinstance(outer, dict | list)
            for one in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
