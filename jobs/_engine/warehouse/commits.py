"""What the tables' reader and writer gives and takes: staged rows, parts of a table, and what a commit says."""

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
    """What the workers made of one batch of inputs: uncommitted files, and rows for the driver to decide about."""

    files: dict[str, list[StagedFile]] = field(default_factory=dict)
    rows: dict[str, list[pa.Table]] = field(default_factory=dict)

    def add(self, other: "Staged") -> None:
        """Take the contents of ``other`` in, after our own."""
        for name, files in other.files.items():
            self.files.setdefault(name, []).extend(files)
        for name, rows in other.rows.items():
            self.rows.setdefault(name, []).extend(rows)

    def table(self, table: Table) -> pa.Table:
        """Rows for the driver of one table, in the contract's schema."""
        schema = arrow_schema(table)
        return pa.concat_tables([schema.empty_table(), *(t.cast(schema) for t in self.rows.get(table.name, []))])


@dataclass(frozen=True)
class Part:
    """Some whole files of one version of a table: as much as a job takes at once.

    ``least`` and ``greatest`` bound the first key column in them.
    """

    paths: tuple[str, ...]
    least: str
    greatest: str
    row_count: int


def cut(files: pa.Table, column: str, row_count: int) -> list[Part]:
    """Cut files, by their statistics in the order of a column, into parts of at least ``row_count`` rows."""
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


NOTED = "reprise note"
"""The application transaction that numbers commits with a note, and what their metadata begins with."""


@dataclass(frozen=True)
class Note:
    """What is noted with a commit: ``content``, which JSON can hold, and which of the table's noted commits it is."""

    number: int
    content: Mapping[str, Any]

    @property
    def options(self) -> dict[str, str]:
        """Options of a write with Delta."""
        return {
            "txnAppId": NOTED, "txnVersion": str(self.number), "userMetadata": json.dumps({NOTED: self.content}),
        }  # fmt: skip

    @property
    def settings(self) -> dict[str, str]:
        """The same as settings of a session, which a MERGE needs."""
        rooms = {"txnAppId": "write.", "txnVersion": "write.", "userMetadata": "commitInfo."}
        return {f"spark.databricks.delta.{rooms[name]}{name}": value for name, value in self.options.items()}


def read_note(metadata: str | None) -> dict[str, Any] | None:
    """Content of the note in a commit's metadata; None when there is none of ours."""
    try:
        said = json.loads(metadata or "")
    except ValueError:  # others may note what they like
        return None
    return said.get(NOTED) if isinstance(said, dict) else None
