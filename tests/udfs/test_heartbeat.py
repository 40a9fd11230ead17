"""Work in a thread with heartbeats, called directly; tests/jobs shows their effect in Spark."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from reprise.udfs import heartbeat
from reprise.udfs.arrow import to_batch
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.staging import RESULT_SCHEMA

EMPTY = to_batch(RESULT_SCHEMA, {"table": []})
WORKER_BUFFER_BYTES = 64 << 10


def run(work: Callable[..., Any], *args: object) -> tuple[list[Any], Any]:
    """Return the heartbeats and the result."""
    beats, running = [], run_with_heartbeat(EMPTY, work, *args)
    while True:
        try:
            beats.append(next(running))
        except StopIteration as end:
            return beats, end.value


def test_result_without_heartbeats_when_work_is_short() -> None:
    assert run(divmod, 7, 2) == ([], (3, 1))


def test_each_heartbeat_fills_the_buffer_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller heartbeats would stay in the buffer and not reach Spark."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.1)
    beats, result = run(time.sleep, 0.5)
    assert result is None
    assert beats
    assert all(beat is EMPTY for beat in beats)
    assert len(beats) % heartbeat._BATCHES_PER_BUFFER == 0
    assert heartbeat._BATCHES_PER_BUFFER * EMPTY.serialize().size >= WORKER_BUFFER_BYTES


@pytest.mark.parametrize("error", [ValueError, TimeoutError])
def test_an_error_of_the_work_is_raised(error: type[Exception]) -> None:
    """Also the error of a network file system that does not answer, which looks like that of a wait without result."""

    def fail() -> None:
        raise error("why")

    with pytest.raises(error, match="why"):
        run(fail)
