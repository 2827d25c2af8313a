"""One row by its id, for addresses that are read all the time: the statement, and what becomes of its columns, are made once.

The ORM builds the same statement and the same objects anew for every request, which takes longer than to execute it. What
is shown is still said by a serializer, and nowhere else.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from rest_framework import serializers

from weops.api.fields import IdField

# Stands for the id while the statement is made; no row has it.
_ANY = -(2**63)
_AS_IT_IS = (
    serializers.BooleanField,
    serializers.CharField,
    serializers.ChoiceField,
    serializers.IntegerField,
)


class Prepared:
    """A row of `rows` as the serializer shows it. `reads`: columns that its methods and the view read besides.

    The serializer must be stateless; sources of its fields are columns, also of related rows, or methods.
    """

    def __init__(
        self, rows: QuerySet[Any], kind: type[serializers.Serializer], reads: Sequence[str] = ()
    ) -> None:
        self._rows, self._kind, self._reads = rows, kind, reads

    def find(self, pk: int) -> SimpleNamespace | None:
        """Its columns, by the paths that `values` knows."""
        sql, given, names, convert = self._statement
        with connection.cursor() as cursor:
            cursor.execute(sql, [pk if value == _ANY else value for value in given])
            row = cursor.fetchone()
        return SimpleNamespace(**dict(zip(names, convert(row), strict=True))) if row else None

    def show(self, row: SimpleNamespace) -> dict[str, Any]:
        columns = row.__dict__
        shown = {name: columns[path] for name, path in self._plain}
        for name, path, field in self._written:
            if shown[name] is not None:
                shown[name] = field.to_representation(columns[path])
        for name, method in self._methods:
            shown[name] = method(row)
        return shown

    @cached_property
    def _serializer(self) -> serializers.Serializer:
        return self._kind()

    @cached_property
    def _fields(self) -> list[tuple[str, str, serializers.Field]]:
        """(name, path of its column, field) of those that are no methods."""
        return [
            (name, _path(field), field)
            for name, field in self._serializer.fields.items()
            if not isinstance(field, serializers.SerializerMethodField)
        ]

    @cached_property
    def _plain(self) -> list[tuple[str, str]]:
        """In the serializer's order; of methods the place is kept."""
        paths = {name: path for name, path, _ in self._fields}
        return [(name, paths.get(name, "pk")) for name in self._serializer.fields]

    @cached_property
    def _written(self) -> list[tuple[str, str, serializers.Field]]:
        return [one for one in self._fields if not isinstance(one[2], _AS_IT_IS)]

    @cached_property
    def _methods(self) -> list[tuple[str, Callable[[Any], Any]]]:
        return [
            (name, getattr(self._serializer, field.method_name))
            for name, field in self._serializer.fields.items()
            if isinstance(field, serializers.SerializerMethodField)
        ]

    @cached_property
    def _statement(self) -> tuple[str, Sequence[Any], list[str], Callable[[Any], Sequence[Any]]]:
        names = list(dict.fromkeys(["pk", *(path for _, path, _ in self._fields), *self._reads]))
        compiler = (
            self._rows.filter(pk=_ANY)
            .order_by()
            .values_list(*names)
            .query.get_compiler(connection=connection)
        )
        sql, given = compiler.as_sql()
        converters = compiler.get_converters([column for column, _, _ in compiler.select])

        def convert(row: Any) -> Sequence[Any]:
            if not converters:
                return row
            (converted,) = compiler.apply_converters([row], converters)
            return converted

        return sql, given, names, convert


def _path(field: serializers.Field) -> str:
    source = str(field.source).replace(".", "__")
    return f"{source}_id" if isinstance(field, IdField) else source
