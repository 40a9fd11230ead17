"""Running medians compared with scipy, bit for bit."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import median_filter

from reprise.lib.features.medians import WIDTH, median_over_columns, median_over_rows


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 200), (200, 1), (5, 1025), (16, 64), (17, 65), (31, 63), (64, 16), (130, 70), (47, 129)]
)
def test_medians_equal_scipy(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(sum(shape)).random(shape, dtype=np.float32)
    # random values, values with ties, sorted values, zeros
    for matrix in (values, np.round(values * 3), np.sort(values, axis=0), np.zeros_like(values)):
        rows = median_filter(matrix, size=(WIDTH, 1), mode="reflect")
        columns = median_filter(matrix, size=(1, WIDTH), mode="reflect")
        np.testing.assert_array_equal(median_over_rows(matrix, 0, len(matrix)), rows)
        np.testing.assert_array_equal(median_over_columns(matrix, 0, len(matrix)), columns)
        first, last = len(matrix) // 3, len(matrix) - len(matrix) // 4
        np.testing.assert_array_equal(median_over_rows(matrix, first, last), rows[first:last])
        np.testing.assert_array_equal(median_over_columns(matrix, first, last), columns[first:last])


def test_medians_of_zeros_and_ones() -> None:
    """A sorting network that is correct for zeros and ones is correct for all numbers: 0 to 31 ones, shuffled."""
    rng = np.random.default_rng(0)
    values: Any = (rng.random((46, 4000)) < rng.random(4000)).astype(np.float32)
    medians = median_over_rows(values, 15, 31)
    for row in range(16):
        np.testing.assert_array_equal(medians[row], np.median(values[row : row + WIDTH], axis=0))
