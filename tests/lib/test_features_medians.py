"""Running medians against scipy's, to the last bit."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import median_filter

from reprise.lib.features.medians import WIDTH, median_over_columns, median_over_rows


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 200), (200, 1), (5, 1025), (16, 64), (17, 65), (31, 63), (64, 16), (130, 70), (47, 129)]
)
def test_medians_are_scipys(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(sum(shape)).random(shape, dtype=np.float32)
    for some in (values, np.round(values * 3), np.sort(values, axis=0), np.zeros_like(values)):  # ties, order, nothing
        rows = median_filter(some, size=(WIDTH, 1), mode="reflect")
        columns = median_filter(some, size=(1, WIDTH), mode="reflect")
        np.testing.assert_array_equal(median_over_rows(some, 0, len(some)), rows)
        np.testing.assert_array_equal(median_over_columns(some, 0, len(some)), columns)
        first, last = len(some) // 3, len(some) - len(some) // 4
        np.testing.assert_array_equal(median_over_rows(some, first, last), rows[first:last])
        np.testing.assert_array_equal(median_over_columns(some, first, last), columns[first:last])


def test_every_window_of_zeros_and_ones_is_right() -> None:
    """What selects rightly from zeros and ones selects rightly from all numbers: so 0 to 31 ones in random places."""
    rng = np.random.default_rng(0)
    values: Any = (rng.random((46, 4000)) < rng.random(4000)).astype(np.float32)
    medians = median_over_rows(values, 15, 31)
    for row in range(16):
        np.testing.assert_array_equal(medians[row], np.median(values[row : row + WIDTH], axis=0))
