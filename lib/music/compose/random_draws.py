"""Counter-based random numbers: each draw depends only on (seed, stream, index).

Any track can therefore be composed alone, in any order and in any process.
"""

from functools import lru_cache
from zlib import crc32

import numpy as np

from reprise.lib.arrays import Float64Array, Int64Array, UInt64Array

_MASK = (1 << 64) - 1


def _mix_bits(x: UInt64Array) -> UInt64Array:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=4096)
def _stream_key(seed: int, stream: str) -> int:
    key = np.array([(seed & _MASK) ^ (crc32(stream.encode()) << 31)], dtype=np.uint64)
    return int(_mix_bits(key)[0])


def draw_bits(seed: int, stream: str, index: Int64Array) -> UInt64Array:
    """Draw 64 random bits for each index, with the output function of SplitMix64 (Steele, Lea & Flood 2014).

    Parameters
    ----------
    seed, stream
        The plan's seed and the name of the random quantity. Each pair is an independent stream.
    index
        Counters: an integer array with at least one dimension. The result has the same shape.
    """
    x = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return _mix_bits(x + np.uint64(_stream_key(seed, stream)))


def draw_uniform(seed: int, stream: str, index: Int64Array) -> Float64Array:
    """Draw uniform numbers in the open interval (0, 1), one per index."""
    return ((draw_bits(seed, stream, index) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def draw_normal(seed: int, stream: str, index: Int64Array) -> Float64Array:
    """Draw standard normal numbers, one per index, by the method of Box & Muller (1958)."""
    radius = np.sqrt(-2 * np.log(draw_uniform(seed, stream, index)))
    draws: Float64Array = radius * np.cos(2 * np.pi * draw_uniform(seed, stream + " angle", index))
    return draws


def choose(cumulative: Float64Array, draws: Float64Array) -> Int64Array:
    """Return the index of the class into which each uniform draw falls.

    Parameters
    ----------
    cumulative
        Cumulative shares that end in 1. An array of shape (K,) applies to all draws. An array of shape (n, K) has one
        row per draw.
    draws
        Uniform numbers in (0, 1), shape (n,).

    Returns
    -------
    ndarray, int64, shape (n,)
        Indices from 0 to K - 1.
    """
    classes: Int64Array = np.minimum((draws[:, None] >= cumulative).sum(axis=-1), cumulative.shape[-1] - 1)
    return classes


def make_generator(seed: int, stream: str, index: int) -> np.random.Generator:
    """Return a numpy generator that is independent of the generators of other seeds, streams and indices."""
    return np.random.Generator(np.random.SFC64([seed & _MASK, crc32(stream.encode()), index]))
