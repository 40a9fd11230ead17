"""Our own track vectors: two kinds of statistics of beat chroma, and a map of them learned from cliques and disguises.

*What is measured* needs no key and no start: how strong each pattern of pitches and beats is, in windows of 20, 64 and
75 beats (2D Fourier magnitudes), and which three chords follow each other at equal distances, counted from the first
one's root. *What is learned* is which of these stay when a work is played again. Versions of one work tell, where there
are any; where there are few, so do disguises: a track cut up, slowed down, with other chords here and there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reprise.lib.arrays import Complex64Array, Float32Array, Int64Array
from reprise.lib.detect.patches import PATCH_BEATS, raise_power

N_DIMENSIONS = 256
N_COMPONENTS = 400
SHORT_BEATS, LONG_BEATS = 20, 32  # windows beside the 75 beats; the long one over pairs of beats
CHORD_BEATS = 4  # a chord is heard in so many beats; a disguise changes chords and notes for as long
GAPS = (1, 2, 3, 4, 6, 8, 16)  # beats from each chord of three to the next
N_CHORD_ROWS = 2 * 24 * 24
CHORD_WEIGHT = 2.5  # of all chord rows beside all windows; the best of 1 to 5 on composed music
TEMPERATURE = 0.3
N_PAIRS = 192


def _chord_templates() -> Float32Array:
    """(24, 12): major and minor triads on every root, each of mean 0 and length 1."""
    triads = np.zeros((12, 2, 12))
    for root in range(12):
        for minor in (0, 1):
            triads[root, minor, [root, (root + 4 - minor) % 12, (root + 7) % 12]] = 1.0, 0.8, 0.9
    flat = triads.reshape(24, 12) - triads.mean()
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True), dtype=np.float32)


_CHORDS = _chord_templates()


def describe(chroma: Float32Array) -> Float32Array:
    """Measure one track: what the learned map reads.

    Parameters
    ----------
    chroma
        Beat chroma, float32 (12, B), B of at least 75.

    Returns
    -------
    numpy.ndarray
        float32 (9598,): unchanged by a rotation of the rows, but for rounding and beats as like one chord as another.

    Raises
    ------
    ValueError
        Fewer than 75 beats.
    """
    n_beats = chroma.shape[1]
    if n_beats < PATCH_BEATS:
        raise ValueError(f"{n_beats} beats are fewer than {PATCH_BEATS}")
    pitches = scipy.fft.rfft(raise_power(chroma), axis=0)
    pairs = (pitches[:, : n_beats // 2 * 2 : 2] + pitches[:, 1::2][:, : n_beats // 2]) / np.float32(2)
    return np.concatenate(
        [
            _measure_windows(pitches, PATCH_BEATS, 3),
            _measure_windows(pitches, SHORT_BEATS, 2),
            _measure_windows(pairs, LONG_BEATS, 2),
            _count_chords(chroma),
        ]
    )


def _measure_windows(pitches: Complex64Array, width: int, hop: int) -> Float32Array:
    """Mean and spread over windows of the logarithm of Fourier magnitudes, from the transform over pitches (7, B)."""
    windows = sliding_window_view(pitches, width, axis=1)[:, ::hop]
    magnitudes = np.abs(scipy.fft.fft(windows, axis=2))
    half = width // 2 + 1  # the rest of pitch frequencies 0 and 6 is their mirror
    flat = np.concatenate([magnitudes[0, :, :half], magnitudes[6, :, :half], *magnitudes[1:6]], axis=1)
    norms = np.sqrt(np.einsum("ij,ij->i", flat, flat))[:, None]
    logs = np.log1p(np.float32(20) * flat / np.where(norms > 0, norms, np.float32(1)))
    return np.concatenate([logs.mean(axis=0), logs.std(axis=0)])


def _count_chords(chroma: Float32Array) -> Float32Array:
    """Square roots of how often each row of three chords is met, the second and third counted from the first's root."""
    centred = chroma - chroma.mean(axis=0)
    norms = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    centred /= np.where(norms > 0, norms, np.float32(1))
    spans = sliding_window_view(centred, CHORD_BEATS, axis=1).sum(axis=2)
    root, minor = np.divmod((_CHORDS @ spans).argmax(axis=0), 2)
    heard = sliding_window_view(norms, CHORD_BEATS).max(axis=1) > 0
    counts = []
    for gap in GAPS:
        n = len(root) - 2 * gap
        first, second, third = slice(0, n), slice(gap, gap + n), slice(2 * gap, None)
        chord_2 = (root[second] - root[first]) % 12 * 2 + minor[second]
        chord_3 = (root[third] - root[first]) % 12 * 2 + minor[third]
        row = (minor[first] * 24 + chord_2) * 24 + chord_3
        counts.append(np.bincount(row[heard[first] & heard[second] & heard[third]], minlength=N_CHORD_ROWS) / n)
    return np.sqrt(np.concatenate(counts)).astype(np.float32)


def disguise(chroma: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return beat chroma as another version might have it, float32 (12, B') with B' of at least 90.

    Parts in another order, half or double tempo, beats lost, other chords, notes lost and added, overtones, noise.
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

    def hold(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values, CHORD_BEATS, axis=-1)[..., :wanted]

    shift = hold((rng.random(blocks) < 0.12) * rng.choice([3, 4, 5, 7, 8, 9], blocks))
    changed = np.take_along_axis(changed, (np.arange(12)[:, None] + shift) % 12, axis=0)
    changed = changed * hold(np.where(rng.random((12, blocks)) < 0.15, 0.25, 1.0))
    changed = changed + hold((rng.random((12, blocks)) < 0.05) * rng.random((12, blocks)))
    changed = changed + 0.4 * rng.random() * np.roll(changed, 7, axis=0)
    changed = changed * np.exp(0.4 * rng.random() * rng.standard_normal((12, wanted)))
    changed = (changed + 0.2 * rng.random() * rng.random((12, wanted))) ** rng.uniform(0.6, 1.4)
    peak = changed.max(axis=0)
    return np.asarray(changed / np.where(peak > 0, peak, 1), dtype=np.float32)


@dataclass(frozen=True)
class Learned:
    """The map from what `describe` measures to unit vectors: ``mean`` float32 (9598,), ``projection`` (9598, k)."""

    kind: ClassVar[str] = "learned"
    reads: ClassVar[str] = "beat_chroma"
    mean: Float32Array
    projection: Float32Array

    @classmethod
    def fit(
        cls, tracks: Sequence[Float32Array], cliques: Sequence[int] | NDArray[Any], *, steps: int = 100, seed: int = 0
    ) -> Self:
        """Learn from beat chroma of tracks in cliques and of others.

        First in closed form: principal components, weighted so that versions and disguises of one work differ alike in
        all directions. Then by gradient, so that of many tracks each finds its own version or disguise (NT-Xent).

        Parameters
        ----------
        tracks
            n of float32 (12, B), B of at least 75.
        cliques
            (n,): equal labels of 0 or more for versions of one work, -1 for tracks without one.
        steps
            Of the gradient, on 192 pairs each; 0 for the closed form alone.
        seed
            The same gives the same, with the same number of threads.

        Raises
        ------
        ValueError
            Fewer than 8 tracks.
        """
        labels = _label(np.asarray(cliques), len(tracks))
        plain = np.array([describe(track) for track in tracks])
        disguised = np.array(
            [describe(disguise(track, np.random.default_rng([seed, i]))) for i, track in enumerate(tracks)]
        )
        mean, scale = plain.mean(axis=0), _scale(plain)
        basis = _principal_axes((plain - mean) * scale, seed)
        points, views = (plain - mean) * scale @ basis, (disguised - mean) * scale @ basis
        weights = _equalise(points, views, labels)
        if steps:
            weights = _contrast(points, views, labels, weights, steps, seed)
        return cls(mean, np.ascontiguousarray(scale[:, None] * (basis @ weights), dtype=np.float32))

    def embed(self, tracks: Sequence[Float32Array]) -> Float32Array:
        """Return the vectors of n beat chromas of (12, B), B of at least 75: float32 (n, k), each of length 1."""
        vectors = np.empty((len(tracks), self.projection.shape[1]), dtype=np.float32)
        for i, track in enumerate(tracks):
            # one by one, so that a track's vector does not depend on which others it came with
            vector = (describe(track) - self.mean) @ self.projection
            vectors[i] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return vectors

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name."""
        return {"mean": self.mean, "projection": self.projection}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Return what `tensors` came from."""
        return cls(np.asarray(tensors["mean"]), np.asarray(tensors["projection"]))


def _label(cliques: NDArray[Any], n: int) -> Int64Array:
    """Whose vectors must be alike: cliques from 0 on, and every other track by itself."""
    if len(cliques) != n or n < 8:
        raise ValueError(f"expected a clique or -1 for each of at least 8 tracks, got {len(cliques)} for {n}")
    labels = cliques.astype(np.int64)
    alone = labels < 0
    labels[alone] = labels.max(initial=0) + 1 + np.arange(alone.sum())
    return np.unique(labels, return_inverse=True)[1]


def _scale(plain: Float32Array) -> Float32Array:
    """Weight of each measure: one over its spread, softened where that is small, and over how many are of its kind."""
    spread = plain.std(axis=0)
    chords = np.arange(len(spread)) >= len(spread) - len(GAPS) * N_CHORD_ROWS
    scale = np.zeros(spread.shape, dtype=np.float32)
    for kind, floor, weight in ((~chords, 0.01, 1.0), (chords, 0.1, CHORD_WEIGHT)):
        varies = kind & (spread > 1e-4)
        scale[varies] = weight / ((spread[varies] + floor * spread[kind].max()) * np.sqrt(max(1, varies.sum())))
    return scale


def _principal_axes(points: Float32Array, seed: int) -> Float32Array:
    from sklearn.utils.extmath import randomized_svd

    k = min(N_COMPONENTS, len(points) - 1)
    return np.asarray(randomized_svd(points, k, n_iter=2, random_state=seed)[2].T, dtype=np.float32)


def _equalise(points: Float32Array, views: Float32Array, labels: Int64Array) -> Float32Array:
    """Weights (components, k): a work differs from itself alike in all directions, the most telling first."""
    sizes = np.bincount(labels)
    centres = np.zeros((len(sizes), points.shape[1]))
    np.add.at(centres, labels, points)
    centres /= sizes[:, None]
    hidden = (views - points).astype(np.float64)
    within = hidden.T @ hidden / (2 * len(hidden))
    freedom = len(points) - len(sizes)
    if freedom:
        apart = points - centres[labels]
        within = (within + apart.T @ apart / freedom) / 2
    within += 0.2 * np.trace(within) / len(within) * np.eye(len(within))
    values, axes = np.linalg.eigh(within)
    white = axes / np.sqrt(values)
    spread = (centres - centres.mean(axis=0)) @ white
    between = np.linalg.eigh(spread.T @ spread)[1][:, ::-1]
    return np.asarray(white @ between[:, :N_DIMENSIONS], dtype=np.float32)


def _contrast(
    points: Float32Array, views: Float32Array, labels: Int64Array, weights: Float32Array, steps: int, seed: int
) -> Float32Array:
    """Improve weights by gradient: of 384 vectors each is to find its partner (NT-Xent)."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    families = [group for group in groups if len(group) > 1]
    singles = np.array([group[0] for group in groups if len(group) == 1], dtype=np.int64)
    both = torch.from_numpy(np.stack([points, views]))
    start, unit = torch.from_numpy(weights), float(weights.std())
    change = torch.zeros_like(start, requires_grad=True)
    # small steps: what fits a few hundred cliques better soon fits others worse
    optimizer = torch.optim.Adam([change], lr=0.003)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    for _ in range(steps):
        chosen = rng.permutation(len(families))[: N_PAIRS - min(len(singles), N_PAIRS // 2)]
        pairs = [rng.choice(families[i], 2, replace=False) for i in chosen]
        pairs += [np.array([i, i]) for i in rng.permutation(singles)[: N_PAIRS - len(pairs)]]
        left, right = np.array(pairs).T
        # the partner of a track without versions is its own disguise
        alone = left == right
        read_left = np.where(alone, 0, rng.integers(0, 2, len(left)))
        read_right = np.where(alone, 1, rng.integers(0, 2, len(left)))
        read = torch.cat([both[read_left, left], both[read_right, right]])
        kept = torch.from_numpy((rng.random(read.shape) > 0.3).astype(np.float32))
        vectors = normalize((read * kept) @ (start + unit * change), dim=1)
        likeness = (vectors @ vectors.T / TEMPERATURE).fill_diagonal_(-1e9)
        loss = cross_entropy(likeness, torch.arange(len(vectors)).roll(len(pairs)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    return np.asarray((start + unit * change).detach().numpy())
