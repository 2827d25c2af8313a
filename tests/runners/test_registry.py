import pytest
from jsonschema import Draft202012Validator

from instances.engine.errors import CATALOGUE
from instances.runners import registry
from instances.runners.base import Control, TaskType
from instances.runners.settings_schema import faults, filled, number, pairs, settings, text, texts
from tests.runners.support import Sink, spec


def test_types():
    assert registry.types() == [
        "BRANCH",
        "FOR_EACH",
        "HTTP",
        "PYSPARK",
        "PYTHON",
        "SHELL",
        "SPARK_SQL",
        "SQL",
        "VIRTUAL",
    ]
    for name in registry.types():
        assert registry.get(name).type == name


def test_unknown_type_names_the_known_ones():
    with pytest.raises(registry.UnknownTaskType, match=r"'SPARK'.*PYTHON, SHELL, SPARK_SQL"):
        registry.get("SPARK")


def test_a_new_type_can_be_registered(monkeypatch):
    class Hive(TaskType):
        type = "HIVE"
        label = "Hive"

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
        ("PYTHON", {"python": 3}, "print()", "the setting python must be a text, not 3"),
        (
            "SHELL",
            {"events_variable": "two words"},
            "echo",
            "the setting events_variable cannot be 'two words'",
        ),
        (
            "SHELL",
            {"autocommit": True},
            "echo",
            "the setting autocommit is unknown; Shell tasks have: events_",
        ),
        ("PYTHON", {"python": " "}, "print()", "the setting python cannot be ' '"),
        ("PYTHON", {}, "(" * 100_000, "too many nested parentheses"),
        ("SQL", {}, "SELECT '${yyyyMMdd}'; DELETE FROM t WHERE d = ${dt} AND x = '$${y}'", None),
        ("SQL", {}, "SELECT 1;\nSELECT 'x", "line 2: a string that begins here is never closed"),
        ("SQL", {}, "-- nothing", "the code holds no statement"),
        ("SQL", {"autocommit": "yes"}, "VACUUM", "the setting autocommit must be true or false, not 'yes'"),
    ],
)
def test_mistakes_are_found_at_save(task_type, chosen, code, problem):
    found = registry.check(task_type, chosen, code)
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert problem in found[0]


def test_every_schema_is_one_and_says_what_each_setting_is():
    for runner in registry.runners():
        Draft202012Validator.check_schema(runner.schema)
        assert runner.label
        for name, declared in runner.schema["properties"].items():
            assert name.isidentifier(), name
            assert declared["title"], name
            assert declared["description"].endswith("."), name


SCHEMA = settings(
    required=["url"],
    url=text("Address", "Where to go.", minLength=1),
    tries=number("Tries", "How often.", 1, 5, default=2),
    headers=pairs("Headers", "One a line."),
    options=texts("Options", "One a line."),
)


@pytest.mark.parametrize(
    ("given", "name", "words"),
    [
        ({}, "url", "the setting url is missing: where to go"),
        ({"url": ""}, "url", "the setting url must not be empty"),
        ({"url": "x" * 5000}, "url", "the setting url must have at most 4000 characters"),
        ({"url": "x", "tries": 0}, "tries", "the setting tries must be at least 1, not 0"),
        ({"url": "x", "tries": 9}, "tries", "the setting tries must be at most 5, not 9"),
        ({"url": "x", "tries": True}, "tries", "the setting tries must be a whole number, not True"),
        ({"url": "x", "headers": {"a": 1}}, "headers", "the setting headers, 'a', must be a text, not 1"),
        ({"url": "x", "headers": {"a\n": "1"}}, "headers", "the setting headers cannot be 'a\\n'"),
        ({"url": "x", "options": "one"}, "options", "the setting options must be a list, not 'one'"),
        ({"url": "x", "what\n": 1}, "what\n", "the setting 'what\\n' is unknown; Web tasks have: url, tries"),
        ([1], "", "the setting must be an object, not [1]"),
    ],
)
def test_what_is_wrong_with_settings_names_the_setting(given, name, words):
    (fault,) = faults(SCHEMA, given, "Web")
    assert fault.name == name
    assert fault.message.startswith(words)


def test_defaults_are_filled_in():
    assert filled(SCHEMA, {"url": "x"}) == {"url": "x", "tries": 2}
    assert filled(SCHEMA, {"url": "x", "tries": 3}) == {"url": "x", "tries": 3}


def test_every_type_says_its_own_codes_and_the_catalogue_has_them():
    for runner in registry.runners():
        assert set(runner.codes) <= set(CATALOGUE), runner.type
