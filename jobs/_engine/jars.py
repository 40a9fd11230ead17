"""Put Delta's jars into this environment's own Spark, once, so that every door works with no jar option.

Run by ``make setup`` as ``python -m reprise.jobs._engine.jars``. The ``delta-spark`` wheel holds no jars, and
asking a session to resolve them makes each start touch the network and ship 33 files (most of them older copies of
Spark's own) to every executor. Five are enough; Spark's own Ivy fetches them here into ``pyspark/jars``, and
``spark-defaults.conf`` turns Delta on for ``spark-submit``, ``spark-sql``, the Thrift server and our sessions alike.
"""

import shutil
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyspark
from py4j.protocol import Py4JJavaError
from pyspark.java_gateway import launch_gateway

SPARK_HOME = Path(pyspark.__file__).parent
SCALA = "2.13"


def coordinates() -> list[str]:
    """Maven coordinates of the five jars that match the installed ``delta-spark`` and ``pyspark``."""
    spark = ".".join(pyspark.__version__.split(".")[:2])
    delta = version("delta-spark")
    names = [
        f"delta-spark_{spark}_{SCALA}",
        "delta-storage",
        "delta-kernel-api",
        "delta-kernel-defaults",
        "delta-kernel-unitycatalog",
    ]
    return [f"io.delta:{name}:{delta}" for name in names]


def missing_jars() -> list[str]:
    """Those of :func:`coordinates` that are not in Spark's jar folder yet."""
    present = {jar.name for jar in (SPARK_HOME / "jars").glob("delta-*.jar")}
    return [c for c in coordinates() if "{1}-{2}.jar".format(*c.split(":")) not in present]


def fetch(wanted: list[str]) -> None:
    """Resolve ``wanted`` with Spark's Ivy, without their dependencies, and copy them into Spark's jar folder."""
    gateway = launch_gateway()  # type: ignore[no-untyped-call]
    try:
        jvm: Any = gateway.jvm
        maven = jvm.org.apache.spark.util.MavenUtils
        none, log = jvm.scala.Option.empty(), jvm.java.io.PrintStream(jvm.java.io.OutputStream.nullOutputStream())
        nothing_excluded = getattr(maven, "resolveMavenCoordinates$default$5")()
        settings = maven.buildIvySettings(none, none, True, log)
        jars = maven.resolveMavenCoordinates(",".join(wanted), settings, none, False, nothing_excluded, False, log)
        for i in range(jars.size()):
            jar = Path(jars.apply(i))
            shutil.copyfile(jar, SPARK_HOME / "jars" / jar.name.removeprefix("io.delta_"))
    finally:
        gateway.shutdown()


def main() -> int:
    """Fetch what is missing and write ``spark-defaults.conf``; exit 1 with one line when it cannot."""
    (SPARK_HOME / "conf").mkdir(exist_ok=True)
    for ours, theirs in (("defaults.conf", "spark-defaults.conf"), ("log4j2.properties", "log4j2.properties")):
        (SPARK_HOME / "conf" / theirs).write_bytes((files("reprise.conf") / "spark" / ours).read_bytes())
    if wanted := missing_jars():
        print(f"fetching {len(wanted)} Delta jars")
        try:
            fetch(wanted)
        except Py4JJavaError as error:
            print(f"cannot fetch Delta's jars: {error.java_exception.getMessage()}", file=sys.stderr)
            return 1
        if still := missing_jars():
            print(f"Delta's jars did not arrive: {', '.join(still)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
