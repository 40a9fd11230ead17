"""The views on rows made by hand: which genre, which track, who is alike, and what two listeners share."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.jobs._sql.spark_views import create_temporary_views
from reprise.lib.tables import TASTE_PROFILES
from reprise.lib.tables.views import TASTE_OVERLAP
from reprise.udfs.arrow import arrow_schema

Rows = list[dict[str, Any]]
Data = Mapping[str, Rows | pa.Table]
Ask = Callable[..., Rows]
InDuckdb = Callable[[Data], AbstractContextManager[Ask]]

LABEL = {"track_id": "t", "rank": 0}
SCORE = {"track_id": "t", "rank": 1, "outside": 0.5, "abstains": False}
GOOD, BETTER = {"quality": 0.5, "input": "analyses"}, {"quality": 0.6, "input": "analyses"}
IN_LIBRARY = {"library_tracks": [{"track_id": "t"}]}


def tagged(*tags: str | None) -> Data:
    return {"library_tracks": [{"track_id": "t", "genre_tags": list(tags)}]}


def scored(*models: tuple[str, Mapping[str, Any], Mapping[str, Any]]) -> Data:
    """Scores of models, each with what is told of the model and of its answer, which is its name."""
    return {
        "models": [{"model_id": name, **model} for name, model, _ in models],
        "genre_scores": [{**SCORE, "model_id": name, "genre": name, **score} for name, _, score in models],
    }


AUDIO = scored(("audio", {"quality": 0.5, "input": "audio"}, {}))
FROM_LABEL = ("label", "label", "z", "label", True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"genre_labels": [{**LABEL, "source": "z", "genre": "label"}], **tagged("Jazz"), **AUDIO},
            FROM_LABEL,
        ),
        (
            {"genre_labels": [{**LABEL, "source": "z", "genre": "label"}], **scored(("a", GOOD, {"abstains": True}))},
            FROM_LABEL,
        ),
        (
            {"genre_labels": [{**LABEL, "source": s, "genre": s * 2} for s in ("b", "a", "B")]},
            ("BB", "BB", "B", "label", True),
        ),
        (
            {"genre_labels": [{**LABEL, "source": "s", "genre": " Hip-Hop "}]},
            ("Rap", "Hip-Hop", "s", "label", True),
        ),
        (
            {"genre_labels": [{**LABEL, "source": "a", "genre": "second", "rank": 1}], **scored(("m", GOOD, {}))},
            ("m", "m", "m", "model", False),
        ),
        ({**tagged("Deep House"), **AUDIO}, ("Electronic", "Deep House", "genre_tags", "tag", False)),
        ({**tagged("90s", "Other", "hip hop"), **AUDIO}, ("Rap", "hip hop", "genre_tags", "tag", False)),
        ({**tagged("Soul", "Jazz", "Rock"), **AUDIO}, ("Soul", "Soul", "genre_tags", "tag", False)),
        ({**tagged("90s", "Other", "live", "hip hop"), **AUDIO}, ("audio", "audio", "audio", "model", False)),
        ({**tagged("Soundtrack"), **AUDIO}, ("audio", "audio", "audio", "model", False)),
        ({**tagged(), **AUDIO}, ("audio", "audio", "audio", "model", False)),
        (tagged("90s"), None),
        (tagged("", None, "[Jazz]"), ("Jazz", "Jazz", "genre_tags", "tag", False)),
        (tagged("live, Jazz"), ("Jazz", "Jazz", "genre_tags", "tag", False)),
        (tagged("'; DROP TABLE plays; -- rock"), ("Rock", "; DROP TABLE plays; -- rock", "genre_tags", "tag", False)),
        (scored(("new", BETTER, {}), ("a-worse", GOOD, {})), ("new", "new", "new", "model", False)),
        (
            scored(("new", BETTER, {"outside": 1.5, "abstains": True}), ("a-worse", GOOD, {})),
            ("a-worse", "a-worse", "a-worse", "model", False),
        ),
        (scored(("new", BETTER, {"outside": 1.0, "abstains": True}), ("a-worse", GOOD, {})), None),
        (scored(("m", GOOD, {"outside": 1.5, "abstains": True})), None),
        (scored(("m", GOOD, {"outside": None})), ("m", "m", "m", "model", False)),
        (scored(("m", GOOD, {"outside": None, "abstains": None})), None),
        (
            scored(("new", BETTER, {"outside": None, "abstains": None}), ("a", GOOD, {})),
            ("a", "a", "a", "model", False),
        ),
        (scored(("y", GOOD, {}), ("x", GOOD, {})), ("x", "x", "x", "model", False)),
        (scored(("m", {**GOOD, "quality": None}, {})), None),
        ({**scored(("m", GOOD, {})), "models": []}, None),
        ({**AUDIO, **IN_LIBRARY}, ("audio", "audio", "audio", "model", False)),
        (AUDIO, None),
        ({**scored(("m", GOOD, {})), **IN_LIBRARY}, None),
        (
            {**scored(("m", BETTER, {}), ("a", {"quality": 0.1, "input": "library analyses"}, {})), **IN_LIBRARY},
            ("a", "a", "a", "model", False),
        ),
        (scored(("m", GOOD, {"genre": "hiphop"})), ("Rap", "hiphop", "m", "model", False)),
        (scored(("m", GOOD, {"rank": 2, "genre": "likely second"})), None),
        ({"genre_scores": [{**SCORE, "model_id": "a", "genre": "a"}]}, None),
    ],
    ids=[
        *("label first", "label although a model abstains", "first source", "label by its common name"),
        *("second label is none", "tag before model", "third tag", "first tag", "fourth tag is none"),
        *("a soundtrack is no genre", "no tags", "unknown tag alone", "empty tags", "comma in a tag", "hostile tag"),
        *("best model", "best is outside", "best abstains", "all outside", "no domain", "old rows"),
        *("old rows of the best", "equally good", "quality unknown", "no models", "audio of the library"),
        *("audio of the dataset", "analyses do not speak for the library", "library analyses"),
        *("model by its common name", "second answer", "unknown model"),
    ],
)
def test_genre_of_a_track(in_duckdb: InDuckdb, data: Data, expected: tuple[str, str, str, str, bool] | None) -> None:
    with in_duckdb(data) as ask:
        rows = ask("SELECT genre, source_genre, source, basis, is_label FROM track_genres")
    assert [tuple(row.values()) for row in rows] == ([expected] if expected else [])


def test_quotes_and_backslashes_in_tags_are_the_same_in_both_engines(
    in_duckdb: InDuckdb, ask_spark: Callable[[Data], Ask]
) -> None:
    """DuckDB writes quotes and backslashes around and before what stands in a list, Spark does not."""
    tags = ["R'n'B", "rock \\ punk", 'say "soul"', "it's jazz, too", "\\' funk \\\\'", "Drum & Bass", "[a] 'b' \"rap\""]
    data = {"library_tracks": [{"track_id": f"t{n}", "genre_tags": [tag]} for n, tag in enumerate(tags)]}
    query = "SELECT track_id, genre, source_genre FROM track_genres ORDER BY track_id"
    with in_duckdb(data) as duckdb:
        found = duckdb(query)
    assert [row["genre"] for row in found] == ["RnB", "Punk", "Soul", "Jazz", "Funk", "Electronic", "Rap"]
    assert found == ask_spark(data)(query)


def test_track_of_a_song(in_duckdb: InDuckdb) -> None:
    """A wrong pair last, then a label, then a score, then the least id; a song of wrong pairs alone is marked."""
    data: Data = {
        "unique_tracks": [
            {"track_id": track, "song_id": song}
            for song, track in [
                ("A", "1"),
                ("A", "2"),
                ("A", "3"),
                ("B", "4"),
                ("B", "5"),
                ("C", "6"),
                ("D", "8"),
                ("D", "7"),
                ("E", "10"),
                ("E", "11"),
                ("E", "12"),
                ("F", "10"),
                ("F", "11"),
            ]
        ],
        "song_mismatches": [{"song_id": s, "track_id": t} for s, t in [("A", "1"), ("C", "6"), ("X", "7"), ("D", "9")]],
        "genre_labels": [{"track_id": t, "source": "s", "rank": 0, "genre": "label"} for t in ("1", "3", "6", "12")],
        "genre_scores": [{**SCORE, "track_id": t, "model_id": "m", "genre": "score"} for t in ("2", "5", "10")],
        "models": [{"model_id": "m", **GOOD}],
        "library_tracks": [{"track_id": "LB", "tempo": 99.0}, {"track_id": "11", "genre_tags": ["Jazz"]}],
        "msd_tracks": [{"track_id": "5", "song_id": "B", "year": 1999}, {"track_id": "0", "song_id": None}],
    }
    with in_duckdb(data) as ask:
        rows = ask("SELECT song_id, track_id, is_mismatch, genre, basis, year, tempo FROM song_tracks")
    assert sorted(tuple(row.values()) for row in rows) == [
        ("11", "11", False, "Jazz", "tag", None, None),
        ("A", "3", False, "label", "label", None, None),
        ("B", "5", False, "score", "model", 1999, None),
        ("C", "6", True, "label", "label", None, None),
        ("D", "7", False, None, None, None, None),
        ("E", "12", False, "label", "label", None, None),
        ("F", "11", False, "Jazz", "tag", None, None),
        ("LB", "LB", False, None, None, None, 99.0),
    ]


def held_out(user: str, genre: str, kept: float, tracks: int) -> dict[str, Any]:
    return {"user_id": user, "genre": genre, "share": 1.0, "kept_weight": kept, "held_out_tracks": tracks}


def test_evidence_is_in_bits_and_those_of_no_taste_have_none(in_duckdb: InDuckdb) -> None:
    """The kept songs of both make rap and pop as likely as each other."""
    profiles = [
        held_out("fan", "rap", 30.0, 3),
        held_out("fan", "pop", 0.0, 0),
        held_out("fickle", "rap", 0.0, 2),
        held_out("fickle", "pop", 30.0, 0),
        held_out("both", "rap", 10.0, 1),
        held_out("both", "pop", 10.0, 1),
        held_out("none held out", "pop", 0.0, 0),
        {"user_id": "old", "genre": "pop", "share": 1.0},
    ]
    with in_duckdb({"taste_profiles": profiles}) as ask:
        found = {
            row["user_id"]: (row["held_out_tracks"], row["evidence"]) for row in ask("SELECT * FROM taste_evidence")
        }
        shown = {row["user_id"]: row["evidence"] for row in ask("SELECT user_id, evidence FROM taste_top_genres")}
    # (30 + 10 / 2) / (30 + 10) is 7 / 4 of one half, (0 + 10 / 2) / (30 + 10) is 1 / 4 of it
    assert found == {"fan": (3, pytest.approx(math.log2(7 / 4))), "fickle": (2, -2.0), "both": (2, 0.0)}
    assert shown == {user: found.get(user, (0, None))[1] for user in ("fan", "fickle", "both", "none held out", "old")}


@pytest.mark.parametrize("kept", [0.0, 30.0])
def test_evidence_where_little_is_kept(in_duckdb: InDuckdb, ask_spark: Callable[[Data], Ask], kept: float) -> None:
    """All songs of all listeners are held out, or all of a genre."""
    data = {"taste_profiles": [held_out("ann", "rap", 0.0, 3), held_out("ann", "pop", kept, 0)]}
    expected = [{"user_id": "ann", "held_out_tracks": 3, "evidence": -2.0 if kept else 0.0}]
    with in_duckdb(data) as duckdb:
        assert duckdb("SELECT * FROM taste_evidence") == expected
    assert ask_spark(data)("SELECT * FROM taste_evidence") == expected


def test_few_plays_are_drawn_towards_what_all_like(in_duckdb: InDuckdb) -> None:
    """Of the same shares, those of a listener with little evidence are nearer to the population's."""

    def likes(user: str, confidence: float, **shares: float) -> Rows:
        return [
            {"user_id": user, "genre": genre, "share": share, "weight": share, "plays": 1, "confidence": confidence}
            for genre, share in shares.items()
        ]

    data = {"taste_profiles": [*likes("sure", 0.99, rap=0.9, pop=0.1), *likes("new", 0.01, rap=0.9, pop=0.1)]}
    data["taste_profiles"] += [row for i in range(8) for row in likes(f"u{i}", 0.9, pop=1.0)]
    with in_duckdb(data) as ask:
        rows = ask("SELECT user_id, genre FROM taste_top_genres WHERE rank = 1")
        assert {row["user_id"]: row["genre"] for row in rows if row["user_id"] in ("sure", "new")} == {
            "sure": "rap", "new": "pop"
        }  # fmt: skip
        for row in ask("SELECT * FROM taste_top_genres"):
            least, greatest = sorted((row["share"], row["population_share"]))
            assert least - 1e-9 <= row["taste"] <= greatest + 1e-9


SHARES = {
    "ann": {"rap": 0.75, "pop": 0.25},
    "'; DROP TABLE plays; --": {"pop": 0.5, "jazz": 0.5},
    "🙂": {"jazz": 1.0},
    "عمر": {"rap": 0.125, "pop": 0.625, "jazz": 0.25},
    'back\\slash "and" quotes\'': {"soul": 1.0},
}


def test_overlap_of_any_two(in_duckdb: InDuckdb, ask_spark: Callable[[Data], Ask]) -> None:
    """Names are bound: whatever stands in them, they are names."""
    profiles = [
        {"user_id": user, "genre": genre, "share": share}
        for user, told in SHARES.items()
        for genre, share in told.items()
    ]
    strangers = ["nobody", "' OR '1'='1", "%"]
    with in_duckdb({"taste_profiles": profiles}) as duckdb:
        for ask, users in (
            (duckdb, [*SHARES, *strangers]),
            (ask_spark({"taste_profiles": profiles}), list(SHARES)[1:]),
        ):
            for a in users:
                for b in {a, users[0]}:
                    mine, theirs = SHARES.get(a, {}), SHARES.get(b, {})
                    pairs = {genre: (mine.get(genre, 0.0), theirs.get(genre, 0.0)) for genre in mine | theirs}
                    expected = sorted((-min(pair), genre, *pair) for genre, pair in pairs.items())
                    rows = ask(TASTE_OVERLAP.example, a=a, b=b)
                    assert [(-r["overlap"], r["genre"], r["share_a"], r["share_b"]) for r in rows] == expected
                    if a == b:
                        assert sum(row["overlap"] for row in rows) == (a in SHARES)
            assert ask("SELECT * FROM taste_overlap(NULL, NULL)") == []


def crowd(n_users: int, n_genres: int) -> pa.Table:
    """Profiles of many users who all like everything."""
    n = n_users * n_genres
    schema = arrow_schema(TASTE_PROFILES)
    user, genre = np.divmod(np.arange(n), n_genres)
    values: dict[str, Any] = {
        "user_id": [f"u{i}" for i in user],
        "genre": [f"g{i}" for i in genre],
        "share": (genre + 1) / sum(range(n_genres + 1)),
    }
    arrays = [
        pa.array(values[field.name], field.type)
        if field.name in values
        else (pa.array([""] * n) if field.type == pa.string() else pa.array(np.ones(n)).cast(field.type))
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


MATCHES = (
    "SELECT other_user_id, similarity FROM taste_similar_listeners WHERE user_id = 'u7' AND rank <= 3 ORDER BY rank"
)
NEAREST = [{"other_user_id": name, "similarity": 1.0} for name in ("u0", "u1", "u10")]


def test_one_listener_is_not_compared_through_all_with_all_in_duckdb(in_duckdb: InDuckdb) -> None:
    """No step of the plan makes more rows than that listener has pairs."""
    n_users, n_genres = 2000, 4
    with in_duckdb({"taste_profiles": crowd(n_users, n_genres)}) as ask:
        assert ask(MATCHES) == NEAREST
        plan = json.loads(ask(f"EXPLAIN (ANALYZE, FORMAT JSON) {MATCHES}")[0]["explain_value"])

    def sizes(step: dict[str, Any]) -> Iterator[int]:
        yield step.get("intermediate_rows", 0)
        for child in [*step.get("operator", []), *step.get("children", [])]:
            yield from sizes(child)

    assert n_users < max(sizes(plan)) <= 2 * n_users * n_genres


def test_one_listener_is_not_compared_through_all_with_all_in_spark(spark: Any, tmp_path: Path) -> None:
    """The condition stands below the join of both listeners' profiles."""
    session = spark.newSession()
    pq.write_table(crowd(50, 3), tmp_path / "profiles.parquet")  # rows at hand would be filtered while planning
    create_temporary_views(session, {"taste_profiles": session.read.parquet(str(tmp_path))})
    frame = session.sql(MATCHES)
    assert [row.asDict() for row in frame.collect()] == NEAREST
    plan = frame._jdf.queryExecution().optimizedPlan().toString().splitlines()
    depth = [len(line) - len(line.lstrip(" :+-")) for line in plan]
    (pairs,) = (i for i, line in enumerate(plan) if "Join Inner" in line and "NOT (user_id" in line)
    below = takewhile(lambda i: depth[i] > depth[pairs], range(pairs + 1, len(plan)))
    assert any("Filter" in plan[i] and "= u7)" in plan[i] for i in below)
