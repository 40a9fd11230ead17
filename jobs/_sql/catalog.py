"""Statements that make a Spark catalog know the tables where they stand, and the views over them."""

from collections.abc import Iterator

from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.jobs._sql.spark_views import define
from reprise.lib.tables import TABLES, Table
from reprise.lib.tables.views import VIEWS


def ddl(warehouse: Warehouse, database: str) -> Iterator[str]:
    """Statements that register all tables, which must exist, and all views in a database; doing so again changes none.

    Columns and comments of a table are in its own log, where the catalog finds them.
    """
    yield f"CREATE DATABASE IF NOT EXISTS `{database}`"
    yield f"USE `{database}`"
    for table in TABLES.values():
        yield register(warehouse, table)
    for view in VIEWS.values():
        yield define(view)


def register(warehouse: Warehouse, table: Table) -> str:
    """Return the statement that registers one table in the current database."""
    return f"CREATE TABLE IF NOT EXISTS `{table.name}` USING delta LOCATION {text_quoted(warehouse.uri(table))}"


def text_quoted(text: str) -> str:
    """``text`` as a string of Spark SQL, in one line and with no ``$``, after which spark-sql looks for variables."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(f"\\u{ord(c):04x}" if c < " " or c == "$" else c for c in escaped) + "'"
