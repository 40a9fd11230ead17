"""Tests of serialised embeddings: they are restored exactly, and other bytes are refused."""

import contextlib
import json
import pickle
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.detect.dictionary_lda import Dictionary, DictionaryLda
from reprise.lib.detect.embeddings import EMBEDDINGS, Embedding, dump, load
from reprise.lib.detect.learned import Learned
from reprise.lib.detect.median_pca import MedianPatch, MedianPca
from reprise.lib.detect.part_network import read_shipped_model
from reprise.lib.detect.patches import HALF_PATCH_SIZE, patch_magnitudes
from reprise.lib.errors import InputError

RNG = np.random.default_rng(11)
CHROMAS = [RNG.random((12, 90), dtype=np.float32) for _ in range(12)]
PATCHES = [np.median(patch_magnitudes(chroma), axis=0) for chroma in CHROMAS]


def make(kind: str) -> Embedding:
    if kind == "median_patch":
        return MedianPatch()
    if kind == "median_pca":
        return MedianPca.fit(PATCHES, 5)
    if kind == "dictionary_lda":
        dictionary = Dictionary.fit(patch_magnitudes(CHROMAS[0]), n_components=4, n_words=8)
        return DictionaryLda.fit(dictionary, RNG.random((12, 8), dtype=np.float32), np.arange(12) // 4, 2)
    if kind == "part_network":
        return load(read_shipped_model())
    return Learned.fit(CHROMAS, np.arange(12) // 4, steps=1)


KINDS = [pytest.param(kind, marks=pytest.mark.torch) if kind == "learned" else kind for kind in sorted(EMBEDDINGS)]


@pytest.mark.parametrize("kind", KINDS)
def test_embedding_is_restored_exactly(kind: str) -> None:
    embedding = make(kind)
    tracks = PATCHES if embedding.reads == "median_patch" else CHROMAS
    data = dump(embedding, {"seed": 3, "cliques": "é"})
    back = load(data)
    assert (type(back), back.kind, back.reads) == (type(embedding), kind, embedding.reads)
    np.testing.assert_array_equal(back.embed(tracks), embedding.embed(tracks))
    assert dump(back, {"cliques": "é", "seed": 3}) == data  # with the parameters in another order


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_float32_and_finite_and_independent_of_the_batch(kind: str) -> None:
    embedding = make(kind)
    tracks = PATCHES if embedding.reads == "median_patch" else CHROMAS
    vectors = embedding.embed(tracks)
    assert (vectors.dtype, vectors.ndim, len(vectors)) == (np.dtype(np.float32), 2, 12)
    assert np.isfinite(vectors).all()
    np.testing.assert_array_equal(embedding.embed(tracks[4:5])[0], vectors[4])


def test_bytes_are_safetensors_with_kind_and_parameters() -> None:
    data = dump(make("median_pca"), {"dimensions": 5})
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    assert json.loads(header["__metadata__"]["reprise"]) == {"kind": "median_pca", "params": {"dimensions": 5}}
    assert set(header) == {"__metadata__", "mean", "components"}
    assert header["components"]["shape"] == [5, HALF_PATCH_SIZE]
    assert header["mean"]["dtype"] == "F32"


def with_header(change: dict[str, Any]) -> bytes:
    data = dump(MedianPatch(), {})
    (size,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + size]) | change).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def with_metadata(text: object) -> bytes:
    return with_header({"__metadata__": {"reprise": text}})


def test_changed_header_is_read() -> None:
    assert load(with_metadata('{"kind": "median_patch", "params": {}}')) == MedianPatch()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 64,
        pickle.dumps({"kind": "median_patch"}),
        dump(make("median_pca"), {})[:-1],
        dump(make("median_pca"), {})[:40],
        with_header({"__metadata__": None}),
        with_header({"__metadata__": {}}),
        with_metadata("no JSON"),
        with_metadata("[]"),
        with_metadata("{}"),
        with_metadata('{"kind": "os.system", "params": {}}'),
        with_metadata('{"kind": ["median_patch"], "params": {}}'),
        with_metadata('{"kind": "median_pca", "params": {}}'),  # its tensors are missing
        with_metadata(None),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 60_000) + b"[" * 60_000,
        struct.pack("<Q", 2) + b"[]",
    ],
    ids=range(18),
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="is not a trained embedding") as caught:
        load(data)
    assert caught.value.kind == "not_a_model"


@given(at=st.integers(min_value=0), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_damaged_bytes_are_an_embedding_or_refused(at: int, value: int, cut: int) -> None:
    data = bytearray(dump(MedianPca(np.zeros(HALF_PATCH_SIZE, "f"), np.zeros((1, HALF_PATCH_SIZE), "f")), {}))
    data[at % len(data)] = value
    with contextlib.suppress(InputError):
        load(bytes(data[: len(data) - cut]))
