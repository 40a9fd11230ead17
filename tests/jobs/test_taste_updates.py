"""Profiles that follow their tables: what an update leaves is what a full build makes."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from reprise.jobs import build_taste_profiles
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.spark_views import create_temporary_views
from reprise.jobs._tastes.profiles import compute_profiles, gather_evidence, select_facts
from reprise.lib.tables import (
    GENRE_LABELS,
    GENRE_SCORES,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MODELS,
    MSD_TRACKS,
    PLAYS,
    SONG_MISMATCHES,
    TASTE_PROFILES,
    UNIQUE_TRACKS,
    Table,
)
from reprise.udfs.arrow import arrow_schema

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
Random = np.random.Generator

SEED = 20110211
MORE = pytest.mark.exhaustive
GENRES = ("Rock", "Pop", "Jazz")
EVERYTHING = ("", "\U0010ffff")
READ = (
    *(PLAYS, LIBRARY_COPIES, MSD_TRACKS, UNIQUE_TRACKS, LIBRARY_TRACKS),
    *(SONG_MISMATCHES, GENRE_LABELS, GENRE_SCORES, MODELS),
)


def put(warehouse: Warehouse, table: Table, *rows: Mapping[str, Any]) -> None:
    """Write rows; what must not be NULL gets a value."""
    values = {"string": "x", "int": 1, "double": 1.0, "timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
    filled = {c.name: values[c.type] for c in table.columns if not c.nullable}
    warehouse.merge(table, pa.Table.from_pylist([{**filled, **row} for row in rows], arrow_schema(table)))


def play(warehouse: Warehouse, *plays: tuple[str, str, int]) -> None:
    """Append plays of what has not been played, in a source of their own."""
    known = set(zip(*(warehouse.lookup(PLAYS, "user_id", *EVERYTHING)[c].to_pylist() for c in PLAYS.key), strict=True))
    rows = [
        {"user_id": user, "song_id": song, "source": "s", "play_count": count, "run_id": "r"}
        for user, song, count in plays
        if (user, song, "s") not in known
    ]
    if rows:
        write_deltalake(warehouse.uri(PLAYS), pa.Table.from_pylist(rows, arrow_schema(PLAYS)), mode="append")


def track(number: int) -> str:
    return f"TR{number:016d}"


def label(number: int, genre: str) -> dict[str, Any]:
    return {"track_id": track(number), "source": "l", "rank": 0, "genre": genre}


@pytest.fixture
def warehouse(spark: Any, tmp_path: Path) -> Warehouse:
    """Twelve listeners, sixteen songs of the dataset, of which eight are labelled, and four files of listeners."""
    warehouse, rng = Warehouse(str(tmp_path / "warehouse")), np.random.default_rng(SEED)
    put(
        warehouse,
        MSD_TRACKS,
        *(
            {
                "track_id": track(n),
                "song_id": f"SO{n}",
                "uri": str(n),
                "tempo": 80.0 + n,
                "key": n % 12,
                "year": 1990 + n,
            }
            for n in range(12)
        ),
    )
    put(warehouse, UNIQUE_TRACKS, *({"track_id": track(n), "song_id": f"SO{n}"} for n in range(16)))
    put(warehouse, GENRE_LABELS, *(label(n, GENRES[n % 3]) for n in range(8)))
    put(warehouse, LIBRARY_TRACKS, *({"track_id": f"LB{n:016d}", "tempo": 100.0 + n} for n in range(4)))
    put(warehouse, LIBRARY_COPIES, *({"user_id": f"u{n}", "track_id": f"LB{n:016d}"} for n in range(3)))
    songs = [(f"u{user}", f"SO{n}") for user in range(12) for n in rng.choice(18, 6, replace=False)]
    play(
        warehouse,
        *((user, song, int(count)) for (user, song), count in zip(songs, rng.integers(1, 40, 72), strict=True)),
    )
    return warehouse


def add_scores(warehouse: Warehouse, rng: Random, number: int) -> None:
    """Scores of models that are better than those before them, and are sure of most tracks."""
    scored = {"analyses": [track(n) for n in range(6, 16, 3)], "audio": [f"LB{n:016d}" for n in range(4)]}
    for heard, tracks in scored.items():
        model = f"{heard} {number}"
        put(warehouse, MODELS, {"model_id": model, "input": heard, "quality": 0.5 + number / 100})
        drawn = zip(
            tracks, rng.choice(GENRES, len(tracks)).tolist(), (rng.random(len(tracks)) < 0.2).tolist(), strict=True
        )
        told = {"model_id": model, "rank": 1, "outside": 0.5}
        put(warehouse, GENRE_SCORES, *({"track_id": t, "genre": g, "abstains": a, **told} for t, g, a in drawn))


def add_worse_scores(warehouse: Warehouse, rng: Random, number: int) -> None:
    """Scores that count where no other model knows the track."""
    put(warehouse, MODELS, {"model_id": "worse", "input": "analyses", "quality": 0.1 + number / 100})
    told = {"model_id": "worse", "genre": "Folk", "rank": 1, "outside": 0.5, "abstains": False}
    put(warehouse, GENRE_SCORES, *({"track_id": track(n), **told} for n in rng.permutation(16)[:4]))


def add_genre_tags(warehouse: Warehouse, rng: Random, number: int) -> None:
    tags = [[], ["Other", "hip-hop"], ["Jazz"]]
    drawn = ((n, tags[rng.integers(3)]) for n in range(4))
    rows = ({"track_id": f"LB{n:016d}", "tempo": 100.0 + n, "genre_tags": drawn_tags} for n, drawn_tags in drawn)
    put(warehouse, LIBRARY_TRACKS, *rows)


CLAIMS = {"scores": add_scores, "worse scores": add_worse_scores, "genre tags": add_genre_tags}
"""Changes of what is said of a track's genre beside its labels."""


def update(warehouse: Warehouse, kind: str, rng: Random, number: int) -> None:
    """Change the tables as ``kind`` says."""
    user, song = f"u{rng.integers(12)}", f"SO{rng.integers(16)}"
    plays = DeltaTable(warehouse.uri(PLAYS))
    if kind == "new plays":
        play(warehouse, *((f"u{u}", song, 5) for u in range(12)))
    elif kind == "deletions":
        plays.delete(f"song_id = '{song}' and play_count > 10")
    elif kind == "corrected counts":
        plays.update(updates={"play_count": "play_count + 3"}, predicate=f"song_id = '{song}'")
    elif kind == "new users":
        play(warehouse, (f"new {number}", song, 2), (f"new {number}", "SO1", 1))
    elif kind == "users that vanish":
        plays.delete(f"user_id = '{user}'")
    elif kind == "labels":
        put(warehouse, GENRE_LABELS, *(label(n, "Blues" if number % 2 else "Soul") for n in rng.integers(16, size=2)))
    elif kind in CLAIMS:
        CLAIMS[kind](warehouse, rng, number)
    elif kind == "mismatches":
        put(warehouse, SONG_MISMATCHES, {"song_id": song, "track_id": track(int(song[2:]))})
    elif kind == "copies":
        put(warehouse, LIBRARY_COPIES, {"user_id": user, "track_id": f"LB{rng.integers(4):016d}"})
    elif kind == "copies removed":
        held = warehouse.lookup(LIBRARY_COPIES, "user_id", *EVERYTHING, list(LIBRARY_COPIES.key))
        warehouse.merge(LIBRARY_COPIES, arrow_schema(LIBRARY_COPIES).empty_table(), delete=held[:1])
    else:
        raise ValueError(kind)


KINDS = (
    *("new plays", "deletions", "corrected counts", "new users", "users that vanish"),
    *("labels", *CLAIMS, "mismatches", "copies", "copies removed"),
)


def build_whole(spark: Any, warehouse: Warehouse) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    """The profiles as one build makes them of all rows, and what each listener's come from."""
    session, now = spark.newSession(), Warehouse(warehouse.root)
    create_temporary_views(session, {table.name: now.read(session, table) for table in READ if now.exists(table)})
    facts = select_facts(session.table("song_tracks"))
    evidence = gather_evidence(session.table(PLAYS.name), session.table(LIBRARY_COPIES.name))
    rows = (
        compute_profiles(evidence, facts, 100).toPandas().sort_values(list(TASTE_PROFILES.key)).reset_index(drop=True)
    )
    heard = defaultdict(list)
    for row in evidence.join(facts, "song_id", "left").collect():
        heard[row.user_id].append(str(row))
    return rows, {user: sorted(of) for user, of in heard.items()}


def runs_of(warehouse: Warehouse) -> dict[tuple[str, str], str]:
    rows = Warehouse(warehouse.root).lookup(TASTE_PROFILES, "user_id", *EVERYTHING).to_pylist()
    return {(row["user_id"], row["genre"]): row["run_id"] for row in rows}


def as_dict(rows: pd.DataFrame) -> dict[tuple[str, str], list[Any]]:
    key = list(TASTE_PROFILES.key)
    names = [c.name for c in TASTE_PROFILES.columns if c.name != "run_id"]
    held = rows.astype(object).where(rows.notna(), None)
    return {tuple(row[key]): row[names].tolist() for _, row in held.iterrows()}


@pytest.mark.parametrize(
    "sizes", [(24,), pytest.param((4, 20), marks=MORE), pytest.param((1,) * 24, marks=MORE)], ids=len
)
def test_updates_end_in_the_rows_of_a_full_build_and_touch_no_other(
    sizes: tuple[int, ...], spark: Any, warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    rng = np.random.default_rng(SEED)
    kinds = [str(kind) for kind in rng.permutation([*KINDS, *KINDS])]
    run_job(build_taste_profiles.main)
    whole, heard = build_whole(spark, warehouse)
    before = rows_of(warehouse, TASTE_PROFILES)
    pd.testing.assert_frame_equal(before, whole, check_exact=True)
    for first, size in zip(np.cumsum((0, *sizes)).tolist(), sizes, strict=False):
        for number in range(first, first + size):
            update(warehouse, kinds[number], rng, number)
        summary = run_job(build_taste_profiles.main)
        whole, heard_now = build_whole(spark, warehouse)
        after = rows_of(warehouse, TASTE_PROFILES)
        pd.testing.assert_frame_equal(after, whole, check_exact=True, obj=str(kinds[first : first + size]))
        old, new, runs = as_dict(before), as_dict(after), runs_of(warehouse)
        assert {key for key, run in runs.items() if run == summary["run_id"]} == {
            k for k in new if new[k] != old.get(k)
        }
        touched = {user for user in heard | heard_now if heard.get(user) != heard_now.get(user)}
        counts = summary["counts"]
        assert counts["users_touched"] == len(touched) < 12 + len(kinds), touched
        assert counts["rows_read"] == sum(len(heard_now.get(user, [])) for user in touched)
        assert counts["rows_read"] == sum(counts[n] for n in ("counted", "no_genre", "mismatched", "unmatched"))
        assert (counts["users"], counts["profiles"]) == (after["user_id"].nunique(), len(after))
        before, heard = after, heard_now
    # a change that touches nobody is noted: a label of an unknown track, and the same rows in another file
    runs = runs_of(warehouse)
    put(warehouse, GENRE_LABELS, label(400, "Rock"))
    DeltaTable(warehouse.uri(PLAYS)).optimize.compact()
    DeltaTable(warehouse.uri(PLAYS)).update(updates={"run_id": "'another'"})
    counts = run_job(build_taste_profiles.main)["counts"]
    assert (counts["users_touched"], counts["rows_read"], counts["skipped"]) == (0, 0, 0)
    assert run_job(build_taste_profiles.main)["counts"] == {"skipped": 1, "profiles": len(after)}
    pd.testing.assert_frame_equal(rows_of(warehouse, TASTE_PROFILES), after, check_exact=True)
    assert runs_of(warehouse) == runs


def lose_a_file(warehouse: Warehouse) -> None:
    """Leave the plays as they are now, but not as they were."""
    for path in DeltaTable(warehouse.uri(PLAYS)).file_uris():
        old = path
    DeltaTable(warehouse.uri(PLAYS)).update(updates={"play_count": "play_count + 1"})
    Path(old.removeprefix("file://")).unlink()


def lose_the_log(warehouse: Warehouse) -> None:
    DeltaTable(warehouse.uri(PLAYS)).create_checkpoint()
    for path in Path(warehouse.uri(PLAYS), "_delta_log").glob("*.json"):
        if int(path.stem) < DeltaTable(warehouse.uri(PLAYS)).version():
            path.unlink()
    DeltaTable(warehouse.uri(PLAYS)).update(updates={"play_count": "play_count + 1"})


def make_the_table_again(warehouse: Warehouse) -> None:
    held = warehouse.lookup(PLAYS, "user_id", *EVERYTHING)
    shutil.rmtree(warehouse.uri(PLAYS))
    fresh = Warehouse(warehouse.root)
    fresh.lookup(PLAYS, "user_id", "", "")
    write_deltalake(fresh.uri(PLAYS), held[: len(held) // 2], mode="append")


@pytest.mark.parametrize(
    "lose", [pytest.param(way, marks=MORE) for way in (lose_a_file, lose_the_log, make_the_table_again)]
)
def test_without_the_old_version_all_is_built(
    lose: Callable[[Warehouse], None], spark: Any, warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    run_job(build_taste_profiles.main)
    lose(warehouse)
    summary = run_job(build_taste_profiles.main)
    assert set(runs_of(warehouse).values()) == {summary["run_id"]}
    pd.testing.assert_frame_equal(
        rows_of(warehouse, TASTE_PROFILES), build_whole(spark, warehouse)[0], check_exact=True
    )


@MORE
def test_all_plays_gone_is_no_profile(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    run_job(build_taste_profiles.main)
    DeltaTable(warehouse.uri(PLAYS)).delete()
    DeltaTable(warehouse.uri(LIBRARY_COPIES)).delete()
    counts = run_job(build_taste_profiles.main)["counts"]
    assert (counts["users"], counts["profiles"]) == (0, 0)
    assert rows_of(warehouse, TASTE_PROFILES).empty


@MORE
def test_two_at_once_end_in_the_rows_of_one(spark: Any, warehouse: Warehouse, rows_of: Rows) -> None:
    arguments = ["--warehouse", warehouse.root]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(build_taste_profiles.main, [arguments] * 2)) == [0, 0]
        pd.testing.assert_frame_equal(rows_of(warehouse, TASTE_PROFILES), build_whole(spark, warehouse)[0])
        play(warehouse, ("u1", "SO1", 77), ("late", "SO2", 1))
        assert list(pool.map(build_taste_profiles.main, [arguments] * 2)) == [0, 0]
    pd.testing.assert_frame_equal(rows_of(warehouse, TASTE_PROFILES), build_whole(spark, warehouse)[0])
    assert len(set(runs_of(warehouse).values())) == 2
