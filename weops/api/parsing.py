"""Bodies of requests: JSON that the database can hold."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser

DEEPEST = 32


class Json(JSONParser):
    """No NUL, no half character, no depth that something else could not walk."""

    def parse(self, stream: IO[Any], media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            found = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        _check(found, 0)
        return found


def _check(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise ParseError("The body is nested too deeply.")
    if isinstance(value, str):
        if "\0" in value or any(0xD800 <= ord(sign) < 0xE000 for sign in value):
            raise ParseError("Texts may hold neither the character NUL nor half of a character.")
    elif isinstance(value, Mapping):
        for name, below in value.items():
            _check(name, depth + 1)
            _check(below, depth + 1)
    elif isinstance(value, list):
        for below in value:
            _check(below, depth + 1)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ParseError("Numbers have at most 63 bits.")


class OnlyJson(BaseContentNegotiation):
    """Every address answers in its one format, whatever the header Accept asks for."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
