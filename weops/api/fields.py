"""Serializers: foreign keys as numbers, names beside them, and only the fields that were asked for."""

from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

LARGEST = 2**63 - 1


class IdField(serializers.IntegerField):
    """A foreign key as its id; the rules of the noun look whether the user may choose it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 1, "max_value": LARGEST, **kwargs})

    def get_attribute(self, instance: Any) -> Any:
        return getattr(instance, f"{self.source}_id")


class Choice(serializers.ChoiceField):
    """Says, of a value that is none, what there is to choose from."""

    def fail(self, key: str, **kwargs: Any) -> NoReturn:
        if key != "invalid_choice":
            super().fail(key, **kwargs)
        raise ValidationError(none_of(kwargs["input"], self.choices), code=key)


def none_of(value: Any, choices: Iterable[Any]) -> str:
    """The message for a value that may not be chosen."""
    return f"{str(value)[:100]!r} is none of {', '.join(map(str, choices))}."


class Sparse(serializers.Serializer):
    """Shows the fields that `context["wanted"]` names, in that order; all without it, but those of `on_request`."""

    # Large ones, which are shown if they are asked for.
    on_request: ClassVar[tuple[str, ...]] = ()

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        wanted = self.context.get("wanted") if self.parent is None or self.parent.parent is None else None
        if wanted is None:
            # The document describes all that there are.
            described = getattr(self.context.get("view"), "swagger_fake_view", False)
            left_out = () if described else self.on_request
            return {name: field for name, field in fields.items() if name not in left_out}
        if unknown := [name for name in wanted if name not in fields]:
            raise ValidationError(
                {"fields": f"There is no field {unknown[0][:100]!r}; there are {', '.join(fields)}."}
            )
        return {name: fields[name] for name in wanted}


class RowSerializer(Sparse, serializers.ModelSerializer):
    """A noun's columns. What may be written is said by the model, what is right by the noun's rules."""

    serializer_choice_field = Choice

    def build_relational_field(self, field_name: str, relation_info: Any) -> Any:
        column = relation_info.model_field
        kwargs: dict[str, Any] = {}
        if column.null:
            kwargs |= {"allow_null": True, "required": False}
        if column.help_text:
            kwargs["help_text"] = str(column.help_text)
        return IdField, kwargs

    def get_validators(self) -> list[Any]:
        # Uniqueness is for the rules, which know who may see what.
        return []


def name_of(path: str) -> Any:
    """A read-only text of a related row; null without one."""
    return serializers.CharField(source=path, read_only=True, default=None, allow_null=True)


class Empty(serializers.Serializer):
    """No body at all."""


class WithReason(serializers.Serializer):
    reason = serializers.CharField(
        max_length=4000, required=False, allow_blank=True, default="", help_text="Kept on record."
    )
