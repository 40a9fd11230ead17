"""Readers of tables in GTZAN's format and of lists: contents of valid files, errors for others."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.genres.gtzan_table import COLUMNS, read_list, read_table, track_of

HEADER = ["filename", "length", *COLUMNS, "label"]
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
Write = Callable[..., Path]


def row(name: str, label: str = "jazz", value: object = 1.5) -> list[object]:
    return [name, 661794, *[value] * len(COLUMNS), label]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(*rows: list[object], header: list[str] = HEADER, encoding: str = "utf-8", end: str = "\n") -> Path:
        text = io.StringIO()
        csv.writer(text, lineterminator=end).writerows([header, *rows])
        path = tmp_path / "table.csv"
        path.write_bytes(text.getvalue().encode(encoding))
        return path

    return to_file


def test_the_published_table_is_read_as_by_pandas(shared_data: Path) -> None:
    path = shared_data / "gtzan/features_30_sec.csv"
    table, expected = read_table(path), pd.read_csv(path)
    assert table.names.tolist() == expected["filename"].tolist()
    assert table.genres.tolist() == expected["label"].tolist()
    np.testing.assert_array_equal(table.rows, expected[list(COLUMNS)].to_numpy(np.float32))
    assert len(set(COLUMNS)) == 57


def test_the_published_lists_name_rows_of_the_table(shared_data: Path) -> None:
    lists = [read_list(shared_data / f"gtzan/{name}_filtered.txt") for name in ("train", "valid", "test")]
    assert [len(one) for one in lists] == [443, 197, 290]
    assert {name.partition("/")[2] for one in lists for name in one} <= set(
        read_table(shared_data / "gtzan/features_30_sec.csv").names
    )


@pytest.mark.parametrize(("encoding", "end"), [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-8-sig", "\r\n")])
def test_byte_order_mark_and_line_ends_are_ignored(write: Write, encoding: str, end: str) -> None:
    rows = [row("ü, „quoted“.wav", "drum & bass", 2.25), row("b.wav", "ラテン", 1e-3)]
    plain = read_table(write(*rows))
    other = read_table(write(*rows, encoding=encoding, end=end))
    assert plain.names.tolist() == other.names.tolist() == ["ü, „quoted“.wav", "b.wav"]
    assert plain.genres.tolist() == other.genres.tolist() == ["drum & bass", "ラテン"]
    np.testing.assert_array_equal(plain.rows, other.rows)


def test_columns_are_found_by_name(write: Write) -> None:
    cells = [["a.wav", 1, *range(len(COLUMNS)), "x"]]
    order = [*range(len(HEADER))][::-1]
    reversed_table = write(*[[one[i] for i in order] for one in cells], header=[HEADER[i] for i in order])
    np.testing.assert_array_equal(read_table(reversed_table).rows, [np.arange(len(COLUMNS))])


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "inf", "-inf", "Infinity", "1e300"])
def test_empty_and_infinite_values_are_unknown(write: Write, cell: str) -> None:
    assert np.isnan(read_table(write(row("a.wav", value=cell))).rows).all()


@pytest.mark.parametrize("cell", ["1_000", "٣", "0x10", "one", "1,5", "--1", "=1+1", "1e", "."])
def test_cells_that_are_not_numbers_are_rejected(write: Write, cell: str) -> None:
    with pytest.raises(InputError, match=r"table\.csv, row 3: chroma_stft_mean is .*, expected a number$") as error:
        read_table(write(row("a.wav"), row("b.wav", value=cell)))
    assert error.value.kind == "bad_line"


@given(st.lists(st.lists(FLOATS, min_size=len(COLUMNS), max_size=len(COLUMNS)), min_size=1, max_size=4))
def test_every_float_is_read_exactly(tmp_path_factory: pytest.TempPathFactory, values: list[list[float]]) -> None:
    path = tmp_path_factory.mktemp("floats") / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *([f"{n}.wav", 1, *map(repr, v), "x"] for n, v in enumerate(values))])
    np.testing.assert_array_equal(read_table(path).rows, np.array(values, dtype=np.float32))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ([name for name in HEADER if name != "tempo"], "missing column 'tempo'"),
        ([*HEADER, "tempo"], "duplicate column 'tempo'"),
        ([*HEADER, "genre"], "unexpected column 'genre'"),
        (HEADER[:-5], "and 2 more"),
        (["a"] * 20_000, "duplicate column 'a'"),
        (["blues.00000.wav", *"1" * 59], "duplicate column '1'"),
    ],
)
def test_other_columns_are_rejected(write: Write, header: list[str], reason: str) -> None:
    with pytest.raises(InputError, match="is not a table in GTZAN's format") as error:
        read_table(write(header=header))
    assert error.value.kind == "bad_header"
    assert reason in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"", "empty_file", "is empty"),
        (b"\xef\xbb\xbf", "empty_file", "is empty"),
        (b"\n", "empty_file", "is empty"),
        (",".join(HEADER).encode(), "empty_file", "a header but no rows"),
        (b"\x89PNG\r\n\x1a\n\0\0", "bad_line", "is not CSV in UTF-8"),
        (b"PK\3\4" + b"\0" * 100, "bad_header", "not a table in GTZAN's format"),
        (b"a" * 10_000_000, "bad_line", "has 65,536 characters or more"),
        (b'"' + b"\n" * 1_000_000, "bad_line", "is not CSV"),
        (",".join(HEADER).encode() + b"\na.wav,1,2\n", "bad_line", "row 2: expected 60 cells, got 3"),
    ],
    ids=["empty", "mark", "blank", "header", "png", "zip", "long", "quote", "short"],
)
def test_bad_files_give_an_error_of_one_line(tmp_path: Path, content: bytes, kind: str, reason: str) -> None:
    path = tmp_path / "bad\nname.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_table(path)
    assert (error.value.kind, "\n" in error.value.message) == (kind, False)
    assert reason in error.value.message


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row("a.wav"), row("b.wav"), row("a.wav")], "row 4: duplicate file name a.wav"),
        ([row("")], "row 2: expected a filename in printable characters, got ''"),
        ([row("a.wav", " ")], "row 2: expected a label in printable characters, got ''"),
        ([row("a.wav", "ja\x07zz")], "expected a label in printable characters, got 'ja"),
        ([row("a\u202e.wav")], "expected a filename in printable characters"),
    ],
)
def test_names_are_checked(write: Write, rows: list[list[object]], reason: str) -> None:
    with pytest.raises(InputError) as error:
        read_table(write(*rows))
    assert reason in error.value.message


def test_folders_and_missing_files_are_rejected(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.csv"):
        for read in (read_table, read_list):
            with pytest.raises(InputError):
                read(path)


def test_track_of_a_window() -> None:
    assert [track_of(f"blues.00000.{n}.wav") for n in range(10)] == ["blues.00000.wav"] * 10
    for name in ("blues.00000.wav", "song.wav", "song", "1.wav", ".wav"):
        assert track_of(name) == name


@given(st.lists(st.from_regex(r"[a-zé0-9/_.-]{1,20}", fullmatch=True), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_a_list_has_one_name_per_line(tmp_path_factory: pytest.TempPathFactory, names: list[str], end: str) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_bytes(("\ufeff" + end.join(["", *names, "", "  "])).encode())
    assert read_list(path) == names


@pytest.mark.parametrize(
    ("content", "kind"), [(b"", "empty_file"), (b"\n \n", "empty_file"), (b"\xff\xfe", "bad_line")]
)
def test_bad_lists_are_rejected(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_list(path)
    assert error.value.kind == kind
