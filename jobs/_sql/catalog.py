"""SQL statements that register tables and views in a Spark catalog. The tables stay in the warehouse."""

from collections.abc import Iterator

from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.quoting import spark_string
from reprise.jobs._sql.spark_views import render_create_view
from reprise.lib.tables import TABLES, Table
from reprise.lib.tables.views import VIEWS


def generate_ddl(warehouse: Warehouse, database: str) -> Iterator[str]:
    """Yield the statements that register all tables and views in a database. All tables must exist.

    The statements can be run again: a second run leaves the tables unchanged and replaces the views. The statements do
    not list the columns of tables, because the catalog reads columns and comments from each table's Delta log.
    """
    yield f"CREATE DATABASE IF NOT EXISTS `{database}`"
    yield f"USE `{database}`"
    for table in TABLES.values():
        yield render_create_table(warehouse, table)
    for view in VIEWS.values():
        yield render_create_view(view)


def render_create_table(warehouse: Warehouse, table: Table) -> str:
    """Return the statement that registers one table in the current database."""
    return f"CREATE TABLE IF NOT EXISTS `{table.name}` USING delta LOCATION {spark_string(warehouse.uri(table))}"
