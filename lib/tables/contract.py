"""Types of a table contract, and the columns that many tables share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Type = Literal[
    "string", "int", "bigint", "float", "double", "boolean", "timestamp", "array<string>", "array<int>", "array<float>"
]


@dataclass(frozen=True)
class Column:
    """One column: name, Spark SQL type, a comment with meaning and unit, and whether NULL is allowed.

    ``added`` marks a column that tables and files of earlier versions do not have. In their rows, it is read as NULL.
    """

    name: str
    type: Type
    comment: str
    nullable: bool = True
    added: bool = False


@dataclass(frozen=True)
class Table:
    """One table's contract.

    Parameters
    ----------
    name, doc, grain
        Name of the table and of its folder under the warehouse root; purpose in one line; meaning of one row.
    key
        Columns that identify a row. No two rows have equal values in all of them. Their values are not NULL.
    columns
        Columns in the order of storage: key first, then scalars, then arrays.
    checks
        CHECK constraints: SQL conditions by name. Delta enforces them only for rows that Spark writes. Rows of the
        ``arrow`` writer satisfy them by construction, and a test checks this.
    writer
        ``arrow``: workers write Parquet files and the driver commits them. This writer is used for wide rows, and for
        tables that are small enough for one process to look up the keys. ``spark``: Spark's Delta writer, used for the
        remaining tables.
    owner
        Column that identifies the input of a row. A row can be replaced only by rows of the same input. A row with the
        same key from another input is rejected and reported. None for tables in which a later row replaces an earlier
        row with the same key.
    """

    name: str
    doc: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    checks: Mapping[str, str]
    writer: Literal["arrow", "spark"] = "arrow"
    owner: str | None = None

    def column(self, name: str) -> Column:
        """Return the column with this name. Raise KeyError if the table does not have it."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")


def key(name: str, comment: str, type_: Type = "string") -> Column:
    """Return a column that is never NULL, e.g. a key column."""
    return Column(name, type_, comment, nullable=False)


RUN_ID = Column("run_id", "string", "run that wrote the row, see job_runs", nullable=False)
