"""The one place that starts Spark."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reprise.conf import Settings

if TYPE_CHECKING:  # a query in DuckDB does not wait for these
    from pyspark.sql import SparkSession


def get_session(settings: Settings) -> SparkSession:
    """Start Spark with the settings, or return the session of this process; ``msd`` is then a format it reads.

    What ``spark-submit`` was told wins over ``settings.spark``.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    from reprise.udfs.msd_source import MsdSource

    # Workers take python3 from PATH unless this variable is there before the session starts.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        # under spark-submit the JVM runs already and holds what spark-submit was told; SparkConf sees it once connected
        SparkContext._ensure_initialized()
    conf = SparkConf()
    for key, value in settings.spark.items():
        conf.setIfMissing(key, value)
    # a task has one core; and what numba compiles in one process the next ones find there, even from a zip
    numba = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_CACHE_")}
    for name, value in {"OMP_NUM_THREADS": "1", **numba}.items():
        conf.setIfMissing(f"spark.executorEnv.{name}", value)
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    # at ERROR a failed task would print its Java stack, where the job says in one line what went wrong
    spark.sparkContext.setLogLevel("FATAL" if settings.log_level == "ERROR" else settings.log_level)
    # it would print every query that fails with its Java stack
    level = "DEBUG" if settings.log_level == "DEBUG" else "CRITICAL"
    for kind in ("SQL", "DataFrame"):
        PySparkLogger.getLogger(f"{kind}QueryContextLogger").setLevel(level)
    spark.dataSource.register(MsdSource)
    return spark
