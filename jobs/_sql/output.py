"""Write query results: as an aligned table for people, or as CSV, JSON or Parquet for programs."""

import csv
import json
import math
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

FORMATS = ("table", "csv", "json", "parquet")
_MAX_TABLE_ROWS = 100
_TABLE_WIDTH = 120  # in characters; used if the output is not a terminal
_MIN_COLUMN_WIDTH = 8  # in characters; if the columns do not fit at this width, each row is printed as a list
_MAX_TEXT_LENGTH = 500
_MAX_LIST_LENGTH = 12


def write_result(reader: pa.RecordBatchReader, output_format: str, out: str | None) -> None:
    """Write a query result to the file ``out``, or to stdout if ``out`` is None.

    Memory does not grow with the number of rows.

    Raises
    ------
    OSError
        The file cannot be written. In this case, an existing file is unchanged, and no new file is created.
    """
    if output_format == "parquet":
        with _write_then_replace(str(out)) as path, pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
        return
    write = {"table": _write_table, "csv": _write_csv, "json": _write_json}[output_format]
    if out is None:
        write(reader, sys.stdout)
        return
    with _write_then_replace(out) as path, path.open("w", encoding="utf-8", newline="") as file:
        write(reader, file)


@contextmanager
def _write_then_replace(out: str) -> Iterator[Path]:
    """Yield the path of a temporary file beside ``out``. The file replaces ``out`` if no exception is raised."""
    path = Path(out)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    # RecordBatch.to_pylist is not used: its rows are dictionaries, which lose one of two columns with the same name
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write_csv(reader: pa.RecordBatchReader, file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for batch in reader:
        writer.writerows([_to_csv_value(value) for value in row] for row in _rows(batch))


def _to_csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(_to_json_value(value), ensure_ascii=False)
    return _to_json_value(value) if not isinstance(value, float) else value


def _write_json(reader: pa.RecordBatchReader, file: IO[str]) -> None:
    names: list[str] = []
    for name in reader.schema.names:
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    separator = "["
    for batch in reader:
        for row in _rows(batch):
            record = dict(zip(names, map(_to_json_value, row), strict=True))
            file.write(f"{separator}\n{json.dumps(record, ensure_ascii=False, allow_nan=False)}")
            separator = ","
    file.write("[]\n" if separator == "[" else "\n]\n")


def _to_json_value(value: Any) -> Any:
    """Convert a value to types that JSON supports; NaN and infinite numbers become None."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_to_json_value(element) for element in value]
    if isinstance(value, dict):
        return {str(name): _to_json_value(element) for name, element in value.items()}
    if isinstance(value, date | time):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _write_table(reader: pa.RecordBatchReader, file: IO[str]) -> None:
    rows: list[tuple[Any, ...]] = []
    count = 0
    for batch in reader:
        count += batch.num_rows
        if len(rows) < _MAX_TABLE_ROWS:
            rows += list(_rows(batch.slice(0, _MAX_TABLE_ROWS - len(rows))))
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=file, highlight=False, markup=False, emoji=False, width=_TABLE_WIDTH)
    cells = [[_cell(value) for value in row] for row in rows]
    names = [_escape_control_characters(name) for name in reader.schema.names]
    widths = [min(_MIN_COLUMN_WIDTH, max(map(len, column))) for column in zip(names, *cells, strict=True)]
    if sum(widths) + 3 * len(widths) + 1 <= console.width:
        console.print(_make_table(names, cells, reader.schema))
    else:
        for number, row in enumerate(cells, 1):
            console.print(_make_record(number, names, row))
    if count > len(rows):
        summary = f"the first {len(rows)} of {count:,} rows: --format csv, json or parquet writes all of them"
    else:
        summary = f"{count} {'row' if count == 1 else 'rows'}"
    console.print(Text(summary))


def _make_table(names: list[str], cells: list[list[Text]], schema: pa.Schema) -> Grid:
    grid = Grid()
    for name, field in zip(names, schema, strict=True):
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        grid.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in cells:
        grid.add_row(*row)
    return grid


def _make_record(number: int, names: list[str], row: list[Text]) -> Grid:
    grid = Grid(title=Text(f"row {number}"), title_justify="left", show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cell in zip(names, row, strict=True):
        grid.add_row(Text(name), cell)
    return grid


def _cell(value: Any) -> Text:
    """Format a value for people, as text in which rich parses no markup and control characters are escaped."""
    if value is None:
        return Text("NULL", style="dim italic")
    return Text(_escape_control_characters(_format(value)))


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _format_number(value)
    if isinstance(value, datetime):
        return str(value.replace(tzinfo=None))
    if isinstance(value, Decimal | date | time | timedelta | int):
        return str(value)
    if isinstance(value, list):
        shown = ", ".join("NULL" if element is None else _format(element) for element in value[:_MAX_LIST_LENGTH])
        return f"[{shown}, … {len(value)} in total]" if len(value) > _MAX_LIST_LENGTH else f"[{shown}]"
    text = (
        json.dumps(_to_json_value(value), ensure_ascii=False) if isinstance(value, dict) else str(_to_json_value(value))
    )
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}… {len(text)} characters in total"


def _format_number(value: float) -> str:
    """Format a number with up to six decimals, or with an exponent if it is very small or very large."""
    if not math.isfinite(value) or (value and not 1e-4 <= abs(value) < 1e15):
        return f"{value:.6g}"
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _escape_control_characters(text: str) -> str:
    r"""Replace control characters, which could control the terminal, by escape sequences such as ``\x1b``."""
    return "".join(
        c if (unicodedata.category(c)[0] not in "C" and c not in "\u2028\u2029") or c == "\u200d" else _escape(c)
        for c in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
