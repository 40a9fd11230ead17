"""Our own embedding model: a linear map of two kinds of chroma features, learned from cliques and augmented tracks.

The features do not depend on the key or on the position in time. The first kind are means and standard deviations of 2D
Fourier magnitudes of windows of 20, 64 and 75 beats. The second kind are frequencies of chord triples. A chord triple
is three chords at equal distances in time, transposed so that the first root is C. The map gives more weight to
features that change little between versions of a work. It is learned from the versions in cliques. Because cliques are
few, it is also learned from augmented copies of tracks. An augmented copy is cut, has some chords changed, and can have
another tempo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reprise.lib.arrays import Complex64Array, Float32Array, Float64Array, Int64Array
from reprise.lib.detect.patches import PATCH_BEATS, raise_power

N_DIMENSIONS = 256
N_COMPONENTS = 400
SHORT_BEATS, LONG_PAIRS = 20, 32  # width of the short windows in beats, and of the long windows in pairs of beats
CHORD_BEATS = 4  # beats per estimated chord; augmentation also changes chords and notes in blocks of this length
GAPS = (1, 2, 3, 4, 6, 8, 16)  # distances in beats between successive chords of a triple
N_CHORD_TRIPLES = 2 * 24 * 24  # 2 modes of the first chord; 24 second and 24 third chords, relative to its root
CHORD_WEIGHT = 2.5  # weight of the chord features relative to the window features; best of 1 to 5 on synthetic music
TEMPERATURE = 0.3
N_PAIRS = 192


def _chord_templates() -> Float32Array:
    """Return major and minor triads on every root, float32 (24, 12), each with mean 0 and norm 1."""
    triads = np.zeros((12, 2, 12))
    for root in range(12):
        for minor in (0, 1):
            triads[root, minor, [root, (root + 4 - minor) % 12, (root + 7) % 12]] = 1.0, 0.8, 0.9
    flat = triads.reshape(24, 12) - triads.mean()
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True), dtype=np.float32)


_CHORDS = _chord_templates()


def extract_features(chroma: Float32Array) -> Float32Array:
    """Compute the features of one track, the input of the learned map.

    Parameters
    ----------
    chroma
        Beat chroma, float32 (12, B), B at least 75.

    Returns
    -------
    numpy.ndarray
        float32 (9598,). If the rows of ``chroma`` are rotated, the features stay the same, except for rounding errors
        and for beats that are equally similar to two chords.

    Raises
    ------
    ValueError
        There are fewer than 75 beats.
    """
    n_beats = chroma.shape[1]
    if n_beats < PATCH_BEATS:
        raise ValueError(
            f"the features need at least {PATCH_BEATS} beats, but the number of beats is {n_beats}: "
            "leave out this track"
        )
    pitches = scipy.fft.rfft(raise_power(chroma), axis=0)
    pairs = (pitches[:, : n_beats // 2 * 2 : 2] + pitches[:, 1::2][:, : n_beats // 2]) / np.float32(2)
    return np.concatenate(
        [
            _measure_windows(pitches, PATCH_BEATS, 3),
            _measure_windows(pitches, SHORT_BEATS, 2),
            _measure_windows(pairs, LONG_PAIRS, 2),
            _count_chords(chroma),
        ]
    )


def _measure_windows(pitches: Complex64Array, width: int, hop: int) -> Float32Array:
    """Return the mean and the standard deviation of the log Fourier magnitudes over windows of ``width`` columns.

    A window starts at every ``hop``-th column. ``pitches``, complex64 (7, columns), is the Fourier transform of the
    chroma over the pitch classes. A column is a beat or a pair of beats.
    """
    windows = sliding_window_view(pitches, width, axis=1)[:, ::hop]
    magnitudes = np.abs(scipy.fft.fft(windows, axis=2))
    half = width // 2 + 1  # pitch frequencies 0 and 6 are symmetric, so half of each is enough
    flat = np.concatenate([magnitudes[0, :, :half], magnitudes[6, :, :half], *magnitudes[1:6]], axis=1)
    norms = np.sqrt(np.einsum("ij,ij->i", flat, flat))[:, None]
    logs = np.log1p(np.float32(20) * flat / np.where(norms > 0, norms, np.float32(1)))
    return np.concatenate([logs.mean(axis=0), logs.std(axis=0)])


def _count_chords(chroma: Float32Array) -> Float32Array:
    """Return the square root of the relative frequency of each chord triple at each gap, float32 (8064,).

    Triples that are transpositions of each other are counted together.
    """
    centred = chroma - chroma.mean(axis=0)
    norms = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    centred /= np.where(norms > 0, norms, np.float32(1))
    spans = sliding_window_view(centred, CHORD_BEATS, axis=1).sum(axis=2)
    root, minor = np.divmod((_CHORDS @ spans).argmax(axis=0), 2)
    audible = sliding_window_view(norms, CHORD_BEATS).max(axis=1) > 0
    counts = []
    for gap in GAPS:
        n = len(root) - 2 * gap
        first, second, third = slice(0, n), slice(gap, gap + n), slice(2 * gap, None)
        chord_2 = (root[second] - root[first]) % 12 * 2 + minor[second]
        chord_3 = (root[third] - root[first]) % 12 * 2 + minor[third]
        triple = (minor[first] * 24 + chord_2) * 24 + chord_3
        counted = audible[first] & audible[second] & audible[third]
        counts.append(np.bincount(triple[counted], minlength=N_CHORD_TRIPLES) / n)
    return np.sqrt(np.concatenate(counts)).astype(np.float32)


def augment(chroma: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return a random variation of beat chroma that imitates another version, float32 (12, B') with B' at least 90.

    The variation consists of random excerpts of the track. At random, the tempo is halved or doubled, beats are
    dropped, chords are changed, notes are weakened, and notes, overtones and noise are added.
    """
    n_beats = chroma.shape[1]
    rate = float(rng.choice([1, 1, 1, 1, 1, 0.5, 2]))
    wanted = int(np.clip(n_beats * rng.uniform(0.6, 1.1) / rate, 90, 500))
    parts: list[Int64Array] = []
    while sum(map(len, parts)) < wanted:
        begin = rng.integers(0, max(1, n_beats - 40)) + rng.random()
        beats = (begin + rate * np.arange(rng.integers(40, 200))).astype(np.int64)
        beats = beats[beats < n_beats]
        parts.append(beats[rng.random(len(beats)) > 0.02] if rng.random() < 0.2 else beats)
    changed = chroma[:, np.concatenate(parts)[:wanted]]

    blocks = -(-wanted // CHORD_BEATS)

    def repeat_blocks(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values, CHORD_BEATS, axis=-1)[..., :wanted]

    shift = repeat_blocks((rng.random(blocks) < 0.12) * rng.choice([3, 4, 5, 7, 8, 9], blocks))
    changed = np.take_along_axis(changed, (np.arange(12)[:, None] + shift) % 12, axis=0)
    changed = changed * repeat_blocks(np.where(rng.random((12, blocks)) < 0.15, 0.25, 1.0))
    changed = changed + repeat_blocks((rng.random((12, blocks)) < 0.05) * rng.random((12, blocks)))
    changed = changed + 0.4 * rng.random() * np.roll(changed, 7, axis=0)
    changed = changed * np.exp(0.4 * rng.random() * rng.standard_normal((12, wanted)))
    changed = (changed + 0.2 * rng.random() * rng.random((12, wanted))) ** rng.uniform(0.6, 1.4)
    peak = changed.max(axis=0)
    return np.asarray(changed / np.where(peak > 0, peak, 1), dtype=np.float32)


@dataclass(frozen=True)
class Learned:
    """Embedding model: a linear map of the features from `extract_features`, scaled to unit length.

    ``mean`` is float32 (9598,), and ``projection`` is float32 (9598, k).
    """

    kind: ClassVar[str] = "learned"
    reads: ClassVar[str] = "beat_chroma"
    mean: Float32Array
    projection: Float32Array

    @classmethod
    def fit(
        cls, tracks: Sequence[Float32Array], cliques: Sequence[int] | NDArray[Any], *, steps: int = 100, seed: int = 0
    ) -> Self:
        """Learn the map from beat chroma of tracks inside and outside cliques.

        The first step has a closed form. It computes principal components and whitens them, so that the variation among
        versions and augmented copies of a work is about equal in all directions. The second step is gradient descent on
        a contrastive loss (NT-Xent). The loss is low if each track is nearer to its partner than to all other tracks in
        the batch. The partner of a track is another version of its work; each of the two can be replaced at random by
        an augmented copy of it. If there is no other version, the partner is an augmented copy of the track.

        Parameters
        ----------
        tracks
            n beat chromas, float32 (12, B), B at least 75.
        cliques
            (n,): the clique label of each track, 0 or greater; -1 for tracks outside cliques.
        steps
            Number of gradient steps, each on at most 192 pairs of tracks. If it is 0, only the first step is done.
        seed
            Equal seeds and equal numbers of threads give equal maps.

        Raises
        ------
        ValueError
            There are fewer than 8 tracks, the lengths of ``tracks`` and ``cliques`` differ, or a track has fewer than
            75 beats.
        """
        labels = _make_labels(np.asarray(cliques), len(tracks))
        features = np.array([extract_features(track) for track in tracks])
        augmented = np.array(
            [extract_features(augment(track, np.random.default_rng([seed, i]))) for i, track in enumerate(tracks)]
        )
        mean, scale = features.mean(axis=0), scale_features(features)
        basis = find_principal_axes((features - mean) * scale, seed)
        points, views = (features - mean) * scale @ basis, (augmented - mean) * scale @ basis
        weights = _whiten(points, views, labels)
        if steps:
            weights = _train_contrastive(points, views, labels, weights, steps, seed)
        return cls(mean, np.ascontiguousarray(scale[:, None] * (basis @ weights), dtype=np.float32))

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Embed n beat chromas (12, B), B at least 75. The result is float32 (n, k). Each row has norm 1."""
        vectors = np.empty((len(tracks), self.projection.shape[1]), dtype=np.float32)
        for i, track in enumerate(tracks):
            # embed one track at a time, so that its embedding does not depend on the other tracks in the call
            vector = (extract_features(track) - self.mean) @ self.projection
            vectors[i] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return vectors

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the learned arrays by name."""
        return {"mean": self.mean, "projection": self.projection}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return the embedding model with the given learned arrays."""
        return cls(np.asarray(tensors["mean"]), np.asarray(tensors["projection"]))


def _make_labels(cliques: NDArray[Any], n: int) -> Int64Array:
    """Return labels 0, 1, …: one label per clique, and one label per track outside cliques."""
    if len(cliques) != n or n < 8:
        raise ValueError(
            "expected a clique or -1 for each of at least 8 tracks, but the lengths of cliques and tracks are "
            f"{len(cliques)} and {n}"
        )
    labels = cliques.astype(np.int64)
    alone = labels < 0
    labels[alone] = labels.max(initial=0) + 1 + np.arange(alone.sum())
    return np.unique(labels, return_inverse=True)[1]


def scale_features(features: Float32Array) -> Float32Array:
    """Return the scale factor of each feature: 1 / standard deviation, balanced between window and chord features.

    A constant is added to the standard deviation, so that the factor stays limited. A feature that hardly varies has
    factor 0. To balance the two kinds, each factor is divided by the square root of the number of varying features of
    its kind. The factors of chord features are multiplied by `CHORD_WEIGHT`.
    """
    spread = features.std(axis=0)
    chords = np.arange(len(spread)) >= len(spread) - len(GAPS) * N_CHORD_TRIPLES
    scale = np.zeros(spread.shape, dtype=np.float32)
    for kind, floor, weight in ((~chords, 0.01, 1.0), (chords, 0.1, CHORD_WEIGHT)):
        varies = kind & (spread > 1e-4)
        scale[varies] = weight / ((spread[varies] + floor * spread[kind].max()) * np.sqrt(max(1, varies.sum())))
    return scale


def find_principal_axes(points: Float32Array, seed: int) -> Float32Array:
    """Return the principal axes of points (n, f), which have mean 0: float32 (f, k), k at most 400."""
    from sklearn.utils.extmath import randomized_svd

    k = min(N_COMPONENTS, len(points) - 1)
    return np.asarray(randomized_svd(points, k, n_iter=2, random_state=seed)[2].T, dtype=np.float32)


def _whiten(points: Float32Array, views: Float32Array, labels: Int64Array) -> Float32Array:
    """Return weights, float32 (components, k), that whiten the variation within works.

    The columns are in descending order of the variation between works.
    """
    sizes = np.bincount(labels)
    centres = np.zeros((len(sizes), points.shape[1]))
    np.add.at(centres, labels, points)
    centres /= sizes[:, None]
    changes = (views - points).astype(np.float64)
    within = changes.T @ changes / (2 * len(changes))
    freedom = len(points) - len(sizes)
    if freedom:
        deviations = points - centres[labels]
        within = (within + deviations.T @ deviations / freedom) / 2
    return _whiten_within(within, centres, 0.2)


def whiten_groups(points: Float32Array, groups: Int64Array, shrinkage: float) -> Float32Array:
    """Return weights, float32 (components, k), that whiten the variation of points (n, components) within groups (n,).

    ``shrinkage`` times the mean variance within groups is added in each direction. The columns are in descending order
    of the variation between groups.
    """
    sizes = np.bincount(groups)
    centres = np.zeros((len(sizes), points.shape[1]))
    np.add.at(centres, groups, points)
    centres /= sizes[:, None]
    deviations = points - centres[groups]
    within = deviations.T @ deviations / (len(points) - len(sizes))
    return _whiten_within(within, centres, shrinkage)


def _whiten_within(within: Float64Array, centres: Float64Array, shrinkage: float) -> Float32Array:
    within = within + shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    values, axes = np.linalg.eigh(within)
    white = axes / np.sqrt(values)
    spread = (centres - centres.mean(axis=0)) @ white
    between = np.linalg.eigh(spread.T @ spread)[1][:, ::-1]
    return np.asarray(white @ between[:, :N_DIMENSIONS], dtype=np.float32)


def _train_contrastive(
    points: Float32Array, views: Float32Array, labels: Int64Array, weights: Float32Array, steps: int, seed: int
) -> Float32Array:
    """Improve the weights by gradient descent on NT-Xent. A batch has at most 192 pairs of partners."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    cliques = [group for group in groups if len(group) > 1]
    singles = np.array([group[0] for group in groups if len(group) == 1], dtype=np.int64)
    both = torch.from_numpy(np.stack([points, views]))
    start, unit = torch.from_numpy(weights), float(weights.std())
    change = torch.zeros_like(start, requires_grad=True)
    # a small learning rate, because the map quickly overfits to a few hundred cliques
    optimizer = torch.optim.Adam([change], lr=0.003)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    for _ in range(steps):
        chosen = rng.permutation(len(cliques))[: N_PAIRS - min(len(singles), N_PAIRS // 2)]
        pairs = [rng.choice(cliques[i], 2, replace=False) for i in chosen]
        pairs += [np.array([i, i]) for i in rng.permutation(singles)[: N_PAIRS - len(pairs)]]
        left, right = np.array(pairs).T
        # the partner of a track without other versions is the augmented copy of the track
        alone = left == right
        read_left = np.where(alone, 0, rng.integers(0, 2, len(left)))
        read_right = np.where(alone, 1, rng.integers(0, 2, len(left)))
        read = torch.cat([both[read_left, left], both[read_right, right]])
        kept = torch.from_numpy((rng.random(read.shape) > 0.3).astype(np.float32))
        vectors = normalize((read * kept) @ (start + unit * change), dim=1)
        similarity = (vectors @ vectors.T / TEMPERATURE).fill_diagonal_(-1e9)
        loss = cross_entropy(similarity, torch.arange(len(vectors)).roll(len(pairs)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    return np.asarray((start + unit * change).detach().numpy())
