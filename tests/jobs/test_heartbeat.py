"""Heartbeats of a worker reach Spark, which kills workers that send nothing."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError

from reprise.udfs.staging import RESULT_DDL

IDLE_S, WORK_S = 6, 14  # on a busy machine the 512 empty batches of a heartbeat can take two seconds
IDLE_TIMEOUT = "spark.sql.execution.pyspark.udf.idleTimeoutSeconds"


@pytest.mark.parametrize("heartbeat_s", [0.5, 60.0])
def test_worker_with_heartbeats_survives_the_idle_timeout(spark: Any, heartbeat_s: float) -> None:
    """A worker without heartbeats in the idle time is killed."""

    def load_modules(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from reprise.udfs import heartbeat, staging  # noqa: F401

        yield from batches

    def work_long(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import time

        from reprise.udfs import heartbeat
        from reprise.udfs.staging import stage

        def make(given: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
            for batch in given:
                usual, heartbeat.HEARTBEAT_S = heartbeat.HEARTBEAT_S, heartbeat_s
                yield from heartbeat.run_with_heartbeat(("a", batch.slice(0, 0)), time.sleep, WORK_S)
                heartbeat.HEARTBEAT_S = usual
                yield "a", batch

        yield from stage(batches, make=make, folders={}, seen_by_driver=frozenset("a"))

    rows = spark.range(1).coalesce(1)
    # the worker is reused: its imports, which can take seconds on a busy machine, do not count as idle time
    rows.mapInArrow(load_modules, "id long").collect()
    usual = spark.conf.get(IDLE_TIMEOUT)
    spark.conf.set(IDLE_TIMEOUT, IDLE_S)
    try:
        made = rows.mapInArrow(work_long, RESULT_DDL)
        if heartbeat_s < IDLE_S:
            assert [row["table"] for row in made.collect()] == ["a"]
        else:
            with pytest.raises(Py4JJavaError, match="idle timeout"):
                made.collect()
    finally:
        spark.conf.set(IDLE_TIMEOUT, usual)
