"""Open a Delta table, or create it from its contract. Missing constraints and columns are added to the table."""

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, Field
from deltalake.exceptions import DeltaError

from reprise.lib.tables import Table
from reprise.udfs.arrow import arrow_schema

_CONFIGURATION = {"delta.enableDeletionVectors": "false"}  # delta-rs, DuckDB and Trino must be able to read every table


def open_table(uri: str, table: Table) -> DeltaTable:
    """Open the table at ``uri``; create it if it does not exist.

    Constraints are missing if a process was killed after it had created the table. Columns are missing if an older
    version of the contract did not have them. Both are added. In older files, these columns read as NULL.
    """
    if not DeltaTable.is_deltatable(uri):
        _create(uri, table)
    delta = DeltaTable(uri)
    present = delta.metadata().configuration
    if unchecked := {k: v for k, v in table.checks.items() if f"delta.constraints.{k}" not in present}:
        delta.alter.add_constraint(unchecked)
    stored = {field.name for field in delta.schema().fields}
    missing = [column.name for column in table.columns if column.added and column.name not in stored]
    if missing:
        schema = arrow_schema(table)
        delta.alter.add_columns([Field.from_arrow(schema.field(name)) for name in missing])
    return delta


def _create(uri: str, table: Table) -> None:
    if "://" not in uri:
        Path(uri).mkdir(parents=True, exist_ok=True)
    try:
        DeltaTable.create(
            uri, arrow_schema(table), name=table.name, description=table.doc, configuration=_CONFIGURATION
        )
    except DeltaError:
        if not DeltaTable.is_deltatable(uri):  # if it is a table, another writer created it first
            raise


def null_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast ``rows`` to ``schema``. A column that is missing from ``rows`` is filled with NULL.

    Files that an older version of reprise wrote can have fewer columns than the contract.
    """
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
