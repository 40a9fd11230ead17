"""Try again what another writer came in the way of."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

_ATTEMPTS = 50

T = TypeVar("T")


def retry(attempt: Callable[[], T], is_conflict: Callable[[Exception], bool]) -> T:
    """Call ``attempt`` until no other writer has come between its look at the table and its commit."""
    for tries in range(_ATTEMPTS):
        try:
            return attempt()
        except Exception as error:
            if tries == _ATTEMPTS - 1 or not is_conflict(error):
                raise
            time.sleep(random.uniform(0.01, 0.05) * min(tries + 1, 20))  # noqa: S311 - spreads the writers out
    raise AssertionError("unreachable")
