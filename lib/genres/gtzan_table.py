"""Readers of feature tables in the format of the published GTZAN table, and of lists of the tracks in a split.

Sources: ``features_30_sec.csv`` and ``features_3_sec.csv`` of "GTZAN Dataset – Music Genre Classification"; the
fault-filtered lists of Kereliuk, Sturm and Larsen (2015).
"""

import csv
import io
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float32Array, ObjectArray
from reprise.lib.errors import InputError
from reprise.lib.files import open_regular, printable_name
from reprise.lib.tables import GTZAN_COLUMNS

COLUMNS = tuple(column.name for column in GTZAN_COLUMNS)
"""Names of the features, in the order of the columns of ``GtzanTable.rows``."""

_NAME, _LENGTH, _LABEL = "filename", "length", "label"
_MAX_LINE_CHARS = 1 << 16
_MAX_LISTED = 10_000_000
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_WINDOW = re.compile(r"\.\d+(?=\.\w+$)", re.ASCII)


@dataclass(frozen=True)
class GtzanTable:
    """A feature table, with rows in the order of the file.

    Parameters
    ----------
    names
        Shape (n,): file names, unique.
    rows
        Shape (n, 57), float32: features in the order of ``COLUMNS``. NaN stands for an empty cell or a value that is
        not finite.
    genres
        Shape (n,): genre of each row.
    """

    names: ObjectArray
    rows: Float32Array
    genres: ObjectArray


def read_table(path: str | os.PathLike[str]) -> GtzanTable:
    """Read a feature table: UTF-8 CSV with the columns ``filename``, ``length``, ``COLUMNS``, ``label`` in any order.

    Raises
    ------
    InputError
        The errors of `reprise.lib.files.open_regular`; ``bad_header``: a column is duplicate, missing or unexpected;
        ``bad_line``, with the number of the line or row: it is too long, is not CSV in UTF-8, has another number of
        cells than the header, has a duplicate file name, or has a cell that is not a number or not printable;
        ``empty_file``: there is no header or no row.
    """
    shown = printable_name(path)
    with _open_text(path) as text:
        reader = csv.reader(_lines(text, shown), strict=True)
        try:
            header = next(reader, None)
            column_of = _find_columns(header, shown)
            names, genres, values = _read_rows(reader, column_of, shown)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                "bad_line",
                f"{shown}, line {reader.line_num + 1} is not CSV in UTF-8 ({error}): save the table as CSV in UTF-8",
            ) from None
    if not names:
        raise InputError("empty_file", f"{shown} has a header but no rows: get the file again")
    rows = np.frombuffer(values, dtype=np.float32).reshape(len(names), len(COLUMNS)).copy()
    rows[~np.isfinite(rows)] = np.nan
    return GtzanTable(np.array(names, dtype=object), rows, np.array(genres, dtype=object))


def track_of(name: str) -> str:
    """Return the track's file name for the file name of a window: ``blues.00000.wav`` for ``blues.00000.3.wav``.

    Return other names unchanged.
    """
    base, dot, window_and_suffix = name.partition(".")
    return f"{base}{dot}{_WINDOW.sub('', window_and_suffix)}"


def read_list(path: str | os.PathLike[str]) -> list[str]:
    """Read the list of the tracks in a split. Each line has one id or file name. Blank lines are ignored.

    Raises
    ------
    InputError
        The errors of `reprise.lib.files.open_regular`; ``bad_line``: a line is too long, is not UTF-8 or has characters
        that are not printable, or the list has more than 10,000,000 names; ``empty_file``: the list has no names.
    """
    shown = printable_name(path)
    names: list[str] = []
    with _open_text(path) as text:
        try:
            for number, line in enumerate(_lines(text, shown), 1):
                if name := line.strip():
                    names.append(_check_text(name, f"{shown}, line {number}", "name"))
                if len(names) > _MAX_LISTED:
                    raise InputError("bad_line", f"{shown} has more than {_MAX_LISTED:,} names: use a shorter list")
        except UnicodeDecodeError as error:
            raise InputError("bad_line", f"{shown} is not text in UTF-8 ({error}): convert it to UTF-8") from None
    if not names:
        raise InputError("empty_file", f"{shown} has no names: get the file again")
    return names


def _open_text(path: str | os.PathLike[str]) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="")


def _lines(text: io.TextIOWrapper, shown: str) -> Iterator[str]:
    """Yield the lines of a file. Raise ``bad_line`` if a line is too long."""
    number = 0
    while line := text.readline(_MAX_LINE_CHARS):
        number += 1
        if len(line) == _MAX_LINE_CHARS:
            raise InputError(
                "bad_line", f"{shown}, line {number} has {_MAX_LINE_CHARS:,} characters or more: use shorter lines"
            )
        yield line


def _find_columns(header: Sequence[str] | None, shown: str) -> dict[str, int]:
    if not header:
        raise InputError("empty_file", f"{shown} is empty: get the file again")
    expected = dict.fromkeys([_NAME, _LENGTH, *COLUMNS, _LABEL])
    duplicate = [name for name, count in Counter(header).items() if count > 1]
    missing = [name for name in expected if name not in set(header)]
    unexpected = [name for name in header if name not in expected]
    for fault, names in (("duplicate", duplicate), ("missing", missing), ("unexpected", unexpected)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            listed = ", ".join(repr(name[:40]) for name in names[:3])
            raise InputError(
                "bad_header",
                f"{shown} is not a table in GTZAN's format: {fault} column {listed}{more}; use the columns of the "
                "published table",
            )
    return {name: header.index(name) for name in expected}


def _read_rows(
    reader: Iterator[list[str]], column_of: dict[str, int], shown: str
) -> tuple[list[str], list[str], "array[float]"]:
    names, genres, values = [], [], array("f")
    seen: set[str] = set()
    features = [(column, column_of[column]) for column in COLUMNS]
    for number, cells in enumerate(reader, 2):
        location = f"{shown}, row {number}"
        if not cells:
            continue
        if len(cells) != len(column_of):
            raise InputError("bad_line", f"{location}: expected {len(column_of)} cells, got {len(cells)}")
        name = _check_text(cells[column_of[_NAME]], location, _NAME)
        if name in seen:
            raise InputError("bad_line", f"{location}: duplicate file name {name}: remove one of the rows")
        seen.add(name)
        names.append(name)
        genres.append(_check_text(cells[column_of[_LABEL]], location, _LABEL))
        values.extend([_parse_number(cells[index], location, column) for column, index in features])
    return names, genres, values


def _parse_number(cell: str, location: str, column: str) -> float:
    text = cell.strip()
    if not text:
        return np.nan
    # float() also accepts 1_000 and the digits of other scripts
    if not _NUMBER.fullmatch(text):
        raise InputError("bad_line", f"{location}: {column} is {text[:40]!r}, expected a number")
    return float(text)


def _check_text(cell: str, location: str, what: str) -> str:
    text = cell.strip()
    if not text or not text.isprintable():
        raise InputError("bad_line", f"{location}: expected a {what} in printable characters, got {text[:40]!r}")
    return text
