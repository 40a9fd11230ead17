"""The two engines that answer queries, DuckDB and Spark, under one protocol."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reprise.conf import Settings
from reprise.jobs._engine.run import absolute
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.jobs._sql.statements import QueryError
from reprise.lib.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa


class Engine(Protocol):
    """What answers queries."""

    name: str

    def query(self, sql: str, parameters: Mapping[str, str]) -> "Iterator[pa.RecordBatchReader]":
        """Answer each statement of ``sql``."""
        ...


@contextmanager
def open_engine(settings: Settings, name: str, write: bool) -> Iterator[Engine]:
    """Open the engine ``name``, ``duckdb`` or ``spark``, on the tables of the settings' warehouse.

    Raises
    ------
    QueryError
        The warehouse has no tables.
    """
    warehouse = Warehouse(absolute(settings.warehouse))
    there = "://" in warehouse.root or Path(warehouse.root).is_dir()
    if not there or not any(warehouse.exists(table) for table in TABLES.values()):
        raise QueryError(f"there are no tables in {warehouse.root}: run an ingest job, or give --warehouse DIR")
    if name == "duckdb":
        from reprise.jobs._sql.duckdb_engine import DuckDB

        yield DuckDB(warehouse, write=write)
        return
    from reprise.jobs._engine.session import get_session
    from reprise.jobs._sql.spark_engine import Spark

    yield Spark(get_session(settings), warehouse, write=write)
