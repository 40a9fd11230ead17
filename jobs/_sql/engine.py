"""Open a query engine, DuckDB or Spark, and the protocol that both implement."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reprise.conf import Settings
from reprise.jobs._engine.command_line import absolute_location
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.statements import QueryError
from reprise.lib.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa


class Engine(Protocol):
    """A query engine."""

    name: str

    def query(self, sql: str, parameters: Mapping[str, str]) -> "Iterator[pa.RecordBatchReader]":
        """Run the statements in ``sql`` and yield the result of each statement."""
        ...


@contextmanager
def open_engine(settings: Settings, name: str, write: bool) -> Iterator[Engine]:
    """Open the engine ``name`` (``duckdb`` or ``spark``) for the tables in the warehouse of ``settings``.

    Raises
    ------
    QueryError
        The warehouse has no tables.
    """
    warehouse = Warehouse(absolute_location(settings.warehouse))
    may_exist = "://" in warehouse.root or Path(warehouse.root).is_dir()
    if not may_exist or not any(warehouse.exists(table) for table in TABLES.values()):
        raise QueryError(f"there are no tables in {warehouse.root}: run an ingest job, or give --warehouse DIR")
    if name == "duckdb":
        from reprise.jobs._sql.duckdb_engine import DuckDB

        yield DuckDB(warehouse, write=write)
        return
    from reprise.jobs._engine.session import get_session
    from reprise.jobs._sql.spark_engine import Spark

    yield Spark(get_session(settings), warehouse, write=write)
