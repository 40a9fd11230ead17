"""All kinds of embedding models, and their file format: safetensors. The header contains kind and parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.dictionary_lda import DictionaryLda
from reprise.lib.detect.learned import Learned
from reprise.lib.detect.median_pca import MedianPatch, MedianPca
from reprise.lib.detect.part_network import PartNetwork
from reprise.lib.errors import InputError
from reprise.lib.tensors import pack_tensors, unpack_tensors


class Embedding(Protocol):
    """A trained embedding model.

    ``kind`` is the key of the model's class in `EMBEDDINGS`. ``reads`` is the input column of the model:
    ``median_patch`` or ``beat_chroma``.
    """

    kind: ClassVar[str]
    reads: ClassVar[str]

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Return the embeddings of n tracks, float32 (n, d)."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the learned arrays by name."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return the embedding model with the given learned arrays."""
        ...


EMBEDDINGS: Mapping[str, type[Embedding]] = {
    embedding.kind: embedding for embedding in (MedianPatch, MedianPca, DictionaryLda, Learned, PartNetwork)
}
"""Classes of embedding models by kind."""


def dump(embedding: Embedding, params: Mapping[str, Any]) -> bytes:
    """Serialise a trained embedding model. Equal models and parameters give equal bytes."""
    return pack_tensors(embedding.tensors(), {"kind": embedding.kind, "params": dict(params)})


def load(data: bytes) -> Embedding:
    """Restore an embedding model from the bytes that `dump` returned.

    Loading runs no code from the bytes: they contain only arrays, parameters and the name of a kind in `EMBEDDINGS`.

    Raises
    ------
    InputError
        ``not_a_model``: the bytes are not an embedding model, or the kind of the model is unknown.
    """
    try:
        header, tensors = unpack_tensors(data)
        return EMBEDDINGS[header["kind"]].from_tensors(tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "not_a_model",
            f"the model file is not a trained embedding ({type(error).__name__}: {error}): train it again",
        ) from None
