"""Doors hand on what they are sent: values that no operation can mean are refused with a sentence, never an error of ours."""

from collections.abc import Iterator
from typing import Any

import pytest

from instances import operations
from instances.models import OperationRecord
from instances.operations import NotUndoable, OptionError
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper
from tests.operating import many, messages, two_projects

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

HUGE, NUL, HALF = "x" * 300_000, "a\0b", "\ud800"
DEEP: Any = []
for _ in range(500):
    DEEP = [DEEP]
VALUES: list[Any] = [
    HUGE, NUL, HALF, DEEP, -1, 0, True, 1.5, float("nan"), float("inf"), 2**63, 10**400, [None], [True], [2**70], {"": ""},
    {"x": None}, {"x": ["y"]}, {NUL: "x"}, {HALF: "x"}, {"x": HALF}, {str(n): "" for n in range(500)}, "'; DROP TABLE x; --",
    "__class__", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", b"bytes", object(), {1, 2},
]  # fmt: skip
NAMES = {
    "rerun": (
        "scope", "range", "chosen", "check_parents", "check_previous", "ignore_events", "parameters",
        "application_parameters", "self_dependency", "parallelism", "code",
    ),
    "freeze": ("subtree", "thaw_at"),
    "acknowledge": ("owner", "expires_at"),
    "remove_dependency": ("edges", "all"),
    "terminate": ("anything",),
}  # fmt: skip
FLAGS = {
    ("rerun", "check_previous"),
    ("rerun", "ignore_events"),
    ("freeze", "subtree"),
    ("remove_dependency", "all"),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with harness.captured_hints():
        yield


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_no_value_of_an_option_is_an_error_of_ours(kind: str, name: str) -> None:
    chosen = many(1)
    for value in VALUES:
        # What means nothing means the default.
        if not value or (value is True and (kind, name) in FLAGS):
            continue
        with pytest.raises(OptionError) as refused:
            operations.preview(kind, chosen, user=None, options={name: value})
        assert len(str(refused.value)) < 1000, "a page or an answer repeats it"
        assert HALF not in str(refused.value)


@pytest.mark.parametrize("options", [["scope"], "scope", 7, [["scope", "this"]]])
def test_options_are_names_with_values(options: Any) -> None:
    for door in (operations.preview, operations.run):
        more = {"reason": "r", "source": "api"} if door is operations.run else {}
        with pytest.raises(OptionError):
            door("rerun", many(1), user=None, options=options, **more)  # type: ignore[arg-type]


def test_ids_of_any_size_choose_what_is_there() -> None:
    chosen = many(1)
    ids = [*chosen, -1, 0, 2**63, 10**400, *range(10**9, 10**9 + 100_000)]
    found = operations.preview("terminate", ids, user=None)
    assert found.frozen.total == 1
    assert found.summary["left_out"][0]["count"] == len(ids) - 1


def test_an_undo_is_not_asked_for_on_instances_of_ones_choice() -> None:
    chosen = many(2)
    record = operations.run("terminate", chosen, user=None, reason="r", source="api")
    options = {"operation": record.pk}
    with pytest.raises(NotUndoable):
        operations.preview("undo", chosen, user=None, options=options)
    with pytest.raises(NotUndoable):
        operations.run("undo", chosen, user=None, reason="r", source="api", options=options)
    assert not OperationRecord.objects.filter(kind="undo").exists()


def test_who_sees_nothing_of_it_does_not_use_up_its_undo() -> None:
    omar, here, there = two_projects()
    record = operations.run("terminate", there, user=omar, reason="r", source="api")
    stranger = make.make_user(make.DANA, project=make.make_project())
    with pytest.raises(NotUndoable, match="not yours to see"):
        operations.undo(record, user=stranger, reason="r", source="api")
    token = operations.preview_undo(record, user=stranger).token
    with pytest.raises(NotUndoable, match="not yours to see"):
        operations.apply(token, user=stranger, reason="r", source="api")
    assert operations.undo(record, user=omar, reason="r", source="api").done == 3
    assert here


def test_a_reason_of_any_kind_is_kept() -> None:
    record = operations.run("terminate", many(1), user=None, reason=f"{NUL}{HALF}{HUGE}", source="api")
    record.refresh_from_db()
    assert record.done == 1
    assert 0 < len(record.reason) <= 4000


def test_parameters_named_like_anything_are_data() -> None:
    chosen = many(1)
    parameters = {
        "__init__": "{0.__class__}", "id": "%(ids)s", "%s": "%", "$$": "$${", "'; --": '"', "constructor": "</script>",
        "{x}": "{}", "a.b": "\\u0000",
    }  # fmt: skip
    operations.run("terminate", chosen, user=None, reason="r", source="api")
    record = operations.run(
        "rerun", chosen, user=None, reason="r", source="api", options={"parameters": parameters}
    )
    assert record.done == 1, messages(record)
    assert record.options["parameters"] == parameters
    found = operations.preview("terminate", chosen, user=None)
    assert found.summary["allowed"] == 1
