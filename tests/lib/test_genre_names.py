"""Common names of genres: what labels, tags and models call them, and the same in SQL as in Python."""

from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.music.compose.genre_styles import GENRE_NAMES
from reprise.lib.tables.genre_names import map_genre, map_genre_sql

Names = list[str | None]

TAGTRAUM = (
    *("Blues", "Country", "Electronic", "Folk", "International", "Jazz", "Latin", "New Age", "Pop_Rock", "Rap"),
    *("Reggae", "RnB", "Vocal"),
)
COMMON = (*TAGTRAUM, "Classical", "Disco", "Funk", "Metal", "Pop", "Punk", "Rock", "Soul")
GTZAN = {
    "blues": "Blues",
    "classical": "Classical",
    "country": "Country",
    "disco": "Disco",
    "hiphop": "Rap",
    "jazz": "Jazz",
    "metal": "Metal",
    "pop": "Pop",
    "reggae": "Reggae",
    "rock": "Rock",
}
TAGS = {
    "Hip-Hop": "Rap",
    "Hip Hop/Rap": "Rap",
    "Gangsta Rap": "Rap",
    "Jazz Rap": "Rap",
    "Pop Rap": "Rap",
    "Trap": "Rap",
    "R&B": "RnB",
    "R & B": "RnB",
    "Contemporary R&B": "RnB",
    "Rhythm & Blues": "RnB",
    "Rhythm and Blues": "RnB",
    "Neo-Soul": "Soul",
    "Soul Jazz": "Jazz",
    "Smooth Jazz": "Jazz",
    "Jazz+Funk": "Jazz",
    "Vocal Jazz": "Jazz",
    "Bebop": "Jazz",
    "Alternative": "Rock",
    "Alternative Rock": "Rock",
    "Indie": "Rock",
    "Hard Rock": "Rock",
    "Progressive Rock": "Rock",
    "Folk Rock": "Rock",
    "Country Rock": "Rock",
    "Blues-Rock": "Rock",
    "Classic Rock": "Rock",
    "Rock & Roll": "Rock",
    "New Wave": "Rock",
    "Punk Rock": "Punk",
    "Pop Punk": "Punk",
    "Death Metal": "Metal",
    "Heavy_Metal": "Metal",
    "Metalcore": "Metal",
    "Drum & Bass": "Electronic",
    "Deep House": "Electronic",
    "Techno": "Electronic",
    "Trip-Hop": "Electronic",
    "Ambient": "Electronic",
    "EDM": "Electronic",
    "Synth-Pop": "Pop",
    "K-Pop": "Pop",
    "Pop/Rock": "Pop_Rock",
    "Ska": "Reggae",
    "Dub": "Reggae",
    "Bossa Nova": "Latin",
    "Salsa": "Latin",
    "World Music": "International",
    "Celtic": "Folk",
    "Singer/Songwriter": "Folk",
    "Bluegrass": "Country",
    "Country & Western": "Country",
    "Delta Blues": "Blues",
    "Baroque": "Classical",
    "Opera": "Classical",
    "Easy Listening": "Vocal",
}
NO_GENRE = (
    *("", " ", "-", "&", "Other", "unknown", "genre", "12", "(17)", "%", "_", "%rock%", "r_ck", "\\", "\\rock\\", "'"),
    *('"', "';", "''", "'; DROP TABLE genre_labels; --", "' OR '1'='1", "rocks", "unrock", "hardrock", "r o c k"),
    *("rock\x00", "rock\n", "rock\u00a0", "Ночь", "🎷", "ロック", "r\u0301ock", "x" * 100_000, "Soundtrack"),
    *("Film Score", "Rock Podcast", "Jazz, Spoken Word", "funk\n \x00 'quoted'", "Stand-Up Comedy"),
)
STILL_A_GENRE = {
    "'; DROP TABLE genre_labels; -- rock": "Rock",
    "' jazz '": "Jazz",
    '" jazz "': "Jazz",
    "100% soul": "Soul",
    "%_\\ rap %": "Rap",
    "back\\slash disco": "Disco",
    "\x00 funk": "Funk",
    "Ночь блюз blues": "Blues",
    "🎷 JAZZ 🎷": "Jazz",
    "FOL\u212a": "Folk",  # the sign of the kelvin is a capital k
    "x" * 100_000 + " rock": "Rock",
    "--//rap//--": "Rap",
    "  Jazz  ": "Jazz",
    "hip    hop": "Rap",
    "hip - hop": "Rap",
}

InSql = Callable[[Names], Names]


@pytest.fixture(scope="module")
def in_sql() -> Iterator[InSql]:
    """What the SQL says of some names, in DuckDB."""
    with duckdb.connect() as connection:

        def ask(names: Names) -> Names:
            connection.register("asked", pa.table({"place": range(len(names)), "name": pa.array(names, pa.string())}))
            rows = connection.execute(f"SELECT {map_genre_sql('name')} FROM asked ORDER BY place").fetchall()
            return [genre for (genre,) in rows]

        yield ask


@pytest.mark.parametrize("names", [GTZAN, TAGS, STILL_A_GENRE], ids=["GTZAN", "tags", "hostile"])
def test_names_and_their_common_names(names: dict[str, str], in_sql: InSql) -> None:
    assert {name: map_genre(name) for name in names} == names
    assert dict(zip(names, in_sql([*names]), strict=True)) == names


def test_what_names_no_genre(in_sql: InSql) -> None:
    assert {name: map_genre(name) for name in NO_GENRE} == dict.fromkeys(NO_GENRE)
    assert in_sql([*NO_GENRE, None]) == [None] * (len(NO_GENRE) + 1)


def test_common_names_are_their_own(in_sql: InSql) -> None:
    """So a name can be mapped twice; and the labels of the dataset and of composed songs stay as they are."""
    assert [map_genre(name) for name in COMMON] == list(COMMON) == in_sql([*COMMON])
    assert {*GENRE_NAMES} <= {*TAGTRAUM}


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title, str.swapcase])
def test_case_and_separators_do_not_matter(change: Callable[[str], str]) -> None:
    for name, genre in (GTZAN | TAGS).items():
        assert map_genre(change(name)) == genre
        for separator in "-_&/.,;+":
            assert map_genre(name.replace(" ", separator)) == map_genre(f"{separator}{name}{separator}") == genre


# words that name genres, parts of such names, and others
WORDS = st.sampled_from(
    " ".join((*COMMON, *GTZAN, *TAGS)).replace("_", " ").replace("-", " ").replace("/", " ").split()
) | st.sampled_from(
    ["r", "b", "n", "hop", "trip", "new", "age", "big", "band", "score", "comedy", "spoken", "word", "and", "of", "%",
     "'", '"', "\\", "🎷", "Ночь", "rocks", "ROCK", "ß", ""]
)  # fmt: skip
SEPARATORS = st.text(" -_&/.,;+", min_size=1, max_size=5) | st.sampled_from(["", "\\", "'", "\t", "\n", "%", "\u00a0"])
NAMES = st.lists(st.tuples(WORDS, SEPARATORS), min_size=1, max_size=6).map(
    lambda parts: "".join(w + s for w, s in parts)
)


@settings(max_examples=25)  # each is a query that takes long to plan
@given(st.lists(NAMES, min_size=1, max_size=40))
def test_sql_says_what_python_says(in_sql: InSql, names: Names) -> None:
    assert in_sql(names) == [map_genre(name or "") for name in names]


@given(NAMES)
def test_a_genre_that_is_said_is_a_common_one(name: str) -> None:
    genre = map_genre(name)
    assert genre is None or (genre in COMMON and map_genre(genre) == genre)


@given(NAMES, st.sampled_from([*" -_&/.,;+"]))
def test_separators_at_the_ends_change_nothing(name: str, separator: str) -> None:
    assert map_genre(name) == map_genre(separator + name) == map_genre(name + separator)
