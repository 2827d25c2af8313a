"""What the OpenAPI document must be told: how callers show who they are, and what every error looks like."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

PROBLEM = {
    "type": "object",
    "description": "RFC 9457: what is wrong, in which field, and what to do.",
    "required": ["type", "title", "status", "code", "detail", "todo"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "For programs, such as invalid or stale_preview."},
        "detail": {"type": "string"},
        "todo": {"type": "string", "description": "What to do about it."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_METHODS = ("get", "post", "put", "patch", "delete")


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "weops.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "A token: `weops_...`."}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "weops.api.authentication.Session"
    name = "session"
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "Of the admin; mutations need X-CSRFToken.",
        }


def add_problems(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Every operation may answer with a problem, and every mutation takes an idempotency key."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for schema in result["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            if field.get("format") == "time":
                # The format wants a zone; times of day are on the task's clock.
                field.pop("format")
                field["examples"] = ["08:00:00"]
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in result["paths"].values():
        for method, operation in path.items():
            if method not in _METHODS:
                continue
            operation["responses"].setdefault("default", {"description": "A problem.", "content": content})
            if method != "get":
                operation.setdefault("parameters", []).append(
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "required": False,
                        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
                        "description": "Repeated under the same key, the request is carried out once.",
                    }
                )
    return result
