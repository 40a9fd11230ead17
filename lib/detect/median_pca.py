"""Track vectors of 2012: the median patch, scaled to unit length and seen along its principal components."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.detect.patches import HALF, HALF_WEIGHTS


def unit_patches(tracks: Sequence[Float32Array]) -> Float64Array:
    """Half patches as unit vectors that are as far from each other as the 900-D vectors they stand for.

    Every value that stands for two of the 900 is taken √2 times, which makes lengths, scalar products and hence
    principal components those of the 900-D vectors, exactly.

    Parameters
    ----------
    tracks
        Half patches, n of (451,), none of them all zero.

    Returns
    -------
    numpy.ndarray
        float64 (n, 451).

    Raises
    ------
    ValueError
        A patch of zeros has no direction, one with NaN no meaning.
    """
    patches = np.asarray(tracks, dtype=np.float64).reshape(-1, HALF) * HALF_WEIGHTS.astype(np.float64)
    norms = np.linalg.norm(patches, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise ValueError("a median patch of zeros, NaN or infinity has no direction")
    unit: Float64Array = patches / norms
    return unit


@dataclass(frozen=True)
class MedianPatch:
    """The median patch itself at unit length, Bertin-Mahieux & Ellis' (2012) 900-D vector; spec §D without its PCA."""

    kind: ClassVar[str] = "median_patch"
    reads: ClassVar[str] = "median_patch"

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Return the vectors of n half patches of (451,): float32 (n, 451), with the distances of the 900-D ones."""
        return unit_patches(tracks).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Nothing: there is nothing to learn."""
        return {}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:  # noqa: ARG003 (there is nothing in them)
        """Return what `tensors` came from."""
        return cls()


@dataclass(frozen=True)
class MedianPca:
    """Unit median patches along their principal components: Bertin-Mahieux & Ellis (2012), spec §D.

    ``mean`` float32 (451,) and ``components`` float32 (k, 451) are those of `unit_patches`. Not whitened.
    """

    kind: ClassVar[str] = "median_pca"
    reads: ClassVar[str] = "median_patch"
    mean: Float32Array
    components: Float32Array

    @classmethod
    def fit(cls, tracks: Sequence[Float32Array], n_components: int = 200) -> Self:
        """Learn the components from the half patches of tracks that nobody will search for: n of (451,).

        There are fewer components than asked where there are no more: at most n - 1, and at most 451.

        Raises
        ------
        ValueError
            Fewer than two tracks, or fewer than one component asked.
        """
        from sklearn.decomposition import PCA

        if len(tracks) < 2 or n_components < 1:
            raise ValueError(f"{n_components} principal components cannot be learned from {len(tracks)} tracks")
        k = min(n_components, len(tracks) - 1, HALF)
        model = PCA(k, svd_solver="covariance_eigh").fit(unit_patches(tracks))
        return cls(model.mean_.astype(np.float32), model.components_.astype(np.float32))

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Return the vectors of n half patches of (451,): float32 (n, k)."""
        # in double precision, so that a track's vector does not depend on which others it came with
        centred = unit_patches(tracks) - self.mean
        return (centred @ self.components.T.astype(np.float64)).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name."""
        return {"mean": self.mean, "components": self.components}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return what `tensors` came from."""
        return cls(np.asarray(tensors["mean"]), np.asarray(tensors["components"]))
