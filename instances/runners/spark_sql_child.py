"""The driver of a Spark SQL task: runs under spark-submit (see `own` for how it tells what went wrong)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from instances.runners.own import fail
from instances.runners.sql_split import SPARK, SqlSyntaxError, split
from instances.runners.table import cell, format_table

SHOWN_ROWS = 100


def main(job: Mapping[str, Any]) -> None:
    try:
        statements = split(job["code"], SPARK)
    except SqlSyntaxError as error:
        fail("SPARK_SQL_ERROR", str(error))
    spark = SparkSession.builder.getOrCreate()
    total = len(statements)
    for number, statement in enumerate(statements, start=1):
        place = f"statement {number} of {total} (line {statement.line})"
        print(f"-- {place}: {cell(statement.text.partition(chr(10))[0])}")
        began = time.monotonic()
        try:
            _show(spark.sql(statement.text))
        except PySparkException as error:
            fail("SPARK_SQL_ERROR", f"{place}: {_words(error)}")
        print(f"done ({time.monotonic() - began:.1f} s)")
    spark.stop()


def _show(found: DataFrame) -> None:
    """The first rows. More are not asked for: to count them all would compute them all."""
    if not found.columns:
        return
    rows = found.take(SHOWN_ROWS + 1)
    right = [
        kind in ("int", "bigint", "double", "float", "smallint", "tinyint") or kind.startswith("decimal")
        for _, kind in found.dtypes
    ]
    kept = [[cell(None if value is None else str(value)) for value in row] for row in rows[:SHOWN_ROWS]]
    print(format_table([cell(name) for name in found.columns], kept, right), end="")
    print(f"(the first {SHOWN_ROWS} rows)" if len(rows) > SHOWN_ROWS else f"({len(rows)} rows)")


def _words(error: PySparkException) -> str:
    """The error's own first lines, without the plan and the Java stack that follow."""
    text = str(error).split("\nJVM stacktrace:")[0].split(";\n'")[0]
    return " ".join(text.split())[:2000]
