"""Start the Spark session. Other modules can only derive a session from it, with ``newSession``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reprise.conf import Settings

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without pyspark
    from pyspark.sql import SparkSession


def get_session(settings: Settings) -> SparkSession:
    """Return this process's Spark session; start it with the settings if necessary, and register the source ``msd``.

    Options of ``spark-submit`` take precedence over ``settings.spark``.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    from reprise.udfs.msd_source import MsdSource

    # Workers run python3 from PATH unless this variable is set before the session starts.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        # spark-submit has already started the JVM with its options; SparkConf can read them only after connecting to it
        SparkContext._ensure_initialized()
    conf = SparkConf()
    for key, value in settings.spark.items():
        conf.setIfMissing(key, value)
    # A task has one core, so its libraries use one thread. With the NUMBA_CACHE_ variables, workers share one cache of
    # functions that numba has compiled, even if reprise is imported from a zip.
    numba = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_CACHE_")}
    for name, value in {"OMP_NUM_THREADS": "1", **numba}.items():
        conf.setIfMissing(f"spark.executorEnv.{name}", value)
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    # at level ERROR, Spark prints a Java stack trace for each failed task; the job prints the error as one line anyway
    spark.sparkContext.setLogLevel("FATAL" if settings.log_level == "ERROR" else settings.log_level)
    # PySpark's query-context loggers print each failed query with a Java stack trace
    level = "DEBUG" if settings.log_level == "DEBUG" else "CRITICAL"
    for kind in ("SQL", "DataFrame"):
        PySparkLogger.getLogger(f"{kind}QueryContextLogger").setLevel(level)
    spark.dataSource.register(MsdSource)
    return spark
