"""Embedding model of the package: recognises a work by one of its parts or by an excerpt.

It maps a melody, an accompaniment or an excerpt near to the complete arrangement. It is trained once, on works that the
package composes and whose parts it therefore knows, and on rendered songs: see
``jobs/_shipped_models/fit_part_network.py``. It needs no training in a warehouse. It reads the beat chroma of a track
from `MIN_BEATS` beats on.

An embedding has two halves. The first is a linear map of the features of `Learned`, which do not depend on the key. The
second is the output of a small convolutional network, which does. A gallery track is embedded in its own key only, but
a query in all twelve transpositions: a transposed query is a rotation of the chroma. The distance of a query and a
track is the smallest distance of any transposition.

Layers of the network: three convolutions over time, each with rectification, the first two followed by a maximum over
two columns; a fourth convolution whose output is added to its input; mean, maximum and cubic mean over time; a linear
map. The batch normalisations of the training are part of the weights.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.learned import Learned
from reprise.lib.detect.patches import PATCH_BEATS, raise_power
from reprise.lib.errors import InputError

MIN_BEATS = 12
"""Least number of beats of a track. Music of 20 s has at least 13, unless its beginning or its end is silent."""

N_TRANSPOSITIONS = 12

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "output")
_SMALL = np.float32(1e-6)


def prepare_input(chroma: Float32Array) -> Float32Array:
    """Return the input of the network, float32 (12, B), for beat chroma (12, B).

    The chroma is sharpened with `raise_power`, each column is scaled to norm 1, and the mean of each column is
    subtracted.
    """
    sharp = raise_power(np.asarray(chroma, dtype=np.float32))
    norms = np.sqrt(np.einsum("ij,ij->j", sharp, sharp))
    unit = sharp / np.where(norms > 0, norms, np.float32(1))
    return np.asarray(unit - unit.mean(axis=0), dtype=np.float32)


@dataclass(frozen=True)
class PartNetwork:
    """The model.

    Attributes
    ----------
    features
        The map of the first half.
    weights
        A matrix ``<layer>`` and a vector ``<layer>_bias`` for each layer of the network, float32. The matrix of a
        convolution has one row for each pair of input channel and beat of the kernel, and one column for each output
        channel.
    share
        Share of the first half in the squared distance, 0..1.
    """

    kind: ClassVar[str] = "part_network"
    reads: ClassVar[str] = "beat_chroma"
    features: Learned
    weights: Mapping[str, Float32Array]
    share: float

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Embed n beat chromas (12, B) in their own keys. The result is float32 (n, d). Each row has norm 1."""
        return np.concatenate([self._join(track, range(1)) for track in tracks])

    def embed_transpositions(self, track: Float32Array) -> Float32Array:
        """Embed a beat chroma (12, B) in all twelve transpositions: float32 (12, d). Row 0 equals that of `embed`."""
        return self._join(track, range(N_TRANSPOSITIONS))

    def _join(self, track: Float32Array, transpositions: Sequence[int]) -> Float32Array:
        # the features need the length of a patch; a short track is repeated
        repeated = np.tile(track, max(1, -(-PATCH_BEATS // track.shape[1])))
        of_features = np.sqrt(np.float32(self.share)) * self.features.embed([repeated])[0]
        prepared = prepare_input(track)
        of_network = [self.apply_network(np.roll(prepared, semitones, axis=0)) for semitones in transpositions]
        scale = np.sqrt(np.float32(1 - self.share))
        return np.stack([np.concatenate([of_features, scale * half]) for half in of_network])

    def apply_network(self, prepared: Float32Array) -> Float32Array:
        """Return the output of the network for the result of `prepare_input`: float32 (256,), of norm 1."""
        columns = np.ascontiguousarray(prepared.T)
        columns = _pool_pairs(self._convolve(columns, "conv1"))
        columns = _pool_pairs(self._convolve(columns, "conv2"))
        columns = self._convolve(columns, "conv3")
        columns = columns + self._convolve(columns, "conv4")
        cubic = np.cbrt((np.maximum(columns, _SMALL) ** 3).mean(axis=0))
        pooled = np.concatenate([columns.mean(axis=0), columns.max(axis=0), cubic])
        vector = pooled @ self.weights["output"] + self.weights["output_bias"]
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)

    def _convolve(self, columns: Float32Array, layer: str) -> Float32Array:
        """Convolve (columns, channels) over time, with zeros beyond both ends, and set negative values to zero."""
        matrix = self.weights[layer]
        width = matrix.shape[0] // columns.shape[1]
        padded = np.pad(columns, ((width // 2, width // 2), (0, 0)))
        windows = sliding_window_view(padded, width, axis=0).reshape(len(columns), -1)
        return np.asarray(np.maximum(windows @ matrix + self.weights[f"{layer}_bias"], 0), dtype=np.float32)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the learned arrays by name. The projection of the features is stored in half precision."""
        return {
            "mean": self.features.mean,
            "projection": self.features.projection.astype(np.float16),
            "share": np.array([self.share], dtype=np.float64),
            **self.weights,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return the model with the given learned arrays."""
        features = Learned(np.asarray(tensors["mean"]), np.asarray(tensors["projection"], dtype=np.float32))
        names = [name for layer in _LAYERS for name in (layer, f"{layer}_bias")]
        return cls(features, {name: np.asarray(tensors[name]) for name in names}, float(tensors["share"][0]))


def _pool_pairs(columns: Float32Array) -> Float32Array:
    """Return the maximum of each two successive columns. A column that is left over at the end is dropped."""
    pairs = len(columns) // 2
    return np.asarray(columns[: 2 * pairs].reshape(pairs, 2, -1).max(axis=1))


@dataclass(frozen=True)
class ShippedModel:
    """The model file of the package: values of the columns of ``models``, and the checksum of the file."""

    model_id: str
    sha256: str
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    trained_on: Mapping[str, Any]


@lru_cache(maxsize=1)
def describe_shipped_model() -> ShippedModel:
    """Return the description of the package's model."""
    text = files("reprise.lib.detect").joinpath("default", "part_network.json").read_text("utf-8")
    return ShippedModel(**json.loads(text))


def read_shipped_model() -> bytes:
    """Return the model file of the package.

    Raises
    ------
    InputError
        ``not_a_model``: the checksum of the file is wrong.
    """
    data = files("reprise.lib.detect").joinpath("default", "part_network.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != describe_shipped_model().sha256:
        raise InputError(
            "not_a_model", "the file of the part network was changed after installation: install reprise again"
        )
    return data
