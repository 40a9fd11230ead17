"""Profiles against counting by hand, on histories at random, on composed listeners and on real ones."""

import cmath
import csv
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame

from reprise import conf
from reprise.jobs import build_taste_profiles, ingest_annotations
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._tastes.profiles import compute_profiles, count_matches, select_facts
from reprise.lib.music import sample
from reprise.lib.tables import (
    GENRE_LABELS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    LIBRARY_VERSIONS,
    MSD_TRACKS,
    PLAYS,
    TASTE_PROFILES,
    Table,
)
from reprise.lib.tables.taste_formulas import MATCH_STATUSES
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import Real

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
Play = tuple[str, str, int]
Song = dict[str, Any]
Profile = dict[tuple[str, str], dict[str, Any]]

USERS = ("'; DROP TABLE taste_profiles; --", "🎧 ünï", "مستمع", "u" * 10_000, "a\tb", "0")
SONG_SCHEMA = (
    "song_id string, track_id string, is_mismatch boolean, genre string, basis string, tempo double, key int,"
    " mode int, loudness double, year int"
)
NAN = float("nan")


def song(song_id: str, genre: str | None = "Rock", **facts: Any) -> Song:
    rest = dict.fromkeys(("tempo", "key", "mode", "loudness", "year"))
    basis = None if genre is None else "label"
    return {
        "song_id": song_id, "track_id": "T", "is_mismatch": False, "genre": genre, "basis": basis, **rest, **facts,
    }  # fmt: skip


def evidence_frame(spark: Any, plays: Iterable[Play]) -> DataFrame:
    frame: DataFrame = spark.createDataFrame(list(plays), "user_id string, song_id string, play_count int")
    return frame


def songs_frame(spark: Any, songs: Iterable[Song]) -> DataFrame:
    frame: DataFrame = spark.createDataFrame([tuple(one.values()) for one in songs], SONG_SCHEMA)
    return frame


def profiles_of(spark: Any, plays: Sequence[Play], songs: Iterable[Song]) -> Profile:
    rows = compute_profiles(evidence_frame(spark, plays), select_facts(songs_frame(spark, songs)), len(plays)).collect()
    found = {(row.user_id, row.genre): row.asDict() for row in rows}
    assert len(found) == len(rows)
    return found


def by_hand(plays: Sequence[Play], songs: Sequence[Song]) -> Profile:
    """The profiles from their definitions, listener by listener."""
    counts: Counter[tuple[str, str]] = Counter()
    for user, song_id, count in plays:
        counts[user, song_id] += count
    facts = {one["song_id"]: one for one in songs if one["genre"] is not None and not one["is_mismatch"]}
    heard: dict[str, dict[str, list[tuple[int, int, Song]]]] = defaultdict(lambda: defaultdict(list))
    unknown: Counter[str] = Counter()
    for (user, song_id), count in counts.items():
        weight = round(4096 * math.log2(1 + count))
        if song_id not in facts:
            unknown[user] += weight
        else:
            heard[user][facts[song_id]["genre"]].append((weight, count, facts[song_id]))
    profiles = {}
    for user, genres in heard.items():
        everything = sum(weight for songs_of in genres.values() for weight, _, _ in songs_of)
        for genre, entries in genres.items():
            weight = sum(w for w, _, _ in entries)
            profiles[user, genre] = {
                "user_id": user,
                "genre": genre,
                "share": weight / everything,
                "weight": weight / 4096,
                "plays": sum(n for _, n, _ in entries),
                "tracks": len(entries),
                "confidence": everything / 4096 / (everything / 4096 + 10),
                **{
                    f"{basis}_share": sum(w for w, _, f in entries if f["basis"] == basis) / weight
                    for basis in ("label", "tag", "model")
                },
                "unknown_share": unknown[user] / (unknown[user] + everything),
                "kept_weight": sum(w for w, _, f in entries if not is_held_out(f["song_id"])) / 4096,
                "held_out_tracks": sum(is_held_out(f["song_id"]) for _, _, f in entries),
                **describe(entries),
            }
    return profiles


def is_held_out(song_id: str) -> bool:
    return zlib.crc32(song_id.encode()) % 5 == 0


def describe(entries: Sequence[tuple[int, int, Song]]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name, units, least, greatest in (("tempo", 10, 0, 1000), ("loudness", 100, -200, 200), ("year", 1, 1, 9999)):
        known = [
            (w, int(Decimal(repr(units * f[name])).quantize(Decimal(1), ROUND_HALF_UP)))
            for w, _, f in entries
            if f[name] is not None and least <= f[name] <= greatest
        ]
        values = np.repeat([v for _, v in known], [w for w, _ in known]) / units
        described[f"{name}_mean"] = float(values.mean()) if known else None
        described[f"{name}_std"] = float(values.std()) if known else None
    mean = described["year_mean"]
    described["decade"] = None if mean is None else math.floor(mean / 10 + 1e-9) * 10
    modes = [(w, f["mode"]) for w, _, f in entries if f["mode"] in (0, 1)]
    described["major_share"] = sum(w * m for w, m in modes) / sum(w for w, _ in modes) if modes else None
    return described | mean_key([(w, f["key"]) for w, _, f in entries if f["key"] is not None and 0 <= f["key"] <= 11])


FIFTHS = (0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10, 5)


def mean_key(known: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if not known:
        return {"key": None, "key_concentration": None}
    weights = Counter[int]()
    for weight, pitch in known:
        weights[FIFTHS.index(pitch)] += weight
    # the circle has whole numbers: they decide between two keys that are equally near
    points = {place: cmath.rect(1024, math.tau * place / 12) for place in weights}
    rounded = {place: complex(round(point.real), round(point.imag)) / 1024 for place, point in points.items()}
    mean = sum(w * rounded[place] for place, w in weights.items()) / sum(weights.values())
    if abs(mean) < 1e-9:
        return {"key": None, "key_concentration": 0.0}
    place = math.floor(cmath.phase(mean) / math.tau * 12 + 0.5 + 1e-9)
    return {"key": FIFTHS[place % 12], "key_concentration": abs(mean)}


def assert_equal(found: Profile, expected: Profile) -> None:
    assert found.keys() == expected.keys()
    columns = [c.name for c in TASTE_PROFILES.columns if c.name != "run_id"]
    for entry, row in found.items():
        assert list(row) == columns
        for name in columns:
            wanted = expected[entry][name]
            if name == "key_concentration" and wanted is not None:
                assert row[name] == pytest.approx(wanted, abs=1e-3)  # the circle has whole numbers
            elif isinstance(wanted, float):
                assert row[name] == pytest.approx(wanted, rel=1e-9, abs=1e-6), (entry, name)
            else:
                assert row[name] == wanted, (entry, name)


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


SONGS = st.lists(
    st.fixed_dictionaries(
        {
            "genre": st.sampled_from(["Rock", "Pop", "صوت", None]),
            "is_mismatch": st.sampled_from([False, False, False, True]),
            "basis": st.sampled_from(["label", "tag", "model"]),
            "tempo": some(st.floats(40, 300) | st.sampled_from([0.05, 1000.0, 1000.1, -3.0, NAN, math.inf])),
            "key": some(st.integers(-1, 12)),
            "mode": some(st.integers(-1, 2)),
            "loudness": some(st.floats(-60, 5) | st.sampled_from([-200.0, 200.0, -201.0, NAN, -math.inf])),
            "year": some(st.integers(1920, 2011) | st.sampled_from([0, 1, 9999, 10_000, -5])),
        }
    ),
    min_size=1,
    max_size=9,
).map(lambda drawn: [song(f"S{n}", **facts) for n, facts in enumerate(drawn)])
COUNTS = st.integers(1, 9) | st.sampled_from([1, 255, 2**31 - 1])
HISTORY = st.lists(st.tuples(st.integers(0, 10), COUNTS), min_size=1, max_size=12)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(songs=SONGS, histories=st.lists(HISTORY, min_size=1, max_size=30), data=st.data())
def test_profiles_are_as_counted_by_hand(
    spark: Any, songs: list[Song], histories: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    """Each history stands there four times: as drawn, in another order, cut into pieces, and with more of one genre."""
    plays: list[Play] = []
    more: list[tuple[str, str]] = []
    for n, history in enumerate(histories):
        drawn = [(f"S{number}", count) for number, count in history]
        mixed = data.draw(st.permutations(drawn))
        pieces = [p for s, c in drawn for p in ((s, 1), (s, c - 1)) if p[1]]
        genre = data.draw(st.sampled_from([one["genre"] for one in songs if one["genre"]] or [""]))
        extra = [
            (one["song_id"], data.draw(COUNTS)) for one in songs if one["genre"] == genre and not one["is_mismatch"]
        ]
        more.append((f"more {n}", genre))
        for name, played in (("drawn", drawn), ("mixed", mixed), ("pieces", pieces), ("more", drawn + extra)):
            plays += [(f"{name} {n}", song_id, count) for song_id, count in played]
    found = profiles_of(spark, plays, songs)
    assert_equal(found, by_hand(plays, songs))

    def of(user: str) -> dict[str, dict[str, Any]]:
        return {genre: {**row, "user_id": ""} for (name, genre), row in found.items() if name == user}

    for n in range(len(histories)):
        assert of(f"drawn {n}") == of(f"mixed {n}") == of(f"pieces {n}")
        if rows := of(f"drawn {n}"):
            assert sum(row["share"] for row in rows.values()) == pytest.approx(1, abs=1e-12)
            assert all(0 < row["share"] <= 1 and 0 < row["confidence"] < 1 for row in rows.values())
            assert all(0 <= row["unknown_share"] < 1 and row["kept_weight"] <= row["weight"] for row in rows.values())
            bases = [[row[f"{basis}_share"] for basis in ("label", "tag", "model")] for row in rows.values()]
            assert [sum(shares) for shares in bases] == pytest.approx([1] * len(rows), abs=1e-12)
    for user, genre in more:
        before = found.get((user.replace("more", "drawn"), genre), {"share": 0.0})["share"]
        assert found.get((user, genre), {"share": 0.0})["share"] >= before


def test_what_never_varies_has_no_spread_and_opposite_keys_no_middle(spark: Any) -> None:
    facts: dict[str, Any] = {"tempo": 123.4, "key": 9, "mode": 0, "loudness": -7.31, "year": 1999}
    songs = [song("S0", **facts), song("S1", **facts), song("S2", "Pop", key=0), song("S3", "Pop", key=6)]
    songs += [song("S4", "Jazz", key=0, tempo=100.0), song("S5", "Jazz", key=3, tempo=NAN)]
    found = profiles_of(spark, [("ann", f"S{n}", 7) for n in range(6)], songs)
    rock, pop, jazz = (found["ann", genre] for genre in ("Rock", "Pop", "Jazz"))
    assert [rock[f"{name}_{part}"] for name in ("tempo", "loudness", "year") for part in ("mean", "std")] == [
        *(123.4, 0.0, -7.31, 0.0, 1999.0, 0.0)
    ]
    assert (rock["key"], rock["key_concentration"], rock["major_share"], rock["decade"]) == (9, 1.0, 0.0, 1990)
    assert (pop["key"], pop["key_concentration"], pop["tempo_std"], pop["decade"]) == (None, 0.0, None, None)
    # C and E flat are three fifths apart: of the keys between, both as near, the one further round
    assert (jazz["key"], jazz["tempo_mean"]) == (5, 100.0)


def test_a_song_on_repeat_is_not_a_taste(spark: Any) -> None:
    songs = [song("S0", "Pop"), *(song(f"S{n}") for n in range(1, 21))]
    found = profiles_of(spark, [("ann", "S0", 500), *(("ann", f"S{n}", 1) for n in range(1, 21))], songs)
    assert found["ann", "Rock"]["share"] > 2 * found["ann", "Pop"]["share"]
    assert found["ann", "Pop"]["plays"] == 500


def test_what_is_not_known_and_what_is_held_out(spark: Any) -> None:
    """Songs without a genre, of other tracks and of no track are unknown; a hash says which songs are held out."""
    songs = [
        *(song(f"S{n}", ("Rock", "Pop")[n % 2], basis=("label", "tag", "model")[n % 3]) for n in range(60)),
        song("none", None), song("wrong", is_mismatch=True), song("صوت"), song("🎷"),
    ]  # fmt: skip
    plays = [("ann", one["song_id"], 3) for one in songs] + [("ann", "absent", 1), ("ann", "none", 12)]
    plays += [("bob", "none", 3), ("bob", "absent", 3), ("eve", "S1", 1)]
    found = profiles_of(spark, plays, songs)
    assert_equal(found, by_hand(plays, songs))
    rock, pop = found["ann", "Rock"], found["ann", "Pop"]
    assert {user for user, _ in found} == {"ann", "eve"}
    # of weight 2: 62 songs and the wrong one; 4 for the one of 15 plays without a genre, and 1 for the absent one
    assert rock["unknown_share"] == pop["unknown_share"] == pytest.approx(7 / 131, abs=1e-12)
    assert found["eve", "Pop"]["unknown_share"] == 0.0
    assert pop["label_share"] == pop["tag_share"] == pop["model_share"] == pytest.approx(1 / 3)
    for row in (rock, pop):
        assert 2 < row["held_out_tracks"] < row["tracks"] / 2
        assert row["kept_weight"] == row["weight"] - 2 * row["held_out_tracks"]


def test_no_evidence_and_no_songs(spark: Any) -> None:
    assert profiles_of(spark, [], [song("S0")]) == {}
    assert profiles_of(spark, [("ann", "S0", 1)], []) == {}
    none = count_matches(evidence_frame(spark, []), songs_frame(spark, [song("S0")]))
    assert none == dict.fromkeys(["rows_read", *MATCH_STATUSES], 0)


def put(warehouse: Warehouse, table: Table, *rows: Mapping[str, Any]) -> None:
    """Write rows that have at least a key; what else must not be NULL gets a value."""
    filled = {c.name: {"string": "x", "int": 1, "double": 1.0}[c.type] for c in table.columns if not c.nullable}
    content = pa.Table.from_pylist([{**filled, **row} for row in rows], arrow_schema(table))
    warehouse.merge(table, content)


def play(warehouse: Warehouse, spark: Any, *plays: Play, source: str = "s") -> None:
    rows = [(user, song_id, source, count, "r") for user, song_id, count in plays]
    schema = "user_id string, song_id string, source string, play_count int, run_id string"
    warehouse.merge(PLAYS, spark.createDataFrame(rows, schema))


def track_row(number: int, song_id: str, **facts: Any) -> dict[str, Any]:
    return {"track_id": f"TR{number:016d}", "song_id": song_id, "uri": str(number), "sha256": "s", **facts}


def test_strange_listeners_and_tracks_of_their_own(
    spark: Any, warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    put(warehouse, MSD_TRACKS, track_row(0, "SO1", tempo=99.0), track_row(1, "SO2"))
    put(warehouse, LIBRARY_TRACKS, {"track_id": "LB0123456789abcdef", "tempo": 140.0})
    labels = {f"TR{0:016d}": "'); DROP", "LB0123456789abcdef": "🎷"}
    put(warehouse, GENRE_LABELS, *({"track_id": t, "source": "l", "rank": 0, "genre": g} for t, g in labels.items()))
    play(warehouse, spark, *((user, "SO1", 3) for user in USERS), ("0", "SO2", 1), ("only unknown", "SO3", 2))
    play(warehouse, spark, ("0", "LB0123456789abcdef", 2), source="history")
    put(warehouse, LIBRARY_COPIES, *({"user_id": u, "track_id": "LB0123456789abcdef"} for u in ("0", "owner")))
    counts = run_job(build_taste_profiles.main)["counts"]
    assert counts == {
        "skipped": 0, "rows_read": 11, "counted": 9, "no_genre": 1, "mismatched": 0, "unmatched": 1,
        "users": len(USERS) + 1, "profiles": len(USERS) + 2, "users_touched": len(USERS) + 1,
    }  # fmt: skip
    rows: Any = rows_of(warehouse, TASTE_PROFILES).set_index(["user_id", "genre"])
    assert set(rows.index) == {*((u, "'); DROP") for u in USERS), ("0", "🎷"), ("owner", "🎷")}
    assert rows.loc[("0", "🎷")][["plays", "tracks", "weight", "share"]].tolist() == [3, 1, 2.0, 0.5]
    assert rows.loc[("owner", "🎷")][["plays", "tempo_mean", "confidence"]].tolist() == [1, 140.0, 1 / 11]
    bases = ["label_share", "tag_share", "model_share"]
    assert rows.loc[("0", "🎷")][[*bases, "unknown_share"]].tolist() == [1, 0, 0, pytest.approx(0.2, abs=1e-12)]
    assert rows.loc[("owner", "🎷")]["unknown_share"] == 0


LIBRARY = tuple(f"LB{n:016d}" for n in range(6))


def put_versions(warehouse: Warehouse, representatives: Mapping[int, int]) -> None:
    """Write the groups of the library: number of the representative by number of the track."""
    put(
        warehouse,
        LIBRARY_VERSIONS,
        *({"track_id": LIBRARY[n], "representative_id": LIBRARY[of]} for n, of in representatives.items()),
    )


def test_with_works_the_versions_of_a_work_count_once(
    spark: Any, warehouse: Warehouse, run_job: RunJob, rows_of: Rows, refusal: Callable[..., str]
) -> None:
    """As counted by hand, after each song is replaced by the work's representative; in updates as in a full build."""
    genres = ["Rock", "Pop", "Rock", "Jazz", None, "Rock"]
    put(warehouse, LIBRARY_TRACKS, *({"track_id": t, "tempo": 90.0 + 10 * n} for n, t in enumerate(LIBRARY)))
    labels = [{"track_id": t, "source": "l", "rank": 0, "genre": g} for t, g in zip(LIBRARY, genres, strict=True) if g]
    put(warehouse, GENRE_LABELS, *labels)
    plays: list[Play] = [
        ("ann", LIBRARY[0], 2), ("ann", LIBRARY[1], 3), ("ann", LIBRARY[3], 1),
        ("bob", LIBRARY[1], 4), ("bob", "SO1", 1), ("cyd", LIBRARY[3], 5), ("dan", LIBRARY[5], 1),
    ]  # fmt: skip
    play(warehouse, spark, *plays)
    put(warehouse, LIBRARY_COPIES, *({"user_id": "ann", "track_id": LIBRARY[n]} for n in (1, 2)))
    evidence = [*plays, ("ann", LIBRARY[1], 1), ("ann", LIBRARY[2], 1)]
    songs = [song(t, g, tempo=90.0 + 10 * n) for n, (t, g) in enumerate(zip(LIBRARY, genres, strict=True))]
    assert refusal(build_taste_profiles, "--works") == (
        "--works needs the versions of the works: run group-versions first"
    )

    def check(representatives: Mapping[int, int], *flags: str) -> dict[str, int]:
        counts: dict[str, int] = run_job(build_taste_profiles.main, *flags)["counts"]
        works = {LIBRARY[n]: LIBRARY[of] for n, of in representatives.items()}
        expected = by_hand([(user, works.get(one, one), count) for user, one, count in evidence], songs)
        found = rows_of(warehouse, TASTE_PROFILES)
        found = found.astype(object).where(found.notna(), None)
        profiles = [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]
        assert_equal({(row["user_id"], row["genre"]): row for row in profiles}, expected)
        return counts

    alone = {n: n for n in range(6)}
    first = {**alone, 1: 0, 2: 0}
    check({})
    put_versions(warehouse, first)
    assert run_job(build_taste_profiles.main)["counts"]["skipped"] == 1  # without the option, they are not read
    assert check(first, "--works")["users_touched"] == 4
    (rock,) = (row for row in rows_of(warehouse, TASTE_PROFILES).to_dict("records") if row["user_id"] == "bob")
    assert (rock["genre"], rock["plays"], rock["tracks"], rock["tempo_mean"]) == ("Rock", 4, 1, 90.0)
    assert run_job(build_taste_profiles.main, "--works")["counts"]["skipped"] == 1

    second = {**alone, 1: 2, 3: 3}  # the group falls apart, and another track stands for what is left of it
    put_versions(warehouse, second)
    assert check(second, "--works")["users_touched"] == 2
    put_versions(warehouse, {**second, 3: 4})  # a representative without a genre
    assert check({**second, 3: 4}, "--works")["users_touched"] == 2
    assert check({})["users_touched"] == 4  # the option has changed
    note = warehouse.note(TASTE_PROFILES).content["made_from"]
    assert "works" not in note
    assert LIBRARY_VERSIONS.name not in note["versions"]
    check({**second, 3: 4}, "--works")
    note = warehouse.note(TASTE_PROFILES).content["made_from"]
    assert note["works"]
    assert note["versions"][LIBRARY_VERSIONS.name] == warehouse.versions()[LIBRARY_VERSIONS.name]


def test_tables_without_a_row_are_nothing_to_build_from(refusal: Callable[..., str], warehouse: Warehouse) -> None:
    warehouse.lookup(PLAYS, "user_id", "", "")  # makes the table
    said = refusal(build_taste_profiles)
    assert said == "there are no plays and no library tracks: run ingest-annotations or ingest-library first"
    assert not warehouse.exists(TASTE_PROFILES)


@pytest.mark.exhaustive
def test_no_genre_is_no_profile(spark: Any, run_job: RunJob, warehouse: Warehouse) -> None:
    play(warehouse, spark, ("ann", "SO1", 3))
    counts = run_job(build_taste_profiles.main)["counts"]
    assert (counts["rows_read"], counts["unmatched"], counts["profiles"], counts["users"]) == (1, 1, 0, 0)
    assert run_job(build_taste_profiles.main)["counts"]["skipped"] == 1


def test_planted_tastes_are_found(tmp_path: Path, run_job: RunJob, warehouse: Warehouse, rows_of: Rows) -> None:
    """Of the sample that ``make-sample`` composes unless told otherwise."""
    annotations = tmp_path / "annotations"
    sample.write_annotations(sample.SamplePlan(500, seed=conf.load(environ={}).seed), annotations)
    run_job(ingest_annotations.main, "--source", annotations)
    counts = run_job(build_taste_profiles.main)["counts"]
    assert counts["rows_read"] == sum(counts[name] for name in MATCH_STATUSES) == len(rows_of(warehouse, PLAYS))
    rows = rows_of(warehouse, TASTE_PROFILES)
    top = rows.sort_values("share").groupby("user_id")["genre"].last()
    plays = rows.groupby("user_id")["plays"].sum()
    with (annotations / "truth_listeners.csv").open(newline="", encoding="utf-8") as file:
        planted = {row["user_id"]: row["top_genre"] for row in csv.DictReader(file)}
    asked = [user for user in planted if plays.get(user, 0) >= 20]
    assert len(asked) > 80
    assert sum(top[user] == planted[user] for user in asked) >= 0.95 * len(asked)


def test_real_triplets_are_counted_as_by_hand(shared_data: Path, real: Real, rows_of: Rows) -> None:
    counts = real.counts["profiles"]
    plays = pd.concat(
        pd.read_csv(path, sep="\t", names=["user_id", "song_id", "play_count"])
        for path in sorted((shared_data / "taste").glob("*.txt"))
    )
    tracks = rows_of(real.warehouse, MSD_TRACKS)[["track_id", "song_id"]]
    labels = [line.split("\t") for line in (shared_data / "annotations/msd_tagtraum_cd1.cls").read_text().splitlines()]
    lines = (shared_data / "annotations/sid_mismatches.txt").read_text("utf-8").splitlines()
    wrong = {(line[8:26], line[27:45]) for line in lines}
    labelled = {fields[0] for fields in labels}
    by_song = defaultdict(list)
    for track_id, song_id in tracks.itertuples(index=False):
        by_song[song_id].append((track_id, (song_id, track_id) in wrong))
    expected = Counter[str]()
    for song_id in plays["song_id"]:
        right = [track_id for track_id, is_wrong in by_song[song_id] if not is_wrong]
        has_genre = any(track_id in labelled for track_id in right)
        kind = (
            ("counted" if has_genre else "no_genre") if right else ("mismatched" if by_song[song_id] else "unmatched")
        )
        expected[kind] += 1
    print(counts)
    assert {name: counts[name] for name in MATCH_STATUSES} == {name: expected[name] for name in MATCH_STATUSES}
    assert counts["rows_read"] == len(plays) == sum(expected.values())
