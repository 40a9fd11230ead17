"""Track vectors of 2013: patches coded by a dictionary, and the directions in which codes tell cliques apart.

Learned in two steps with every training track's codes in between: `Dictionary.fit` on a sample of patches, then
`DictionaryLda.fit` on the codes of tracks in cliques. Source: Humphrey, Nieto & Bello (2013), spec §E.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.patches import HALF, HALF_WEIGHTS, patch_magnitudes

N_COMPONENTS = 450
N_WORDS = 2045
LOG_GAIN = np.float32(5)
SHRINKAGE = np.float32(0.2)


def _compress(patches: Float32Array) -> Float32Array:
    """Logarithm of patches at unit length, float32 (L, 451): of values, none weighted by what it stands for."""
    weighted = patches * HALF_WEIGHTS
    norms = np.sqrt(np.einsum("ij,ij->i", weighted, weighted))[:, None]
    return np.log1p(patches * (LOG_GAIN / np.where(norms > 0, norms, np.float32(1))))


@dataclass(frozen=True)
class Dictionary:
    """What patches are compared with: a logarithm, principal components and words, in one matrix.

    Projecting on principal components and then on words is one linear map, and of the 900 values of a patch 451 are
    distinct, so ``projection`` is float32 (451, words) and ``offset`` float32 (words,).
    """

    projection: Float32Array
    offset: Float32Array

    @classmethod
    def fit(
        cls, patches: Float32Array, *, n_components: int = N_COMPONENTS, n_words: int = N_WORDS, seed: int = 0
    ) -> Self:
        """Learn components and words from a sample of half patches, float32 (n, 451).

        There are fewer components or words than asked where there are too few patches. Ten rounds of k-means from
        patches drawn by chance end at better words, and sooner, than mini-batches or a careful start do.

        Raises
        ------
        ValueError
            Fewer than two patches.
        """
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        if len(patches) < 2:
            raise ValueError(f"a dictionary cannot be learned from {len(patches)} patches")
        weights = HALF_WEIGHTS.astype(np.float64)
        k = min(n_components, len(patches) - 1, HALF)
        pca = PCA(k, svd_solver="covariance_eigh").fit(_compress(patches) * weights)
        points = pca.transform(_compress(patches) * weights).astype(np.float32)
        means = KMeans(min(n_words, len(points)), init="random", n_init=1, max_iter=10, random_state=seed)
        with threadpool_limits(1, "openmp"):  # threads add up in any order, and the seed would not say what comes out
            words = means.fit(points).cluster_centers_.astype(np.float64)
        onto = words @ pca.components_
        return cls((onto * weights).T.astype(np.float32), (-onto @ pca.mean_).astype(np.float32))

    def encode(self, chroma: Float32Array) -> Float32Array:
        """Code of one track: the median over its patches of how much each patch is like each word.

        Parameters
        ----------
        chroma
            Beat chroma, float32 (12, B), B of at least 75.

        Returns
        -------
        numpy.ndarray
            float32 (words,).

        Raises
        ------
        ValueError
            The track holds no patch.
        """
        patches = patch_magnitudes(chroma)
        if not len(patches):
            raise ValueError(f"{chroma.shape[1]} beats hold no patch")
        likeness = _compress(patches) @ self.projection + self.offset
        # x minus x clipped is x shrunk towards zero
        likeness -= np.clip(likeness, -SHRINKAGE, SHRINKAGE)
        norms = np.sqrt(np.einsum("ij,ij->i", likeness, likeness))[:, None]
        likeness /= np.where(norms > 0, norms, np.float32(1))
        return _sparse_median(likeness)


def _sparse_median(values: Float32Array) -> Float32Array:
    """Median of each column, most of whose values are zero."""
    n = len(values)
    # where neither half the values are above zero nor half below, the middle is zero
    busy = np.flatnonzero(
        (2 * np.count_nonzero(values > 0, axis=0) >= n) | (2 * np.count_nonzero(values < 0, axis=0) >= n)
    )
    ordered = np.sort(values[:, busy].T, axis=1)
    median = np.zeros(values.shape[1], dtype=np.float32)
    median[busy] = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / np.float32(2)
    return median


@dataclass(frozen=True)
class DictionaryLda:
    """Codes seen along the directions of linear discriminant analysis with cliques as classes, at unit length.

    ``mean`` float32 (words,), ``directions`` float32 (words, k).
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
        """Learn the directions from the codes of tracks in cliques.

        Cliques are many and small, so that 2,045 values tell any of them apart, even cliques made up by chance. Hence
        codes are first reduced to principal components: as many as lie behind the words, 450, and at most half as many
        as there are tracks beyond the first of each clique.

        The published figures were made otherwise: from all values, and along the directions from the mean to the first
        cliques' centres in place of the best ones, because that is what scikit-learn's LDA did in 2013.

        Parameters
        ----------
        dictionary
            What the codes were made with.
        codes
            float32 (n, words).
        cliques
            (n,): equal labels for versions of one work. Cliques with one track here say nothing and are left out.
        n_components
            Directions wanted. There are fewer where cliques or components are too few.
        as_published
            Do as the published system did.

        Raises
        ------
        ValueError
            Fewer than two cliques of at least two tracks, codes that are all the same, or no direction wanted.
        """
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        _, labels, sizes = np.unique(np.asarray(cliques), return_inverse=True, return_counts=True)
        kept = sizes[labels] > 1
        points, labels = codes[kept].astype(np.float64), labels[kept]
        n_cliques = int(np.count_nonzero(sizes > 1))
        if n_cliques < 2 or n_components < 1:
            raise ValueError(
                f"{n_components} directions cannot be learned from {n_cliques} cliques of two or more tracks"
            )
        if not np.ptp(points, axis=0).any():
            raise ValueError(f"the codes of {len(points)} tracks are all the same")
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
        """Return the vectors of tracks whose codes are known, float32 (n, words): float32 (n, k), of length 1."""
        # in double precision, so that a track's vector does not depend on which others it came with
        seen = (np.asarray(codes, dtype=np.float64).reshape(-1, len(self.mean)) - self.mean) @ self.directions
        norms = np.linalg.norm(seen, axis=1, keepdims=True)
        return np.asarray(seen / np.where(norms > 0, norms, 1), dtype=np.float32)

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Return the vectors of n beat chromas of (12, B), B of at least 75: float32 (n, k), of length 1."""
        return self.embed_codes(np.array([self.dictionary.encode(track) for track in tracks], dtype=np.float32))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name."""
        return {
            "projection": self.dictionary.projection,
            "offset": self.dictionary.offset,
            "mean": self.mean,
            "directions": self.directions,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return what `tensors` came from."""
        dictionary = Dictionary(np.asarray(tensors["projection"]), np.asarray(tensors["offset"]))
        return cls(dictionary, np.asarray(tensors["mean"]), np.asarray(tensors["directions"]))
