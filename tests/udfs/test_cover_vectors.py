"""Embeddings and codes from batches of chroma, and loading of trained models."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reprise.lib.detect.dictionary_lda import Dictionary
from reprise.lib.detect.embeddings import dump
from reprise.lib.detect.median_pca import MedianPca
from reprise.lib.detect.patches import HALF_PATCH_SIZE, patch_magnitudes
from reprise.lib.errors import InputError
from reprise.lib.tables import COVER_VECTORS
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.cover_vectors import embed_tracks, encode_tracks
from reprise.udfs.model_cache import load_embedding

PATCHES = np.random.default_rng(3).random((600, HALF_PATCH_SIZE), dtype=np.float32)


def write(folder: Path, data: bytes) -> tuple[str, str]:
    (folder / "model.safetensors").write_bytes(data)
    return str(folder / "model.safetensors"), hashlib.sha256(data).hexdigest()


def train(components: int) -> MedianPca:
    """Each test uses another number of components: a process keeps loaded models, so equal models would be reused."""
    return MedianPca.fit(list(PATCHES), components)


def batch(patches: np.ndarray) -> pa.RecordBatch:
    numbers = range(len(patches))
    return pa.RecordBatch.from_pydict(
        {
            "track_id": [f"TR{i:03d}" for i in numbers],
            "sha256": [f"content {i}" for i in numbers],
            "median_patch": pa.array(list(patches), pa.list_(pa.float32())),
        }
    )


@pytest.mark.parametrize("sizes", [(600,), (0, 1, 255, 256, 88)])
def test_vectors_are_the_embeddings_of_the_model_for_any_batch_sizes(sizes: tuple[int, ...], tmp_path: Path) -> None:
    model = train(7)
    artifact, sha256 = write(tmp_path, dump(model, {}))
    whole, start, batches = batch(PATCHES), 0, []
    for size in sizes:
        batches.append(whole.slice(start, size))
        start += size
    named = {"artifact": artifact, "artifact_sha256": sha256, "model_id": "m", "run_id": "r"}
    made = list(embed_tracks(iter(batches), **named))
    assert {name for name, _ in made} == {COVER_VECTORS.name}
    rows = pa.Table.from_batches([rows for _, rows in made])
    assert rows.schema.equals(arrow_schema(COVER_VECTORS))
    for name in ("track_id", "sha256"):
        assert rows[name].to_pylist() == whole.column(name).to_pylist()
    assert set(rows["model_id"].to_pylist()) | set(rows["run_id"].to_pylist()) == {"m", "r"}
    np.testing.assert_array_equal(np.stack(rows["vector"].to_numpy()), model.embed(list(PATCHES)))


def test_no_batch_gives_no_row(tmp_path: Path) -> None:
    artifact, sha256 = write(tmp_path, dump(train(6), {}))
    named = {"artifact": artifact, "artifact_sha256": sha256, "model_id": "m", "run_id": "r"}
    assert list(embed_tracks(iter([]), **named)) == []


def test_codes_are_those_of_the_dictionary() -> None:
    chromas = [np.random.default_rng(i).random((12, 80 + i), dtype=np.float32) for i in range(3)]
    dictionary = Dictionary.fit(np.concatenate([patch_magnitudes(c) for c in chromas]), n_components=4, n_words=9)
    rows = {"track_id": ["c", "a", "b"], "beat_chroma": [c.ravel() for c in chromas]}
    made = pa.Table.from_batches(list(encode_tracks([pa.RecordBatch.from_pydict(rows)], dictionary=dictionary)))
    assert made["track_id"].to_pylist() == ["c", "a", "b"]
    for code, chroma in zip(made["code"].to_pylist(), chromas, strict=True):
        np.testing.assert_array_equal(np.array(code, "f4"), dictionary.encode(chroma))


def test_model_is_loaded_once_per_process(tmp_path: Path) -> None:
    artifact, sha256 = write(tmp_path, dump(train(5), {}))
    first = load_embedding(artifact, sha256)
    Path(artifact).unlink()
    assert load_embedding(f"file:{artifact}", sha256) is first


@pytest.mark.parametrize("damage", ["truncated", "a bit", "another model"])
def test_file_that_differs_from_the_trained_model_is_rejected(damage: str, tmp_path: Path) -> None:
    data = dump(train(4), {})
    _, sha256 = write(tmp_path, data)
    changed = {
        "truncated": data[:-1],
        "a bit": data[:-1] + bytes([data[-1] ^ 1]),
        "another model": dump(train(3), {}),
    }[damage]
    artifact, _ = write(tmp_path, changed)
    for _ in range(2):  # the second time as well: a rejected file is not cached
        with pytest.raises(InputError, match="has changed since the training: train the model again") as caught:
            load_embedding(artifact, sha256)
        assert caught.value.kind == "checksum"


def test_file_that_is_not_a_model_is_rejected(tmp_path: Path) -> None:
    artifact, sha256 = write(tmp_path, b"not a model")
    with pytest.raises(InputError, match="is not a trained embedding"):
        load_embedding(artifact, sha256)
