"""All embeddings of tracks, and how a trained one is kept: as safetensors, kind and parameters in the header."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.dictionary_lda import DictionaryLda
from reprise.lib.detect.learned import Learned
from reprise.lib.detect.median_pca import MedianPatch, MedianPca
from reprise.lib.errors import InputError


class Embedding(Protocol):
    """A trained embedding: turns what it ``reads``, half patches or beat chroma, into vectors."""

    kind: ClassVar[str]
    reads: ClassVar[str]

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Return the vectors of n tracks, float32 (n, d)."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Undo `tensors`."""
        ...


EMBEDDINGS: Mapping[str, type[Embedding]] = {
    embedding.kind: embedding for embedding in (MedianPatch, MedianPca, DictionaryLda, Learned)
}


def dump(embedding: Embedding, params: Mapping[str, Any]) -> bytes:
    """Bytes of a trained embedding; the same one gives the same bytes."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in embedding.tensors().items()}
    # one entry: several would stand in any order
    header = json.dumps({"kind": embedding.kind, "params": dict(params)}, sort_keys=True)
    return bytes(safetensors.numpy.save(tensors, {"reprise": header}))


def load(data: bytes) -> Embedding:
    """Undo `dump`. Nothing in the bytes is run: they name one of the kinds known here.

    Raises
    ------
    InputError
        ``not_a_model``: the bytes are no embedding, or of an unknown kind.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["reprise"])
        return EMBEDDINGS[header["kind"]].from_tensors(safetensors.numpy.load(data))
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise InputError("not_a_model", f"is no trained embedding ({type(error).__name__}: {error})") from None
