"""Accepted and rejected lines of each annotation format."""

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib import annotations as an

Reader = Callable[[BinaryIO], Iterator[an.Chunk]]
TRACK, OTHER, ARTIST, SONG = "TRAAAAK128F9318786", "TRAAAAW128F429D538", "ARD7TVE1187B99BFB1", "SOMZWCG12A8C13C480"


def cliques(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_cover_cliques(stream, source="shs")


def labels(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_genre_labels(stream, source="cd1")


def plays(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_plays(stream, source="taste")


def read(reader: Reader, data: bytes | str) -> tuple[list[tuple[Any, ...]], list[an.Reject]]:
    """Return rows and rejects of all chunks."""
    chunks = list(reader(io.BytesIO(data.encode() if isinstance(data, str) else data)))
    rows = [row for chunk in chunks for row in zip(*chunk.rows.values(), strict=True)]
    return rows, [reject for chunk in chunks for reject in chunk.rejects]


def reject_kinds(reader: Reader, data: bytes | str) -> list[tuple[int, str]]:
    return [(reject.line, reject.kind) for reject in read(reader, data)[1]]


# ---------------------------------------------------------------- SecondHandSongs


def test_titles_are_kept_unchanged() -> None:
    for title in ("99 Luftballons", "1, 2, 3", "%5, x", "# 9", " two  spaces ", "Não <SEP> \u2028 \x85", "\ufffd"):
        rows, rejects = read(cliques, f"%12,-3, {title}\n{TRACK}<SEP>{ARTIST}<SEP>0\n")
        assert (rows[0][1], rows[0][2], rows[0][5], rejects) == ([12, -3], title, 0, [])
    rows, _ = read(cliques, f"%1, \n{TRACK}<SEP>{ARTIST}<SEP>-1\n")
    assert rows[0][2] is None
    rows, _ = read(cliques, b"%1, caf\xe9!\n" + f"{TRACK}<SEP>{ARTIST}<SEP>-1\n".encode())
    assert rows[0][2] == "caf\ufffd!"


def test_clique_ids_depend_only_on_works_and_source() -> None:
    track = f"{TRACK}<SEP>{ARTIST}<SEP>-1\n"
    text = f"%5,3, a\n{track}%3,5,5, b\n{track}%5, a\n{track}%53, a\n{track}%-5,3, a\n{track}"
    rows, rejects = read(cliques, text)
    assert rejects == []
    assert [row[0] for row in rows] == ["shs:3+5", "shs:3+5", "shs:5", "shs:53", "shs:-5+3"]
    assert next(an.read_cover_cliques(io.BytesIO(text.encode()), source="other")).rows["clique_id"][0] == "other:3+5"


@pytest.mark.parametrize(
    "head",
    ["%", "%, title", "%1", "%1,", "%1,title", "%1 2, t", "%1,,2, t", "%1,x, t", "%1, ".replace(", ", ","), "%--1, t",
     "%1.5, t", "%2147483648, t", "%-2147483648, t", "%99999999999999999999, t", "%" + "1" * 5000 + ", t",
     "%\u0661, t", "%" + "1," * 40_000 + " t", "%1, nul\0"],
)  # fmt: skip
def test_tracks_after_a_bad_clique_line_are_not_added_to_the_previous_clique(head: str) -> None:
    track = f"{OTHER}<SEP>{ARTIST}<SEP>-1\n"
    rows, rejects = read(cliques, f"%1, good\n{TRACK}<SEP>{ARTIST}<SEP>-1\n{head}\n{track}%2, next\n{track}")
    assert [(row[0], row[3]) for row in rows] == [("shs:1", TRACK), ("shs:2", OTHER)]
    kind = "line_too_long" if len(head) > 65_536 else "nul_byte" if "\0" in head else "bad_clique"
    assert [(reject.line, reject.kind) for reject in rejects] == [(3, kind), (4, "no_clique")]


def test_track_before_the_first_clique_is_rejected() -> None:
    assert reject_kinds(cliques, f"# comment\n{TRACK}<SEP>{ARTIST}<SEP>-1\n") == [(2, "no_clique")]


def test_cliques_without_tracks_are_rejected() -> None:
    rows, rejects = read(cliques, f"%1, a\n%2, b\n{TRACK}<SEP>{ARTIST}<SEP>-1\n%3, c\n#\n\n")
    assert [row[0] for row in rows] == ["shs:2"]
    assert [(r.line, r.kind, r.text) for r in rejects] == [(1, "empty_clique", "%1, a"), (4, "empty_clique", "%3, c")]
    assert reject_kinds(cliques, f"%1, a\nrubbish\n%2, b\n{TRACK}<SEP>{ARTIST}<SEP>-1\n") == [(2, "bad_fields")]


def test_duplicate_track_of_a_clique_is_rejected() -> None:
    track = f"{TRACK}<SEP>{ARTIST}<SEP>"
    rows, rejects = read(cliques, f"%1, a\n{track}5\n{track}6\n%2, b\n{track}7\n")
    assert [(row[0], row[5]) for row in rows] == [("shs:1", 5), ("shs:2", 7)]
    assert [(reject.line, reject.kind) for reject in rejects] == [(3, "duplicate_track")]


def test_too_large_clique_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reprise.lib.annotations.cliques.MAX_CLIQUE", 2)
    text = "%1, a\n" + "".join(f"TR{n:016d}<SEP>{ARTIST}<SEP>-1\n" for n in range(4))
    rows, rejects = read(cliques, text)
    assert len(rows) == 2
    assert [(reject.line, reject.kind) for reject in rejects] == [(4, "clique_too_large"), (5, "clique_too_large")]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"{TRACK}<SEP>{ARTIST}", "bad_fields"),
        (f"{TRACK}<SEP>{ARTIST}<SEP>1<SEP>2", "bad_fields"),
        (f"{TRACK[:-1]}<SEP>{ARTIST}<SEP>1", "bad_track_id"),
        (f"{TRACK.lower()}<SEP>{ARTIST}<SEP>1", "bad_track_id"),
        (f" {TRACK}<SEP>{ARTIST}<SEP>1", "bad_track_id"),
        (f"{TRACK}<SEP>{TRACK}<SEP>1", "bad_artist_id"),
        (f"{TRACK}<SEP>{ARTIST}<SEP>", "bad_performance"),
        (f"{TRACK}<SEP>{ARTIST}<SEP>-2", "bad_performance"),
        (f"{TRACK}<SEP>{ARTIST}<SEP>1.0", "bad_performance"),
        (f"{TRACK}<SEP>{ARTIST}<SEP>2147483648", "bad_performance"),
        (f"{TRACK}<SEP>{ARTIST}<SEP>{'9' * 5000}", "bad_performance"),
    ],
)
def test_bad_clique_tracks_are_rejected(line: str, kind: str) -> None:
    good = f"{OTHER}<SEP>{ARTIST}<SEP>-1\n"
    rows, rejects = read(cliques, f"%1, a\n{line}\n{good}")
    assert [row[3] for row in rows] == [OTHER]
    assert [(r.line, r.kind, r.text) for r in rejects] == [(2, kind, line[:200])]


# ---------------------------------------------------------------- tagtraum


@pytest.mark.parametrize(
    ("line", "kept", "kind"),
    [
        (TRACK, [], "bad_fields"),
        (f"{TRACK}\ta\tb\tc", [], "bad_fields"),
        (f"{TRACK} Rap", [], "bad_fields"),
        (f"{SONG}\tRap", [], "bad_track_id"),
        (f"{TRACK}\t", [], "bad_genre"),
        (f"{TRACK}\t  ", [], "bad_genre"),
        (f"{TRACK}\tRap\x07", [], "bad_genre"),
        (f"{TRACK}\tRap\t", ["Rap"], "bad_genre"),
        (f"{TRACK}\tRap\tRap", ["Rap"], "duplicate_genre"),
        (f"{TRACK}\tRap\t Rap ", ["Rap"], "duplicate_genre"),
    ],
)
def test_bad_labels_are_rejected(line: str, kept: list[str], kind: str) -> None:
    rows, rejects = read(labels, f"# comment\n{line}\n{OTHER}\tBossa Não\n")
    assert [row[2] for row in rows] == [*kept, "Bossa Não"]
    assert [(r.line, r.kind, r.text) for r in rejects] == [(2, kind, line)]


def test_genre_must_be_utf8() -> None:
    rejects = read(labels, f"{TRACK}\tcaf".encode() + b"\xe9")[1]
    assert [(r.kind, r.text) for r in rejects] == [("bad_genre", f"{TRACK}\tcaf\ufffd")]


# ---------------------------------------------------------------- taste profile


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"u\t{SONG}".encode(), "bad_fields"),
        (f"u\t{SONG}\t1\t2".encode(), "bad_fields"),
        (f"u {SONG} 1".encode(), "bad_fields"),
        (f"\t{SONG}\t1".encode(), "bad_user_id"),
        (b"\xff\t" + f"{SONG}\t1".encode(), "bad_user_id"),
        (b"\r\t" + f"{SONG}\t1".encode(), "bad_user_id"),
        (f"u\t{TRACK}\t1".encode(), "bad_song_id"),
        (f"u\t{SONG}X\t1".encode(), "bad_song_id"),
        *((f"u\t{SONG}\t{n}".encode(), "bad_count")
          for n in ("", "0", "-1", "+1", "1.0", "1e3", " 1", "1_0", "\u0661", "2147483648", "9" * 5000)),
    ],
)  # fmt: skip
def test_bad_plays_are_rejected(line: bytes, kind: str) -> None:
    good = f"é 名\t{SONG}\t3\n".encode()
    rows, rejects = read(plays, good * 2 + line + b"\n" + good)
    assert rows == [("é 名", SONG, 3, "taste")] * 3
    assert [(r.line, r.kind, r.text) for r in rejects] == [(3, kind, line.decode("utf-8", "replace")[:200])]


def test_counts_with_leading_zeros_and_long_users_are_read() -> None:
    long = "u" * 5000
    rows, rejects = read(plays, f"u\t{SONG}\t007\n{long}\t{SONG}\t1000000000\n")
    assert (rows, rejects) == ([("u", SONG, 7, "taste"), (long, SONG, 10**9, "taste")], [])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=5) | st.sampled_from(["a", "b\x1fc", "x" * 1001]),
            st.sampled_from([SONG, SONG[:-1], TRACK, "SO" + "Z9" * 8, ""]),
            st.integers(-1, 2**31).map(str) | st.sampled_from(["", "1 ", "01", "2147483647", "2147483648"]),
        ),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_block_parser_agrees_with_a_check_of_each_line(lines: list[tuple[str, str, str]], end: str) -> None:
    lines = [line for line in lines if not set(line[0]) & set("\t\n\0\ufeff")]

    def good(user: str, song: str, count: str) -> bool:
        return (
            user != ""
            and all(ord(c) >= 32 and ord(c) != 127 for c in user)
            and song.startswith("SO") and len(song) == 18
            and count.isdigit() and 0 < int(count) < 2**31
        )  # fmt: skip

    rows, rejects = read(plays, "".join("\t".join(line) + end for line in lines))
    assert rows == [(user, song, int(count), "taste") for user, song, count in lines if good(user, song, count)]
    assert [r.line for r in rejects] == [n for n, line in enumerate(lines, 1) if not good(*line)]


# ---------------------------------------------------------------- songs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  -  b  -  c  !=  d  -  e  -  f", ("a", "b  -  c", "d", "e  -  f")),
        ("a - b  -  c != d  !=  e  -  f", ("a - b", "c != d", "e", "f")),
        ("a  -  b  !=  c  -  d  !=  e  -  f", ("a", "b", "c", "d  !=  e  -  f")),
        ("  -  b  !=    -  d", (None, "b", None, "d")),
        ("Não  -  <x>  !=  c > d  -  ", ("Não", "<x>", "c > d", None)),
    ],
)
def test_mismatch_separators(text: str, expected: tuple[str | None, ...]) -> None:
    assert read(an.read_song_mismatches, f"ERROR: <{SONG} {TRACK}> {text}\n") == ([(SONG, TRACK, *expected)], [])


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"ERROR: <{SONG} {TRACK}> a  -  b", "bad_fields"),
        (f"ERROR: <{SONG} {TRACK}> a  -  b  !=  c", "bad_fields"),
        (f"ERROR: <{SONG} {TRACK}> a  !=  b  -  c", "bad_fields"),
        (f"ERROR: {SONG} {TRACK} a  -  b  !=  c  -  d", "bad_fields"),
        (f"error: <{SONG} {TRACK}> a  -  b  !=  c  -  d", "bad_fields"),
        (f"ERROR: <{TRACK} {SONG}> a  -  b  !=  c  -  d", "bad_song_id"),
        (f"ERROR: <{SONG} {SONG}> a  -  b  !=  c  -  d", "bad_track_id"),
    ],
)
def test_bad_mismatches_are_rejected(line: str, kind: str) -> None:
    assert reject_kinds(an.read_song_mismatches, line) == [(1, kind)]


def test_unique_tracks() -> None:
    text = f"{TRACK}<SEP>{SONG}<SEP>a<SEP>b<SEP>c\n{TRACK}<SEP>{SONG}<SEP>a\n{SONG}<SEP>{SONG}<SEP>a<SEP>b\n"
    text += f"{TRACK}<SEP>{TRACK}<SEP>a<SEP>b\n"
    rows, rejects = read(
        an.read_unique_tracks, text.encode() + f"{TRACK}<SEP>{SONG}<SEP>\u00e9".encode("latin-1") + b"<SEP>t"
    )
    assert rows == [(TRACK, SONG, "a", "b<SEP>c"), (TRACK, SONG, "\ufffd", "t")]
    assert [(r.line, r.kind) for r in rejects] == [(2, "bad_fields"), (3, "bad_track_id"), (4, "bad_song_id")]
