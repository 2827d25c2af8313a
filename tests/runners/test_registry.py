import pytest

from instances.runners import registry
from instances.runners.base import Control
from tests.runners.support import Sink, spec


def test_types():
    assert registry.types() == ["PYTHON", "SHELL", "SQL", "VIRTUAL"]
    for name in registry.types():
        assert registry.get(name).type == name


def test_unknown_type_names_the_known_ones():
    with pytest.raises(registry.UnknownTaskType, match=r"'SPARK'.*PYTHON, SHELL, SQL, VIRTUAL"):
        registry.get("SPARK")


def test_a_new_type_can_be_registered(monkeypatch):
    class Hive:
        type = "HIVE"

        def check(self, settings, code):
            return []

        def run(self, what, log, control):
            raise AssertionError

    monkeypatch.setattr(registry, "_runners", dict(registry._runners))
    registry.register(Hive())
    assert "HIVE" in registry.types()


def test_virtual_does_nothing():
    log, control = Sink(), Control()
    runner = registry.get("VIRTUAL")
    assert runner.check({}, "") == []
    assert runner.run(spec(task_type="VIRTUAL"), log, control).ok
    control.cancel("terminate")
    assert runner.run(spec(task_type="VIRTUAL"), log, control).error_code == "TERMINATED"
    assert log.pieces == []


@pytest.mark.parametrize(
    ("task_type", "chosen", "code", "problem"),
    [
        ("SHELL", {}, "echo ${yyyyMMdd-1d} $((1+2)); [[ a == @(a|b) ]]", None),
        ("SHELL", {}, "if true; then echo", "line 2: syntax error: unexpected end of file"),
        ("SHELL", {}, "  \n", "the code is empty"),
        ("SHELL", {}, "echo \0", "the code holds a NUL character"),
        ("PYTHON", {}, "day = ${yyyyMMdd-1d}\nprint(f'${month_first_day} {day}')\n", None),
        ("PYTHON", {}, "x = 1\nprint(x\n", "line 2: '(' was never closed"),
        ("PYTHON", {}, "", "the code is empty"),
        ("PYTHON", {"python": "python2"}, "print 'of another time'", None),
        ("PYTHON", {"python": 3}, "print()", "the setting python must be"),
        ("PYTHON", {}, "(" * 100_000, "too many nested parentheses"),
        ("SQL", {}, "SELECT '${yyyyMMdd}'; DELETE FROM t WHERE d = ${dt} AND x = '$${y}'", None),
        ("SQL", {}, "SELECT 1;\nSELECT 'x", "line 2: a string that begins here is never closed"),
        ("SQL", {}, "-- nothing", "the code holds no statement"),
        ("SQL", {"autocommit": "yes"}, "VACUUM", "the setting autocommit must be"),
    ],
)
def test_mistakes_are_found_at_save(task_type, chosen, code, problem):
    found = registry.get(task_type).check(chosen, code)
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert problem in found[0]
