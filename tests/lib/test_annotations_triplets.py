"""Binary cover queries: reader, rejects, writer and round trip."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib import annotations as an

A, B, C, D = (f"TRAAAA{letter}128F9318786" for letter in "KLMN")


def read(text: str | bytes) -> tuple[list[tuple[Any, ...]], list[tuple[int, str, str]]]:
    """Return the rows, and line, kind and text of the rejects, of all chunks."""
    chunks = list(an.read_cover_triplets(io.BytesIO(text.encode() if isinstance(text, str) else text)))
    rows = [row for chunk in chunks for row in zip(*chunk.rows.values(), strict=True)]
    assert all(list(chunk.rows) == ["query_id", "cover_id", "other_id"] for chunk in chunks)
    return rows, [(r.line, r.kind, r.text) for chunk in chunks for r in chunk.rejects]


def test_real_list(shared_data: Path) -> None:
    path = shared_data / "annotations" / "urinieto_list_500queries.txt"
    lines = path.read_text().split("\n")
    with an.open_annotation(path) as stream:
        rows, rejects = read(stream.read())
    assert rejects == []
    assert len(rows) == 500
    assert rows == [tuple(lines[i : i + 3]) for i in range(2, 2002, 4)]
    written = io.BytesIO()
    an.write_cover_triplets(
        written, dict(zip(("query_id", "cover_id", "other_id"), zip(*rows, strict=True), strict=True))
    )
    assert written.getvalue().decode() == "\n".join(lines[1:])


def test_variants_of_lines_do_not_change_the_rows() -> None:
    text = f"%1\n{A}\n{B}\n{C}\n%2\n{B}\n{A}\n{D}\n"
    expected: tuple[list[Any], list[Any]] = ([(A, B, C), (B, A, D)], [])
    for variant in (
        text,
        text.removesuffix("\n"),
        text.replace("\n", "\r\n"),
        "\ufeff" + text,
        "# FORMAT\n\n" + text.replace(B, f"#x\n \n{B}"),
        text.replace("%2", "%0000000001"),
    ):
        assert read(variant) == expected
    assert read("") == read("# nothing\n") == ([], [])


@pytest.mark.parametrize(
    ("text", "rejects"),
    [
        ("%\n{A}\n{B}\n{C}\n", [(1, "bad_triplet"), (2, "no_triplet"), (3, "no_triplet"), (4, "no_triplet")]),
        ("%x\n%1 \n%1,2\n%12345678901\n%-1\n", [(n, "bad_triplet") for n in range(1, 6)]),
        ("%1\0\n{A}\n", [(1, "nul_byte"), (2, "no_triplet")]),
        ("%1\n{A}\n{B}\n{C}\n{D}\n", [(5, "no_triplet")]),
        ("{A}\n", [(1, "no_triplet")]),
        ("%1\n", [(1, "short_triplet")]),
        ("%1\n{A}\n{B}\n", [(1, "short_triplet")]),
        ("%1\n{A}\n{B}\n%2\n%3\n", [(1, "short_triplet"), (4, "short_triplet"), (5, "short_triplet")]),
        ("%1\n{A}\n{B}x\n{C}\n", [(3, "bad_track_id")]),
        ("%1\nx\ny\nz\n{C}\n", [(2, "bad_track_id"), (3, "bad_track_id"), (4, "bad_track_id"), (5, "no_triplet")]),
        ("%1\n{A}\nx\n", [(3, "bad_track_id")]),
        ("%1\n{A}\n{A}\n{B}\n", [(3, "duplicate_track")]),
        ("%1\n{A}\n{B}\n{A}\n", [(4, "duplicate_track")]),
        ("%1\n{A}\n{B}\n{C}\0\n", [(4, "nul_byte")]),
        ("%1\n{A}\n{B}\n" + "x" * 70_000 + "\n", [(4, "line_too_long")]),
    ],
)
def test_rejects(text: str, rejects: list[tuple[int, str]]) -> None:
    lines = text.format(A=A, B=B, C=C, D=D)
    good = f"%7\n{D}\n{C}\n{A}\n"
    rows, found = read(good + lines + good)
    bad = [(line + 4, kind) for line, kind in rejects]
    assert [reject[:2] for reject in found] == bad
    assert [reject[2] for reject in found] == [lines.split("\n")[line - 1][:200] for line, _ in rejects]
    assert set(rows) <= {(D, C, A), (A, B, C)}
    assert rows[0] == rows[-1] == (D, C, A)
    assert len(rows) == 2 + ("{A}\n{B}\n{C}\n{D}" in text)


tracks = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=16).map("TR".__add__)


@settings(deadline=None)
@given(st.lists(st.lists(tracks, min_size=3, max_size=3, unique=True).map(tuple)), st.integers(0, 9999))
def test_round_trip(rows: list[tuple[str, ...]], first: int) -> None:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("query_id", "cover_id", "other_id"))}
    stream = io.BytesIO()
    an.write_cover_triplets(stream, columns, first=first)
    assert read(stream.getvalue()) == (rows, [])
    assert stream.getvalue().startswith(f"%{first}\n".encode() if rows else b"")


@pytest.mark.parametrize(
    "row", [(A, B, A), (A, "", B), (A, B, "x"), (A, f"{B}\n{C}", D), ("#" + A, B, C), ("%1", B, C)]
)
def test_writer_rejects_rows_that_are_not_read_back_unchanged(row: tuple[str, ...]) -> None:
    stream = io.BytesIO()
    columns = {name: [value] for name, value in zip(("query_id", "cover_id", "other_id"), row, strict=True)}
    with pytest.raises(ValueError, match=r"read back|as a line"):
        an.write_cover_triplets(stream, columns)
    assert stream.getvalue() == b""
