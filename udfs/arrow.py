"""Arrow schemas and record batches from the contracts of ``lib.tables``."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.tables import Table

_SCALARS = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def arrow_type(sql_type: str) -> pa.DataType:
    """Arrow type of a contract's Spark SQL type, e.g. ``array<float>``."""
    if sql_type.startswith("array<"):
        return pa.list_(pa.field("element", _SCALARS[sql_type[6:-1]]))
    return _SCALARS[sql_type]


def arrow_schema(table: Table) -> pa.Schema:
    """Arrow schema of a table, with its comments as Delta and Spark store them."""
    return pa.schema(
        [
            pa.field(c.name, arrow_type(c.type), nullable=c.nullable, metadata={"comment": c.comment})
            for c in table.columns
        ]
    )


def spark_schema(table: Table) -> str:
    """Spark's DDL form of a table's columns, for the schema of a data source or a Python function."""
    return ", ".join(f"`{c.name}` {c.type}" for c in table.columns)


def to_vectors(column: pa.Array) -> list[np.ndarray[Any, Any]]:
    """Each row of a list column as a numpy array that shares its memory; a NULL is an empty array."""
    offsets = column.offsets.to_numpy()
    flat = column.values.to_numpy()
    return [flat[start:stop] for start, stop in pairwise(offsets)]


def to_batch(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> pa.RecordBatch:
    """One record batch from a list of values a column.

    Values are Python scalars, lists or numpy arrays; a matrix is stored row-major. A column that is missing is NULL.

    Raises
    ------
    ValueError
        When a column that must not be NULL holds one: Spark and Delta would say so only in a Java stack trace.
    """
    n_rows = len(next(iter(columns.values())))
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        array = pa.nulls(n_rows, field.type) if values is None else _to_array(values, field.type)
        if not field.nullable and array.null_count:
            raise ValueError(f"column {field.name} must not be NULL")
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _to_array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if pa.types.is_list(type_) and len(values) and all(isinstance(v, np.ndarray) for v in values):
        # from_arrays keeps the float32 buffers; pa.array would visit every number as a Python object
        offsets = np.zeros(len(values) + 1, dtype=np.int32)
        np.cumsum([v.size for v in values], out=offsets[1:])
        flat = np.concatenate([v.reshape(-1) for v in values])
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, type_.value_type), type=type_)
    return pa.array(values, type_)
