"""The key a version is played in, seen from another: optimal transposition index of two beat chromas."""

import numpy as np

from reprise.lib.arrays import Float32Array


def rank_transpositions(query: Float32Array, candidate: Float32Array) -> list[int]:
    """Transpositions of the candidate, the most likely first.

    The optimal transposition index of Serrà, Gómez & Herrera (2008): global chroma profiles, one of them rotated, are
    compared by their inner product; ties stand in ascending order.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), rows C to B.

    Returns
    -------
    list of int
        The numbers 0..11. t says that the candidate sounds t semitones above the query: `np.roll(candidate, -t,
        axis=0)` is in the query's key.
    """
    profile = candidate.sum(axis=1, dtype=np.float64)
    # row t is the candidate's profile brought down by t semitones
    lowered = profile[(np.arange(12)[:, None] + np.arange(12)) % 12]
    order: list[int] = np.argsort(-(lowered @ query.sum(axis=1, dtype=np.float64)), kind="stable").tolist()
    return order


def optimal_transposition(query: Float32Array, candidate: Float32Array) -> int:
    """How many semitones, 0..11, the candidate sounds above the query; see `rank_transpositions`."""
    return rank_transpositions(query, candidate)[0]
