"""Answers of queries for people and programs: an aligned table, CSV, JSON or Parquet."""

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
_PAGE = 100
_PAGE_WIDTH = 120
_LEAST_WIDTH = 8  # a column of a table narrower than this is hard to read: then each row is a list of its columns
_LONGEST_TEXT = 500
_LONGEST_LIST = 12


def write(reader: pa.RecordBatchReader, form: str, out: str | None) -> None:
    """Write an answer to a file, or to stdout; memory does not grow with its rows.

    Raises
    ------
    OSError
        When the file cannot be written; there is none then, and one that was there before is as it was.
    """
    if form == "parquet":
        with _replacing(str(out)) as path, pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
        return
    show = {"table": _write_table, "csv": _write_csv, "json": _write_json}[form]
    if out is None:
        show(reader, sys.stdout)
        return
    with _replacing(out) as path, path.open("w", encoding="utf-8", newline="") as file:
        show(reader, file)


@contextmanager
def _replacing(out: str) -> Iterator[Path]:
    """Give a path beside ``out`` that takes its place when all went well."""
    path = Path(out)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    # by column: two columns may have one name
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write_csv(reader: pa.RecordBatchReader, file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for batch in reader:
        writer.writerows([_plain(value) for value in row] for row in _rows(batch))


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(_for_json(value), ensure_ascii=False)
    return _for_json(value) if not isinstance(value, float) else value


def _write_json(reader: pa.RecordBatchReader, file: IO[str]) -> None:
    names: list[str] = []
    for name in reader.schema.names:
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    separator = "["
    for batch in reader:
        for row in _rows(batch):
            record = dict(zip(names, map(_for_json, row), strict=True))
            file.write(f"{separator}\n{json.dumps(record, ensure_ascii=False, allow_nan=False)}")
            separator = ","
    file.write("[]\n" if separator == "[" else "\n]\n")


def _for_json(value: Any) -> Any:
    """``value`` in JSON's types; there is no NaN among them."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_for_json(inner) for inner in value]
    if isinstance(value, dict):
        return {str(name): _for_json(inner) for name, inner in value.items()}
    if isinstance(value, date | time):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _write_table(reader: pa.RecordBatchReader, file: IO[str]) -> None:
    page: list[tuple[Any, ...]] = []
    count = 0
    for batch in reader:
        count += batch.num_rows
        if len(page) < _PAGE:
            page += list(_rows(batch.slice(0, _PAGE - len(page))))
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=file, highlight=False, markup=False, emoji=False, width=_PAGE_WIDTH)
    cells = [[_cell(value) for value in row] for row in page]
    names = [_shown(name) for name in reader.schema.names]
    widths = [min(_LEAST_WIDTH, max(map(len, column))) for column in zip(names, *cells, strict=True)]
    if sum(widths) + 3 * len(widths) + 1 <= console.width:
        console.print(_grid(names, cells, reader.schema))
    else:
        for number, row in enumerate(cells, 1):
            console.print(_record(number, names, row))
    shown = f"the first {len(page)} of {count:,} rows: --format csv, json or parquet has all"
    console.print(Text(shown if count > len(page) else f"{count} {'row' if count == 1 else 'rows'}"))


def _grid(names: list[str], cells: list[list[Text]], schema: pa.Schema) -> Grid:
    grid = Grid()
    for name, field in zip(names, schema, strict=True):
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        grid.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in cells:
        grid.add_row(*row)
    return grid


def _record(number: int, names: list[str], row: list[Text]) -> Grid:
    grid = Grid(title=Text(f"row {number}"), title_justify="left", show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cell in zip(names, row, strict=True):
        grid.add_row(Text(name), cell)
    return grid


def _cell(value: Any) -> Text:
    """``value`` for a person; never markup, and never what a terminal would obey."""
    if value is None:
        return Text("NULL", style="dim italic")
    return Text(_shown(_in_words(value)))


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime):
        return str(value.replace(tzinfo=None))
    if isinstance(value, Decimal | date | time | timedelta | int):
        return str(value)
    if isinstance(value, list):
        shown = ", ".join("NULL" if inner is None else _in_words(inner) for inner in value[:_LONGEST_LIST])
        return f"[{shown}, … {len(value)} in all]" if len(value) > _LONGEST_LIST else f"[{shown}]"
    text = json.dumps(_for_json(value), ensure_ascii=False) if isinstance(value, dict) else str(_for_json(value))
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… {len(text)} characters in all"


def _number(value: float) -> str:
    """Six decimals and no zeros at their end; what that would make 0, or is too large for it, with an exponent."""
    if not math.isfinite(value) or (value and not 1e-4 <= abs(value) < 1e15):
        return f"{value:.6g}"
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _shown(text: str) -> str:
    """``text`` with its control characters written out."""
    return "".join(
        c if (unicodedata.category(c)[0] not in "C" and c not in "\u2028\u2029") or c == "\u200d" else _escape(c)
        for c in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
