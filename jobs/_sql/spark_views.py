"""The views of the contract as Spark knows them: temporary ones, over whatever frames stand for the tables."""

import re
from collections.abc import Collection, Mapping

from pyspark.sql import DataFrame, SparkSession

from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS, View
from reprise.udfs.arrow import spark_schema


def name_tables(
    spark: SparkSession, frames: Mapping[str, DataFrame], views: Collection[View] = tuple(VIEWS.values())
) -> None:
    """Make the session know some tables and views of the contracts by their names.

    What is made of a view keeps to the frames that had the names then, also when others get them later.

    Parameters
    ----------
    frames
        Rows of tables, by the tables' names.
    views
        Each after those that it names. A table that they name and that is not among the frames is empty.
    """
    named = {word for view in views for word in re.findall(r"\w+", view.sql)}
    for name in TABLES.keys() & {*frames, *named}:
        frame = frames[name] if name in frames else spark.createDataFrame([], spark_schema(TABLES[name]))
        frame.createOrReplaceTempView(name)
    for view in views:
        spark.sql(define(view, "TEMPORARY "))


def define(view: View, kind: str = "") -> str:
    """Return the statement that makes or replaces a view or table function in Spark, with its comments."""
    doc = f"COMMENT {_quote(view.doc)}"
    if view.parameters:
        parameters = ", ".join(f"{name} STRING" for name in view.parameters)
        return f"CREATE OR REPLACE {kind}FUNCTION {view.name}({parameters}) RETURNS TABLE {doc} RETURN {view.sql}"
    columns = ", ".join(f"`{name}` COMMENT {_quote(comment)}" for name, comment in view.columns.items())
    return f"CREATE OR REPLACE {kind}VIEW {view.name} ({columns}) {doc} AS {view.sql}"


def _quote(text: str) -> str:
    """``text`` as a string of Spark SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
