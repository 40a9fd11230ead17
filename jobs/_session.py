"""The one place that starts Spark."""

import os
import sys

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from reprise.conf import Settings


def get_session(settings: Settings) -> SparkSession:
    """Start Spark, or return the session of this process.

    Precedence: ``--conf spark.*`` and the profile's file yield to what ``spark-submit`` was told, except that an
    explicit ``--conf`` of ours is in ``settings.spark`` already and is set only where spark-submit left it open.
    """
    # Workers take python3 from PATH unless this variable is there before the session starts.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        # under spark-submit the JVM runs already and holds what spark-submit was told; SparkConf sees it once connected
        SparkContext._ensure_initialized()
    conf = SparkConf()
    for key, value in settings.spark.items():
        conf.setIfMissing(key, value)
    # the file of Spark's logger stays quiet; this line is for whoever asks for more
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    spark.sparkContext.setLogLevel(settings.log_level)
    return spark
