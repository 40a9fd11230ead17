"""Data classes that jobs exchange with the warehouse: staged rows, groups of files, and notes stored with a commit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from reprise.lib.tables import Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import StagedFile


@dataclass
class Staged:
    """Output of the workers for one batch of inputs: uncommitted files, and rows returned to the driver."""

    files: dict[str, list[StagedFile]] = field(default_factory=dict)
    rows: dict[str, list[pa.Table]] = field(default_factory=dict)

    def add(self, other: "Staged") -> None:
        """Append the files and rows of ``other`` to this output."""
        for name, files in other.files.items():
            self.files.setdefault(name, []).extend(files)
        for name, rows in other.rows.items():
            self.rows.setdefault(name, []).extend(rows)

    def table(self, table: Table) -> pa.Table:
        """Return the rows that workers sent to the driver for one table, cast to the contract's schema."""
        schema = arrow_schema(table)
        return pa.concat_tables([schema.empty_table(), *(t.cast(schema) for t in self.rows.get(table.name, []))])


@dataclass(frozen=True)
class Part:
    """A group of files of one table that a job reads together.

    In a result of `split_into_parts`, all files are from the same version of the table, ``least`` is a lower bound of
    their first key column, and ``greatest`` is an upper bound.
    """

    paths: tuple[str, ...]
    least: str
    greatest: str
    row_count: int


def split_into_parts(files: pa.Table, column: str, row_count: int) -> list[Part]:
    """Sort files by the minimum of ``column``, and group consecutive files with about ``row_count`` rows per group."""
    frame = files.to_pandas()
    if frame.empty:
        return []
    least, greatest = f"min.{column}", f"max.{column}"
    frame = frame.sort_values([least, "path"])
    number = (frame["num_records"].cumsum() - frame["num_records"]) // row_count
    return [
        Part(tuple(part["path"]), part[least].min(), part[greatest].max(), int(part["num_records"].sum()))
        for _, part in frame.groupby(number)
    ]


NOTE_KEY = "reprise note"
"""Id of the application transaction that numbers the notes, and key of a note in the commit's user metadata."""


@dataclass(frozen=True)
class Note:
    """Note stored with a commit: its number among the table's notes, and its JSON-serialisable content."""

    number: int
    content: Mapping[str, Any]

    @property
    def options(self) -> dict[str, str]:
        """Options of a Delta write. With them, Delta stores the note with the commit."""
        return {
            "txnAppId": NOTE_KEY, "txnVersion": str(self.number), "userMetadata": json.dumps({NOTE_KEY: self.content}),
        }  # fmt: skip

    @property
    def session_settings(self) -> dict[str, str]:
        """The `options` as settings of a Spark session. MERGE accepts them only as settings."""
        prefixes = {"txnAppId": "write.", "txnVersion": "write.", "userMetadata": "commitInfo."}
        return {f"spark.databricks.delta.{prefixes[name]}{name}": value for name, value in self.options.items()}


def read_note(metadata: str | None) -> dict[str, Any] | None:
    """Return the content of the note in a commit's user metadata, or None if the metadata contain no note."""
    try:
        parsed = json.loads(metadata or "")
    except ValueError:  # other programs can store any text as user metadata
        return None
    return parsed.get(NOTE_KEY) if isinstance(parsed, dict) else None
