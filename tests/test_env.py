"""Text of the environment becomes settings, or a clear error."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from weops import env


def test_database_url_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL", "postgresql://us%40er:p%2Fw@db.example:5433/name?sslmode=require")
    found = env.database("URL")
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"]) == (
        "us@er",
        "p/w",
        "db.example",
        "5433",
    )
    assert found["NAME"] == "name"
    assert found["OPTIONS"] == {"sslmode": "require"}


def test_database_url_over_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL", "postgresql://weops:secret@/weops?host=%2Fsome%20folder%2Frun&port=5432")
    found = env.database("URL")
    assert (found["HOST"], found["PORT"], found["OPTIONS"]) == ("/some folder/run", "5432", {})


@pytest.mark.parametrize("url", ["", "sqlite:///x.db", "mysql://host/name"])
def test_another_database_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("URL", url)
    with pytest.raises(ImproperlyConfigured, match="PostgreSQL"):
        env.database("URL")


@pytest.mark.parametrize(("reader", "raw"), [(env.flag, "perhaps"), (env.seconds, "soon")])
def test_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, reader: object, raw: str) -> None:
    monkeypatch.setenv("WEOPS_X", raw)
    with pytest.raises(ImproperlyConfigured, match=f"WEOPS_X='{raw}'"):
        reader("WEOPS_X", 1)  # type: ignore[operator]


def test_a_number_below_its_least_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEOPS_X", "0")
    with pytest.raises(ImproperlyConfigured, match="at least 1"):
        env.integer("WEOPS_X", 5, least=1)


def test_lists_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEOPS_X", " a, b ,,c")
    assert env.listed("WEOPS_X") == ["a", "b", "c"]
    monkeypatch.setenv("WEOPS_X", "no")
    assert env.flag("WEOPS_X", default=True) is False


def test_an_object_whose_text_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of a storage may hold a key."""
    monkeypatch.setenv("WEOPS_X", '{"bucket_name": "logs"}')
    assert env.mapping("WEOPS_X") == {"bucket_name": "logs"}
    for raw in ("[1]", "{secret"):
        monkeypatch.setenv("WEOPS_X", raw)
        with pytest.raises(ImproperlyConfigured, match="write a JSON object") as caught:
            env.mapping("WEOPS_X")
        assert raw not in str(caught.value)
