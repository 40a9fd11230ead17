"""Seconds of the exact cover search, beside the bare matrix products and faiss' flat index, in one process."""

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from measuring import Row
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from reprise.lib.arrays import Float32Array, Int64Array
from reprise.lib.detect.search import NO_GROUP, TopK

TILE = 1024  # rows and columns of a product, as in the search
BLOCK = 10_000  # items the search is given at a time, as in an Arrow batch


def measure(
    n_gallery: int = 1_000_000, n_queries: int = 5_236, d: int = 200, k: int = 100, threads: int = 2, rounds: int = 5
) -> dict[str, float]:
    """Seconds of each way to search one made gallery; the ways take turns, so that the machine's mood hits all alike.

    In each round the products and our search do one part of the gallery, and faiss, which wants its gallery whole, one
    part of the queries. The gallery lies in faiss' index and nowhere else; making it is not counted.

    Parameters
    ----------
    n_gallery, n_queries, d, k
        Items, queries, components, and matches a query.
    threads
        In each way. Products and search give each thread its share of the queries, as Spark gives each core its task:
        threads that share one product wait for each other, long where a core has other work to do.
    rounds
        Turns.

    Returns
    -------
    dict
        ``product``, ``reprise`` and ``faiss``: seconds; ``reprise_mib``: what our search adds to the resident memory at
        its peak; ``same_sets``: share of queries for which faiss, in float32, names the same k.
    """
    queries = _make_vectors(n_queries, d, 0)
    index = faiss.IndexFlatL2(d)
    for number, start in enumerate(range(0, n_gallery, BLOCK)):
        index.add(_make_vectors(min(BLOCK, n_gallery - start), d, 1 + number))
    gallery = faiss.rev_swig_ptr(index.get_xb(), n_gallery * d).reshape(n_gallery, d)
    none = np.full(max(BLOCK, n_queries), NO_GROUP)
    names = [f"Q{row}" for row in range(n_queries)]
    shares = _split(n_queries, threads)
    spent = dict.fromkeys(("product", "reprise", "faiss"), 0.0)
    found: list[Any] = []
    held, peak = 0.0, 0.0
    _search_little(queries, none)  # compiles
    with ThreadPoolExecutor(threads) as pool:

        def run(way: str, work: Callable[..., object], *inputs: Sequence[object]) -> list[object]:
            """Do the work for each input in a thread, and count its seconds, and its memory if ours."""
            nonlocal held, peak
            before = _reset_peak()
            start = time.perf_counter()
            with threadpool_limits(threads if way == "faiss" else 1, "blas"):
                done = list(pool.map(work, *inputs))
            spent[way] += time.perf_counter() - start
            if way == "reprise":
                peak = max(peak, held + _read_status("VmHWM") - before)
                held += _read_status("VmRSS") - before
            return done

        tops = run("reprise", lambda rows: TopK(queries[rows], names[rows], none[rows], k), shares)
        for items, rows in zip(_split(n_gallery, rounds), _split(n_queries, rounds), strict=True):
            ids = np.array([f"TR{row:016d}" for row in range(items.start, items.stop)], "S24")
            run("product", lambda share, part=gallery[items]: _multiply(queries[share], part), shares)
            run("reprise", lambda top, part=gallery[items], ids=ids: _search(top, part, ids, none), tops)
            found += run("faiss", lambda part: _search_faiss(index, part, k, threads), [queries[rows]])
        matches: list[Any] = run("reprise", lambda top: top.matches(), tops)
    ours = np.concatenate([part.ids for part in matches])
    same = 0
    for row, theirs in enumerate(np.concatenate(found)):
        same += {int(name[2:]) for name in ours[row]} == set(theirs.tolist())
    return {**spent, "reprise_mib": peak, "same_sets": same / n_queries}


def _make_vectors(count: int, d: int, seed: int) -> Float32Array:
    """Unit vectors about 2,000 centres, the same centres for every seed."""
    centres = np.random.default_rng(99).standard_normal((2_000, d), dtype=np.float32)
    random = np.random.default_rng([7, seed])
    vectors = random.standard_normal((count, d), dtype=np.float32)
    vectors += centres[random.integers(0, len(centres), count)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _search_little(queries: Float32Array, none: Int64Array) -> None:
    few, ids = queries[:9], [str(row) for row in range(9)]
    top = TopK(few, ids, none[:9], 3)
    top.add(few, ids, none[:9])
    top.matches()


def _search(top: TopK, gallery: Float32Array, ids: NDArray[np.bytes_], none: Int64Array) -> None:
    for first in range(0, len(gallery), BLOCK):
        block = gallery[first : first + BLOCK]
        top.add(block, ids[first : first + BLOCK], none[: len(block)])


def _search_faiss(index: faiss.IndexFlatL2, queries: Float32Array, k: int, threads: int) -> Int64Array:
    faiss.omp_set_num_threads(threads)  # of the calling thread only
    places: Int64Array = index.search(queries, k)[1]
    return places


def _split(count: int, parts: int) -> list[slice]:
    return [slice(part * count // parts, (part + 1) * count // parts) for part in range(parts)]


def _multiply(queries: Float32Array, gallery: Float32Array) -> None:
    """The products and nothing else, tile after tile into the same memory."""
    tile = np.empty(TILE * TILE, np.float32)
    for first in range(0, len(gallery), TILE):
        right = gallery[first : first + TILE].T
        for top in range(0, len(queries), TILE):
            left = queries[top : top + TILE]
            np.dot(left, right, out=tile[: len(left) * right.shape[1]].reshape(len(left), right.shape[1]))


def _reset_peak() -> float:
    """Let the kernel count this process's peak memory anew; the resident MiB now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _read_status("VmRSS")


def _read_status(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def measure_search() -> list[Row]:
    """The search of the whole SecondHandSongs test list in a million tracks."""
    found = measure()
    product = found["product"]
    return [
        {
            "what": "top 100 of 1,000,000 × 200 for 5,236 queries, two threads",
            "measured": f"{found['reprise']:.1f} s, {found['reprise_mib']:.0f} MiB",
            "ratio": found["reprise"] / product,
            "beside": f"the matrix products alone, {product:.1f} s",
            "goal": "≤ 1.30",
        },
        {
            "what": "faiss flat index, the same search",
            "measured": f"{found['faiss']:.1f} s; the same 100 for {found['same_sets']:.2%} of the queries",
            "ratio": found["faiss"] / product,
            "beside": "the matrix products alone",
            "goal": "",
        },
    ]
