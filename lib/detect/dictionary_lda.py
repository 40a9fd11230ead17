"""Embedding model of Humphrey, Nieto & Bello (2013): encode patches with a dictionary, then project the codes by LDA.

Training has two steps: `Dictionary.fit` on a sample of patches, then `DictionaryLda.fit` on the codes of the tracks in
cliques. Between the two steps, every training track is encoded with the dictionary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.patches import HALF_PATCH_SIZE, HALF_PATCH_WEIGHTS, PATCH_BEATS, patch_magnitudes

N_COMPONENTS = 450
N_WORDS = 2045
LOG_GAIN = np.float32(5)
SHRINKAGE = np.float32(0.2)


def _log_compress(patches: Float32Array) -> Float32Array:
    """Return log(1 + 5 v) for each of n half patches, float32 (n, 451).

    v is the half patch, scaled so that its 900-D vector has norm 1. `HALF_PATCH_WEIGHTS` are used only to compute this
    norm. The returned values are not multiplied by the weights.
    """
    weighted = patches * HALF_PATCH_WEIGHTS
    norms = np.sqrt(np.einsum("ij,ij->i", weighted, weighted))[:, None]
    return np.log1p(patches * (LOG_GAIN / np.where(norms > 0, norms, np.float32(1))))


@dataclass(frozen=True)
class Dictionary:
    """Dictionary of log-compressed patches. The words are k-means centres in the space of principal components.

    A patch is projected on the principal components. The result is projected on the words. Both projections are
    combined into one affine map: ``projection``, float32 (451, words), and ``offset``, float32 (words,). 451 is the
    number of distinct values of a patch.
    """

    projection: Float32Array
    offset: Float32Array

    @classmethod
    def fit(
        cls, patches: Float32Array, *, n_components: int = N_COMPONENTS, n_words: int = N_WORDS, seed: int = 0
    ) -> Self:
        """Learn components and words from a sample of half patches, float32 (n, 451).

        There are at most n - 1 components and at most n words. K-means runs for at most ten iterations, starting from
        random patches. This gives better words in less time than mini-batch k-means or k-means++ initialisation.

        Raises
        ------
        ValueError
            There are fewer than two patches.
        """
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        if len(patches) < 2:
            raise ValueError(f"a dictionary cannot be learned (patches: {len(patches)}): pass at least 2 patches")
        weights = HALF_PATCH_WEIGHTS.astype(np.float64)
        k = min(n_components, len(patches) - 1, HALF_PATCH_SIZE)
        pca = PCA(k, svd_solver="covariance_eigh").fit(_log_compress(patches) * weights)
        points = pca.transform(_log_compress(patches) * weights).astype(np.float32)
        means = KMeans(min(n_words, len(points)), init="random", n_init=1, max_iter=10, random_state=seed)
        with threadpool_limits(1, "openmp"):  # several threads would sum in varying order and give varying results
            words = means.fit(points).cluster_centers_.astype(np.float64)
        projection = words @ pca.components_
        return cls((projection * weights).T.astype(np.float32), (-projection @ pca.mean_).astype(np.float32))

    def encode(self, chroma: Float32Array) -> Float32Array:
        """Encode one track. The code has one value per word: the median similarity of the track's patches to the word.

        Before taking the median, the similarities of each patch are shrunk towards 0 by 0.2 and scaled to norm 1.

        Parameters
        ----------
        chroma
            Beat chroma, float32 (12, B), B at least 75.

        Returns
        -------
        numpy.ndarray
            float32 (words,).

        Raises
        ------
        ValueError
            The track has fewer than 75 beats, so it has no patches.
        """
        patches = patch_magnitudes(chroma)
        if not len(patches):
            raise ValueError(
                f"a patch needs at least {PATCH_BEATS} beats, but the number of beats is {chroma.shape[1]}: "
                "leave out this track"
            )
        similarity = _log_compress(patches) @ self.projection + self.offset
        # soft threshold: x - clip(x) shrinks x towards zero
        similarity -= np.clip(similarity, -SHRINKAGE, SHRINKAGE)
        norms = np.sqrt(np.einsum("ij,ij->i", similarity, similarity))[:, None]
        similarity /= np.where(norms > 0, norms, np.float32(1))
        return _sparse_median(similarity)


def _sparse_median(values: Float32Array) -> Float32Array:
    """Return the median of each column of a matrix whose values are mostly zero."""
    n = len(values)
    # the median is zero if fewer than half of the values are positive and fewer than half are negative
    nonzero = np.flatnonzero(
        (2 * np.count_nonzero(values > 0, axis=0) >= n) | (2 * np.count_nonzero(values < 0, axis=0) >= n)
    )
    ordered = np.sort(values[:, nonzero].T, axis=1)
    median = np.zeros(values.shape[1], dtype=np.float32)
    median[nonzero] = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / np.float32(2)
    return median


@dataclass(frozen=True)
class DictionaryLda:
    """Embedding model: codes are projected by linear discriminant analysis (LDA) and scaled to unit length.

    The classes of the LDA are cliques. ``mean`` is float32 (words,), and ``directions`` is float32 (words, k).
    """

    kind: ClassVar[str] = "dictionary_lda"
    reads: ClassVar[str] = "beat_chroma"
    dictionary: Dictionary
    mean: Float32Array
    directions: Float32Array

    @classmethod
    def fit(
        cls,
        dictionary: Dictionary,
        codes: Float32Array,
        cliques: Sequence[int] | NDArray[Any],
        n_components: int = 200,
        *,
        as_published: bool = False,
    ) -> Self:
        """Learn the LDA directions from the codes of tracks in cliques.

        There are many cliques, and they are small. Therefore LDA on all 2,045 values of a code overfits: it separates
        even random cliques. Codes are reduced to principal components first. There are at most 450 components, the same
        limit as in the dictionary, and at most (n - c) / 2, where n is the number of tracks and c the number of
        cliques.

        The published system learned from all values, and its directions were not the most discriminative ones. They
        were the directions from the mean to the centres of the first cliques, as in scikit-learn's LDA of 2013.

        Parameters
        ----------
        dictionary
            The dictionary that produced the codes.
        codes
            float32 (n, words).
        cliques
            (n,): the clique label of each track. Cliques with only one track are ignored.
        n_components
            Number of directions. There are fewer if there are too few cliques or components.
        as_published
            If true, use the method of the published system.

        Raises
        ------
        ValueError
            There are fewer than two cliques of at least two tracks, all codes are equal, or ``n_components`` is less
            than 1.
        """
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        _, labels, sizes = np.unique(np.asarray(cliques), return_inverse=True, return_counts=True)
        kept = sizes[labels] > 1
        points, labels = codes[kept].astype(np.float64), labels[kept]
        n_cliques = int(np.count_nonzero(sizes > 1))
        if n_cliques < 2 or n_components < 1:
            raise ValueError(
                f"LDA cannot be learned (cliques of two or more tracks: {n_cliques}, directions: {n_components}): "
                "use at least 2 such cliques and 1 direction"
            )
        if not np.ptp(points, axis=0).any():
            raise ValueError(
                f"the codes of {len(points)} tracks are all the same: use other tracks or another dictionary"
            )
        mean, axes = np.zeros(points.shape[1]), np.eye(points.shape[1])
        if not as_published:
            k = min(N_COMPONENTS, max(1, (len(points) - n_cliques) // 2), points.shape[1])
            pca = PCA(k, svd_solver="covariance_eigh").fit(points)
            mean, axes = pca.mean_, pca.components_.T
        model = LinearDiscriminantAnalysis().fit((points - mean) @ axes, labels)
        scalings = model.scalings_[:, : n_cliques - 1]
        if as_published:
            scalings = model.scalings_ @ ((model.means_[:n_components] - model.xbar_) @ model.scalings_).T
        directions = axes @ scalings[:, :n_components]
        return cls(dictionary, (mean + axes @ model.xbar_).astype(np.float32), directions.astype(np.float32))

    def embed_codes(self, codes: Float32Array) -> Float32Array:
        """Embed n tracks from their codes, float32 (n, words).

        The result is float32 (n, k). Each row has norm 1 or contains only zeros.
        """
        # use float64, so that the embedding of a track does not depend on the other tracks in the call
        projected = (np.asarray(codes, dtype=np.float64).reshape(-1, len(self.mean)) - self.mean) @ self.directions
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.asarray(projected / np.where(norms > 0, norms, 1), dtype=np.float32)

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Embed n beat chromas (12, B), B at least 75. The result is float32 (n, k), as in `embed_codes`."""
        return self.embed_codes(np.array([self.dictionary.encode(track) for track in tracks], dtype=np.float32))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the learned arrays by name."""
        return {
            "projection": self.dictionary.projection,
            "offset": self.dictionary.offset,
            "mean": self.mean,
            "directions": self.directions,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return the embedding model with the given learned arrays."""
        dictionary = Dictionary(np.asarray(tensors["projection"]), np.asarray(tensors["offset"]))
        return cls(dictionary, np.asarray(tensors["mean"]), np.asarray(tensors["directions"]))
