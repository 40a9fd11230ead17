"""The ``spark`` writer: write tables with Delta on Spark.

These tables are too large for a key lookup in one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reprise.jobs._engine.warehouse.commits import Note
from reprise.jobs._engine.warehouse.conflicts import retry_on_conflict
from reprise.lib.tables import Table

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without pyspark
    from pyspark.sql import DataFrame


def append(uri: str, rows: DataFrame, *, transaction: str) -> None:
    """Append ``rows`` to the table at ``uri``, at most once per ``transaction``."""

    def write() -> None:
        writer = rows.write.format("delta").mode("append")
        writer.option("txnAppId", transaction).option("txnVersion", 1).save(uri)

    retry_on_conflict(write)


def replace(uri: str, rows: DataFrame, *, note: Note) -> None:
    """Replace all rows of the table at ``uri`` in one commit with a note."""
    writer = rows.write.format("delta").mode("overwrite").options(**note.options)
    retry_on_conflict(lambda: writer.save(uri))


def merge(
    uri: str,
    table: Table,
    rows: DataFrame,
    *,
    scope: tuple[str, Sequence[str]] | None,
    delete: DataFrame | None,
    note: Note | None,
) -> None:
    """Merge ``rows`` into the table at ``uri``; the other arguments are as in `Warehouse.merge`."""
    retry_on_conflict(lambda: _merge(uri, table, rows, scope, delete, note))


def _merge(
    uri: str,
    table: Table,
    rows: DataFrame,
    scope: tuple[str, Sequence[str]] | None,
    delete: DataFrame | None,
    note: Note | None,
) -> None:
    from delta.tables import DeltaTable
    from pyspark.sql.functions import col, lit

    same_key = " AND ".join(f"t.`{k}` = s.`{k}`" for k in table.key)
    values = [c.name for c in table.columns if c.name not in table.key and c.name != "run_id"]
    changed = " OR ".join(f"NOT (t.`{c}` <=> s.`{c}`)" for c in values)
    deleted = (rows.limit(0) if delete is None else delete).select(*table.key).withColumn("_deleted", lit(True))
    offered = rows.withColumn("_deleted", lit(False)).unionByName(deleted, allowMissingColumns=True)
    spark = rows.sparkSession
    if note:  # MERGE reads its note from session settings; in a new session, they do not affect other commits
        spark = spark.newSession()
        for name, value in note.session_settings.items():
            spark.conf.set(name, value)
    merge = DeltaTable.forPath(spark, uri).alias("t").merge(offered.alias("s"), same_key)
    merge = merge.whenMatchedDelete("s._deleted").whenMatchedUpdateAll(changed)
    merge = merge.whenNotMatchedInsertAll("NOT s._deleted")
    if scope:
        merge = merge.whenNotMatchedBySourceDelete(col(f"t.{scope[0]}").isin(list(scope[1])))
    merge.execute()
