"""Spark SQL and PySpark really run, on local mode and the machine's Java. Few runs: each starts a JVM."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from instances.engine.diagnosis import diagnose
from instances.runners import registry, spark_parameters
from instances.runners.base import Control
from instances.runners.host import Host
from instances.runners.pyspark import PySparkRunner
from instances.runners.spark import spark_submit
from instances.runners.spark_sql import SparkSqlRunner
from tests.runners.support import Background, Sink, marked, spec

# Starting a JVM takes seconds, and on a busy machine many of them.
with_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java found: Spark cannot run here")


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host(spark_master="local[1]")
    yield host
    assert marked(host.guardian.token) == []
    assert list(host.guardian.directory().iterdir()) == []
    host.close()


@with_java
@pytest.mark.slow
def test_statements_their_results_and_what_an_operator_overrides(host):
    log = Sink()
    what = spec(
        "CREATE TEMPORARY VIEW flights AS SELECT id, id % 3 AS day, 'it''s; \\'late\\'' AS note FROM range(300);\n"
        "SELECT day, count(*) AS n, max(note) AS note FROM flights GROUP BY day ORDER BY day;\n"
        "SET spark.sql.shuffle.partitions;\nSELECT id FROM flights",
        "SPARK_SQL",
        settings={"conf": {"spark.sql.shuffle.partitions": "7"}},
        application_parameters={"spark.sql.shuffle.partitions": "3"},
        context={"WEOPS_TASK": "delays"},
    )
    outcome = SparkSqlRunner(host).run(what, log, Control())
    assert outcome.ok, (outcome, log.text[-3000:])
    assert "  0 | 100 | it" in log.output
    assert "spark.sql.shuffle.partitions | 3" in log.output, "the override wins"
    assert "(the first 100 rows)" in log.output
    assert "-- statement 4 of 4 (line 4)" in log.output
    assert "Submitted application: delays" in log.output, "the driver's own lines are in the log"


@with_java
@pytest.mark.slow
def test_an_error_of_a_statement(host):
    log = Sink()
    what = spec("SELECT 1;\nSELECT nobody FROM range(3)", "SPARK_SQL", settings={"log_level": "ERROR"})
    outcome = SparkSqlRunner(host).run(what, log, Control())
    assert outcome.error_code == "SPARK_SQL_ERROR", (outcome, log.text[-3000:])
    assert outcome.message.startswith("statement 2 of 2 (line 2): [UNRESOLVED_COLUMN")
    assert "`nobody`" in outcome.message
    assert diagnose("SPARK_SQL", outcome.error_code, outcome.message, log.text).code == "COLUMN_NOT_FOUND"


_PYSPARK = """
import os, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("arguments", sys.argv[1:], os.environ["WEOPS_PARAM_day"])
print("sum", spark.range(10).selectExpr("sum(id)").collect()[0][0])
print(1 / 0)
"""


@with_java
@pytest.mark.slow
def test_a_program_gets_its_arguments_and_fails_with_its_own_traceback(host):
    log = Sink()
    what = spec(
        _PYSPARK,
        "PYSPARK",
        parameters={"day": "20130101"},
        settings={"arguments": ["--day", "2013 01"], "log_level": "WARN"},
    )
    outcome = PySparkRunner(host).run(what, log, Control())
    assert outcome.error_code == "EXIT_NONZERO", (outcome, log.text[-3000:])
    assert "arguments ['--day', '2013 01'] 20130101" in log.output
    assert "sum 45" in log.output
    assert "ZeroDivisionError: division by zero" in log.output
    found = diagnose("PYSPARK", outcome.error_code, outcome.message, log.text)
    assert (found.code, "(line 7 of the code" in found.line) == ("PYTHON_EXCEPTION", True), found


@with_java
@pytest.mark.slow
def test_terminating_kills_the_jvm_and_all_around_it(host):
    sleep = "SELECT java_method('java.lang.Thread', 'sleep', 600000L)"
    run = Background(SparkSqlRunner(host), spec(f"SELECT 1;\n{sleep}", "SPARK_SQL", kill_grace=1.0))
    deadline = time.monotonic() + 120
    while "-- statement 2 of 2" not in run.log.text:
        assert time.monotonic() < deadline, run.log.text[-3000:]
        time.sleep(0.1)
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in marked(host.guardian.token)]
    assert "java" in names
    run.control.cancel("terminate")
    assert run.outcome().error_code == "TERMINATED"


def test_a_worker_without_java_says_so():
    bare = Host(environment={"PATH": "/nonexistent"})
    assert "no Java" in str(spark_submit(bare))
    outcome = SparkSqlRunner(bare).run(spec("SELECT 1", "SPARK_SQL"), Sink(), Control())
    assert outcome.error_code == "SPARK_UNAVAILABLE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spark.driver.extraJavaOptions", "-javaagent:/tmp/x.jar"),
        ("spark.executor.extraJavaOptions", "-XX:OnError=sh"),
        ("spark.jars", "/tmp/x.jar"),
        ("spark.plugins", "x.Y"),
        ("spark.extraListeners", "x.Y"),
        ("spark.master", "spark://somewhere:7077"),
        ("spark.pyspark.python", "/tmp/python"),
        ("spark.executor.memory", "2g --jars /tmp/x.jar"),
        ("spark.executor.memory", "2g\n"),
        ("spark.yarn.queue", "-x"),
        ("--jars", "/tmp/x.jar"),
        ("", ""),
    ],
)
def test_an_operator_cannot_run_code_with_application_parameters(host, name, value):
    assert spark_parameters.fault({name: value})
    what = spec("SELECT 1", "SPARK_SQL", application_parameters={name: value})
    outcome = SparkSqlRunner(host).run(what, Sink(), Control())
    assert outcome.error_code == "BAD_APPLICATION_PARAMETER", "also when it came past the operation"


def test_what_an_operator_may_set():
    assert (
        spark_parameters.fault({"spark.executor.memory": "4g", "spark.sql.adaptive.enabled": "false"}) == ""
    )


@pytest.mark.parametrize(
    ("task_type", "chosen", "code", "words"),
    [
        (
            "SPARK_SQL",
            {"conf": {"spark.master": "local"}},
            "SELECT 1",
            "the setting conf cannot have spark.master",
        ),
        ("SPARK_SQL", {"conf": {"java.home": "/"}}, "SELECT 1", "the setting conf cannot be 'java.home'"),
        ("SPARK_SQL", {"driver_memory": "lots"}, "SELECT 1", "the setting driver_memory cannot be 'lots'"),
        ("SPARK_SQL", {}, "-- nothing", "the code holds no statement"),
        ("SPARK_SQL", {}, "SELECT `a", "a quoted name that begins here is never closed"),
        ("SPARK_SQL", {"arguments": ["x"]}, "SELECT 1", "the setting arguments is unknown"),
        ("PYSPARK", {}, "print(", "was never closed"),
    ],
)
def test_mistakes_are_found_at_save(task_type, chosen, code, words):
    [said] = registry.check(task_type, chosen, code)
    assert words in said
