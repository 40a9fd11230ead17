"""Running median of 31 values along either axis of a matrix, exact, for many columns at once.

Sixteen neighbouring windows of 31 values have 16 values in common. Those are sorted once; then halves of the group,
their halves and so on each merge in the values that only they have in common, and drop as many from either end, which
cannot be the median of any of their windows any more: 8, 4, 2 and at last the one median are left [1]_. That makes 23
comparisons an output. Which values are compared depends on none of them, so that whole vectors can be.

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
_GROUP = (WIDTH + 1) // 2  # outputs at once: what they share must be as many
_SPAN = _GROUP + WIDTH - 1  # values that these outputs depend on
_LANES = 64  # columns at once: all registers fit into the first-level cache
_NONE = -1


@lru_cache(maxsize=1)
def median_program() -> tuple[IntpArray, IntpArray, int]:
    """Make the comparisons of one group.

    Returns
    -------
    tuple
        Steps (S, 4): registers of two values, and those that take the smaller and the larger of them, −1 where that is
        not needed; registers of the 16 medians; count of registers. The first 46 hold the values at the beginning.
    """
    network = _Network(_SPAN)
    medians = network.medians(0, _GROUP, network.sort(list(range(_GROUP - 1, WIDTH))))
    return network.compile(medians)


class _Network:
    """Comparisons between numbered values; each value is written once."""

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
        """Sort a power of two of values, unless it has been done: both halves, merged as a rising and a falling run."""
        half, name = len(values) // 2, tuple(values)
        if half == 0:
            return values
        if name not in self._sorted:
            self._sorted[name] = self._merge([*self.sort(values[:half]), *reversed(self.sort(values[half:]))])
        return self._sorted[name]

    def _merge(self, values: list[int]) -> list[int]:
        """Sort a run that rises and then falls, or the other way round."""
        half = len(values) // 2
        if half == 0:
            return values
        pairs = [self._compare(a, b) for a, b in zip(values[:half], values[half:], strict=True)]
        return [*self._merge([low for low, _ in pairs]), *self._merge([high for _, high in pairs])]

    def _middle(self, core: list[int], more: list[int]) -> list[int]:
        """Sorted middle third of 2m and m sorted values."""
        m = len(more)
        larger = [self._compare(a, b)[1] for a, b in zip(core[:m], reversed(more), strict=True)]
        smaller = [self._compare(a, b)[0] for a, b in zip(self._merge(larger), reversed(core[m:]), strict=True)]
        return self._merge(smaller)

    def medians(self, first: int, last: int, core: list[int]) -> list[int]:
        """Medians of the windows ``first`` to ``last``, of whose common values ``core`` can still be one."""
        if last - first == 1:
            return core
        half = (first + last) // 2
        left, right = range(half - 1, last - 1), range(first + WIDTH, half + WIDTH)
        return [
            *self.medians(first, half, self._middle(core, self.sort(list(left)))),
            *self.medians(half, last, self._middle(core, self.sort(list(right)))),
        ]

    def compile(self, results: list[int]) -> tuple[IntpArray, IntpArray, int]:
        """Drop what no result needs and give every value a register that is free while it is needed."""
        needed, kept = set(results), []
        for a, b, low, high in reversed(self._steps):
            if low in needed or high in needed:
                kept.append((a, b, low if low in needed else _NONE, high if high in needed else _NONE))
                needed |= {a, b}
        kept.reverse()
        last_use = {value: at for at, step in enumerate(kept) for value in step[:2]}
        register = {value: value for value in range(self._n_inputs)}
        free: list[int] = []
        count, program = self._n_inputs, []
        for at, (a, b, low, high) in enumerate(kept):
            targets = []
            for value in (low, high):
                if value != _NONE and not free:
                    free.append(count)
                    count += 1
                register[value] = _NONE if value == _NONE else free.pop()
                targets.append(register[value])
            program.append((register[a], register[b], *targets))
            # not before: a loop that writes what it reads would not be compiled to vector instructions
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
    """Where the value before the first or after the last comes from: … b a | a b c | c b …."""
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
    """Median of 31 values down each column, around the rows ``first`` to ``last``.

    Parameters
    ----------
    values
        (n, m) float32 without NaN. Rows beyond either end are those before it, mirrored.

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
    """Median of 31 values along each of the rows ``first`` to ``last``; else as `median_over_rows`."""
    program, results, n_registers = median_program()
    out = np.empty((last - first, values.shape[1]), dtype=np.float32)
    _filter_columns(values, first, last, program, results, np.zeros((n_registers, _LANES), dtype=np.float32), out)
    return out
