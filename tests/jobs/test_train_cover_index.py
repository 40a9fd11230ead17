"""From chroma to trained models and embeddings: what is kept, and what becomes of tracks that change."""

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

from reprise.jobs import train_cover_index
from reprise.jobs._detection.calibration import calibrate
from reprise.jobs._detection.models import find_embedding
from reprise.jobs._detection.training import TRAINERS, Samples, is_held_out
from reprise.jobs._engine.console import error_line
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.detect.embeddings import dump, load
from reprise.lib.detect.median_pca import MedianPca
from reprise.lib.detect.part_network import MIN_BEATS, PartNetwork, describe_shipped_model, read_shipped_model
from reprise.lib.errors import RepriseError
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, COVER_CLIQUES, COVER_VECTORS, MODELS, Table
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import PCA, Chain, copy_warehouse, forget_part_network, records, versions

RunJob = Callable[..., dict[str, Any]]
Prepare = Callable[..., Any]
Rows = Callable[[Warehouse, Table], pd.DataFrame]


@pytest.fixture
def trained(chain: Chain) -> Warehouse:
    """The warehouse with a trained model, to be read."""
    return Warehouse(str(chain.after("train-cover-index")))


@pytest.fixture
def warehouse(chain: Chain, tmp_path: Path) -> Warehouse:
    """A copy of it."""
    return copy_warehouse(chain.after("train-cover-index"), tmp_path / "warehouse")


def the_model(warehouse: Warehouse) -> dict[str, Any]:
    """The row of the trained model, which has the package's own beside it."""
    rows = Warehouse(warehouse.root).lookup(MODELS, "model_id", "", "\U0010ffff").to_pylist()
    (row,) = (row for row in rows if row["kind"] != PartNetwork.kind)
    return dict(row)


def trained_vectors(warehouse: Warehouse, rows_of: Rows) -> pd.DataFrame:
    rows = rows_of(warehouse, COVER_VECTORS)
    return rows[rows["model_id"] == the_model(warehouse)["model_id"]].reset_index(drop=True)


def put(warehouse: Warehouse, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    warehouse.merge(table, pa.Table.from_pylist(list(rows), arrow_schema(table)), force=True)


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


def test_model_row_says_what_was_trained_on_what(chain: Chain, trained: Warehouse, rows_of: Rows) -> None:
    model, there = the_model(trained), versions(Warehouse(str(chain.before("train-cover-index"))))
    assert json.loads(model["params"]) == {
        "cliques": "shs_dataset_train",
        "dimensions": 10,
        "n_tracks": 20000,
        "seed": 20110211,
    }
    assert json.loads(model["trained_on"]) == {name: there[name] for name in ("chroma_patches", "cover_cliques")}
    data = Path(trained.root, model["artifact"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == model["sha256"]
    assert model["artifact"].endswith(".safetensors")
    assert (model["kind"], load(data).kind) == ("median_pca", "median_pca")
    # nothing of the cliques went into the components
    covers = set(rows_of(trained, COVER_CLIQUES)["track_id"])
    patches = rows_of(trained, CHROMA_PATCHES).query("status == 'ok'").set_index("track_id")["median_patch"]
    others = np.stack(patches[~patches.index.isin(covers)].tolist())
    assert 0 < len(others) < len(patches)
    np.testing.assert_allclose(load(data).tensors()["mean"], MedianPca.fit(list(others), 10).mean, atol=1e-7)


def test_every_track_with_a_patch_has_its_vector_and_no_other(trained: Warehouse, rows_of: Rows) -> None:
    assert_vectors(trained, rows_of, the_model(trained))
    stored = trained_vectors(trained, rows_of)
    assert (len(stored), len(stored["vector"][0])) == (76, 10)


def test_distances_are_calibrated_on_cliques_that_were_held_out(trained: Warehouse) -> None:
    def fail(constant: str) -> float:
        raise AssertionError(constant)

    found = json.loads(the_model(trained)["metrics"], parse_constant=fail)["calibration"]
    assert set(found) == {"dtw", "qmax", "simple", "none"}
    for calibration in found.values():
        assert np.isfinite([*calibration["weights"], calibration["intercept"]]).all()
        assert all(weight <= 0 for weight in calibration["weights"])


def test_reliability_is_measured_where_there_are_cliques_for_it(
    trained: Warehouse, prepare: Prepare, rows_of: Rows
) -> None:
    _, run = prepare(train_cover_index)
    run.warehouse = trained
    cliques = rows_of(trained, COVER_CLIQUES)
    # by their names alone, two works are held out
    held = [name for name in map(str, range(100)) if is_held_out(pd.Series([name]))[0]][:2]
    names = dict(zip(("shs_dataset_train:1014", "shs_dataset_test:1018"), held, strict=True))
    members = cliques[cliques["clique_id"].isin(names)].assign(clique_id=lambda rows: rows["clique_id"].map(names))
    found = calibrate(run, find_embedding(run, None), members[["track_id", "clique_id"]].reset_index(drop=True))
    assert set(found) == {"dtw", "qmax", "simple", "none"}
    for figures in found.values():
        assert figures["rows"] == 6 * 50
        for name in ("expected_calibration_error", "brier", "false_positive_rate", "true_positive_rate"):
            assert 0 <= figures[name] <= 1


@pytest.mark.parametrize(
    "method",
    [
        *(pytest.param(m, marks=pytest.mark.exhaustive) for m in ("median_patch", "dictionary_lda")),
        pytest.param("learned", marks=pytest.mark.torch),
    ],
)
def test_two_models_side_by_side_each_made_again_from_its_row(
    method: str, warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    first, vectors = the_model(warehouse), trained_vectors(warehouse, rows_of)
    run_job(train_cover_index.main, "--method", method, *(("--param", "steps=2") if method == "learned" else ()))
    both = rows_of(warehouse, COVER_VECTORS)
    kept = both[both["model_id"] == first["model_id"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, vectors)
    (second,) = (r for r in warehouse.lookup(MODELS, "model_id", "", "~").to_pylist() if r["kind"] == method)
    assert_vectors(warehouse, rows_of, second)
    assert run_job(train_cover_index.main, "--reproduce", second["model_id"])["counts"] == {"models_reproduced": 1}


def test_tracks_that_come_change_and_go_after_the_training(
    warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    """New and changed ones get a vector of the model, those without a patch lose theirs, of any model."""
    forget_part_network(warehouse)
    model, vectors = the_model(warehouse), trained_vectors(warehouse, rows_of)
    ids = vectors["track_id"].tolist()
    new, changed, cut, removed = ids[3:6], ids[0], ids[20], ids[40]
    put(warehouse, COVER_VECTORS, records(vectors.assign(model_id="another", run_id="r")))
    keys = vectors[vectors["track_id"].isin(new)][["track_id", "model_id"]]
    warehouse.merge(COVER_VECTORS, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
    patches = rows_of(warehouse, CHROMA_PATCHES).assign(run_id="r").set_index("track_id", drop=False)
    other = patches.loc[changed].to_dict() | {"sha256": "other", "median_patch": patches["median_patch"][ids[1]]}
    short = patches.loc[cut].to_dict() | {"sha256": "cut", "status": "too_short_for_patches", "median_patch": []}
    put(warehouse, CHROMA_PATCHES, [other, short])
    warehouse.merge(CHROMA_PATCHES, [], delete=pa.table({"track_id": [removed]}))
    counts = run_job(train_cover_index.main, "--model", model["model_id"])["counts"]
    n_tracks = len(patches) - 1
    assert counts == {"embedded": 4, "tracks": n_tracks, "skipped": n_tracks - 4}
    assert the_model(warehouse) == model
    assert_vectors(warehouse, rows_of, model)
    stored = rows_of(warehouse, COVER_VECTORS)
    assert not {cut, removed} & set(stored["track_id"])
    of_changed = stored[stored["track_id"] == changed].set_index("model_id")["sha256"]
    assert of_changed.to_dict() == {model["model_id"]: "other", "another": vectors["sha256"][0]}
    unchanged = stored[(stored["model_id"] == model["model_id"]) & (stored["track_id"] != changed)]
    before = vectors[~vectors["track_id"].isin([changed, cut, removed])]
    pd.testing.assert_frame_equal(unchanged.reset_index(drop=True), before.reset_index(drop=True))


def test_reproduced_after_the_tables_have_moved_on(
    warehouse: Warehouse, run_job: RunJob, prepare: Prepare, rows_of: Rows
) -> None:
    model = the_model(warehouse)
    covers = set(rows_of(warehouse, COVER_CLIQUES)["track_id"])
    gone = [i for i in trained_vectors(warehouse, rows_of)["track_id"] if i not in covers][:10]
    warehouse.merge(CHROMA_PATCHES, [], delete=pa.table({"track_id": gone}))
    moved = versions(warehouse)
    assert moved["chroma_patches"] > json.loads(model["trained_on"])["chroma_patches"]
    assert run_job(train_cover_index.main, "--reproduce", model["model_id"])["counts"] == {"models_reproduced": 1}
    assert versions(warehouse) == moved
    # and it is not what would be trained now
    _, run = prepare(train_cover_index)
    params = json.loads(model["params"])
    now = {name: moved[name] for name in json.loads(model["trained_on"])}
    embedding = TRAINERS["median_pca"].fit(Samples(run, now, params["cliques"], params["seed"]), params)
    assert hashlib.sha256(dump(embedding, params)).hexdigest() != model["sha256"]


def test_a_model_that_is_not_reproduced(warehouse: Warehouse, prepare: Prepare) -> None:
    model = the_model(warehouse)
    put(warehouse, MODELS, [model | {"sha256": "0" * 64}])
    job, run = prepare(train_cover_index, "--reproduce", model["model_id"])
    with pytest.raises(RepriseError) as failed:
        job.body(run)
    assert str(failed.value) == (
        f"{model['model_id']}, trained again, has SHA-256 {model['sha256'][:12]}… instead of 000000000000…: it was"
        " trained with other package versions, or on another kind of machine: use the same ones to reproduce it"
    )


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("changed", "has changed since the training"),
        ("no model", "is not a trained embedding"),
        ("missing", "_artifacts"),
    ],
)
def test_a_damaged_artifact_is_said_in_one_line(
    damage: str, says: str, warehouse: Warehouse, prepare: Prepare, rows_of: Rows
) -> None:
    model, vectors = the_model(warehouse), rows_of(warehouse, COVER_VECTORS)
    artifact = Path(warehouse.root, model["artifact"])
    sha256 = "0" * 64
    # a worker that has the model already needs the file no more: the checksum, which is what it goes by, changes
    if damage == "no model":
        artifact.write_bytes(b"no model")
        sha256 = hashlib.sha256(b"no model").hexdigest()
    elif damage == "missing":
        artifact.unlink()
        sha256 = "1" * 64
    put(warehouse, MODELS, [model | {"sha256": sha256}])
    job, run = prepare(train_cover_index, "--model", model["model_id"], "--force")
    with pytest.raises(Exception, match=says) as failed:
        job.body(run)
    said = error_line(failed.value)
    assert says in said
    assert "\n" not in said
    assert "Traceback" not in said
    pd.testing.assert_frame_equal(rows_of(warehouse, COVER_VECTORS), vectors)


TAKES = "median_pca takes NAME=N, where N is an integer of at least 1 and NAME is one of dimensions, n_tracks"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--param", "dimensions=0"), f"--param dimensions=0: {TAKES}"),
        (("--param", "dimensions"), f"--param dimensions: {TAKES}"),
        (("--param", "width=3"), f"--param width=3: {TAKES}"),
        (("--param", "n_tracks=1"), "PCA cannot be learned (tracks: 1,"),
        (("--cliques", "none"), "unknown clique list none; choose from: shs_dataset_test, shs_dataset_train"),
        (("--model", "none"), "there is no cover embedding model none; choose from: default-part-network-"),
        (("--reproduce", "none"), "there is no cover embedding model none; choose from: default-part-network-"),
        (("--method", "none"), "invalid choice: 'none'"),
        (("--method", "part_network", "--param", "steps=2"), "--param steps=2: part_network has no parameters"),
        (
            ("--reproduce", describe_shipped_model().model_id),
            "it is the package's own model, which no warehouse trains",
        ),
    ],
)
def test_what_cannot_be_trained(
    arguments: tuple[str, ...], reason: str, warehouse: Warehouse, refusal: Callable[..., str]
) -> None:
    before = versions(warehouse)
    assert reason in refusal(train_cover_index, "--method", "median_pca", *arguments)
    assert versions(warehouse) == before


def test_too_few_cliques_to_train_on(warehouse: Warehouse, refusal: Callable[..., str], rows_of: Rows) -> None:
    one = rows_of(warehouse, COVER_CLIQUES).query("clique_id == 'shs_dataset_train:1006'").assign(run_id="r")
    alone = one.assign(clique_id="alone", source="alone")
    warehouse.merge(COVER_CLIQUES, pa.Table.from_pandas(alone, arrow_schema(COVER_CLIQUES), preserve_index=False))
    said = refusal(train_cover_index, "--method", "dictionary_lda", "--cliques", "alone")
    assert said.startswith("dictionary_lda cannot be trained on these data: ")


def test_no_cliques_to_train_on(warehouse: Warehouse, refusal: Callable[..., str]) -> None:
    shutil.rmtree(warehouse.uri(COVER_CLIQUES))
    said = refusal(train_cover_index, *PCA)
    assert said == "the table cover_cliques does not exist: run extract-chroma and ingest-annotations first"


def part_vectors(warehouse: Warehouse, rows_of: Rows) -> pd.DataFrame:
    rows = rows_of(warehouse, COVER_VECTORS)
    return rows[rows["model_id"] == describe_shipped_model().model_id].reset_index(drop=True)


def test_the_part_network_embeds_every_track_from_twelve_beats_on(trained: Warehouse, rows_of: Rows) -> None:
    """Short ones too, which no trained model embeds."""
    stored = part_vectors(trained, rows_of)
    chroma = rows_of(trained, BEAT_CHROMA)
    wanted = chroma[chroma["status"].isin(["ok", "too_short_for_patches"]) & (chroma["n_beats"] >= MIN_BEATS)]
    assert set(wanted["status"]) == {"ok", "too_short_for_patches"}
    assert stored["track_id"].tolist() == wanted["track_id"].tolist()
    assert stored["sha256"].tolist() == wanted["sha256"].tolist()
    expected = load(read_shipped_model()).embed([one.reshape(12, -1) for one in wanted["beat_chroma"]])
    np.testing.assert_allclose(np.stack(stored["vector"].tolist()), np.asarray(expected), atol=1e-5)


def test_a_warehouse_of_a_former_version_gets_the_part_network_once_and_keeps_the_rest(
    warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    after = part_vectors(warehouse, rows_of)
    forget_part_network(warehouse)
    model, vectors = the_model(warehouse), rows_of(warehouse, COVER_VECTORS)
    former = versions(warehouse)
    counts = run_job(train_cover_index.main, *PCA)["counts"]
    assert (counts.get("models_trained", 0), counts["embedded"]) == (0, len(after))
    assert the_model(warehouse) == model
    pd.testing.assert_frame_equal(trained_vectors(warehouse, rows_of), vectors)
    pd.testing.assert_frame_equal(part_vectors(warehouse, rows_of), after, check_exact=True)
    now = versions(warehouse)
    assert {name for name in now if now[name] != former[name]} == {COVER_VECTORS.name, MODELS.name}
    assert run_job(train_cover_index.main, *PCA)["counts"]["embedded"] == 0
    assert versions(warehouse) == now


def test_short_tracks_that_grow_shrink_and_fall_silent(warehouse: Warehouse, run_job: RunJob, rows_of: Rows) -> None:
    """Eleven beats are too few, twelve are enough; silence and a track without beats have no embedding."""
    chroma = rows_of(warehouse, BEAT_CHROMA).assign(run_id="r").set_index("track_id", drop=False)
    ids = part_vectors(warehouse, rows_of)["track_id"].tolist()[:5]
    beats = np.random.default_rng(0).random((12, 80)).astype(np.float32)
    changed = [(12, "too_short_for_patches"), (11, "too_short_for_patches"), (1, "too_short_for_patches")]
    changed += [(80, "silent"), (0, "too_few_beats")]
    put(
        warehouse,
        BEAT_CHROMA,
        [
            chroma.loc[i].to_dict()
            | {"sha256": "new", "status": status, "n_beats": n, "beat_chroma": beats[:, :n].reshape(-1)}
            for i, (n, status) in zip(ids, changed, strict=True)
        ],
    )
    run_job(train_cover_index.main, "--method", "part_network")
    stored = part_vectors(warehouse, rows_of).set_index("track_id")
    assert stored["sha256"].reindex(ids).fillna("gone").tolist() == ["new", "gone", "gone", "gone", "gone"]
    assert np.isfinite(stored["vector"][ids[0]]).all()
    # the trained model reads another table, which has not changed
    assert set(ids[1:]) & set(trained_vectors(warehouse, rows_of)["track_id"])


def test_without_a_clique_list_the_part_network_is_enough(warehouse: Warehouse, run_job: RunJob, rows_of: Rows) -> None:
    expected = part_vectors(warehouse, rows_of)
    for table in (COVER_CLIQUES, COVER_VECTORS, MODELS):
        shutil.rmtree(warehouse.uri(table))
    counts = run_job(train_cover_index.main, "--method", "part_network")["counts"]
    assert counts["embedded"] == len(expected)
    found = rows_of(warehouse, COVER_VECTORS)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
