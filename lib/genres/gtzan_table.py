"""Feature tables in the format of the published GTZAN table, and lists that split them.

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
"""The features, in the order in which `GtzanTable` has them."""

_NAME, _LENGTH, _LABEL = "filename", "length", "label"
_LONGEST_LINE = 1 << 16
_MOST_LISTED = 10_000_000
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_WINDOW = re.compile(r"\.\d+(?=\.\w+$)", re.ASCII)


@dataclass(frozen=True)
class GtzanTable:
    """A feature table, row by row as in the file.

    Parameters
    ----------
    names
        Shape (n,): file names, each once.
    rows
        Shape (n, 57), float32: ``COLUMNS``; NaN where a cell is empty or no finite number.
    genres
        Shape (n,): labels.
    """

    names: ObjectArray
    rows: Float32Array
    genres: ObjectArray


def read_table(path: str | os.PathLike[str]) -> GtzanTable:
    """Read a feature table: CSV in UTF-8, its columns ``filename``, ``length``, ``COLUMNS``, ``label`` in any order.

    Raises
    ------
    InputError
        What `reprise.lib.files.open_regular` raises; ``bad_header``, ``bad_line`` (which says the line) and
        ``empty_file`` when there is no row.
    """
    shown = printable_name(path)
    with _open_text(path) as text:
        reader = csv.reader(_lines(text, shown), strict=True)
        try:
            header = next(reader, None)
            places = _find_columns(header, shown)
            names, genres, values = _read_rows(reader, places, shown)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError("bad_line", f"{shown}, line {reader.line_num + 1}: no CSV in UTF-8: {error}") from None
    if not names:
        raise InputError("empty_file", f"{shown} has a header and no row: get the file again")
    rows = np.frombuffer(values, dtype=np.float32).reshape(len(names), len(COLUMNS)).copy()
    rows[~np.isfinite(rows)] = np.nan
    return GtzanTable(np.array(names, dtype=object), rows, np.array(genres, dtype=object))


def track_of(name: str) -> str:
    """File that a window was cut from: ``blues.00000.wav`` for ``blues.00000.3.wav``; another name is its own."""
    base, dot, window_and_suffix = name.partition(".")
    return f"{base}{dot}{_WINDOW.sub('', window_and_suffix)}"


def read_list(path: str | os.PathLike[str]) -> list[str]:
    """Read a list of a split, one id or file name a line; blank lines are passed over.

    Raises
    ------
    InputError
        What `reprise.lib.files.open_regular` raises; ``bad_line``; ``empty_file`` when nothing is listed.
    """
    shown = printable_name(path)
    found: list[str] = []
    with _open_text(path) as text:
        try:
            for number, line in enumerate(_lines(text, shown), 1):
                if name := line.strip():
                    found.append(_checked(name, f"{shown}, line {number}", "name"))
                if len(found) > _MOST_LISTED:
                    raise InputError("bad_line", f"{shown} lists more than {_MOST_LISTED:,} names: it is no list")
        except UnicodeDecodeError as error:
            raise InputError("bad_line", f"{shown} is no text in UTF-8: {error}") from None
    if not found:
        raise InputError("empty_file", f"{shown} lists nothing: get the file again")
    return found


def _open_text(path: str | os.PathLike[str]) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="")


def _lines(text: io.TextIOWrapper, shown: str) -> Iterator[str]:
    """Lines of bounded length, without the byte order mark."""
    number = 0
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise InputError("bad_line", f"{shown}, line {number}: more than {_LONGEST_LINE:,} characters: no table")
        yield line


def _find_columns(header: Sequence[str] | None, shown: str) -> dict[str, int]:
    if not header:
        raise InputError("empty_file", f"{shown} is empty: get the file again")
    known = dict.fromkeys([_NAME, _LENGTH, *COLUMNS, _LABEL])
    twice = [name for name, count in Counter(header).items() if count > 1]
    missing = [name for name in known if name not in set(header)]
    extra = [name for name in header if name not in known]
    for names, words in ((twice, "twice"), (missing, "is missing"), (extra, "is not expected")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            listed = ", ".join(repr(name[:40]) for name in names[:3])
            raise InputError("bad_header", f"{shown} is no table in GTZAN's format: column {listed}{more} {words}")
    return {name: header.index(name) for name in known}


def _read_rows(
    reader: Iterator[list[str]], places: dict[str, int], shown: str
) -> tuple[list[str], list[str], "array[float]"]:
    names, genres, values = [], [], array("f")
    seen: set[str] = set()
    features = [(column, places[column]) for column in COLUMNS]
    for number, cells in enumerate(reader, 2):
        where = f"{shown}, row {number}"
        if not cells:
            continue
        if len(cells) != len(places):
            raise InputError("bad_line", f"{where}: expected {len(places)} cells, got {len(cells)}")
        name = _checked(cells[places[_NAME]], where, _NAME)
        if name in seen:
            raise InputError("bad_line", f"{where}: {name} stands in the table already")
        seen.add(name)
        names.append(name)
        genres.append(_checked(cells[places[_LABEL]], where, _LABEL))
        values.extend([_number(cells[place], where, column) for column, place in features])
    return names, genres, values


def _number(cell: str, where: str, column: str) -> float:
    text = cell.strip()
    if not text:
        return np.nan
    # float() alone would take 1_000 and digits of other scripts
    if not _NUMBER.fullmatch(text):
        raise InputError("bad_line", f"{where}: {column} is {text[:40]!r}, no number")
    return float(text)


def _checked(cell: str, where: str, what: str) -> str:
    text = cell.strip()
    if not text or not text.isprintable():
        raise InputError("bad_line", f"{where}: expected a {what} in printable characters, got {text[:40]!r}")
    return text
