"""GPUs of Spark tasks: the resource profile of a stage, and the device of a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported only for type checking, so that a command that needs no cluster starts without pyspark
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

_RESOURCE = "gpu"
_AMOUNT = f"spark.executor.resource.{_RESOURCE}.amount"


@dataclass(frozen=True)
class GpuPlan:
    """How a stage with a network runs.

    Attributes
    ----------
    profile
        Resource profile of the stage: one GPU for each task. None on one machine, and on a cluster without GPUs.
    tasks
        Number of tasks that run at the same time.
    threads
        Number of cores of a task.
    uses_gpu
        Whether the tasks compute on GPUs.
    """

    profile: ResourceProfile | None
    tasks: int
    threads: int
    uses_gpu: bool


def plan_gpus(spark: SparkSession) -> GpuPlan:
    """Plan a stage with a network. Executors with GPUs (``spark.executor.resource.gpu.amount``) run one task for each.

    Spark does not schedule GPUs in local mode. Then one task uses the machine's first GPU, if there is one.
    """
    context = spark.sparkContext
    cores, gpus = context.defaultParallelism, int(context.getConf().get(_AMOUNT, "0") or 0)
    if str(context.master).partition("[")[0] == "local":
        if any(Path("/dev").glob("nvidia[0-9]*")):
            return GpuPlan(None, 1, cores, uses_gpu=True)
        return GpuPlan(None, cores, 1, uses_gpu=False)
    if not gpus:
        return GpuPlan(None, cores, 1, uses_gpu=False)
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    threads = max(1, int(context.getConf().get("spark.executor.cores", "1") or 1) // gpus)
    requests = TaskResourceRequests().cpus(threads).resource(_RESOURCE, 1)
    profile = ResourceProfileBuilder().require(requests).build
    return GpuPlan(profile, max(1, cores // threads), threads, uses_gpu=True)


def find_task_device() -> str:
    """Return the device of this Spark task: the GPU that Spark gave it, in local mode the first GPU, or ``cpu``."""
    from pyspark import TaskContext

    from reprise.lib.nets.devices import choose_device

    context = TaskContext.get()
    resources = context.resources() if context else {}
    device = choose_device()
    if _RESOURCE in resources and device != "cpu":
        return f"cuda:{resources[_RESOURCE].addresses[0]}"
    return device
