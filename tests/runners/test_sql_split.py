import pytest
from hypothesis import given
from hypothesis import strategies as st

from instances.runners.sql_split import SqlSyntaxError, split


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        (";;  ; select 1 ;-- end\n;/* c */", ["select 1"]),
        ("select ';', 'it''s;', E'a\\';b', \"a;\"\"b\" ;x", None),
        ("select $$a;b$$, $t$;$$;$t$; select 2", ["select $$a;b$$, $t$;$$;$t$", "select 2"]),
        ("select a$b$c; select d$b$", ["select a$b$c", "select d$b$"]),
        ("select 1 -- ; no\n, 2; /* ; /* ; */ ; */ select 3", ["select 1 -- ; no\n, 2", "select 3"]),
        ("create rule r as on insert to t do also (delete from a; delete from b); select 1", None),
        ("select $1; select 2", ["select $1", "select 2"]),
        ("select 'a' 'b'; select U&'x;'", ["select 'a' 'b'", "select U&'x;'"]),
        ("begin; select 1; end; select 2", ["begin", "select 1", "end", "select 2"]),
        ("select case when true then 1 end; select 2", ["select case when true then 1 end", "select 2"]),
    ],
)
def test_split(script, texts):
    found = [statement.text for statement in split(script)]
    if texts is None:
        assert len(found) == 2
    else:
        assert found == texts


def test_sql_standard_bodies_hold_semicolons():
    body = (
        "create or replace function f(a int) returns int language sql begin atomic\n"
        "select case a when 1 then 2 end; select 3; end"
    )
    assert [statement.text for statement in split(f"{body}; select 1")] == [body, "select 1"]


def test_places():
    one, two = split("\n-- first\n select 1;\n\nselect a,\n  b from ü;")
    assert (one.line, one.text) == (3, "select 1")
    assert (two.line, two.text) == (5, "select a,\n  b from ü")
    assert two.position(two.text.index("b") + 1) == (6, 3)
    assert two.position(1) == (5, 1)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("select 1;\nselect 'x;", "line 2: a string"),
        ('select "x', "line 1: a quoted name"),
        ("\n\nselect $a$ x $$", r"line 3: the dollar quote \$a\$"),
        ("/* /* */", "line 1: a comment"),
    ],
)
def test_what_is_never_closed(script, message):
    with pytest.raises(SqlSyntaxError, match=message):
        split(script)


_PART = st.sampled_from(
    ["select", " ", "1", "'a;b'", " $$x;$$", "-- c;\n", "/* ; */", '"q;"', "(a;b)", "\n", "é"]
)


@given(st.lists(st.lists(_PART, max_size=6), max_size=5))
def test_nothing_is_lost_or_joined(statements):
    texts = ["".join(parts) for parts in statements]
    found = split(";".join(texts))
    expected = [parts for parts in statements if any(p.strip() and p[0] not in "-/" for p in parts)]
    assert len(found) == len(expected)
    script = ";".join(texts)
    for statement in found:
        assert script[statement.offset :].startswith(statement.text)
        assert statement.line == script.count("\n", 0, statement.offset) + 1
