"""Install Delta's jars in this environment's Spark, so that no command needs a jar option.

``make setup`` runs this module as ``python -m reprise.jobs._engine.jars``. The ``delta-spark`` wheel contains no jars.
If each session resolved Delta's jars itself, every start would access the network and send 33 files to every executor.
Most of the 33 files are older copies of Spark's own jars; five jars are enough. Spark's Ivy downloads these five into
``pyspark/jars``. ``spark-defaults.conf`` enables Delta for ``spark-submit``, ``spark-sql``, the Thrift server and our
sessions.
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


def list_coordinates() -> list[str]:
    """Return the Maven coordinates of the five jars for the installed versions of ``delta-spark`` and ``pyspark``."""
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


def list_missing_jars() -> list[str]:
    """Return the coordinates of the jars that are not in Spark's jar folder."""
    present = {jar.name for jar in (SPARK_HOME / "jars").glob("delta-*.jar")}
    return [c for c in list_coordinates() if "{1}-{2}.jar".format(*c.split(":")) not in present]


def download(coordinates: list[str]) -> None:
    """Download jars with Spark's Ivy, without their dependencies, and copy them into Spark's jar folder."""
    gateway = launch_gateway()  # type: ignore[no-untyped-call]
    try:
        jvm: Any = gateway.jvm
        maven = jvm.org.apache.spark.util.MavenUtils
        none, log = jvm.scala.Option.empty(), jvm.java.io.PrintStream(jvm.java.io.OutputStream.nullOutputStream())
        nothing_excluded = getattr(maven, "resolveMavenCoordinates$default$5")()
        settings = maven.buildIvySettings(none, none, True, log)
        jars = maven.resolveMavenCoordinates(",".join(coordinates), settings, none, False, nothing_excluded, False, log)
        for i in range(jars.size()):
            jar = Path(jars.apply(i))
            shutil.copyfile(jar, SPARK_HOME / "jars" / jar.name.removeprefix("io.delta_"))
    finally:
        gateway.shutdown()


def main() -> int:
    """Write Spark's configuration files and download the missing jars; print one line and return 1 on failure."""
    (SPARK_HOME / "conf").mkdir(exist_ok=True)
    for source, target in (("defaults.conf", "spark-defaults.conf"), ("log4j2.properties", "log4j2.properties")):
        (SPARK_HOME / "conf" / target).write_bytes((files("reprise.conf") / "spark" / source).read_bytes())
    if missing := list_missing_jars():
        print(f"downloading missing Delta jars: {len(missing)}")
        try:
            download(missing)
        except Py4JJavaError as error:
            print(
                f"the Delta jars cannot be downloaded: {error.java_exception.getMessage()}; check the network and run"
                " make setup again",
                file=sys.stderr,
            )
            return 1
        if missing := list_missing_jars():
            print(f"the download left out the jars {', '.join(missing)}: run make setup again", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
