"""Transposition between two beat chromas: the optimal transposition index (OTI)."""

import numpy as np

from reprise.lib.arrays import Float32Array


def rank_transpositions(query: Float32Array, candidate: Float32Array) -> list[int]:
    """Rank the transpositions of the candidate, the most likely first.

    The most likely transposition is the optimal transposition index of Serrà, Gómez & Herrera (2008). Each rotation of
    the candidate's global chroma profile is compared with the query's profile by inner product. Transpositions with
    equal inner products are in ascending order.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), rows C to B.

    Returns
    -------
    list of int
        A permutation of 0..11. Transposition t means that the candidate sounds t semitones above the query:
        ``np.roll(candidate, -t, axis=0)`` is in the key of the query.
    """
    profile = candidate.sum(axis=1, dtype=np.float64)
    # row t is the profile of the candidate transposed down by t semitones
    lowered = profile[(np.arange(12)[:, None] + np.arange(12)) % 12]
    order: list[int] = np.argsort(-(lowered @ query.sum(axis=1, dtype=np.float64)), kind="stable").tolist()
    return order


def optimal_transposition(query: Float32Array, candidate: Float32Array) -> int:
    """Return the most likely transposition, 0..11, as defined in `rank_transpositions`."""
    return rank_transpositions(query, candidate)[0]
