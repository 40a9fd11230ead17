"""Embedding model of Bertin-Mahieux & Ellis (2012): PCA of median patches that are scaled to unit length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.detect.patches import HALF_PATCH_SIZE, HALF_PATCH_WEIGHTS


def normalise_patches(tracks: Sequence[Float32Array]) -> Float64Array:
    """Scale half patches to unit vectors that have the same Euclidean distances as the 900-D unit vectors.

    A value that represents two of the 900 values is multiplied by √2. Therefore norms and inner products equal those
    of the 900-D vectors, and so do projections on principal components.

    Parameters
    ----------
    tracks
        n half patches of shape (451,). Each must contain a value other than 0.

    Returns
    -------
    numpy.ndarray
        float64 (n, 451).

    Raises
    ------
    ValueError
        A patch contains only zeros, or a value that is not finite.
    """
    patches = np.asarray(tracks, dtype=np.float64).reshape(-1, HALF_PATCH_SIZE) * HALF_PATCH_WEIGHTS.astype(np.float64)
    norms = np.linalg.norm(patches, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise ValueError(
            "a median patch has no direction, because it contains only zeros, or NaN or infinite values: "
            "leave out this track"
        )
    unit: Float64Array = patches / norms
    return unit


@dataclass(frozen=True)
class MedianPatch:
    """Embedding model without PCA: the median patch of Bertin-Mahieux & Ellis (2012), scaled to unit length."""

    kind: ClassVar[str] = "median_patch"
    reads: ClassVar[str] = "median_patch"

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Embed n half patches (451,). The result is float32 (n, 451), with the distances of the 900-D unit vectors."""
        return normalise_patches(tracks).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return an empty dictionary: nothing is learned."""
        return {}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:  # noqa: ARG003 (empty, see `tensors`)
        """Return the embedding model."""
        return cls()


@dataclass(frozen=True)
class MedianPca:
    """Embedding model of Bertin-Mahieux & Ellis (2012): PCA of median patches that are scaled to unit length.

    ``mean``, float32 (451,), and ``components``, float32 (k, 451), are learned from the output of `normalise_patches`.
    The embeddings are not whitened.
    """

    kind: ClassVar[str] = "median_pca"
    reads: ClassVar[str] = "median_patch"
    mean: Float32Array
    components: Float32Array

    @classmethod
    def fit(cls, tracks: Sequence[Float32Array], n_components: int = 200) -> Self:
        """Learn the components from n half patches (451,). Use tracks outside the cliques that are evaluated.

        There are at most n - 1 and at most 451 components, even if ``n_components`` is greater.

        Raises
        ------
        ValueError
            There are fewer than two tracks, ``n_components`` is less than 1, or `normalise_patches` refuses a patch.
        """
        from sklearn.decomposition import PCA

        if len(tracks) < 2 or n_components < 1:
            raise ValueError(
                f"PCA cannot be learned (tracks: {len(tracks)}, components: {n_components}): "
                "use at least 2 tracks and 1 component"
            )
        k = min(n_components, len(tracks) - 1, HALF_PATCH_SIZE)
        model = PCA(k, svd_solver="covariance_eigh").fit(normalise_patches(tracks))
        return cls(model.mean_.astype(np.float32), model.components_.astype(np.float32))

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Embed n half patches (451,). The result is float32 (n, k)."""
        # use float64, so that the embedding of a track does not depend on the other tracks in the call
        centred = normalise_patches(tracks) - self.mean
        return (centred @ self.components.T.astype(np.float64)).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the learned arrays by name."""
        return {"mean": self.mean, "components": self.components}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return the embedding model with the given learned arrays."""
        return cls(np.asarray(tensors["mean"]), np.asarray(tensors["components"]))
