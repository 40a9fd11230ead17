"""Create the declared views in Spark. They read the tables, or data frames that replace the tables."""

import re
from collections.abc import Collection, Mapping

from pyspark.sql import DataFrame, SparkSession

from reprise.jobs._sql.quoting import spark_string
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS, View
from reprise.udfs.arrow import spark_schema


def create_temporary_views(
    spark: SparkSession, frames: Mapping[str, DataFrame], views: Collection[View] = tuple(VIEWS.values())
) -> None:
    """Create temporary views in a session: one for each data frame in ``frames``, and ``views``, which read them.

    A data frame made from such a view keeps reading these ``frames``, even if the view is later replaced.

    Parameters
    ----------
    spark
        Session in which the views are created.
    frames
        Data frames with the rows of tables, by table name. A table without a frame is treated as empty.
    views
        Declared views. Each view comes after the views that it reads.
    """
    mentioned = {word for view in views for word in re.findall(r"\w+", view.sql)}
    for name in TABLES.keys() & {*frames, *mentioned}:
        frame = frames[name] if name in frames else spark.createDataFrame([], spark_schema(TABLES[name]))
        frame.createOrReplaceTempView(name)
    for view in views:
        spark.sql(render_create_view(view, "TEMPORARY "))


def render_create_view(view: View, kind: str = "") -> str:
    """Return the Spark SQL statement that creates or replaces a view or a table function, including its comments.

    ``kind`` is empty or ``"TEMPORARY "``.
    """
    doc = f"COMMENT {spark_string(view.doc)}"
    if view.parameters:
        parameters = ", ".join(f"{name} STRING" for name in view.parameters)
        return f"CREATE OR REPLACE {kind}FUNCTION {view.name}({parameters}) RETURNS TABLE {doc} RETURN {view.sql}"
    columns = ", ".join(f"`{name}` COMMENT {spark_string(comment)}" for name, comment in view.columns.items())
    return f"CREATE OR REPLACE {kind}VIEW {view.name} ({columns}) {doc} AS {view.sql}"
