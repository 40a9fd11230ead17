"""The views: in Spark and in DuckDB the same answers, and those that a plain reading of the tables gives."""

import math
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from statistics import fmean, median, pstdev
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprise.jobs._sql.spark_views import create_temporary_views
from reprise.lib.tables import TABLES
from reprise.lib.tables.genre_names import map_genre, map_genre_sql
from reprise.lib.tables.tags import TAGS
from reprise.lib.tables.views import VIEWS

Rows = list[dict[str, Any]]
Data = Mapping[str, Rows]
Ask = Callable[..., Rows]
InDuckdb = Callable[[Data], AbstractContextManager[Ask]]

TRACKS = [f"TR{i:016d}" for i in range(9)]
LIBRARY = [f"LB{i:016d}" for i in range(5)]
SONGS = [f"SO{i:016d}" for i in range(6)]
GENRES = ["Jazz", "Rap", "Ночь", "🎷", "O'Hara; --", ""]
SAID = [*GENRES, "hip-hop", " Deep House ", "Pop_Rock", "R&B", "Soundtrack", "%", "_", "back\\slash"]
GENRE_TAGS = [*SAID, "JAZZ", "death metal, Pop", "[blues]", 'say "soul"', "R'n'B", "R\\B rock", "other", None]
BASES = ["label", "tag", "model", None]
USERS = ["ann", "'; DROP TABLE plays; --", "🙂", "عمر", 'say "hi"', "back\\slash", "per%cent"]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
DUCKDB_TYPES = {"VARCHAR": "string", "INTEGER": "int", "BIGINT": "bigint", "DOUBLE": "double", "BOOLEAN": "boolean"}
PLAIN = [view for view in VIEWS.values() if not view.parameters]
NAN = math.nan


def some(rng: random.Random, pool: list[Any], least: int = 0) -> list[Any]:
    return rng.sample(pool, rng.randint(least, len(pool)))


def draw(rng: random.Random) -> dict[str, Rows]:
    """Rows of all tables that views read, with whatever can be unknown, odd or repeated in them."""

    def scalars() -> dict[str, Any]:
        return {
            "title": rng.choice([None, "a", "Ночь"]),
            "artist_name": rng.choice([None, "x", "y"]),
            "release": rng.choice([None, "r", "s"]),
            "year": rng.choice([None, 1979, 1980, 2005]),
            "duration": rng.choice([None, 100.0, 200.5]),
            "tempo": rng.choice([None, 0.0, -1.0, NAN, math.inf, 1e9, 90.0, 120.25, 120.25, 181.5]),
            "key": rng.choice([None, *range(12)]),
            "mode": rng.choice([None, 0, 1]),
            "loudness": rng.choice([None, -7.5, NAN]),
        }

    everywhere = [*TRACKS, *LIBRARY]
    sources, models = ["cd1", "cd2", "CD1"], ["m1", "m2", "m3", "m4", "M1"]
    outside = [None, 0.0, 0.5, 1.0, 1.0 + 1e-9, 3.0, NAN]
    data: dict[str, Rows] = {
        "msd_tracks": [
            {"track_id": track, "song_id": rng.choice([None, *SONGS]), **scalars()} for track in some(rng, TRACKS)
        ],
        "unique_tracks": [{"track_id": track, "song_id": rng.choice(SONGS)} for track in some(rng, TRACKS)],
        "library_tracks": [
            {"track_id": track, **scalars(), "genre_tags": rng.choice([None, [], rng.choices(GENRE_TAGS, k=4)])}
            for track in some(rng, LIBRARY)
        ],
        "library_copies": [
            {"user_id": user, "track_id": track} for user in some(rng, USERS) for track in some(rng, LIBRARY)
        ],
        "song_mismatches": [
            {"song_id": song, "track_id": track} for song in SONGS for track in some(rng, TRACKS) if rng.random() < 0.3
        ],
        "models": [
            {
                "model_id": model,
                "trained_at": EPOCH + timedelta(days=rng.randint(0, 1)),
                "quality": rng.choice([None, 0.25, 0.5, 0.5, 0.75]),
                "input": rng.choice([None, "analyses", "analyses", "library analyses", "audio", "track tags"]),
            }
            for model in some(rng, models)
        ],
        "genre_labels": [
            {"track_id": track, "source": source, "rank": rank, "genre": rng.choice(SAID)}
            for track in some(rng, everywhere)
            for source in some(rng, sources)
            for rank in some(rng, [0, 1])
        ],
        "genre_scores": [
            {"track_id": track, "model_id": model, "genre": genre, "rank": rank, **told}
            for track in some(rng, everywhere)
            for model in some(rng, models)
            for told in [{"outside": rng.choice(outside), "abstains": rng.choice([None, False, False, True])}]
            for rank, genre in enumerate(some(rng, SAID), start=1)
        ],
        "quarantine": [
            {
                "uri": uri,
                "stage": stage,
                "error_class": rng.choice(["bad", "worse"]),
                "message": rng.choice(["m", "n", "o"]),
                "attempts": rng.randint(1, 5),
            }
            for uri in some(rng, ["f1", "f2", "ф3"])
            for stage in some(rng, ["ingest_msd", "ingest_library"])
        ],
    }
    data["taste_profiles"] = draw_profiles(rng, USERS)
    data["track_tags"] = [
        {"track_id": track, "model_id": model, "window": window}
        | {column: rng.choice([0.0, 0.25, 0.5, rng.random()]) for column in TAGS}
        for track in some(rng, LIBRARY, 1)
        for model in some(rng, models, 1)
        for window in some(rng, [-1, 0, 1], 1)
    ]
    data["library_versions"] = [
        {
            "track_id": track,
            "group_id": rng.choice(LIBRARY),
            "representative_id": rng.choice(LIBRARY),
            "kind": rng.choice([None, "live", "studio"]),
            "version_count": rng.randint(1, 5),
            "probability": rng.choice([None, 0.5, 1.0]),
        }
        for track in some(rng, LIBRARY, 1)
    ]
    return data


def draw_profiles(rng: random.Random, users: list[str]) -> Rows:
    profiles: Rows = []
    for user in some(rng, users):
        weights = {genre: rng.randint(1, 50_000) for genre in some(rng, GENRES, 1)}
        whole = sum(weights.values())
        is_old = rng.random() < 0.1  # written before songs were held out
        profiles += [
            {
                "user_id": user,
                "genre": genre,
                "share": weight / whole,
                "weight": weight / 4096,
                "plays": rng.randint(1, 10**9),
                "tracks": rng.randint(1, 9),
                "confidence": whole / (whole + 40960),
                "kept_weight": None if is_old else rng.choice([0.0, 0.25, 1.0]) * weight / 4096,
                "held_out_tracks": None if is_old else rng.choice([0, 1, 7]),
            }
            for genre, weight in weights.items()
        ]
    return profiles


def rounded(value: float) -> float:
    """To nine digits, as a view does before it compares: sums in another order differ after them."""
    return float(Decimal(repr(value)).quantize(Decimal("1e-9"), ROUND_HALF_UP))


class Oracle:
    """What the views say, by loops over the rows."""

    def __init__(self, data: Data) -> None:
        self.data = {name: data.get(name, []) for name in TABLES}

    def all_tracks(self) -> Rows:
        tracks = [
            *self.data["msd_tracks"],
            *({**row, "song_id": row["track_id"]} for row in self.data["library_tracks"]),
        ]
        known = [{name: row.get(name) for name in VIEWS["all_tracks"].columns} for row in tracks]
        return [{**row, "tempo": self._tempo(row)} for row in known]

    def track_genres(self) -> Rows:
        models = {row["model_id"]: row for row in self.data["models"]}
        library = {row["track_id"] for row in self.data["library_tracks"]}
        said: dict[str, list[tuple[Any, ...]]] = {}
        for row in self.data["genre_labels"]:
            if row["rank"] == 0:
                said.setdefault(row["track_id"], []).append((0, 0.0, row["source"], row["genre"], True))
        for row in self.data["library_tracks"]:
            for place, tag in enumerate(self._split(row.get("genre_tags") or [])[:3], start=1):
                if map_genre(tag):
                    said.setdefault(row["track_id"], []).append((place, 0.0, "genre_tags", tag, True))
        for row in self.data["genre_scores"]:
            model = models.get(row["model_id"], {})
            quality, heard = model.get("quality"), model.get("input")
            outside, abstains = row.get("outside"), row.get("abstains")
            in_domain = abstains is False or (outside is not None and outside <= 1)
            if row["rank"] != 1 or quality is None or heard is None or not in_domain:
                continue
            if (row["track_id"] in library) != (heard == "analyses"):
                said.setdefault(row["track_id"], []).append(
                    (4, -quality, row["model_id"], row["genre"], abstains is False)
                )
        first = {track: min(claims) for track, claims in said.items()}
        return [
            {
                "track_id": track,
                "genre": map_genre(name) or name,
                "source_genre": name.strip(" "),
                "source": source,
                "basis": BASES[min(1, place)] if place < 4 else "model",
                "is_label": place == 0,
            }
            for track, (place, _, source, name, is_sure) in first.items()
            if is_sure
        ]

    @staticmethod
    def _split(tags: list[str | None]) -> list[str]:
        """Tags as the view reads them: a comma divides one; quotes and brackets are spaces, backslashes nothing."""
        blank = str.maketrans("[]\"'", "    ", "\\")
        return [part.translate(blank) for tag in tags for part in (tag or "NULL").split(",")]

    def song_tracks(self) -> Rows:
        pairs = {(row["song_id"], row["track_id"]) for row in self.data["msd_tracks"] if row["song_id"] is not None}
        pairs |= {(row["song_id"], row["track_id"]) for row in self.data["unique_tracks"]}
        pairs |= {(row["track_id"], row["track_id"]) for row in self.data["library_tracks"]}
        wrong = {(row["song_id"], row["track_id"]) for row in self.data["song_mismatches"]}
        genres = {row["track_id"]: row for row in self.track_genres()}
        tracks = {row["track_id"]: row for row in self.all_tracks()}

        def worse(pair: tuple[str, str]) -> tuple[Any, ...]:
            genre = genres.get(pair[1])
            return pair in wrong, BASES.index(genre["basis"] if genre else None), pair[1]

        rows = []
        for song in {song for song, _ in pairs}:
            best = min((pair for pair in pairs if pair[0] == song), key=worse)
            known = {**genres.get(best[1], {}), **tracks.get(best[1], {})}
            own = {"song_id": song, "track_id": best[1], "is_mismatch": best in wrong}
            rows.append({name: own.get(name, known.get(name)) for name in VIEWS["song_tracks"].columns})
        return rows

    def taste_population(self) -> Rows:
        whole = sum(row["weight"] for row in self.data["taste_profiles"])
        return [
            {
                "genre": genre,
                "share": sum(row["weight"] for row in rows) / whole,
                "listeners": len(rows),
                "plays": sum(row["plays"] for row in rows),
            }
            for genre, rows in self._grouped("taste_profiles", "genre")
        ]

    def taste_evidence(self) -> Rows:
        kept: dict[str, float] = {}
        for row in self.data["taste_profiles"]:
            kept[row["genre"]] = kept.get(row["genre"], 0.0) + (row.get("kept_weight") or 0.0)
        whole = sum(kept.values())
        found = []
        for user, rows in self._grouped("taste_profiles", "user_id"):
            held_out = [row for row in rows if row.get("held_out_tracks")]
            if not held_out:
                continue
            weight, bits = sum(row["kept_weight"] for row in rows), 0.0
            for row in held_out:
                others = kept[row["genre"]] / whole if whole else 0.0
                # of a genre that nobody else has, what is left of the ratio when others is next to nothing
                ratio = (row["kept_weight"] + 10 * others) / others if others else 10.0
                bits += row["held_out_tracks"] * math.log2(ratio / (weight + 10))
            tracks = sum(row["held_out_tracks"] for row in held_out)
            found.append({"user_id": user, "held_out_tracks": tracks, "evidence": rounded(bits / tracks)})
        return found

    def taste_top_genres(self) -> Rows:
        population = {row["genre"]: row["share"] for row in self.taste_population()}
        evidence = {row["user_id"]: row["evidence"] for row in self.taste_evidence()}
        found = []
        for _, rows in self._grouped("taste_profiles", "user_id"):
            told = [
                {
                    **row,
                    "population_share": population[row["genre"]],
                    "evidence": evidence.get(row["user_id"]),
                    "taste": rounded(
                        row["confidence"] * row["share"] + (1 - row["confidence"]) * population[row["genre"]]
                    ),
                }
                for row in rows
            ]
            told.sort(key=lambda row: (-row["taste"], row["genre"].encode()))
            found += [{**row, "rank": rank} for rank, row in enumerate(told, start=1)]
        return [{name: row[name] for name in VIEWS["taste_top_genres"].columns} for row in found]

    def taste_similar_listeners(self) -> Rows:
        users = [user for user, _ in self._grouped("taste_profiles", "user_id")]
        shares = np.zeros((len(users), len(GENRES)))
        for row in self.data["taste_profiles"]:
            shares[users.index(row["user_id"]), GENRES.index(row["genre"])] = row["share"]
        unit = shares / np.linalg.norm(shares, axis=1, keepdims=True) if users else shares
        cosine, shared = unit @ unit.T, (shares > 0).astype(int) @ (shares > 0).T.astype(int)
        found = []
        for i, user in enumerate(users):
            others = [
                {
                    "user_id": user,
                    "other_user_id": users[j],
                    "similarity": rounded(float(cosine[i, j])),
                    "shared_genres": int(shared[i, j]),
                }
                for j in range(len(users))
                if j != i and shared[i, j]
            ]
            others.sort(key=lambda row: (-row["similarity"], row["other_user_id"].encode()))
            found += [{**row, "rank": rank} for rank, row in enumerate(others, start=1)]
        return found

    def track_top_tags(self) -> Rows:
        found = []
        for row in self.data["track_tags"]:
            if row["window"] == -1:
                tags = [(-float(np.float32(row[column])), tag) for column, tag in TAGS.items()]
                for rank, (probability, tag) in enumerate(sorted(tags), start=1):
                    ranked = {"track_id": row["track_id"], "rank": rank, "tag": tag, "probability": -probability}
                    found.append({**ranked, "model_id": row["model_id"]})
        return found

    def genre_tempo(self) -> Rows:
        tempo = {row["track_id"]: row["tempo"] for row in self.all_tracks() if row["tempo"] is not None}
        found: dict[str, list[float]] = {}
        for row in self.track_genres():
            if row["track_id"] in tempo:
                found.setdefault(row["genre"], []).append(tempo[row["track_id"]])
        return [
            {
                "genre": genre,
                "tracks": len(tempos),
                "tempo_mean": fmean(tempos),
                "tempo_std": pstdev(tempos),
                "tempo_median": median(tempos),
            }
            for genre, tempos in found.items()
        ]

    def track_versions(self) -> Rows:
        tracks = {row["track_id"]: row for row in self.data["library_tracks"]}
        found = []
        for row in self.data["library_versions"]:
            if row["track_id"] in tracks:
                known = {**tracks[row["track_id"]], **row}
                known["is_representative"] = row["track_id"] == row["representative_id"]
                found.append({name: known.get(name) for name in VIEWS["track_versions"].columns})
        return found

    def library_overview(self) -> Rows:
        tracks = {row["track_id"]: row for row in self.data["library_tracks"]}
        found = []
        for user, copies in self._grouped("library_copies", "user_id"):
            if not (held := [tracks[copy["track_id"]] for copy in copies if copy["track_id"] in tracks]):
                continue
            known = {
                name: [row[name] for row in held if row.get(name) is not None]
                for name in ("duration", "artist_name", "release", "year")
            }
            tempos = [tempo for row in held if (tempo := self._tempo(row)) is not None]
            found.append(
                {
                    "user_id": user,
                    "tracks": len(held),
                    "hours": sum(known["duration"]) / 3600 if known["duration"] else None,
                    "artists": len(set(known["artist_name"])),
                    "releases": len(set(known["release"])),
                    "first_year": min(known["year"], default=None),
                    "last_year": max(known["year"], default=None),
                    "tempo_mean": fmean(tempos) if tempos else None,
                }
            )
        return found

    def quarantine_overview(self) -> Rows:
        found = []
        for (stage, error_class), rows in self._grouped("quarantine", "stage", "error_class"):
            first = min(rows, key=lambda row: row["uri"].encode())
            found.append(
                {
                    "stage": stage,
                    "error_class": error_class,
                    "inputs": len(rows),
                    "most_attempts": max(row["attempts"] for row in rows),
                    "example_uri": first["uri"],
                    "example_message": first["message"],
                }
            )
        return found

    def _grouped(self, table: str, *names: str) -> list[tuple[Any, Rows]]:
        groups: dict[Any, Rows] = {}
        for row in self.data[table]:
            groups.setdefault(row[names[0]] if len(names) == 1 else tuple(row[n] for n in names), []).append(row)
        return list(groups.items())

    @staticmethod
    def _tempo(row: dict[str, Any]) -> float | None:
        tempo = row.get("tempo")
        return tempo if tempo is not None and 0 < tempo <= 1000 else None


def same(found: Rows, expected: Rows) -> None:
    """Assert that both have the same rows, in any order, floats within a billionth."""

    def place(row: dict[str, Any]) -> str:
        return repr([value for value in row.values() if not isinstance(value, float)])

    found, expected = sorted(found, key=place), sorted(expected, key=place)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        for name, value in other.items():
            if isinstance(value, float):
                assert one[name] == pytest.approx(value, rel=1e-9, abs=2e-9, nan_ok=True), name
            else:
                assert (name, one[name]) == (name, value)


@pytest.mark.parametrize("seed", [7, pytest.param(13, marks=pytest.mark.exhaustive)])
def test_spark_duckdb_and_a_plain_reading_agree(
    seed: int, ask_spark: Callable[[Data], Ask], in_duckdb: InDuckdb
) -> None:
    data = draw(random.Random(seed))
    assert all(data.values()), "another seed: a table is empty"
    spark, oracle = ask_spark(data), Oracle(data)
    with in_duckdb(data) as duckdb:
        for view in PLAIN:
            expected = getattr(oracle, view.name)()
            assert expected
            same(spark(f"SELECT * FROM {view.name}"), expected)
            same(duckdb(f"SELECT * FROM {view.name}"), expected)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_duckdb_says_what_a_plain_reading_says(in_duckdb: InDuckdb, seed: int) -> None:
    data = draw(random.Random(seed))
    oracle = Oracle(data)
    with in_duckdb(data) as duckdb:
        for view in PLAIN:
            same(duckdb(f"SELECT * FROM {view.name}"), getattr(oracle, view.name)())


def test_no_rows_and_the_columns_that_are_declared(in_duckdb: InDuckdb, spark: Any) -> None:
    """Of empty tables every view is empty, and has in both engines the same columns of the same types."""
    session = spark.newSession()
    create_temporary_views(session, {})
    with in_duckdb({}) as duckdb:
        for view in VIEWS.values():
            query = f"SELECT * FROM {view.name}" + ("('a', 'b')" if view.parameters else "")
            frame, described = session.sql(query), duckdb(f"DESCRIBE {query}")
            types = [(row["column_name"], DUCKDB_TYPES[row["column_type"]]) for row in described]
            assert [name for name, _ in types] == list(view.columns)
            assert frame.dtypes == types
            assert duckdb(query) == frame.collect() == []


def test_spark_knows_the_comments(spark: Any) -> None:
    session = spark.newSession()
    create_temporary_views(session, {})
    for view in PLAIN:
        assert {f.name: f.metadata["comment"] for f in session.table(view.name).schema} == view.columns


def test_spark_maps_names_of_genres_as_python_does(spark: Any) -> None:
    """DuckDB's answers are compared in tests/lib."""
    rng = random.Random(3)
    words = [
        *SAID,
        "Rock",
        "pop",
        "B",
        "n",
        "new",
        "age",
        "Hip",
        "HOP",
        "hop/rap",
        "soundtrack",
        "'n'",
        '"',
        "FOL\u212a",
    ]
    names = [*SAID, "\x00", "x" * 100_000 + " rock"]
    names += [
        rng.choice([*" -_&/.,;+'\\", "  ", "    "]).join(rng.choices(words, k=rng.randint(1, 4))) for _ in range(500)
    ]
    frame = spark.createDataFrame([(name,) for name in names], "name string")
    found = frame.selectExpr("name", f"{map_genre_sql('name')} AS genre").collect()
    assert {row.name: row.genre for row in found} == {name: map_genre(name) for name in names}
    assert len({row.genre for row in found}) > 9
