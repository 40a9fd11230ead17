"""The views on rows made by hand: which genre, which track, who is alike, and what two listeners share."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
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
SCORE = {"track_id": "t", "rank": 1}
OLD, NEW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {
                "genre_labels": [{**LABEL, "source": "z", "genre": "label"}],
                "genre_scores": [{**SCORE, "model_id": "a", "genre": "score"}],
                "models": [{"model_id": "a", "trained_at": NEW}],
            },
            ("label", "z", True),
        ),
        ({"genre_labels": [{**LABEL, "source": s, "genre": s * 2} for s in ("b", "a", "B")]}, ("BB", "B", True)),
        (
            {
                "genre_labels": [{**LABEL, "source": "a", "genre": "second", "rank": 1}],
                "genre_scores": [{**SCORE, "model_id": "m", "genre": "score"}],
            },
            ("score", "m", False),
        ),
        (
            {
                "genre_scores": [{**SCORE, "model_id": m, "genre": m} for m in ("a-old", "new", "builtin")],
                "models": [{"model_id": "a-old", "trained_at": OLD}, {"model_id": "new", "trained_at": NEW}],
            },
            ("new", "new", False),
        ),
        (
            {
                "genre_scores": [{**SCORE, "model_id": m, "genre": m} for m in ("y", "x")],
                "models": [{"model_id": m, "trained_at": OLD} for m in ("x", "y")],
            },
            ("x", "x", False),
        ),
        ({"genre_scores": [{**SCORE, "model_id": m, "genre": m} for m in ("b", "a")]}, ("a", "a", False)),
        ({"genre_scores": [{**SCORE, "model_id": "a", "genre": "likely second", "rank": 2}]}, None),
    ],
    ids=[
        "label first",
        "first source",
        "second label is none",
        "last trained",
        "trained at once",
        "unknown models",
        "none",
    ],
)
def test_genre_of_a_track(in_duckdb: InDuckdb, data: Data, expected: tuple[str, str, bool] | None) -> None:
    with in_duckdb(data) as ask:
        rows = ask("SELECT genre, source, is_label FROM track_genres")
    assert [tuple(row.values()) for row in rows] == ([expected] if expected else [])


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
            ]
        ],
        "song_mismatches": [{"song_id": s, "track_id": t} for s, t in [("A", "1"), ("C", "6"), ("X", "7"), ("D", "9")]],
        "genre_labels": [{"track_id": t, "source": "s", "rank": 0, "genre": "label"} for t in ("1", "3", "6")],
        "genre_scores": [{"track_id": t, "model_id": "m", "rank": 1, "genre": "score"} for t in ("2", "5")],
        "library_tracks": [{"track_id": "LB", "tempo": 99.0}],
        "msd_tracks": [{"track_id": "5", "song_id": "B", "year": 1999}, {"track_id": "0", "song_id": None}],
    }
    with in_duckdb(data) as ask:
        rows = ask("SELECT song_id, track_id, is_mismatch, genre, year, tempo FROM song_tracks")
    assert sorted(tuple(row.values()) for row in rows) == [
        ("A", "3", False, "label", None, None),
        ("B", "5", False, "score", 1999, None),
        ("C", "6", True, "label", None, None),
        ("D", "7", False, None, None, None),
        ("LB", "LB", False, None, None, 99.0),
    ]


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
