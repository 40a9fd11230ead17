"""From chroma to trained models and vectors: what is kept, what is skipped, and what becomes of tracks that change."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import extract_chroma, train_cover_index
from reprise.jobs._detection.training import is_held_out
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.detect.embeddings import load
from reprise.lib.detect.median_pca import MedianPca
from reprise.lib.tables import (
    BEAT_CHROMA,
    CHROMA_PATCHES,
    COVER_CLIQUES,
    COVER_VECTORS,
    JOB_RUNS,
    MODELS,
    MSD_ANALYSIS,
    Table,
)
from reprise.udfs.arrow import arrow_schema

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

PCA = ("--method", "median_pca", "--param", "dimensions=10")


@pytest.fixture(scope="session")
def prepared(cover_states: dict[str, Path]) -> Path:
    """With chroma."""
    return cover_states["extracted"]


@pytest.fixture(scope="session")
def trained(cover_states: dict[str, Path]) -> Path:
    """The same with a trained model."""
    return cover_states["trained"]


@pytest.fixture
def warehouse(trained: Path, tmp_path: Path) -> Warehouse:
    """A copy of the trained warehouse."""
    shutil.copytree(trained, tmp_path / "warehouse")
    return Warehouse(str(tmp_path / "warehouse"))


def versions(warehouse: Warehouse) -> dict[str, int]:
    found = Warehouse(warehouse.root).versions()
    return {name: version for name, version in found.items() if name != JOB_RUNS.name}


def the_model(warehouse: Warehouse) -> dict[str, Any]:
    (row,) = Warehouse(warehouse.root).lookup(MODELS, "model_id", "", "\U0010ffff").to_pylist()
    return dict(row)


def put(warehouse: Warehouse, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    warehouse.merge(table, pa.Table.from_pylist(list(rows), arrow_schema(table)), force=True)


def analysis(warehouse: Warehouse, track_id: str) -> dict[str, Any]:
    (row,) = warehouse.lookup(MSD_ANALYSIS, "track_id", track_id, track_id).to_pylist()
    return dict(row)


def embed(warehouse: Warehouse, rows_of: Rows, model: dict[str, Any]) -> dict[str, np.ndarray]:
    """What the model's file makes of every stored patch: the oracle."""
    embedding = load(Path(warehouse.root, model["artifact"]).read_bytes())
    table = {"median_patch": CHROMA_PATCHES, "beat_chroma": BEAT_CHROMA}[embedding.reads]
    stored = rows_of(warehouse, table)
    stored = stored[stored["status"] == "ok"]
    read = [x if table is CHROMA_PATCHES else x.reshape(12, -1) for x in stored[embedding.reads]]
    return dict(zip(stored["track_id"], embedding.embed(read), strict=True))


def assert_vectors(warehouse: Warehouse, rows_of: Rows, model: dict[str, Any]) -> None:
    """The model's vectors are those of the tracks with a patch, and no others."""
    expected, stored = embed(warehouse, rows_of, model), rows_of(warehouse, COVER_VECTORS)
    stored = stored[stored["model_id"] == model["model_id"]]
    assert stored["track_id"].tolist() == sorted(expected)
    # workers multiply with one thread, this process with several
    np.testing.assert_allclose(np.stack(stored["vector"]), [expected[i] for i in stored["track_id"]], atol=1e-5)
    kept = rows_of(warehouse, CHROMA_PATCHES).set_index("track_id")["sha256"]
    assert stored["sha256"].tolist() == kept[stored["track_id"]].tolist()


def test_model_row_says_what_was_trained_on_what(
    prepared: Path, warehouse: Warehouse, rows_of: Rows, spark: Any
) -> None:
    model, there = the_model(warehouse), Warehouse(str(prepared)).versions()
    assert json.loads(model["params"]) == {
        "cliques": "shs_dataset_train",
        "dimensions": 10,
        "n_tracks": 20000,
        "seed": 20110211,
    }
    assert json.loads(model["trained_on"]) == {name: there[name] for name in ("chroma_patches", "cover_cliques")}
    data = Path(warehouse.root, model["artifact"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == model["sha256"]
    assert model["artifact"].endswith(".safetensors")
    assert (model["kind"], load(data).kind) == ("median_pca", "median_pca")
    # nothing of the cliques went into the components
    covers = set(rows_of(warehouse, COVER_CLIQUES)["track_id"])
    patches = rows_of(warehouse, CHROMA_PATCHES).query("status == 'ok'").set_index("track_id")["median_patch"]
    others = np.stack(patches[~patches.index.isin(covers)])
    assert 0 < len(others) < len(patches)
    np.testing.assert_allclose(load(data).tensors()["mean"], MedianPca.fit(list(others), 10).mean, atol=1e-7)


def test_every_track_with_a_patch_has_its_vector_and_no_other(warehouse: Warehouse, rows_of: Rows) -> None:
    assert_vectors(warehouse, rows_of, the_model(warehouse))
    stored = rows_of(warehouse, COVER_VECTORS)
    assert (len(stored), len(stored["vector"][0])) == (77, 10)


def test_distances_are_calibrated_on_cliques_that_were_held_out(warehouse: Warehouse) -> None:
    def fail(constant: str) -> float:
        raise AssertionError(constant)

    found = json.loads(the_model(warehouse)["metrics"], parse_constant=fail)["calibration"]
    assert set(found) == {"dtw", "qmax", "simple", "none"}
    for calibration in found.values():
        assert np.isfinite([*calibration["weights"], calibration["intercept"]]).all()
        assert all(weight <= 0 for weight in calibration["weights"])


def test_reliability_is_measured_where_there_are_cliques_for_it(
    warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    cliques = rows_of(warehouse, COVER_CLIQUES).assign(source="mine", run_id="r")
    # by their names alone, two of three works are held out
    held = [name for name in map(str, range(100)) if is_held_out(pd.Series([name]))[0]][:2]
    works = ("shs_dataset_train:1014", "shs_dataset_test:1018", "shs_dataset_train:1006")
    names = dict(zip(works, [*held, "in training"], strict=True))
    mine = cliques[cliques["clique_id"].isin(names)].assign(clique_id=lambda rows: rows["clique_id"].map(names))
    warehouse.merge(COVER_CLIQUES, pa.Table.from_pandas(mine, arrow_schema(COVER_CLIQUES), preserve_index=False))
    run_job(train_cover_index.main, *PCA, "--cliques", "mine")
    (row,) = (r for r in warehouse.lookup(MODELS, "model_id", "", "~").to_pylist() if "mine" in r["params"])
    for figures in json.loads(row["metrics"])["calibration"].values():
        assert figures["rows"] == 6 * 50
        for name in ("expected_calibration_error", "brier", "false_positive_rate", "true_positive_rate"):
            assert 0 <= figures[name] <= 1


def test_second_run_changes_no_table(warehouse: Warehouse, run_job: Run) -> None:
    before = versions(warehouse)
    counts = run_job(train_cover_index.main, *PCA)["counts"]
    assert counts == {"embedded": 0, "tracks": 80, "skipped": 80}
    assert versions(warehouse) == before


def test_force_trains_and_embeds_again_and_ends_in_the_same(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    model, vectors = the_model(warehouse), rows_of(warehouse, COVER_VECTORS)
    counts = run_job(train_cover_index.main, *PCA, "--force")["counts"]
    assert (counts["models_trained"], counts["embedded"]) == (1, 77)
    again = the_model(warehouse)
    assert [again[name] for name in ("model_id", "sha256")] == [model[name] for name in ("model_id", "sha256")]
    assert json.loads(again["metrics"])["calibration"] == json.loads(model["metrics"])["calibration"]
    pd.testing.assert_frame_equal(rows_of(warehouse, COVER_VECTORS), vectors)


@pytest.mark.parametrize(
    "method", [*(pytest.param(m, marks=pytest.mark.exhaustive) for m in ("median_patch", "dictionary_lda")), "learned"]
)
def test_two_models_side_by_side_each_made_again_from_its_row(
    method: str, warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    first, vectors = the_model(warehouse), rows_of(warehouse, COVER_VECTORS)
    run_job(train_cover_index.main, "--method", method, *(("--param", "steps=2") if method == "learned" else ()))
    both = rows_of(warehouse, COVER_VECTORS)
    kept = both[both["model_id"] == first["model_id"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, vectors)
    (second,) = (r for r in warehouse.lookup(MODELS, "model_id", "", "~").to_pylist() if r["kind"] == method)
    assert_vectors(warehouse, rows_of, second)
    assert run_job(train_cover_index.main, "--reproduce", second["model_id"])["counts"] == {"models_reproduced": 1}


def test_new_tracks_get_vectors_of_a_model_that_stands(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    model, vectors = the_model(warehouse), rows_of(warehouse, COVER_VECTORS)
    later = vectors["track_id"].tolist()[3:6]
    rows = [analysis(warehouse, track_id) for track_id in later]
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": later}))
    run_job(extract_chroma.main)
    run_job(train_cover_index.main, "--model", model["model_id"])
    assert not set(later) & set(rows_of(warehouse, COVER_VECTORS)["track_id"])
    put(warehouse, MSD_ANALYSIS, rows)
    run_job(extract_chroma.main)
    counts = run_job(train_cover_index.main, "--model", model["model_id"])["counts"]
    assert counts == {"embedded": 3, "tracks": 80, "skipped": 77}
    assert the_model(warehouse) == model
    pd.testing.assert_frame_equal(rows_of(warehouse, COVER_VECTORS), vectors)


def test_changed_tracks_are_embedded_again_and_those_without_a_patch_lose_theirs(
    warehouse: Warehouse, run_job: Run, rows_of: Rows
) -> None:
    model = the_model(warehouse)
    run_job(train_cover_index.main, "--method", "median_patch")
    changed, short, removed = rows_of(warehouse, COVER_VECTORS)["track_id"].unique()[[0, 20, 40]]
    row = analysis(warehouse, changed)
    pitches = np.reshape(row["segments_pitches"], (-1, 12))
    row |= {"sha256": "other", "segments_pitches": (pitches * np.linspace(1, 0, 12)).ravel().tolist()}
    cut = analysis(warehouse, short)
    cut |= {"sha256": "cut", "beats_start": cut["beats_start"][:60]}
    put(warehouse, MSD_ANALYSIS, [row, cut])
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": [removed]}))
    run_job(extract_chroma.main)
    counts = run_job(train_cover_index.main, "--model", model["model_id"])["counts"]
    assert counts == {"embedded": 1, "tracks": 79, "skipped": 78}
    assert_vectors(warehouse, rows_of, model)
    stored = rows_of(warehouse, COVER_VECTORS)
    assert not {short, removed} & set(stored["track_id"])  # of the other model either
    assert set(stored[stored["track_id"] == changed]["sha256"]) == {"other", sha256_of(stored, changed)}


def sha256_of(vectors: pd.DataFrame, track_id: str) -> str:
    """Content that the model without dimensions has seen of a track."""
    rows = vectors[(vectors["track_id"] == track_id) & vectors["model_id"].str.startswith("median_patch")]
    return str(rows["sha256"].item())


def test_reproduced_after_the_tables_have_moved_on(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    model = the_model(warehouse)
    covers = set(rows_of(warehouse, COVER_CLIQUES)["track_id"])
    gone = [i for i in rows_of(warehouse, COVER_VECTORS)["track_id"] if i not in covers][:10]
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": gone}))
    run_job(extract_chroma.main)
    moved = versions(warehouse)
    assert moved["chroma_patches"] > json.loads(model["trained_on"])["chroma_patches"]
    assert run_job(train_cover_index.main, "--reproduce", model["model_id"])["counts"] == {"models_reproduced": 1}
    assert versions(warehouse) == moved
    # and it is not what would be trained now
    run_job(train_cover_index.main, *PCA)
    assert warehouse.lookup(MODELS, "model_id", "", "~")["sha256"].unique().to_pylist() != [model["sha256"]]


def test_a_model_that_is_not_reproduced_is_said_in_one_line(warehouse: Warehouse, run_job: Run) -> None:
    model = the_model(warehouse)
    put(warehouse, MODELS, [model | {"sha256": "0" * 64}])
    said = run_job(train_cover_index.main, "--reproduce", model["model_id"], exit_code=1)["error"]
    assert said == (
        f"reprise train-cover-index: trained again, {model['model_id']} has SHA-256 {model['sha256'][:12]}… and not"
        " 000000000000…: other packages, or another kind of machine\n"
    )


@pytest.mark.parametrize("damage", ["changed", "no model", "missing"])
def test_damaged_artifact_is_said_in_one_line(damage: str, warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    model, vectors = the_model(warehouse), rows_of(warehouse, COVER_VECTORS)
    if damage == "changed":
        # a worker that has the model already needs the file no more: the checksum, which is what it goes by, changes
        put(warehouse, MODELS, [model | {"sha256": "0" * 64}])
    elif damage == "no model":
        Path(warehouse.root, model["artifact"]).write_bytes(b"no model")
        put(warehouse, MODELS, [model | {"sha256": hashlib.sha256(b"no model").hexdigest()}])
    else:
        Path(warehouse.root, model["artifact"]).unlink()
        put(warehouse, MODELS, [model | {"sha256": "1" * 64}])
    said = run_job(train_cover_index.main, "--model", model["model_id"], "--force", exit_code=1)["error"]
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    wanted = {
        "changed": "is not the file that was trained",
        "no model": "is no trained embedding",
        "missing": "_artifacts",
    }
    assert wanted[damage] in said
    pd.testing.assert_frame_equal(rows_of(warehouse, COVER_VECTORS), vectors)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--param", "dimensions=0"), "--param dimensions=0: median_pca takes NAME=N of dimensions, n_tracks"),
        (("--param", "dimensions"), "--param dimensions: median_pca takes NAME=N of dimensions, n_tracks"),
        (("--param", "width=3"), "--param width=3: median_pca takes NAME=N of dimensions, n_tracks"),
        (("--param", "n_tracks=1"), "cannot be learned from 1 tracks"),
        (("--cliques", "none"), "there is no clique list none; there are: shs_dataset_test, shs_dataset_train"),
        (("--model", "none"), "there is no model none; there are: median_pca-"),
        (("--reproduce", "none"), "there is no model none; there are: median_pca-"),
        (("--method", "none"), "invalid choice: 'none'"),
    ],
)
def test_bad_usage_is_said_in_one_line(
    arguments: tuple[str, ...], reason: str, warehouse: Warehouse, run_job: Run
) -> None:
    before = versions(warehouse)
    said = run_job(train_cover_index.main, "--method", "median_pca", *arguments, exit_code=2)["error"]
    assert said.startswith("reprise train-cover-index: ")
    assert reason in said
    assert said.count("\n") == 1
    assert versions(warehouse) == before


def test_too_few_cliques_are_said_in_one_line(warehouse: Warehouse, run_job: Run, rows_of: Rows) -> None:
    one = rows_of(warehouse, COVER_CLIQUES).query("clique_id == 'shs_dataset_train:1006'").assign(run_id="r")
    alone = one.assign(clique_id="alone", source="alone")
    warehouse.merge(COVER_CLIQUES, pa.Table.from_pandas(alone, arrow_schema(COVER_CLIQUES), preserve_index=False))
    said = run_job(train_cover_index.main, "--method", "dictionary_lda", "--cliques", "alone", exit_code=2)["error"]
    assert said.startswith("reprise train-cover-index: dictionary_lda cannot be trained on what is there: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("table", [CHROMA_PATCHES, COVER_CLIQUES], ids=lambda table: table.name)
def test_nothing_to_train_on_is_said_in_one_line(table: Table, warehouse: Warehouse, run_job: Run) -> None:
    shutil.rmtree(warehouse.uri(table))
    said = run_job(train_cover_index.main, *PCA, exit_code=2)["error"]
    assert said == (
        f"reprise train-cover-index: there is no {table.name} yet: run extract-chroma and ingest-annotations first\n"
    )
