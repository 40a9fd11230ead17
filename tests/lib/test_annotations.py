"""Rules of all annotation formats: lines, chunks, memory limits and files."""

import gzip
import io
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib import annotations as an
from reprise.lib.annotations import stream as an_stream
from reprise.lib.errors import InputError

TRACK, OTHER, ARTIST, SONG = "TRAAAAK128F9318786", "TRAAAAW128F429D538", "ARD7TVE1187B99BFB1", "SOMZWCG12A8C13C480"


def cliques(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_cover_cliques(stream, source="shs")


def labels(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_genre_labels(stream, source="cd1")


def plays(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_plays(stream, source="taste")


Reader = Callable[[BinaryIO], Iterator[an.Chunk]]
GOOD: list[tuple[Reader, str]] = [
    (cliques, f"%1,-2, A, B\n{TRACK}<SEP>{ARTIST}<SEP>-1\n{OTHER}<SEP>{ARTIST}<SEP>7\n"),
    (labels, f"{TRACK}\tRap\n{OTHER}\tJazz\tNew Age\n"),
    (plays, f"user\t{SONG}\t1\nb\t{SONG}\t2147483647\n"),
    (
        an.read_song_mismatches,
        f"ERROR: <{SONG} {TRACK}> a  -  b  !=  c  -  d\nERROR: <{SONG} {TRACK}>   -    !=    -  \n",
    ),
    (an.read_unique_tracks, f"{TRACK}<SEP>{SONG}<SEP>a<SEP>b\n{OTHER}<SEP>{SONG}<SEP><SEP>\n"),
]
READERS = [reader for reader, _ in GOOD]


class Dribble(io.RawIOBase):
    """A stream that returns a few bytes per read."""

    def __init__(self, data: bytes, step: int) -> None:
        self.source, self.step = io.BytesIO(data), step

    def read(self, size: int = -1) -> bytes:
        return self.source.read(min(self.step, size))


class Endless(io.RawIOBase):
    """A stream of many copies of one piece of bytes, then ``end``."""

    def __init__(self, piece: bytes, copies: int, end: bytes) -> None:
        self.pieces = iter([piece] * copies + [end])

    def read(self, _size: int = -1) -> bytes:
        return next(self.pieces, b"")


def read(reader: Reader, data: bytes | str | Any) -> tuple[list[tuple[Any, ...]], list[an.Reject]]:
    """Return rows and rejects of all chunks, after checks of each chunk's size and each reject's text."""
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data) if isinstance(data, str | bytes) else data
    rows: list[tuple[Any, ...]] = []
    rejects: list[an.Reject] = []
    for chunk in reader(stream):
        found = list(zip(*chunk.rows.values(), strict=True))
        assert 0 < len(found) + len(chunk.rejects) <= 50_000
        rows += found
        rejects += chunk.rejects
    assert all(len(reject.text) <= 200 and "\n" not in reject.message for reject in rejects)
    return rows, rejects


def reject_kinds(reader: Reader, data: bytes | str | Any) -> list[tuple[int, str]]:
    return [(reject.line, reject.kind) for reject in read(reader, data)[1]]


def test_good_lines() -> None:
    assert [read(reader, text) for reader, text in GOOD] == [
        (
            [
                ("shs:-2+1", [1, -2], "A, B", TRACK, ARTIST, None, "shs"),
                ("shs:-2+1", [1, -2], "A, B", OTHER, ARTIST, 7, "shs"),
            ],
            [],
        ),
        ([(TRACK, 0, "Rap", "cd1"), (OTHER, 0, "Jazz", "cd1"), (OTHER, 1, "New Age", "cd1")], []),
        ([("user", SONG, 1, "taste"), ("b", SONG, 2**31 - 1, "taste")], []),
        ([(SONG, TRACK, "a", "b", "c", "d"), (SONG, TRACK, None, None, None, None)], []),
        ([(TRACK, SONG, "a", "b"), (OTHER, SONG, None, None)], []),
    ]


@pytest.mark.parametrize(("reader", "text"), GOOD)
def test_line_endings_bom_and_blank_lines_do_not_change_the_rows(reader: Reader, text: str) -> None:
    expected = read(reader, text)
    for variant in (
        text.removesuffix("\n"),
        text.replace("\n", "\r\n"),
        text.replace("\n", "\r\n").removesuffix("\n"),
        "\ufeff" + text,
        "\n  \n" + text.replace("\n", "\n\n\r\n"),
    ):
        assert read(reader, variant) == expected


@pytest.mark.parametrize(("reader", "text"), GOOD)
@pytest.mark.parametrize("step", [1, 2, 7, 64])
def test_size_of_reads_does_not_change_the_rows(reader: Reader, text: str, step: int) -> None:
    data = ("\ufeff" + text + "rubbish\r\n" + text).encode()
    assert read(reader, Dribble(data, step)) == read(reader, data)
    assert (3 + text.startswith("%"), "bad_fields") in reject_kinds(reader, Dribble(data, step))


@pytest.mark.parametrize("reader", READERS)
def test_empty_stream_gives_no_chunks(reader: Reader) -> None:
    for empty in (b"", b"\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"):
        assert list(reader(io.BytesIO(empty))) == []


@pytest.mark.parametrize(("reader", "text"), GOOD)
def test_line_with_nul_byte_is_rejected(reader: Reader, text: str) -> None:
    lines = len(text.splitlines())
    assert reject_kinds(reader, text + text.splitlines()[-1] + "\0\n") == [(lines + 1, "nul_byte")]
    assert {kind for _, kind in reject_kinds(reader, text.encode("utf-16"))} == {"nul_byte"}


@pytest.mark.parametrize(("reader", "text"), GOOD)
def test_too_long_line_is_rejected_and_the_next_one_is_read(reader: Reader, text: str) -> None:
    rows, _ = read(reader, text)
    lines = len(text.splitlines())
    for length in (an_stream.MAX_LINE + 1, an_stream.MAX_LINE + 16, an_stream.MAX_LINE + 17, 3 << 20):
        for end in (b"", b"\n", b"\r\n"):
            got, rejects = read(reader, text.encode() + b"x" * length + end)
            assert got == rows
            assert [(r.line, r.kind, r.text) for r in rejects] == [(lines + 1, "line_too_long", "x" * 200)]
    data = text.encode() + b"x" * (3 << 20) + b"\n" + b"y" * 100 + b"\n"
    assert reject_kinds(reader, data) == [(lines + 1, "line_too_long"), (lines + 2, "bad_fields")]
    assert reject_kinds(reader, Dribble(data, 1000)) == reject_kinds(reader, data)


def test_line_of_maximal_length_is_read() -> None:
    title = "t" * (an_stream.MAX_LINE - len(f"{TRACK}<SEP>{SONG}<SEP><SEP>"))
    line = f"{TRACK}<SEP>{SONG}<SEP><SEP>{title}"
    for text in (line, line + "\n", line + "\r\n", "\ufeff" + line, "\ufeff" + line + "\r\n"):
        assert read(an.read_unique_tracks, text) == ([(TRACK, SONG, None, title)], [])
    for text in (line + "t", line + "t\r\n", "\ufeff" + line + "t", line + "\r\r\n"):
        assert reject_kinds(an.read_unique_tracks, text) == [(1, "line_too_long")]


@pytest.mark.parametrize(("reader", "text"), GOOD)
def test_memory_is_bounded_on_a_very_long_line(reader: Reader, text: str) -> None:
    stream: Any = Endless(b"x" * (1 << 20), 100, b"\n" + text.encode())
    tracemalloc.start()
    rows, rejects = read(reader, stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(r.line, r.kind) for r in rejects] == [(1, "line_too_long")]
    assert rows == read(reader, text)[0]
    assert peak < 16 << 20


@pytest.mark.parametrize("reader", READERS)
def test_chunks_are_bounded_when_every_line_is_bad(reader: Reader) -> None:
    rows, rejects = read(reader, b"x\n" * 120_000)  # read() checks the size of each chunk
    assert rows == []
    assert [reject.line for reject in rejects] == list(range(1, 120_001))


def test_chunks_are_bounded_when_lines_are_short() -> None:
    rows, rejects = read(plays, f"u\t{SONG}\t1\n" * 150_000)
    assert len(rows) == 150_000
    assert rejects == []


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300) | st.lists(st.sampled_from([b"%1, ", b"\n", b"\t", b"<SEP>", b"\0", b"\r",
    b"  -  ", b"  !=  ", f"ERROR: <{SONG} {TRACK}> ".encode(), TRACK.encode(), SONG.encode(), ARTIST.encode(), b"1",
    b"-1", b"\xff", b"#"]), max_size=30).map(b"".join))  # fmt: skip
def test_every_line_is_skipped_read_or_rejected(reader: Reader, data: bytes) -> None:
    rows, rejects = read(reader, data)
    count = data.count(b"\n") + 1
    assert len(rows) <= 2 * count
    assert all(1 <= reject.line <= count and reject.kind and reject.message for reject in rejects)


@pytest.mark.parametrize(("reader", "text"), GOOD)
def test_gzip_is_recognised_by_its_first_bytes(tmp_path: Path, reader: Reader, text: str) -> None:
    plain, zipped = tmp_path / "plain.gz", tmp_path / "zipped.txt"
    plain.write_text(text)
    half = len(text.encode()) // 2  # two gzip members, as pigz or cat write them
    zipped.write_bytes(gzip.compress(text.encode()[:half]) + gzip.compress(text.encode()[half:]))
    for path in (plain, str(zipped)):
        with an.open_annotation(path) as stream:
            assert read(reader, stream) == read(reader, text)
        assert stream.closed


@pytest.mark.parametrize(
    ("keep", "least", "most"),
    [(2, 0, 0), (10, 0, 0), (0.3, 25_000, 35_000), (-8, 100_000, 100_000), (-1, 100_000, 100_000)],
)
def test_truncated_gzip_file_gives_its_rows_and_one_reject(tmp_path: Path, keep: float, least: int, most: int) -> None:
    text = "".join(f"{n * 7919:040x}\t{SONG}\t{n % 9 + 1}\n" for n in range(100_000))
    path = tmp_path / "profile.gz"
    whole = gzip.compress(text.encode())
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with an.open_annotation(path) as stream:
        rows, rejects = read(plays, stream)
    assert least <= len(rows) <= most
    assert rows == read(plays, text)[0][: len(rows)]
    assert [(r.line, r.kind) for r in rejects] == [(len(rows) + 1, "broken_stream")]
    assert text.split("\n")[len(rows)].startswith(rejects[0].text)


def test_damaged_gzip_file_gives_one_reject(tmp_path: Path) -> None:
    text = GOOD[1][1].encode()
    whole = gzip.compress(text)
    path = tmp_path / "labels"
    for damaged in (
        whole[:-8] + bytes(8),  # checksum
        whole + b"rubbish",
        whole[:2] + b"\xff" + whole[3:],  # method
        whole[:10] + b"\xff" * 20,
    ):
        path.write_bytes(damaged)
        with an.open_annotation(path) as stream:
            rows, rejects = read(labels, stream)
        assert [r.kind for r in rejects] == ["broken_stream"]
        assert rejects[0].line == {0: 1, 3: 3}[len(rows)]


def test_disk_failure_is_raised_not_rejected() -> None:
    class Failing(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    for reader in READERS:
        with pytest.raises(OSError, match="Input/output"):
            read(reader, Failing())


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    link = tmp_path / "link"
    link.symlink_to(fifo)
    for path, kind in (
        (fifo, "not_a_file"),
        (link, "not_a_file"),
        (tmp_path, "not_a_file"),
        ("/dev/zero", "not_a_file"),
        (tmp_path / "absent", "unreadable"),
        (tmp_path / "nul\0", "unreadable"),
    ):
        with pytest.raises(InputError, match=r"is a folder, a pipe or a device|cannot open") as raised:
            an.open_annotation(path)
        assert raised.value.kind == kind
