"""Statistics of a Parquet file, as defined by the Delta protocol. Readers use them to skip files."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reprise.lib.tables import Table

_PREFIX_LENGTH = 32  # longer strings are cut to this many characters for their bounds, as in Spark's writer
_N_INDEXED_COLUMNS = 32  # columns with statistics: Delta's default of delta.dataSkippingNumIndexedCols
_MAX_CHARACTER = "\U0010ffff"


class Statistics:
    """Statistics of the batches given to ``add``: row count, and NULL count, minimum and maximum of scalar columns.

    The columns are the first 32 scalar columns, and all key and owner columns. Every scalar column among the table's
    first 32 columns must be included: without its bounds, the ``deltalake`` package assumes that no row matches, and a
    filter on that column finds no row. A column that contains only NULLs has a NULL count but no bounds. String bounds
    are truncated, except in the key and owner columns: the ``arrow`` writer uses their exact bounds to find rows.
    Timestamp bounds are rounded outward to milliseconds.
    """

    def __init__(self, table: Table) -> None:
        self.row_count = 0
        self._untruncated = {*table.key, table.owner}
        scalars = [column.name for column in table.columns if not column.type.startswith("array")]
        self._null_counts = {
            name: 0 for i, name in enumerate(scalars) if i < _N_INDEXED_COLUMNS or name in self._untruncated
        }
        self._bounds: dict[str, tuple[Any, Any]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Include the rows of ``batch``. Its scalar columns must not contain NaN."""
        self.row_count += batch.num_rows
        for name in self._null_counts:
            column = batch.column(name)
            self._null_counts[name] += column.null_count
            if column.null_count < len(column):
                found = pc.min_max(column).as_py()
                lower, upper = self._bounds.get(name, (found["min"], found["max"]))
                self._bounds[name] = (min(lower, found["min"]), max(upper, found["max"]))

    def to_json(self) -> str:
        """Return the statistics as a JSON string, in the format that the Delta protocol defines."""
        statistics = {
            "numRecords": self.row_count,
            "minValues": {name: self._to_lower_bound(name, lower) for name, (lower, _) in self._bounds.items()},
            "maxValues": {name: self._to_upper_bound(name, upper) for name, (_, upper) in self._bounds.items()},
            "nullCount": self._null_counts,
        }
        # without escapes: the deltalake package reads an escaped surrogate pair as two characters
        return json.dumps(statistics, ensure_ascii=False, allow_nan=False)

    def _to_lower_bound(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and name not in self._untruncated:
            return value[:_PREFIX_LENGTH]
        return _to_json_value(value)

    def _to_upper_bound(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and name not in self._untruncated:
            return _truncate_upwards(value)
        if isinstance(value, datetime):
            value += timedelta(microseconds=-value.microsecond % 1000)
        return _to_json_value(value)


def _truncate_upwards(text: str) -> str:
    """Return an upper bound of ``text``: a prefix of ``text``, followed by the greatest Unicode character.

    If ``text`` is not longer than the prefix, it is returned unchanged.
    """
    end = _PREFIX_LENGTH
    while text[end : end + 1] == _MAX_CHARACTER:
        end += 1
    return text if len(text) <= end else text[:end] + _MAX_CHARACTER


def _to_json_value(value: Any) -> Any:
    """Convert ``value`` to a JSON value. A timestamp is rounded down to a millisecond."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
