"""Statistics of a Parquet file as Delta's protocol has them, by which a reader leaves out files it need not open."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reprise.lib.tables import Table

_PREFIX = 32  # characters of a text, as Spark's writer has it
_INDEXED = 32  # columns that readers look for by default (delta.dataSkippingNumIndexedCols)
_GREATEST_CHARACTER = "\U0010ffff"


class Statistics:
    """Row count, and of scalar columns NULLs, least and greatest value of the batches given to ``add``.

    A scalar column of the first 32 must be here: the ``deltalake`` package takes a missing bound for one that nothing
    satisfies, and a filter on that column then finds no row. A column of NULLs alone has no bounds, only its count.
    Texts are cut short, but not those of key and owner, by which the tables' writer looks rows up; timestamps are
    rounded outward to milliseconds.
    """

    def __init__(self, table: Table) -> None:
        self.row_count = 0
        self._whole = {*table.key, table.owner}
        scalars = [column.name for column in table.columns if not column.type.startswith("array")]
        self._nulls = {name: 0 for i, name in enumerate(scalars) if i < _INDEXED or name in self._whole}
        self._bounds: dict[str, tuple[Any, Any]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at ``batch``, which has no NaN in scalar columns."""
        self.row_count += batch.num_rows
        for name in self._nulls:
            column = batch.column(name)
            self._nulls[name] += column.null_count
            if column.null_count < len(column):
                found = pc.min_max(column).as_py()
                least, greatest = self._bounds.get(name, (found["min"], found["max"]))
                self._bounds[name] = (min(least, found["min"]), max(greatest, found["max"]))

    def to_json(self) -> str:
        """Return the statistics in Delta's form."""
        statistics = {
            "numRecords": self.row_count,
            "minValues": {name: self._least(name, least) for name, (least, _) in self._bounds.items()},
            "maxValues": {name: self._greatest(name, greatest) for name, (_, greatest) in self._bounds.items()},
            "nullCount": self._nulls,
        }
        # not as escapes: the deltalake package takes the two of one character for two characters
        return json.dumps(statistics, ensure_ascii=False, allow_nan=False)

    def _least(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and name not in self._whole:
            return value[:_PREFIX]
        return _written(value)

    def _greatest(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and name not in self._whole:
            return _not_less(value)
        if isinstance(value, datetime):
            value += timedelta(microseconds=-value.microsecond % 1000)
        return _written(value)


def _not_less(text: str) -> str:
    """Return the beginning of ``text`` and a character that makes it no less than ``text``; a short one as it is."""
    end = _PREFIX
    while text[end : end + 1] == _GREATEST_CHARACTER:
        end += 1
    return text if len(text) <= end else text[:end] + _GREATEST_CHARACTER


def _written(value: Any) -> Any:
    """``value`` as JSON can hold it; a timestamp loses what is below a millisecond, which is downward."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
