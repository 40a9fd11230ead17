"""Searches for versions: what is found is what brute force finds, and what a person sees of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from reprise.jobs import evaluate_covers, find_covers
from reprise.jobs._detection.models import find_embedding
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.detect.alignment import DEFAULT_RERANKER, RERANKERS, SHORT_RERANKER
from reprise.lib.detect.calibration import Calibration
from reprise.lib.detect.embeddings import load
from reprise.lib.detect.part_network import MIN_BEATS, PartNetwork, describe_shipped_model, read_shipped_model
from reprise.lib.detect.plots import draw_alignment
from reprise.lib.tables import (
    BEAT_CHROMA,
    CHROMA_PATCHES,
    COVER_CLIQUES,
    COVER_MATCHES,
    COVER_VECTORS,
    LIBRARY_TRACKS,
    MODELS,
    MSD_TRACKS,
    Table,
)
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import CHAIN, EVERYTHING, NUMBERS, Chain, copy_warehouse, forget_part_network

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

PLAIN = ("--rerank", "none")
OF_LIST = CHAIN[NUMBERS["find-covers"]].arguments
"""What the chain searches for: the tracks of the test list, by the reranker ``simple``."""


@pytest.fixture
def warehouse(chain: Chain, tmp_path: Path) -> Warehouse:
    """A copy of the warehouse with the embeddings of one trained model."""
    return forget_part_network(copy_warehouse(chain.after("train-cover-index"), tmp_path / "warehouse"))


@pytest.fixture
def both(chain: Chain, warehouse: Warehouse) -> Warehouse:
    """The copy, with the embeddings of the part network too."""
    own = describe_shipped_model().model_id
    after = Warehouse(str(chain.after("train-cover-index")))
    for table in (MODELS, COVER_VECTORS):
        rows = after.lookup(table, table.key[0], *EVERYTHING)
        warehouse.merge(table, rows.filter(pc.equal(rows["model_id"], own)))
    return warehouse


def add_matches(chain: Chain, warehouse: Warehouse) -> None:
    """Give the copy the matches that the chain has found."""
    found = Warehouse(str(chain.after("find-covers"))).lookup(COVER_MATCHES, "query_id", "", "~")
    warehouse.merge(COVER_MATCHES, found)


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


def part_network_distances(vectors: pd.DataFrame, chroma: pd.Series, query_id: str) -> pd.DataFrame:
    """All other tracks of the part network, nearest to any transposition of the query first."""
    network = load(read_shipped_model())
    assert isinstance(network, PartNetwork)
    queries = network.embed_transpositions(chroma[query_id].reshape(12, -1)).astype("f8")
    rows = [
        (float(np.linalg.norm(queries - np.asarray(other, "f8"), axis=1).min()), track_id)
        for track_id, other in zip(vectors["track_id"], vectors["vector"], strict=True)
        if track_id != query_id
    ]
    return pd.DataFrame(sorted(rows), columns=["distance", "candidate_id"])


def expect_candidates(warehouse: Warehouse, rows_of: Rows, query_id: str, k: int) -> pd.DataFrame:
    """The k candidates of each model, those of the trained one first; known duplicates are left out."""
    songs = rows_of(warehouse, MSD_TRACKS).set_index("track_id")["song_id"]
    twins = tuple(songs.index[(songs == songs[query_id]) & (songs.index != query_id)])
    stored = rows_of(warehouse, BEAT_CHROMA).set_index("track_id")["beat_chroma"]
    vectors, own = rows_of(warehouse, COVER_VECTORS), describe_shipped_model().model_id
    parts = []
    for model_id, of_model in sorted(vectors.groupby("model_id"), key=lambda item: item[0] == own):
        if query_id not in set(of_model["track_id"]):
            continue
        if model_id == own:
            near = part_network_distances(of_model, stored, query_id)
            near = near[~near["candidate_id"].isin(twins)][:k]
        else:
            near = brute_force(of_model, query_id, k, twins)
        parts.append(near.assign(model_id=model_id))
    return pd.concat(parts).drop_duplicates("candidate_id").reset_index(drop=True)


def assert_is_brute_force(
    warehouse: Warehouse, rows_of: Rows, query_id: str, reranker: str, *, candidates: int, top: int
) -> None:
    """The matches of a query are those of all its candidates, aligned one by one."""
    stored = rows_of(warehouse, BEAT_CHROMA).set_index("track_id")["beat_chroma"]
    expected = expect_candidates(warehouse, rows_of, query_id, candidates)
    aligned = [
        RERANKERS[reranker](stored[query_id].reshape(12, -1), stored[i].reshape(12, -1))
        for i in expected["candidate_id"]
    ]
    for name in ("transposition", "tempo_ratio"):
        expected[name] = [getattr(one, name) for one in aligned]
    expected["alignment_distance"] = [one.distance for one in aligned]
    order = ["alignment_distance", "distance", "candidate_id"]
    expected = expected.sort_values(order).reset_index(drop=True)[:top]
    found = matches(warehouse, rows_of, query_id)
    assert found["rank"].tolist() == list(range(1, len(expected) + 1))
    assert set(found["reranker"]) == {reranker}
    for name in ("candidate_id", "transposition", "model_id"):
        assert found[name].tolist() == expected[name].tolist()
    # workers multiply with one thread, this process with several
    np.testing.assert_allclose(found["distance"], expected["distance"], atol=1e-5)
    for name in ("alignment_distance", "tempo_ratio"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    rows = warehouse.lookup(MODELS, "model_id", "", "~").to_pylist()
    (row,) = (row for row in rows if row["kind"] != PartNetwork.kind)
    learned = json.loads(row["metrics"])["calibration"][reranker]
    calibration = Calibration(tuple(learned["weights"]), learned["intercept"])
    np.testing.assert_allclose(found["probability"], calibration.probability(expected["alignment_distance"]), 1e-6)


def test_plain_search_is_brute_force_up_to_all_other_tracks(
    warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    ids = vectors["track_id"].tolist()
    # three tracks with one embedding: the same distance from any other
    same = vectors["track_id"].isin([ids[5], ids[50], ids[70]])
    vectors.loc[same, "vector"] = pd.Series([vectors["vector"][5]] * 3, index=vectors.index[same])
    put(warehouse, COVER_VECTORS, vectors)
    asked, n = [ids[5], ids[0], ids[33]], len(ids) - 1
    counts = run_job(find_covers.main, *PLAIN, "--top", 1000, *(f"--track={i}" for i in asked))["counts"]
    assert counts == {"queries": 3, "skipped": 0, "searched": 3, "without_vector": 0, "matches": 3 * n}
    (model,) = warehouse.lookup(MODELS, "model_id", "", "~")["model_id"].to_pylist()
    for query_id in asked:
        found, expected = matches(warehouse, rows_of, query_id), brute_force(vectors, query_id, n)
        assert found["candidate_id"].tolist() == expected["candidate_id"].tolist()
        np.testing.assert_allclose(found["distance"], expected["distance"], rtol=1e-12)
        assert found["rank"].tolist() == list(range(1, n + 1))
        assert set(found["model_id"]) == {model}
        assert set(found["reranker"]) == {"none"}
        assert found[["alignment_distance", "transposition", "tempo_ratio"]].isna().all(axis=None)
        assert found["probability"].between(0, 1).all()
        assert found["probability"].is_monotonic_decreasing
    assert matches(warehouse, rows_of, ids[5])["distance"][:3].tolist()[:2] == [0, 0]


def test_the_matches_of_a_list_are_those_of_brute_force(chain: Chain, rows_of: Rows) -> None:
    """As the chain has searched for them: with the reranker ``simple``."""
    warehouse = Warehouse(str(chain.after("find-covers")))
    rows = rows_of(warehouse, COVER_MATCHES)
    vectors = rows_of(warehouse, COVER_VECTORS)
    listed = rows_of(warehouse, COVER_CLIQUES).query("source == 'shs_dataset_test'")["track_id"].tolist()
    with_vector = sorted(set(vectors["track_id"]) & set(listed))
    # two of the list are too short for the trained model, and one of them for the part network too
    assert chain.summary(CHAIN[NUMBERS["find-covers"]])["counts"] == {
        "queries": 16, "skipped": 0, "searched": 15, "without_vector": 1, "matches": 150
    }  # fmt: skip
    assert sorted(set(rows["query_id"])) == with_vector
    for query_id in with_vector[::5]:
        assert_is_brute_force(warehouse, rows_of, query_id, "simple", candidates=20, top=10)


@pytest.mark.parametrize(
    "reranker",
    [
        pytest.param(name, marks=() if name == DEFAULT_RERANKER else pytest.mark.exhaustive)
        for name in RERANKERS
        if name != "simple"
    ],
)
def test_reranked_search_is_brute_force(reranker: str, warehouse: Warehouse, run_job: RunJob, rows_of: Rows) -> None:
    asked = rows_of(warehouse, COVER_VECTORS)["track_id"].tolist()[10:12]
    run_job(find_covers.main, "--rerank", reranker, "--candidates", 15, "--top", 6, *(f"--track={i}" for i in asked))
    for query_id in asked:
        assert_is_brute_force(warehouse, rows_of, query_id, reranker, candidates=15, top=6)


def test_both_indexes_are_searched_and_a_short_track_finds_what_only_one_of_them_has(
    both: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    """Without a reranker, a query has the candidates of one model: the trained one, if that embeds the query."""
    vectors, own = rows_of(both, COVER_VECTORS), describe_shipped_model().model_id
    trained = set(vectors[vectors["model_id"] != own]["track_id"])
    short = next(i for i in vectors["track_id"] if i not in trained)
    asked = (*sorted(trained)[10:12], short)
    tracks = [f"--track={i}" for i in asked]
    counts = run_job(find_covers.main, "--rerank", "simple", "--candidates", 12, "--top", 10, *tracks)["counts"]
    assert (counts["searched"], counts["without_vector"]) == (3, 0)
    for query_id in asked:
        assert_is_brute_force(both, rows_of, query_id, "simple", candidates=12, top=10)
    assert set(matches(both, rows_of, asked[0])["model_id"]) == {*vectors["model_id"]}
    assert set(matches(both, rows_of, short)["model_id"]) == {own}
    again = run_job(find_covers.main, "--rerank", "simple", "--candidates", 12, "--top", 10, *tracks)["counts"]
    assert (again["skipped"], again["searched"]) == (3, 0)
    run_job(find_covers.main, "--candidates", 12, *tracks)
    for query_id, reranker in zip(asked, (DEFAULT_RERANKER, DEFAULT_RERANKER, SHORT_RERANKER), strict=True):
        assert_is_brute_force(both, rows_of, query_id, reranker, candidates=12, top=10)
    run_job(find_covers.main, *PLAIN, "--top", 4, *tracks)
    for query_id in asked:
        expected = expect_candidates(both, rows_of, query_id, 4)
        expected = expected[expected["model_id"] == expected["model_id"][0]]
        found = matches(both, rows_of, query_id)
        assert found["candidate_id"].tolist() == expected["candidate_id"].tolist()
        assert found["model_id"].tolist() == expected["model_id"].tolist()


def test_with_the_part_network_alone_matches_have_no_probability(
    both: Warehouse, run_job: RunJob, rows_of: Rows, refusal: Callable[..., str]
) -> None:
    """As after ``train-cover-index --method part_network`` without any clique list."""
    own = describe_shipped_model().model_id
    vectors = rows_of(both, COVER_VECTORS)
    for table in (MODELS, COVER_VECTORS):
        ids = rows_of(both, table)
        keys = ids[ids["model_id"] != own][list(table.key)]
        both.merge(table, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
    query_id = vectors["track_id"][0]
    run_job(find_covers.main, "--track", query_id, "--top", 3)
    found = matches(both, rows_of, query_id)
    assert (len(found), set(found["model_id"])) == (3, {own})
    assert found["probability"].isna().all()
    said = refusal(evaluate_covers, "--cliques", "shs_dataset_test")
    assert said.startswith(f"{own} is the package's own model")


def test_tracks_of_one_song_are_left_out_and_those_without_a_song_are_not(
    warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    query_id = vectors["track_id"][7]
    nearest = brute_force(vectors, query_id, 3)["candidate_id"].tolist()
    others = vectors[~vectors["track_id"].isin([query_id, *nearest])]
    songless = others["track_id"].iloc[11]
    no_twins = brute_force(vectors, songless, 10)
    rename(warehouse, [query_id, *nearest[:2]], song_id="SOSAMESAMESAMESAME")
    rename(warehouse, [songless, *set(no_twins["candidate_id"][:2]) - {query_id, *nearest}], song_id=None)
    asked = (query_id, nearest[2], songless)
    run_job(find_covers.main, *PLAIN, *(f"--track={i}" for i in asked), "--top", len(vectors) - 1)
    expected = brute_force(vectors, query_id, 10, tuple(nearest[:2]))["candidate_id"].tolist()
    assert matches(warehouse, rows_of, query_id)["candidate_id"].tolist()[:10] == expected
    # other tracks find both of them
    assert {query_id, *nearest[:2]} <= set(matches(warehouse, rows_of, nearest[2])["candidate_id"])
    found = matches(warehouse, rows_of, songless)["candidate_id"].tolist()
    assert found[:10] == no_twins["candidate_id"].tolist()


def test_a_list_is_searched_again_when_a_track_has_come(
    chain: Chain, warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    add_matches(chain, warehouse)
    query_id = rows_of(warehouse, COVER_MATCHES)["query_id"][0]
    for table in (COVER_VECTORS, BEAT_CHROMA):
        rows = rows_of(warehouse, table)
        put(warehouse, table, rows[rows["track_id"] == query_id].assign(track_id="TRZZZZZ128F0000000"))
    counts = run_job(find_covers.main, *OF_LIST)["counts"]
    assert (counts["skipped"], counts["searched"]) == (0, 14)
    assert matches(warehouse, rows_of, query_id)["candidate_id"][0] == "TRZZZZZ128F0000000"


def test_other_settings_search_again_and_leave_no_old_rows(
    chain: Chain, warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    add_matches(chain, warehouse)
    one, other = rows_of(warehouse, COVER_MATCHES)["query_id"].unique()[[3, 8]]
    of_other = matches(warehouse, rows_of, other)
    assert len(matches(warehouse, rows_of, one)) == 10
    counts = run_job(find_covers.main, *PLAIN, "--track", one, "--top", 3)["counts"]
    assert (counts["searched"], counts["matches"]) == (1, 3)
    found = matches(warehouse, rows_of, one)
    assert (found["rank"].tolist(), found["reranker"].tolist()) == ([1, 2, 3], ["none"] * 3)
    pd.testing.assert_frame_equal(matches(warehouse, rows_of, other), of_other, check_dtype=False)


def test_the_model_trained_last_is_searched_unless_another_is_named(
    warehouse: Warehouse, run_job: RunJob, prepare: Callable[..., Any], rows_of: Rows
) -> None:
    (first,) = warehouse.lookup(MODELS, "model_id", "", "~").to_pylist()
    vectors = rows_of(warehouse, COVER_VECTORS)
    later = first | {"model_id": "later", "trained_at": first["trained_at"].replace(year=2100)}
    warehouse.merge(MODELS, pa.Table.from_pylist([later], arrow_schema(MODELS)))
    put(warehouse, COVER_VECTORS, vectors.assign(model_id="later", vector=vectors["vector"].to_numpy()[::-1]))
    _, run = prepare(find_covers)
    assert find_embedding(run, None).model_id == "later"
    query_id = vectors["track_id"][0]
    run_job(find_covers.main, *PLAIN, "--track", query_id, "--model", first["model_id"])
    found, expected = matches(warehouse, rows_of, query_id), brute_force(vectors, query_id, 10)
    assert found["candidate_id"].tolist() == expected["candidate_id"].tolist()
    assert set(found["model_id"]) == {first["model_id"]}


@pytest.mark.parametrize("reranker", ["none", DEFAULT_RERANKER])
def test_a_track_that_is_alone_has_no_match(
    reranker: str, warehouse: Warehouse, prepare: Callable[..., Any], refusal: Callable[..., str], rows_of: Rows
) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    gone = pa.Table.from_pandas(vectors.loc[1:, ["track_id", "model_id"]], preserve_index=False)
    warehouse.merge(COVER_VECTORS, [], delete=gone)
    asked = ("--rerank", reranker, "--track", vectors["track_id"][0])
    job, run = prepare(find_covers, *asked)
    job.body(run)
    assert (run.counts["searched"], run.counts["matches"]) == (1, 0)
    said = refusal(find_covers, *asked, "--plot", "drawn.png")
    assert said == f"--plot: {vectors['track_id'][0]} has no match to draw"


def test_tracks_and_the_tracks_of_a_list_are_each_searched_once(
    warehouse: Warehouse, prepare: Callable[..., Any], rows_of: Rows
) -> None:
    listed = rows_of(warehouse, COVER_CLIQUES).query("source == 'shs_dataset_train'")["track_id"].tolist()
    other = next(i for i in rows_of(warehouse, COVER_VECTORS)["track_id"] if i not in listed)
    named = ("--track", other, "--track", listed[0], "--track", other)
    _, run = prepare(find_covers, *named, "--cliques", "shs_dataset_train")
    assert find_covers._list_queries(run) == sorted([*listed, other])


def test_a_list_without_any_embedding_is_no_error(
    warehouse: Warehouse, prepare: Callable[..., Any], rows_of: Rows
) -> None:
    patches = rows_of(warehouse, CHROMA_PATCHES)
    short = patches[patches["track_id"].str.startswith("TR") & (patches["status"] != "ok")]["track_id"].tolist()
    cliques = rows_of(warehouse, COVER_CLIQUES)[: len(short)]
    put(warehouse, COVER_CLIQUES, cliques.assign(clique_id="short", source="short", track_id=short))
    job, run = prepare(find_covers, *PLAIN, "--cliques", "short")
    job.body(run)
    assert run.counts == {"queries": 3, "skipped": 0, "searched": 0, "without_vector": 3, "matches": 0}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "nothing to search for: give --track ID or --cliques LIST"),
        (("--track", "TRNONE"), "--track TRNONE has no chroma: ingest it, then run extract-chroma"),
        (("--cliques", "none"), "unknown clique list none; choose from: shs_dataset_test, shs_dataset_train"),
        (("--track", "TRNONE", "--model", "none"), "there is no cover embedding model none; choose from: median_pca-"),
        (("--track", "TRNONE", "--top", "0"), "argument --top: must be at least 1, not 0"),
        (("--track", "TRNONE", "--top", "ten"), "argument --top: "),
        (("--track", "TRNONE", "--candidates", "-1"), "argument --candidates: must be at least 1, not -1"),
        (("--track", "TRNONE", "--rerank", "best"), "argument --rerank: invalid choice: 'best'"),
    ],
)
def test_what_cannot_be_searched_for(
    arguments: tuple[str, ...], reason: str, warehouse: Warehouse, refusal: Callable[..., str], rows_of: Rows
) -> None:
    assert refusal(find_covers, *arguments).startswith(reason)
    assert len(rows_of(warehouse, COVER_MATCHES)) == 0


def test_why_a_track_cannot_be_searched_for(warehouse: Warehouse, refusal: Callable[..., str], rows_of: Rows) -> None:
    short = rows_of(warehouse, CHROMA_PATCHES).query("status != 'ok'")["track_id"].tolist()[-1]
    chroma = rows_of(warehouse, BEAT_CHROMA).set_index("track_id", drop=False)
    for n_beats, status, reason in (
        (0, "silent", "cannot be searched for: silent"),
        (
            MIN_BEATS - 1,
            "too_short_for_patches",
            f"cannot be searched for: it has {MIN_BEATS - 1} of at least 12 beats",
        ),
        (MIN_BEATS, "too_short_for_patches", f"has {MIN_BEATS} beats, too few for model median_pca-"),
    ):
        beats = np.ones(12 * n_beats, dtype=np.float32)
        row = chroma.loc[short].to_dict() | {
            "n_beats": n_beats,
            "beat_chroma": beats,
            "status": status,
            "sha256": reason,
        }
        put(warehouse, BEAT_CHROMA, pd.DataFrame([row]))
        assert refusal(find_covers, "--track", short).startswith(f"--track {short} {reason}")
    new, removed = rows_of(warehouse, COVER_VECTORS)[["track_id", "model_id"]].iloc[:2].to_dict("records")
    warehouse.merge(COVER_VECTORS, [], delete=pa.Table.from_pylist([new]))
    said = refusal(find_covers, "--track", new["track_id"])
    more = f"run train-cover-index --model {new['model_id']}, which embeds new tracks"
    assert said == f"--track {new['track_id']} has no embedding: {more}"
    for table in (BEAT_CHROMA, CHROMA_PATCHES):
        warehouse.merge(table, [], delete=pa.table({"track_id": [removed["track_id"]]}))
    said = refusal(find_covers, "--track", removed["track_id"])
    assert (
        said == f"{removed['track_id']} has an embedding but its chroma was deleted: run train-cover-index to remove it"
    )


def test_a_person_sees_titles_and_artists_and_a_picture_of_the_track_named_first(
    warehouse: Warehouse,
    rows_of: Rows,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = rows_of(warehouse, COVER_VECTORS)
    query_id = vectors["track_id"][7]
    best, second = brute_force(vectors, query_id, 2)["candidate_id"]
    other = next(i for i in vectors["track_id"] if i not in (query_id, best, second))
    # what rich and matplotlib read as markup, and names in other alphabets
    rename(warehouse, [query_id], title="Été $x_ [live]", artist_name="Björk [/b] 音楽")
    rename(warehouse, [best], title="Ночь [red]", artist_name="A$AP ^_ $")
    rename(warehouse, [second], title=None, artist_name=None)
    drawn: list[str] = []
    draw: Any = draw_alignment

    def watch(*values: Any, query_title: str, **options: Any) -> None:
        drawn.append(query_title)
        draw(*values, query_title=query_title, **options)

    monkeypatch.setattr(find_covers, "draw_alignment", watch)
    picture = tmp_path / "drawn.png"
    asked = ["--track", query_id, "--track", other, "--candidates", "2", "--top", "2", "--plot", str(picture)]
    assert find_covers.main([*asked, "--warehouse", warehouse.root]) == 0
    printed = capsys.readouterr().out
    for words in (query_id, "Été $x_ [live]", "(Björk [/b] 音楽)", best, "Ночь [red]", "A$AP ^_ $", second, "prob."):
        assert words in printed
    assert printed.index(query_id) < printed.index(other)
    assert f"drawn: {picture}" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert drawn == ["Été $x_ [live] – Björk [/b] 音楽"]


def test_library_tracks_are_found_and_named(
    warehouse: Warehouse, rows_of: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    original, own = rows_of(warehouse, COVER_VECTORS)["track_id"][7], "LB0123456789abcdef"
    for table in (COVER_VECTORS, BEAT_CHROMA, CHROMA_PATCHES):
        rows = rows_of(warehouse, table)
        put(warehouse, table, rows[rows["track_id"] == original].assign(track_id=own))
    told: dict[str, Any] = {"track_id": own, "title": "Été (home)", "artist_name": "Zoë", "length_status": "ok"}
    told |= {"codec": "flac"} | {"sample_rate": 44100, "channel_count": 2, "sha256": "s", "run_id": "r"}
    warehouse.merge(LIBRARY_TRACKS, pa.Table.from_pylist([told], arrow_schema(LIBRARY_TRACKS)))
    asked = ["--track", own, "--track", original, "--candidates", "3", "--top", "1"]
    assert find_covers.main([*asked, "--warehouse", warehouse.root]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Été (home)") == printed.count("Zoë") == 2
    for query_id, found in ((own, original), (original, own)):
        assert matches(warehouse, rows_of, query_id)["candidate_id"].tolist() == [found]
