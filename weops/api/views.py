"""What all views are made of: reading rows of projects, and changing them through the rules of their noun."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from rest_framework import serializers, status
from rest_framework.exceptions import NotAuthenticated, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from weops.api import idempotency
from weops.api.errors import Wrong
from weops.console.paging import time_limit
from weops.projects import access
from weops.projects.access import Right
from weops.projects.defining import Definition

SAFE = ("GET", "HEAD", "OPTIONS")
LIST_SECONDS = 15
SOURCE = "api"
# The rows of a page.
Page = list[Any]


def user_of(request: Request) -> User:
    """Who asks, limited to what the token allows."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def _bound(request: Request) -> None:
    """Raises Wrong for a body that is too large, before any of it is read: REST framework itself has no limit."""
    most: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    length = request.META.get("CONTENT_LENGTH") or ""
    if not length and request.META.get("HTTP_TRANSFER_ENCODING"):
        raise Wrong(
            411, "length_required", "The request does not say how long it is.", "Send Content-Length."
        )
    if length and not (length.isdecimal() and len(length) < 20 and int(length) <= most):
        raise Wrong(413, "too_large", f"A body has at most {most:,} bytes.", "Send it in several requests.")


class Door(APIView):
    """Idempotency and problems for every view."""

    _claimed: int | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE:
            _bound(request)
            self._claimed = idempotency.claim(request)

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, idempotency.Replayed):
            return exc.response
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._claimed is not None:
            idempotency.keep(self._claimed, response)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


class Actions(ViewSetMixin, Door):
    """A view set without rows of its own."""


class Listed(ViewSetMixin, Door, GenericAPIView):
    """A list of rows that the user sees. `order` makes the pages; `project_path` leads to the id of the project of a row.

    `slow`: a list of a table of any size, whose queries are given up after a while.
    """

    project_path: ClassVar[str | None] = "project_id"
    view_right: ClassVar[Right] = Right.VIEW
    order: ClassVar[tuple[str, ...]] = ("id",)
    slow: ClassVar[bool] = False
    lookup_value_converter = "number"
    lookup_field = "pk"

    def rows(self) -> QuerySet[Any]:
        """All rows, with what their serializer reads."""
        return super().get_queryset()

    def visible(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return access.within(rows, self.request.user, self.project_path or "", self.view_right)

    def get_queryset(self) -> QuerySet[Any]:
        return self.visible(self.rows())

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "wanted": self._wanted()}

    def _wanted(self) -> Sequence[str] | None:
        """The names in `fields=`; None: all."""
        request = getattr(self, "request", None)
        text = request.query_params.get("fields", "") if request and request.method == "GET" else ""
        return [name for name in text.split(",") if name] or None

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self._check_parameters({"cursor", "limit", "count", "fields", *self._filter_names()})
        if not self.slow:
            return self._page()
        with time_limit(LIST_SECONDS):
            return self._page()

    def _page(self) -> Response:
        page: Any = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        found = self.get_serializer(self.decorate(page), many=True).data
        return self.get_paginated_response(found)

    def decorate(self, page: Page) -> Page:
        """Adds to the rows of a page what needs a query for all of them."""
        return page

    def _filter_names(self) -> Iterable[str]:
        for backend in self.filter_backends:
            yield from backend().names(self)

    def _check_parameters(self, known: Iterable[str]) -> None:
        """A misspelt filter must never mean all rows."""
        names = sorted(known)
        if unknown := sorted(set(self.request.query_params) - set(names)):
            raise ValidationError({unknown[0]: f"There is no such parameter; there are {', '.join(names)}."})


class Rows(Listed):
    """With each row at an address of its own."""

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filters are for lists; what a list leaves out by default has an address all the same."""
        return queryset if self.detail else super().filter_queryset(queryset)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        self._check_parameters({"fields"})
        (row,) = self.decorate([self.get_object()])
        return read(request, self._read(row))

    def _read(self, row: Any) -> Any:
        kind = self.get_serializer_class()
        if getattr(kind, "stateless", False) and not self._wanted():
            return _shared(kind).to_representation(row)
        return self.get_serializer(row).data


@functools.cache
def _shared(kind: type[serializers.Serializer]) -> serializers.Serializer:
    """One for all requests and threads, which only reads: to build fifty fields takes longer than to fill them."""
    return kind()


class Defined(Rows):
    """Rows that people make, change and delete by `rules`; their serializer reads the columns."""

    rules: ClassVar[Definition[Any]]

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        values = self._given(request)
        row = self.make(values)
        return tagged(request, self._shown(row), status.HTTP_201_CREATED)

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        values = self._given(request, partial=True)
        with transaction.atomic():
            self.before_locking()
            row = self._locked(request)
            self.change(row, values)
        return tagged(request, self._shown(row))

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with transaction.atomic():
            self.before_locking()
            self.remove(self._locked(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def make(self, values: dict[str, Any]) -> Any:
        return self.rules.create(values, user=user_of(self.request), source=SOURCE)

    def change(self, row: Any, values: dict[str, Any]) -> None:
        self.rules.update(row, values, user=user_of(self.request), source=SOURCE)

    def remove(self, row: Any) -> None:
        self.rules.delete(row, user=user_of(self.request), source=SOURCE)

    def before_locking(self) -> None:
        """Takes the locks that come before those of rows."""

    def _given(self, request: Request, partial: bool = False) -> dict[str, Any]:
        serializer = self.get_serializer(data=request.data, partial=partial)
        refuse_unknown(serializer, request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def _locked(self, request: Request) -> Any:
        """The row, as it stays until it is changed; as it was read if the header If-Match says so."""
        row = self.get_object()
        locked = self.rows().select_for_update(of=("self",), no_key=True).filter(pk=row.pk).first()
        if locked is None:
            self.permission_denied(request)
        if (wanted := request.headers.get("If-Match")) and wanted != "*":
            present = etag(self._shown(locked))
            if present not in [one.strip() for one in wanted.split(",")]:
                raise Wrong(412, "precondition_failed", "It was changed since it was read.", etag=present)
        return locked

    def _shown(self, row: Any) -> Any:
        (fresh,) = self.decorate([self.rows().get(pk=row.pk)])
        return self.get_serializer(fresh).data


def number(request: Request, name: str, default: int, most: int, least: int = 0) -> int:
    """A whole number in the address. Raises ValidationError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and least <= int(text) <= most):
        raise ValidationError({name: f"Write a whole number from {least} to {most}."})
    return int(text)


def refuse_unknown(serializer: Any, given: Any) -> None:
    """A misspelt field must not be lost silently."""
    if not isinstance(given, dict):
        raise ValidationError("Write an object of names and values.")
    fields = serializer.fields
    known = [name for name, one in fields.items() if not one.read_only]
    wrong = {
        name: "It can only be read."
        if name in fields
        else f"There is no such field; there are {', '.join(known)}."
        for name in given
        if name not in known
    }
    if wrong:
        raise ValidationError(wrong)


def read_body(kind: type[serializers.Serializer], request: Request) -> Any:
    """The body, read and judged. Raises ValidationError."""
    sent = kind(data=request.data, context={"request": request})
    refuse_unknown(sent, request.data)
    sent.is_valid(raise_exception=True)
    return sent


def etag(data: Any) -> str:
    return _tag(JSONRenderer().render(data))


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def tagged(request: Request, data: Any, code: int = 200) -> Response:
    """The answer to a change, with the ETag of what it made."""
    return Response(data, status=code, headers={"ETag": etag(data), "Cache-Control": "private, no-cache"})


def read(request: Request, data: Any) -> HttpResponse:
    """An answer with its ETag; 304 without a body for who has it already. The bytes that are tagged are those that are sent."""
    body = JSONRenderer().render(data)
    headers = {"ETag": _tag(body), "Cache-Control": "private, no-cache"}
    given = request.META.get("HTTP_IF_NONE_MATCH", "")
    known = [one.strip().removeprefix("W/") for one in given.split(",")] if given else []
    if headers["ETag"] in known or known == ["*"]:
        return HttpResponse(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": headers["ETag"]})
    return HttpResponse(body, content_type="application/json", headers=headers)


def not_found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """For addresses under /api/ that do not exist."""
    return Missing.as_view()(request)


class Missing(Door):
    """Answers 404 to everything."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        todo = "Look at /api/docs/ for those that there are."
        if not request.path.endswith("/"):
            todo = f"All addresses end with a slash. {todo}"
        raise Wrong(404, "not_found", "There is no such address.", todo)
