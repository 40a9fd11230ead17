"""Exact running median of 31 values along either axis of a matrix, for many columns at once.

Sixteen neighbouring windows of 31 values have 16 values in common, the core. The algorithm [1]_ sorts the core once.
Then it repeatedly splits the group of windows into two halves. The windows of a half have additional values in common.
The algorithm merges these values into the core of the half, and drops equally many values from both ends of the core,
because the dropped values cannot be the median of a window of the half. The core shrinks to 8, 4, 2 and finally 1
value, which is the median. This takes 23 comparisons per output. The order of the comparisons does not depend on the
values, so each comparison runs on whole vectors.

References
----------
.. [1] A. Adams, "Fast median filters using separable sorting networks", ACM Transactions on Graphics 40 (4), 2021.
"""

from functools import lru_cache

import numpy as np
from numba import njit

from reprise.lib.arrays import Float32Array, IntpArray

WIDTH = 31
HALF_WIDTH = WIDTH // 2
_GROUP = (WIDTH + 1) // 2  # windows per group; must equal the number of values that the windows have in common
_SPAN = _GROUP + WIDTH - 1  # number of values on which a group depends
_LANES = 64  # number of columns processed at once; with this number, all registers fit into the first-level cache
_UNUSED = -1


@lru_cache(maxsize=1)
def median_program() -> tuple[IntpArray, IntpArray, int]:
    """Build the sequence of comparisons that computes the medians of one group of windows.

    Returns
    -------
    tuple
        Steps (S, 4), registers of the 16 medians, and number of registers. A step contains four register numbers: two
        for the values to compare, one for the smaller value and one for the larger value. The third or the fourth is −1
        if that value is not needed. The first 46 registers contain the inputs.
    """
    network = _SortingNetwork(_SPAN)
    medians = network.medians(0, _GROUP, network.sort(list(range(_GROUP - 1, WIDTH))))
    return network.compile(medians)


class _SortingNetwork:
    """A recorded sequence of comparisons. Values are identified by numbers; each comparison produces two new values."""

    def __init__(self, n_inputs: int) -> None:
        self._n_inputs = self._n_values = n_inputs
        self._steps: list[tuple[int, int, int, int]] = []
        self._sorted: dict[tuple[int, ...], list[int]] = {}

    def _compare(self, a: int, b: int) -> tuple[int, int]:
        low, high = self._n_values, self._n_values + 1
        self._n_values += 2
        self._steps.append((a, b, low, high))
        return low, high

    def sort(self, values: list[int]) -> list[int]:
        """Sort values by bitonic merge sort, reusing earlier results. The number of values must be a power of two."""
        half, key = len(values) // 2, tuple(values)
        if half == 0:
            return values
        if key not in self._sorted:
            self._sorted[key] = self._merge([*self.sort(values[:half]), *reversed(self.sort(values[half:]))])
        return self._sorted[key]

    def _merge(self, values: list[int]) -> list[int]:
        """Sort a bitonic sequence: one that rises and then falls, or falls and then rises."""
        half = len(values) // 2
        if half == 0:
            return values
        pairs = [self._compare(a, b) for a, b in zip(values[:half], values[half:], strict=True)]
        return [*self._merge([low for low, _ in pairs]), *self._merge([high for _, high in pairs])]

    def _middle(self, core: list[int], more: list[int]) -> list[int]:
        """Return the middle third, sorted, of the 2m sorted values ``core`` and the m sorted values ``more``."""
        m = len(more)
        larger = [self._compare(a, b)[1] for a, b in zip(core[:m], reversed(more), strict=True)]
        smaller = [self._compare(a, b)[0] for a, b in zip(self._merge(larger), reversed(core[m:]), strict=True)]
        return self._merge(smaller)

    def medians(self, first: int, last: int, core: list[int]) -> list[int]:
        """Return the medians of the windows ``first`` to ``last`` (exclusive).

        ``core`` contains the values that these windows have in common and that can still be a median, sorted.
        """
        if last - first == 1:
            return core
        half = (first + last) // 2
        left, right = range(half - 1, last - 1), range(first + WIDTH, half + WIDTH)
        return [
            *self.medians(first, half, self._middle(core, self.sort(list(left)))),
            *self.medians(half, last, self._middle(core, self.sort(list(right)))),
        ]

    def compile(self, results: list[int]) -> tuple[IntpArray, IntpArray, int]:
        """Remove comparisons that no result depends on, and assign registers.

        Two values share a register only if their lifetimes do not overlap.
        """
        needed, kept = set(results), []
        for a, b, low, high in reversed(self._steps):
            if low in needed or high in needed:
                kept.append((a, b, low if low in needed else _UNUSED, high if high in needed else _UNUSED))
                needed |= {a, b}
        kept.reverse()
        last_use = {value: at for at, step in enumerate(kept) for value in step[:2]}
        register = {value: value for value in range(self._n_inputs)}
        free: list[int] = []
        count, program = self._n_inputs, []
        for at, (a, b, low, high) in enumerate(kept):
            targets = []
            for value in (low, high):
                if value != _UNUSED and not free:
                    free.append(count)
                    count += 1
                register[value] = _UNUSED if value == _UNUSED else free.pop()
                targets.append(register[value])
            program.append((register[a], register[b], *targets))
            # free registers after the step: a loop that overwrites its input would not compile to vector instructions
            free += [register[value] for value in (a, b) if last_use[value] == at and value not in results]
        return np.array(program, dtype=np.intp), np.array([register[value] for value in results], dtype=np.intp), count


@njit(cache=True, nogil=True)
def _run(program: IntpArray, registers: Float32Array) -> None:
    for step in range(len(program)):
        a, b = registers[program[step, 0]], registers[program[step, 1]]
        low, high = program[step, 2], program[step, 3]
        if high < 0:
            to = registers[low]
            for k in range(_LANES):
                to[k] = a[k] if a[k] < b[k] else b[k]
        elif low < 0:
            to = registers[high]
            for k in range(_LANES):
                to[k] = b[k] if a[k] < b[k] else a[k]
        else:
            to, other = registers[low], registers[high]
            for k in range(_LANES):
                x, y = a[k], b[k]
                to[k] = x if x < y else y
                other[k] = y if x < y else x


@njit(cache=True, nogil=True)
def _reflect(index: int, count: int) -> int:
    """Map an index outside 0 … count − 1 to an index inside, by mirroring: … b a | a b c | c b …."""
    index %= 2 * count
    return index if index < count else 2 * count - 1 - index


@njit(cache=True, nogil=True)
def _filter_rows(
    values: Float32Array,
    first: int,
    last: int,
    program: IntpArray,
    results: IntpArray,
    registers: Float32Array,
    out: Float32Array,
) -> None:
    n_rows, n_columns = values.shape
    for row in range(first, last, _GROUP):
        n_results = min(_GROUP, last - row)
        for column in range(0, n_columns, _LANES):
            start = max(min(column, n_columns - _LANES), 0)
            n = min(_LANES, n_columns)
            for i in range(_SPAN):
                registers[i, :n] = values[_reflect(row + i - HALF_WIDTH, n_rows), start : start + n]
            _run(program, registers)
            for i in range(n_results):
                out[row - first + i, start : start + n] = registers[results[i], :n]


@njit(cache=True, nogil=True)
def _filter_columns(
    values: Float32Array,
    first: int,
    last: int,
    program: IntpArray,
    results: IntpArray,
    registers: Float32Array,
    out: Float32Array,
) -> None:
    n_columns = values.shape[1]
    sources = np.empty(_SPAN, dtype=np.intp)
    for column in range(0, n_columns, _GROUP):
        n_results = min(_GROUP, n_columns - column)
        for i in range(_SPAN):
            sources[i] = _reflect(column + i - HALF_WIDTH, n_columns)
        for row in range(first, last, _LANES):
            start = max(min(row, last - _LANES), first)
            n = min(_LANES, last - start)
            for k in range(n):
                for i in range(_SPAN):
                    registers[i, k] = values[start + k, sources[i]]
            _run(program, registers)
            for k in range(n):
                for i in range(n_results):
                    out[start - first + k, column + i] = registers[results[i], k]


def median_over_rows(values: Float32Array, first: int, last: int) -> Float32Array:
    """Compute the running median of 31 values along each column, centred on the rows ``first`` to ``last`` (exclusive).

    Parameters
    ----------
    values
        (n, m) float32 without NaN. At both ends, the rows are extended by mirroring.

    Returns
    -------
    numpy.ndarray
        (last − first, m) float32.
    """
    program, results, n_registers = median_program()
    out = np.empty((last - first, values.shape[1]), dtype=np.float32)
    _filter_rows(values, first, last, program, results, np.zeros((n_registers, _LANES), dtype=np.float32), out)
    return out


def median_over_columns(values: Float32Array, first: int, last: int) -> Float32Array:
    """Compute the running median of 31 values along each of the rows ``first`` to ``last`` (exclusive).

    Parameters and result are as in `median_over_rows`. At both ends, the columns are extended by mirroring.
    """
    program, results, n_registers = median_program()
    out = np.empty((last - first, values.shape[1]), dtype=np.float32)
    _filter_columns(values, first, last, program, results, np.zeros((n_registers, _LANES), dtype=np.float32), out)
    return out
