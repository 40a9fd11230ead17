"""What a contract says of a table, and the columns that many tables share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Type = Literal["string", "int", "bigint", "float", "double", "timestamp", "array<string>", "array<int>", "array<float>"]


@dataclass(frozen=True)
class Column:
    """One column: Spark SQL type, a comment with unit and meaning, and whether NULL is allowed."""

    name: str
    type: Type
    comment: str
    nullable: bool = True


@dataclass(frozen=True)
class Table:
    """One table's contract.

    Parameters
    ----------
    name, doc, grain
        Folder under the warehouse root; one line of purpose; what one row is.
    key
        Columns that identify a row. No two rows share them, and none of them is NULL.
    columns
        In the order of storage: key and scalars first.
    checks
        CHECK constraints, name to SQL condition. Delta enforces them on SQL writers; our own writer's rows satisfy
        them by construction, which a test asserts.
    writer
        ``arrow``: workers write Parquet themselves and the driver commits it, for wide rows and for tables small
        enough that one process can look up their keys. ``spark``: Spark's own Delta writer, for the rest.
    owner
        Column that names the input a row came from. A row with an owner is replaced only by the same input; the same
        key from another input is refused and reported. NULL for tables where the last writer wins.
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
        """Look up one column by its name; KeyError when the table has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")


def key(name: str, comment: str, type_: Type = "string") -> Column:
    """Return a column of a key, which is never NULL."""
    return Column(name, type_, comment, nullable=False)


RUN_ID = Column("run_id", "string", "run that wrote the row, see job_runs", nullable=False)
