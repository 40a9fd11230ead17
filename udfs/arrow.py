"""Arrow schemas and record batches for the table contracts of ``lib.tables``."""

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
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def arrow_type(sql_type: str) -> pa.DataType:
    """Return the Arrow type for a contract's Spark SQL type, e.g. ``array<float>``."""
    if sql_type.startswith("array<"):
        return pa.list_(pa.field("element", _SCALARS[sql_type[6:-1]]))
    return _SCALARS[sql_type]


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table. The metadata contain the column comments, as in Delta and Spark."""
    return pa.schema(
        [
            pa.field(c.name, arrow_type(c.type), nullable=c.nullable, metadata={"comment": c.comment})
            for c in table.columns
        ]
    )


def spark_schema(table: Table) -> str:
    """Return a table's columns as a Spark DDL string, the form in which Spark's functions accept a schema."""
    return ", ".join(f"`{c.name}` {c.type}" for c in table.columns)


def to_vectors(column: pa.Array) -> list[np.ndarray[Any, Any]]:
    """Return one numpy array per row of a list column. The values are not copied. A NULL row becomes an empty array."""
    offsets = column.offsets.to_numpy()
    flat = column.values.to_numpy()
    return [flat[start:stop] for start, stop in pairwise(offsets)]


def to_batch(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> pa.RecordBatch:
    """Make one record batch from a mapping of column names to sequences of values, all of the same length.

    A sequence is a list, a numpy array or an Arrow array. A value is a Python scalar, a list or a numpy array; a matrix
    is stored row-major. A column not in ``columns`` is filled with NULL.

    Raises
    ------
    ValueError
        A column that must not be NULL contains NULL. Spark and Delta would report this only in a Java stack trace.
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
        # from_arrays copies whole buffers; pa.array would convert every number to a Python object
        offsets = np.zeros(len(values) + 1, dtype=np.int32)
        np.cumsum([v.size for v in values], out=offsets[1:])
        flat = np.concatenate([v.reshape(-1) for v in values])
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, type_.value_type), type=type_)
    return pa.array(values, type_)
