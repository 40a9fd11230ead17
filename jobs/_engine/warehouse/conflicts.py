"""Retry of a commit after a write conflict."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

_ATTEMPTS = 50

T = TypeVar("T")


def retry_on_conflict(commit: Callable[[], T]) -> T:
    """Call ``commit`` and return its result; call it again after each write conflict.

    A write conflict means that another writer changed the table after ``commit`` had read it and before it committed.

    Raises
    ------
    deltalake.exceptions.CommitFailedError, delta.exceptions.*
        All 50 attempts met a write conflict. Exceptions that do not report a conflict are raised at once.
    """
    conflicts = _conflict_types()
    for attempt in range(1, _ATTEMPTS):
        try:
            return commit()
        except conflicts:
            # a random pause spreads the writers out; it grows with the number of attempts
            time.sleep(random.uniform(0.01, 0.05) * min(attempt, 20))  # noqa: S311
    return commit()


def _conflict_types() -> tuple[type[Exception], ...]:
    """Return the exception classes of delta-rs and of Delta on Spark that report a write conflict.

    The Python exceptions of Delta on Spark have no common base class of their own. PySpark raises them in
    place of Java exceptions only after their module has been imported, so this function must run before the commit.
    """
    from delta import exceptions
    from deltalake.exceptions import CommitFailedError

    return (CommitFailedError, *(getattr(exceptions, name) for name in exceptions.__all__))
