"""SQL queries over the tables, in DuckDB and in Spark."""
