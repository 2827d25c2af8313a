"""How the OpenAPI document describes what all views of rows take: the choice of fields, and conditions on what was read."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from weops.api.views import Defined, Listed, Rows

FIELDS = OpenApiParameter(
    "fields", str, description="Names, separated by commas: only these are shown, and all others left out."
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="An ETag: an unchanged row is 304 without a body.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The ETag that was read: 412 if the row was changed since.",
)


class Schema(AutoSchema):
    def get_override_parameters(self) -> list[Any]:
        found = super().get_override_parameters()
        action = getattr(self.view, "action", None)
        if isinstance(self.view, Listed) and action == "list":
            return [*found, FIELDS]
        if isinstance(self.view, Rows) and action == "retrieve":
            return [*found, FIELDS, IF_NONE_MATCH]
        if isinstance(self.view, Defined) and action in ("partial_update", "destroy"):
            return [*found, IF_MATCH]
        return found
