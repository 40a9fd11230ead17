"""Signs of life reach Spark, which kills workers that it hears nothing from."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError

IDLE_S, WORK_S = 3, 8


@pytest.mark.parametrize("heartbeat_s", [0.5, 60.0])
def test_spark_hears_the_signs_of_life(spark: Any, heartbeat_s: float) -> None:
    """And without them it does kill the worker."""

    def slowly(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
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

    name = "spark.sql.execution.pyspark.udf.idleTimeoutSeconds"
    usual = spark.conf.get(name)
    spark.conf.set(name, IDLE_S)
    try:
        made = spark.range(1).coalesce(1).mapInArrow(slowly, "`table` string, file string, rows binary")
        if heartbeat_s < IDLE_S:
            assert [row["table"] for row in made.collect()] == ["a"]
        else:
            with pytest.raises(Py4JJavaError, match="idle timeout"):
                made.collect()
    finally:
        spark.conf.set(name, usual)
