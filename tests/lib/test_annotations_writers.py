"""Writers: rows are read back unchanged, and rows for which this is impossible are rejected."""

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib import annotations as an

Reader = Callable[[BinaryIO], Iterator[an.Chunk]]
TRACK, OTHER, ARTIST, SONG = "TRAAAAK128F9318786", "TRAAAAW128F429D538", "ARD7TVE1187B99BFB1", "SOMZWCG12A8C13C480"
MEMBER = {"track_id": TRACK, "artist_id": ARTIST, "performance": 1}


def cliques(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_cover_cliques(stream, source="shs")


def labels(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_genre_labels(stream, source="cd1")


def plays(stream: BinaryIO) -> Iterator[an.Chunk]:
    return an.read_plays(stream, source="taste")


def read(reader: Reader, stream: BinaryIO) -> tuple[list[tuple[Any, ...]], list[an.Reject]]:
    """Return rows and rejects of all chunks."""
    chunks = list(reader(stream))
    rows = [row for chunk in chunks for row in zip(*chunk.rows.values(), strict=True)]
    return rows, [reject for chunk in chunks for reject in chunk.rejects]


text_ids = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=16)
tracks = text_ids.map("TR".__add__)
songs = text_ids.map("SO".__add__)
int32 = st.integers(0, 2**31 - 1)
free = st.none() | st.text(
    st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)  # fmt: skip
side = free.filter(lambda text: text is None or not any(mark in f"  {text}  " for mark in ("  -  ", "  !=  ")))


def as_columns(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def written(write: Callable[..., None], names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> io.BytesIO:
    stream = io.BytesIO()
    write(stream, as_columns(names, rows))
    return io.BytesIO(stream.getvalue())


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=4),
            free,
            st.lists(st.tuples(tracks, text_ids.map("AR".__add__), st.none() | int32), min_size=1, max_size=4,
                     unique_by=lambda member: member[0]),
        ),
        unique_by=lambda clique: tuple(sorted(set(clique[0]))),
    )
)  # fmt: skip
def test_cliques_round_trip(made: list[tuple[list[int], str | None, list[tuple[Any, ...]]]]) -> None:
    rows = [(works, title, *member) for works, title, members in made for member in members]
    names = ("work_ids", "title", "track_id", "artist_id", "performance")
    got, rejects = read(cliques, written(an.write_cover_cliques, names, rows))
    assert ([row[1:-1] for row in got], rejects) == (rows, [])
    assert len({row[0] for row in got}) == len(made)


@settings(deadline=None)
@given(st.lists(st.tuples(tracks, st.lists(st.sampled_from(["Rap", "New Age", "Pop_Rock", "Não"]), min_size=1,
                                           max_size=2, unique=True))))  # fmt: skip
def test_labels_round_trip(made: list[tuple[str, list[str]]]) -> None:
    rows = [(track, rank, genre) for track, genres in made for rank, genre in enumerate(genres)]
    got, rejects = read(labels, written(an.write_genre_labels, ("track_id", "rank", "genre"), rows))
    assert ([row[:-1] for row in got], rejects) == (rows, [])


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["C"]), min_size=1), songs, int32.filter(bool))))
def test_plays_round_trip(rows: list[tuple[Any, ...]]) -> None:
    got, rejects = read(plays, written(an.write_plays, ("user_id", "song_id", "play_count"), rows))
    assert ([row[:-1] for row in got], rejects) == (rows, [])


@settings(deadline=None)
@given(st.lists(st.tuples(songs, tracks, side, side, side, side)))
def test_mismatches_round_trip(rows: list[tuple[Any, ...]]) -> None:
    names = ("song_id", "track_id", "song_artist", "song_title", "track_artist", "track_title")
    assert read(an.read_song_mismatches, written(an.write_song_mismatches, names, rows)) == (rows, [])


@settings(deadline=None)
@given(st.lists(st.tuples(tracks, songs, free.filter(lambda artist: "<SEP>" not in (artist or "")), free)))
def test_unique_tracks_round_trip(rows: list[tuple[Any, ...]]) -> None:
    names = ("track_id", "song_id", "artist_name", "title")
    assert read(an.read_unique_tracks, written(an.write_unique_tracks, names, rows)) == (rows, [])


@pytest.mark.parametrize(("write", "row"), [
    (an.write_cover_cliques, {"work_ids": [], "title": "t", **MEMBER}),
    (an.write_cover_cliques, {"work_ids": [1], "title": "a\nb", **MEMBER}),
    (an.write_cover_cliques, {"work_ids": [1], "title": "a\r", **MEMBER}),
    (an.write_cover_cliques, {"work_ids": [1], "title": "t", **MEMBER, "performance": -1}),
    (an.write_genre_labels, {"track_id": TRACK, "rank": 1, "genre": "Rap"}),
    (an.write_genre_labels, {"track_id": "#" + TRACK, "rank": 0, "genre": "Rap"}),
    (an.write_genre_labels, {"track_id": TRACK, "rank": 0, "genre": "a\tb"}),
    (an.write_plays, {"user_id": "u", "song_id": SONG, "play_count": 1.5}),
    (an.write_plays, {"user_id": "\ufeffu", "song_id": SONG, "play_count": 1}),
    (an.write_plays, {"user_id": " ", "song_id": "", "play_count": ""}),
    (an.write_song_mismatches, {"song_id": SONG, "track_id": TRACK, "song_artist": "a  -  b", "song_title": "c",
                                "track_artist": "d", "track_title": "e"}),
    (an.write_unique_tracks, {"track_id": TRACK, "song_id": SONG, "artist_name": "a<SEP>b", "title": "c"}),
    (an.write_unique_tracks, {"track_id": TRACK, "song_id": SONG, "artist_name": "\ud800", "title": "c"}),
])  # fmt: skip
def test_writers_reject_rows_that_are_not_read_back_unchanged(write: Callable[..., None], row: dict[str, Any]) -> None:
    stream = io.BytesIO()
    with pytest.raises(ValueError, match=r"read back|as a line|surrogates|unpack"):
        write(stream, {name: [value] for name, value in row.items()})
    assert stream.getvalue() == b""
