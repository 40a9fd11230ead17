"""String literals of the two SQL dialects."""


def spark_string(text: str) -> str:
    """Quote a string as a Spark SQL literal. Control characters and ``$`` (variables in spark-sql) are escaped."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(f"\\u{ord(c):04x}" if c < " " or c == "$" else c for c in escaped) + "'"


def duckdb_string(text: str) -> str:
    """Quote a string as a DuckDB literal."""
    return "'" + text.replace("'", "''") + "'"
