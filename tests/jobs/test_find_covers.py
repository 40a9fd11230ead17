"""Searches for versions: what is found is what brute force finds, and what a person sees of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import find_covers, train_cover_index
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.calibration import Calibration
from reprise.lib.tables import (
    BEAT_CHROMA,
    CHROMA_PATCHES,
    COVER_CLIQUES,
    COVER_MATCHES,
    COVER_VECTORS,
    JOB_RUNS,
    LIBRARY_TRACKS,
    MODELS,
    MSD_TRACKS,
    Table,
)
from reprise.udfs.arrow import arrow_schema

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

PCA = ("--method", "median_pca", "--param", "dimensions=10")
PLAIN = ("--rerank", "none")


@pytest.fixture(scope="session")
def ingested(cover_states: dict[str, Path]) -> Path:
    """Tracks and two clique lists."""
    return cover_states["ingested"]


@pytest.fixture(scope="session")
def trained(cover_states: dict[str, Path]) -> Path:
    """The same with chroma, a trained model, and its vectors."""
    return cover_states["trained"]


@pytest.fixture
def warehouse(trained: Path, tmp_path: Path) -> Warehouse:
    """A copy of the trained warehouse."""
    shutil.copytree(trained, tmp_path / "warehouse")
    return Warehouse(str(tmp_path / "warehouse"))


def versions(warehouse: Warehouse) -> dict[str, int]:
    found = Warehouse(warehouse.root).versions()
    return {name: version for name, version in found.items() if name != JOB_RUNS.name}


def put(warehouse: Warehouse, table: Table, rows: pd.DataFrame) -> None:
    rows = rows.assign(run_id="r")
    warehouse.merge(table, pa.Table.from_pandas(rows, arrow_schema(table), preserve_index=False), force=True)


def rename(warehouse: Warehouse, track_ids: list[str], **columns: object) -> None:
    """Give tracks other tags."""
    rows = warehouse.lookup(MSD_TRACKS, "track_id", min(track_ids), max(track_ids)).to_pylist()
    changed = [row | {"sha256": "other"} | columns for row in rows if row["track_id"] in track_ids]
    warehouse.merge(MSD_TRACKS, pa.Table.from_pylist(changed, arrow_schema(MSD_TRACKS)), force=True)


def brute_force(vectors: pd.DataFrame, query_id: str, k: int, left_out: tuple[str, ...] = ()) -> pd.DataFrame:
    """The k nearest tracks, nearest first and ties by id: ``candidate_id``, ``distance``."""
    one = vectors.set_index("track_id")["vector"][query_id]
    rows = [
        (float(np.sqrt(((np.asarray(one, "f8") - np.asarray(other, "f8")) ** 2).sum())), track_id)
        for track_id, other in zip(vectors["track_id"], vectors["vector"], strict=True)
        if track_id not in (query_id, *left_out)
    ]
    return pd.DataFrame(sorted(rows)[:k], columns=["distance", "candidate_id"])


def matches(warehouse: Warehouse, rows_of: Rows, query_id: str) -> pd.DataFrame:
    rows = rows_of(warehouse, COVER_MATCHES)
    return rows[rows["query_id"] == query_id].sort_values("rank").reset_index(drop=True)


def test_plain_search_is_brute_force(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    ids = vectors["track_id"].tolist()
    # three tracks with one vector: the same distance from any other
    same = vectors["track_id"].isin([ids[5], ids[50], ids[70]])
    vectors.loc[same, "vector"] = pd.Series([vectors["vector"][5]] * 3, index=vectors.index[same])
    put(warehouse, COVER_VECTORS, vectors)
    asked = [ids[5], ids[0], ids[33]]
    counts = run_job(find_covers.main, *PLAIN, "--top", 60, *(f"--track={i}" for i in asked))["counts"]
    assert counts == {"queries": 3, "skipped": 0, "searched": 3, "without_vector": 0, "matches": 180}
    (model,) = warehouse.lookup(MODELS, "model_id", "", "~")["model_id"].to_pylist()
    for query_id in asked:
        found, expected = matches(warehouse, rows_of, query_id), brute_force(vectors, query_id, 60)
        assert found["candidate_id"].tolist() == expected["candidate_id"].tolist()
        np.testing.assert_allclose(found["distance"], expected["distance"], rtol=1e-12)
        assert found["rank"].tolist() == list(range(1, 61))
        assert set(found["model_id"]) == {model}
        assert set(found["reranker"]) == {"none"}
        assert found[["alignment_distance", "transposition", "tempo_ratio"]].isna().all(axis=None)
        assert found["probability"].between(0, 1).all()
        assert found["probability"].is_monotonic_decreasing
    assert matches(warehouse, rows_of, ids[5])["distance"][:3].tolist()[:2] == [0, 0]


@pytest.mark.parametrize("reranker", list(RERANKERS))
def test_reranked_search_is_brute_force(reranker: str, warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    stored = rows_of(warehouse, BEAT_CHROMA).set_index("track_id")["beat_chroma"]
    asked = vectors["track_id"].tolist()[10:12]
    run_job(find_covers.main, "--rerank", reranker, "--candidates", 15, "--top", 6, *(f"--track={i}" for i in asked))
    (row,) = warehouse.lookup(MODELS, "model_id", "", "~").to_pylist()

    learned = json.loads(row["metrics"])["calibration"][reranker]
    calibration = Calibration(tuple(learned["weights"]), learned["intercept"])
    for query_id in asked:
        expected = brute_force(vectors, query_id, 15)
        aligned = [
            RERANKERS[reranker](stored[query_id].reshape(12, -1), stored[i].reshape(12, -1))
            for i in expected["candidate_id"]
        ]
        for name in ("transposition", "tempo_ratio"):
            expected[name] = [getattr(one, name) for one in aligned]
        expected["alignment_distance"] = [one.distance for one in aligned]
        order = ["alignment_distance", "distance", "candidate_id"]
        expected = expected.sort_values(order).reset_index(drop=True)[:6]
        found = matches(warehouse, rows_of, query_id)
        assert found["rank"].tolist() == [1, 2, 3, 4, 5, 6]
        for name in ("candidate_id", "transposition"):
            assert found[name].tolist() == expected[name].tolist()
        for name in ("distance", "alignment_distance", "tempo_ratio"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
        np.testing.assert_allclose(found["probability"], calibration.probability(expected["alignment_distance"]), 1e-6)


def test_known_duplicates_of_the_query_are_left_out(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    query_id = vectors["track_id"][7]
    nearest = brute_force(vectors, query_id, 3)["candidate_id"].tolist()
    rename(warehouse, [query_id, *nearest[:2]], song_id="SOSAMESAMESAMESAME")
    run_job(find_covers.main, *PLAIN, "--track", query_id)
    expected = brute_force(vectors, query_id, 10, tuple(nearest[:2]))
    assert matches(warehouse, rows_of, query_id)["candidate_id"].tolist() == expected["candidate_id"].tolist()
    # the other tracks find both of them
    run_job(find_covers.main, *PLAIN, "--track", nearest[2], "--top", 76)
    assert {query_id, *nearest[:2]} <= set(matches(warehouse, rows_of, nearest[2])["candidate_id"])


def test_tracks_without_a_song_are_no_duplicates(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    query_id = vectors["track_id"][7]
    expected = brute_force(vectors, query_id, 10)
    rename(warehouse, [query_id, *expected["candidate_id"][:2]], song_id=None)
    run_job(find_covers.main, *PLAIN, "--track", query_id)
    assert matches(warehouse, rows_of, query_id)["candidate_id"].tolist() == expected["candidate_id"].tolist()


def test_second_search_is_skipped_until_something_has_changed(
    warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    arguments = (*PLAIN, "--cliques", "shs_dataset_test")
    first = run_job(find_covers.main, *arguments)["counts"]
    # two of the list are too short to have a vector
    assert first == {"queries": 16, "skipped": 0, "searched": 14, "without_vector": 2, "matches": 140}
    before, rows = versions(warehouse), rows_of(warehouse, COVER_MATCHES)
    second = run_job(find_covers.main, *arguments)["counts"]
    assert (second["skipped"], second["searched"], second["without_vector"]) == (14, 0, 2)
    assert versions(warehouse) == before
    forced = run_job(find_covers.main, *arguments, "--force")["counts"]
    assert (forced["skipped"], forced["searched"]) == (0, 14)
    pd.testing.assert_frame_equal(rows_of(warehouse, COVER_MATCHES), rows)
    # a track nearest to all of them comes
    vectors = rows_of(warehouse, COVER_VECTORS)
    one = vectors[vectors["track_id"] == rows["query_id"][0]].assign(track_id="TRZZZZZ128F0000000")
    put(warehouse, COVER_VECTORS, one)
    again = run_job(find_covers.main, *arguments)["counts"]
    assert (again["skipped"], again["searched"]) == (0, 14)
    assert matches(warehouse, rows_of, rows["query_id"][0])["candidate_id"][0] == "TRZZZZZ128F0000000"


def test_other_settings_search_again_and_leave_no_old_rows(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    one, other = rows_of(warehouse, COVER_VECTORS)["track_id"][[3, 40]]
    run_job(find_covers.main, *PLAIN, "--track", one, "--track", other)
    of_other = matches(warehouse, rows_of, other)
    counts = run_job(find_covers.main, *PLAIN, "--track", one, "--top", 3)["counts"]
    assert (counts["searched"], counts["matches"]) == (1, 3)
    assert matches(warehouse, rows_of, one)["rank"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(matches(warehouse, rows_of, other), of_other)
    run_job(find_covers.main, "--rerank", "simple", "--candidates", 3, "--track", one, "--top", 2)
    assert matches(warehouse, rows_of, one)["reranker"].tolist() == ["simple"] * 2


def test_another_model_is_searched_when_it_is_asked_for(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    (first,) = warehouse.lookup(MODELS, "model_id", "", "~")["model_id"].to_pylist()
    run_job(train_cover_index.main, "--method", "median_patch")
    vectors = rows_of(warehouse, COVER_VECTORS)
    query_id = vectors["track_id"][0]
    for model, arguments in ((False, ()), (True, ("--model", first))):
        run_job(find_covers.main, *PLAIN, "--track", query_id, *arguments)
        of_model = vectors[(vectors["model_id"] == first) == model]
        found, expected = matches(warehouse, rows_of, query_id), brute_force(of_model, query_id, 10)
        assert found["candidate_id"].tolist() == expected["candidate_id"].tolist()
        assert (set(found["model_id"]) == {first}) == model


def test_all_other_tracks_are_found_where_there_are_fewer_than_asked(
    warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    run_job(find_covers.main, *PLAIN, "--track", vectors["track_id"][0], "--top", 1000)
    found = matches(warehouse, rows_of, vectors["track_id"][0])
    assert sorted(found["candidate_id"]) == vectors["track_id"].tolist()[1:]
    assert found["rank"].tolist() == list(range(1, 77))


@pytest.mark.parametrize("reranker", ["none", "qmax"])
def test_a_track_that_is_alone_has_no_match(
    reranker: str, warehouse: Warehouse, run_job: Run, rows_of: Rows, tmp_path: Path
) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    warehouse.merge(
        COVER_VECTORS, [], delete=pa.Table.from_pandas(vectors.loc[1:, ["track_id", "model_id"]], preserve_index=False)
    )
    query_id, picture = vectors["track_id"][0], tmp_path / "drawn.png"
    counts = run_job(find_covers.main, "--rerank", reranker, "--track", query_id)["counts"]
    assert (counts["searched"], counts["matches"]) == (1, 0)
    said = run_job(find_covers.main, "--rerank", reranker, "--track", query_id, "--plot", picture, exit_code=2)
    assert said["error"] == f"reprise find-covers: --plot: {query_id} has no match to draw\n"


def test_tracks_and_the_tracks_of_a_list_are_each_searched_once(
    warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    listed = rows_of(warehouse, COVER_CLIQUES).query("source == 'shs_dataset_train'")["track_id"].tolist()
    other = next(i for i in rows_of(warehouse, COVER_VECTORS)["track_id"] if i not in listed)
    named = ("--track", other, "--track", listed[0], "--track", other)
    counts = run_job(find_covers.main, *PLAIN, *named, "--cliques", "shs_dataset_train", "--top", 1)["counts"]
    assert (counts["queries"], counts["searched"], counts["matches"]) == (21, 21, 21)
    assert rows_of(warehouse, COVER_MATCHES)["query_id"].tolist() == sorted([*listed, other])


def test_a_list_without_any_vector_is_no_error(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    short = rows_of(warehouse, CHROMA_PATCHES).query("status != 'ok'")["track_id"].tolist()
    cliques = rows_of(warehouse, COVER_CLIQUES)
    put(warehouse, COVER_CLIQUES, cliques[:3].assign(clique_id="short", source="short", track_id=short))
    counts = run_job(find_covers.main, *PLAIN, "--cliques", "short")["counts"]
    assert counts == {"queries": 3, "skipped": 0, "searched": 0, "without_vector": 3, "matches": 0}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "nothing to search for: give --track ID or --cliques LIST"),
        (("--track", "TRNONE"), "--track TRNONE has no chroma: ingest it, then run extract-chroma"),
        (("--cliques", "none"), "there is no clique list none; there are: shs_dataset_test, shs_dataset_train"),
        (("--track", "TRNONE", "--model", "none"), "there is no model none; there are: median_pca-"),
        (("--track", "TRNONE", "--top", "0"), "argument --top: must be at least 1, not 0"),
        (("--track", "TRNONE", "--top", "ten"), "argument --top: "),
        (("--track", "TRNONE", "--candidates", "-1"), "argument --candidates: must be at least 1, not -1"),
        (("--track", "TRNONE", "--rerank", "best"), "invalid choice: 'best'"),
    ],
)
def test_bad_usage_is_said_in_one_line(
    arguments: tuple[str, ...], reason: str, warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    said = run_job(find_covers.main, *arguments, exit_code=2)["error"]
    assert said.startswith(f"reprise find-covers: {reason}" if "invalid" not in reason else "reprise find-covers: ")
    assert reason in said
    assert said.count("\n") == 1
    assert len(rows_of(warehouse, COVER_MATCHES)) == 0


def test_a_track_without_a_vector_is_told_why(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    short = rows_of(warehouse, CHROMA_PATCHES).query("status != 'ok'")["track_id"].tolist()[0]
    said = run_job(find_covers.main, "--track", short, exit_code=2)["error"]
    assert said == f"reprise find-covers: --track {short} cannot be searched for: too short for patches\n"
    vectors = rows_of(warehouse, COVER_VECTORS)
    gone = vectors.loc[:0, ["track_id", "model_id"]]
    warehouse.merge(COVER_VECTORS, [], delete=pa.Table.from_pandas(gone, preserve_index=False))
    said = run_job(find_covers.main, "--track", gone["track_id"][0], exit_code=2)["error"]
    assert said == (
        f"reprise find-covers: --track {gone['track_id'][0]} has no vector: run train-cover-index --model"
        f" {gone['model_id'][0]} for tracks that are new\n"
    )


def test_a_track_that_was_removed_is_told_why(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    gone = rows_of(warehouse, COVER_VECTORS)["track_id"][:2].tolist()
    for table in (BEAT_CHROMA, CHROMA_PATCHES):
        warehouse.merge(table, [], delete=pa.table({"track_id": gone}))
    said = run_job(find_covers.main, "--track", gone[0], exit_code=2)["error"]
    assert said == (
        f"reprise find-covers: {gone[0]} has a vector and no chroma any more: run train-cover-index, which forgets it\n"
    )


def test_without_a_model_it_is_said_what_to_run(warehouse: Warehouse, run_job: Run) -> None:
    shutil.rmtree(warehouse.uri(MODELS))
    said = run_job(find_covers.main, "--track", "TRA", exit_code=2)["error"]
    assert said == "reprise find-covers: there is no model: run train-cover-index first\n"


def test_a_person_sees_titles_and_artists_and_a_picture(
    warehouse: Warehouse, rows_of: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    query_id = vectors["track_id"][7]
    best, second = brute_force(vectors, query_id, 2)["candidate_id"]
    # what rich and matplotlib read as markup, and names in other alphabets
    rename(warehouse, [query_id], title="Été $x_ [live]", artist_name="Björk [/b] 音楽")
    rename(warehouse, [best], title="Ночь [red]", artist_name="A$AP ^_ $")
    rename(warehouse, [second], title=None, artist_name=None)
    picture = tmp_path / "drawn.png"
    arguments = ["--track", query_id, "--candidates", "2", "--top", "2", "--plot", str(picture)]
    assert find_covers.main([*arguments, "--warehouse", warehouse.root]) == 0
    printed = capsys.readouterr().out
    for words in (query_id, "Été $x_ [live]", "(Björk [/b] 音楽)", best, "Ночь [red]", "A$AP ^_ $", second, "prob."):
        assert words in printed
    assert f"drawn: {picture}" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_library_tracks_are_found_and_named(
    warehouse: Warehouse, rows_of: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    original, own = rows_of(warehouse, COVER_VECTORS)["track_id"][7], "LB0123456789abcdef"
    for table in (COVER_VECTORS, BEAT_CHROMA, CHROMA_PATCHES):
        rows = rows_of(warehouse, table)
        put(warehouse, table, rows[rows["track_id"] == original].assign(track_id=own))
    told = {"track_id": own, "title": "Été (home)", "artist_name": "Zoë", "codec": "flac", "length_status": "ok"}
    told |= {"sample_rate": 44100, "channel_count": 2, "sha256": "s", "run_id": "r"}
    warehouse.merge(LIBRARY_TRACKS, pa.Table.from_pylist([told], arrow_schema(LIBRARY_TRACKS)))
    for query_id, found in ((own, original), (original, own)):
        arguments = ["--track", query_id, "--candidates", "3", "--top", "1"]
        assert find_covers.main([*arguments, "--warehouse", warehouse.root]) == 0
        printed = capsys.readouterr().out
        assert all(words in printed for words in (own, original, "Été (home)", "Zoë"))
        assert matches(warehouse, rows_of, query_id)["candidate_id"].tolist() == [found]


def test_the_track_named_first_is_drawn(
    warehouse: Warehouse, run_job: Run, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = rows_of(warehouse, COVER_VECTORS)["track_id"][[3, 40]]
    rename(warehouse, [other], title="The first", artist_name="Named")
    drawn: list[str] = []
    monkeypatch.setattr(find_covers, "draw_alignment", lambda *_, query_title, **__: drawn.append(query_title))
    run_job(find_covers.main, *PLAIN, "--track", other, "--track", one, "--plot", "drawn.png")
    assert drawn == ["The first – Named"]
