"""Counter-based randomness: every draw is a function of (seed, stream, index), so any track can be made alone."""

from functools import lru_cache
from zlib import crc32

import numpy as np

from reprise.lib.arrays import Float64Array, Int64Array, UInt64Array

_MASK = (1 << 64) - 1


def _finalise(x: UInt64Array) -> UInt64Array:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=4096)
def _stream_key(seed: int, stream: str) -> int:
    key = np.array([(seed & _MASK) ^ (crc32(stream.encode()) << 31)], dtype=np.uint64)
    return int(_finalise(key)[0])


def scramble(seed: int, stream: str, index: Int64Array) -> UInt64Array:
    """64 random bits for every index: the output function of SplitMix64 (Steele, Lea & Flood 2014).

    Parameters
    ----------
    seed, stream
        The plan's seed and the name of what is drawn; each pair is a stream of its own.
    index
        Counters, any shape of at least one dimension.
    """
    x = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return _finalise(x + np.uint64(_stream_key(seed, stream)))


def uniform(seed: int, stream: str, index: Int64Array) -> Float64Array:
    """Uniform numbers in (0, 1), one per index, neither end included."""
    return ((scramble(seed, stream, index) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normal(seed: int, stream: str, index: Int64Array) -> Float64Array:
    """Draw standard normal numbers, one per index (Box & Muller 1958)."""
    radius = np.sqrt(-2 * np.log(uniform(seed, stream, index)))
    turn: Float64Array = radius * np.cos(2 * np.pi * uniform(seed, stream + " angle", index))
    return turn


def choose(cumulative: Float64Array, draws: Float64Array) -> Int64Array:
    """Index of the class each uniform draw falls into.

    Parameters
    ----------
    cumulative
        Cumulative shares ending in 1: shape (K,) for all draws, or (n, K) for one row per draw.
    draws
        Shape (n,).
    """
    chosen: Int64Array = np.minimum((draws[:, None] >= cumulative).sum(axis=-1), cumulative.shape[-1] - 1)
    return chosen


def generator(seed: int, stream: str, index: int) -> np.random.Generator:
    """Return a numpy generator of its own for one index of one stream."""
    return np.random.Generator(np.random.SFC64([seed & _MASK, crc32(stream.encode()), index]))
