"""Try again what another writer came in the way of."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

_ATTEMPTS = 50

T = TypeVar("T")


def retry(attempt: Callable[[], T], conflicts: tuple[type[Exception], ...]) -> T:
    """Call ``attempt`` until no other writer has come between its look at the table and its commit."""
    for tries in range(_ATTEMPTS):
        try:
            return attempt()
        except conflicts:
            if tries == _ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.01, 0.05) * min(tries + 1, 20))  # noqa: S311 - spreads the writers out
    raise AssertionError("unreachable")
