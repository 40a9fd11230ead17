"""Make manifest and quarantine rows, and collect the rows of ingest jobs until they are written."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from reprise.lib.errors import InputError
from reprise.lib.tables import MANIFEST, QUARANTINE, Table
from reprise.udfs.arrow import arrow_schema, to_batch


def check_listed(listed: Mapping[str, Any]) -> None:
    """Raise InputError if the columns ``fault_kind`` and ``fault`` of a listed input contain a fault."""
    if listed["fault_kind"]:
        raise InputError(listed["fault_kind"], listed["fault"])


def manifest_row(
    listed: Mapping[str, Any],
    *,
    job: str,
    run_id: str,
    status: str,
    sha256: str | None,
    row_count: int,
    reject_count: int,
) -> dict[str, Any]:
    """Return one manifest row.

    Parameters
    ----------
    listed
        Row of a listing, with ``uri``, ``file_size`` and ``file_mtime_us``.
    status
        ``done``, ``duplicate``, ``quarantined`` or ``unchanged``. The driver replaces ``unchanged`` by the input's
        status in the existing manifest.
    row_count, reject_count
        Number of rows read from the input, and number of its rejected lines or rows; 1 for a file rejected as a whole.
    """
    return {
        **{name: listed[name] for name in ("uri", "file_size", "file_mtime_us")},
        "stage": job,
        "status": status,
        "sha256": sha256,
        "row_count": row_count,
        "reject_count": reject_count,
        "run_id": run_id,
    }


def quarantine_row(uri: str, error: InputError, *, job: str, run_id: str, sha256: str | None) -> dict[str, Any]:
    """Return one quarantine row with ``attempts`` = 1; the driver counts further attempts."""
    return {
        "uri": uri,
        "stage": job,
        "error_class": error.kind,
        "message": error.message,
        "sha256": sha256,
        "attempts": 1,
        "run_id": run_id,
    }


class IngestRows:
    """Rows of an ingest job, collected as columns until they are written as record batches.

    Parameters
    ----------
    tables
        Tables that the inputs fill. `flush` yields their rows before those of the manifest, which marks inputs as done.
    job, run_id
        Values of the columns ``stage`` and ``run_id``.
    batch_size
        Number of collected inputs at which `is_full` becomes True.
    """

    def __init__(self, tables: Sequence[Table], *, job: str, run_id: str, batch_size: int) -> None:
        self._tables = (*tables, MANIFEST, QUARANTINE)
        self._provenance = {"job": job, "run_id": run_id}
        self._batch_size = batch_size
        self._columns: dict[str, dict[str, list[Any]]] = {table.name: defaultdict(list) for table in self._tables}

    def add_rows(self, table: Table, columns: Mapping[str, Sequence[Any]], **constants: Any) -> None:
        """Add rows, given as columns of equal length. ``constants`` and the run id are the same in all rows."""
        count = len(next(iter(columns.values())))
        collected = self._columns[table.name]
        for name, values in columns.items():
            collected[name].extend(values)
        for name, value in (constants | {"run_id": self._provenance["run_id"]}).items():
            collected[name].extend([value] * count)

    def add_manifest(self, listed: Mapping[str, Any], sha256: str | None, status: str, row_count: int) -> None:
        """Record the outcome of one input."""
        rejects = int(status == "quarantined")
        row = manifest_row(
            listed, status=status, sha256=sha256, row_count=row_count, reject_count=rejects, **self._provenance
        )
        self._add(MANIFEST, row)

    def add_quarantine(self, listed: Mapping[str, Any], sha256: str | None, error: InputError) -> None:
        """Record that one input was rejected, with the error."""
        self._add(QUARANTINE, quarantine_row(listed["uri"], error, sha256=sha256, **self._provenance))
        self.add_manifest(listed, sha256, "quarantined", 0)

    def _add(self, table: Table, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            self._columns[table.name][name].append(value)

    def is_full(self) -> bool:
        """Return whether ``batch_size`` inputs are collected, so that `flush` should be called."""
        return len(self._columns[MANIFEST.name]["uri"]) >= self._batch_size

    def flush(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """For each table with collected rows, yield the table name and one batch, and discard the collected rows."""
        for table in self._tables:
            if columns := self._columns[table.name]:
                self._columns[table.name] = defaultdict(list)
                yield table.name, to_batch(arrow_schema(table), columns)
