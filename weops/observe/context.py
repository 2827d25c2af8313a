"""What a log line belongs to: the web request or the execution that its thread is at. Standard library only."""

import json
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_request: ContextVar[str] = ContextVar("request_id", default="")
_execution: ContextVar[dict[str, int] | None] = ContextVar("execution", default=None)
_GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")


def request_id() -> str:
    """Of the request that this thread serves; empty outside of one."""
    return _request.get()


def chosen_id(given: str) -> str:
    """The id that a caller gave, if it is fit to be logged and echoed, else a new one."""
    return given if _GIVEN.match(given) else uuid.uuid4().hex


@contextmanager
def serving(identity: str) -> Iterator[None]:
    """Log lines of the block carry this request id."""
    token = _request.set(identity)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def running(execution_id: int, instance_id: int, task_id: int) -> Iterator[None]:
    """Log lines of the block carry the execution that it runs."""
    token = _execution.set({"execution_id": execution_id, "instance_id": instance_id, "task_id": task_id})
    try:
        yield
    finally:
        _execution.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message; request or execution; the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "thread": record.threadName,
        }
        if identity := _request.get():
            line["request_id"] = identity
        line.update(_execution.get() or {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
