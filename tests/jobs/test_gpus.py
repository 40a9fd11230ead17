"""GPUs of Spark tasks, on a cluster whose workers say that they have some: there are none here."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reprise.jobs._engine import gpus
from reprise.jobs._engine.gpus import GpuPlan, plan_gpus
from reprise.jobs._engine.warehouse import Warehouse
from tests.jobs.chain import CHAIN, NUMBERS, Chain, assert_same_content

SCRIPT = """
import json, sys, time
import pyarrow as pa
from reprise import conf
from reprise.jobs._engine.gpus import find_task_device, plan_gpus
from reprise.jobs._engine.session import get_session

def work(batches):
    import os
    from reprise.lib.nets import devices
    from reprise.udfs.model_cache import cached_model
    devices.choose_device = lambda: "cuda:0"  # as if torch saw GPUs
    device, loads = find_task_device(), []
    for _ in (n for batch in batches for n in range(batch.num_rows)):
        loads.clear()
        cached_model("sha256", lambda: loads.append(1) or "separator")
        start = time.time()
        time.sleep(0.3)
        row = {"device": device, "pid": os.getpid(), "loads": len(loads), "start": start, "end": time.time()}
        yield pa.RecordBatch.from_pylist([row])

spark = get_session(conf.load(json.loads(sys.argv[2]), environ={}))
plan = plan_gpus(spark)
numbers = spark.createDataFrame([(n,) for n in range(16)], "n int").repartition(16)
rows = numbers.mapInArrow(work, "device string, pid long, loads long, start double, end double", profile=plan.profile)
found = {"tasks": plan.tasks, "threads": plan.threads, "uses_gpu": plan.uses_gpu}
found["rows"] = [row.asDict() for row in rows.collect()]
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


def cluster(folder: Path, addresses: list[str], executor_cores: int, executor_gpus: int) -> list[str]:
    """Settings of a cluster of one worker, which finds GPUs with these addresses."""
    script = folder / "find_gpus.sh"
    script.write_text(f"""#!/bin/sh\necho '{json.dumps({"name": "gpu", "addresses": addresses})}'\n""")
    script.chmod(0o755)
    return [
        f"spark.master=local-cluster[1,{executor_cores},1024]",
        f"spark.worker.resource.gpu.amount={len(addresses)}",
        f"spark.worker.resource.gpu.discoveryScript={script}",
        f"spark.executor.resource.gpu.amount={executor_gpus}",
        f"spark.executor.cores={executor_cores}",
    ]


@pytest.mark.jvm
@pytest.mark.exhaustive
@pytest.mark.parametrize(("cores", "threads"), [(2, 1), (4, 2)])
def test_each_task_has_a_gpu_of_its_own_and_each_worker_one_model(cores: int, threads: int, tmp_path: Path) -> None:
    settings, script = cluster(tmp_path, ["0", "1"], cores, 2), tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "found.json", json.dumps(settings)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["tasks"], found["threads"], found["uses_gpu"]) == (2, threads, True)
    rows = found["rows"]
    assert len(rows) == 16
    assert {row["device"] for row in rows} == {"cuda:0", "cuda:1"}
    for device in ("cuda:0", "cuda:1"):
        times = sorted((row["start"], row["end"]) for row in rows if row["device"] == device)
        assert all(before[1] <= after[0] for before, after in pairwise(times)), "two tasks on one device"
    loads = {pid: sum(row["loads"] for row in rows if row["pid"] == pid) for pid in {row["pid"] for row in rows}}
    assert set(loads.values()) == {1}, "more than one model in a worker"
    assert len(loads) <= 3


@pytest.mark.jvm
@pytest.mark.exhaustive
def test_the_job_on_a_cluster_with_gpus_ends_in_the_rows_of_one_machine(
    chain: Chain, command: list[str], tmp_path: Path
) -> None:
    """The GPUs are not there for torch: the tasks compute on their CPUs, where Spark has placed them."""
    import shutil

    job = CHAIN[NUMBERS["separate-stems"]]
    there = Warehouse(str(tmp_path / "there"))
    shutil.copytree(chain.before(job.command), there.root)
    settings = [part for one in cluster(tmp_path, ["0", "1"], 2, 2) for part in ("--conf", one)]
    arguments = [*chain.arguments(job), *settings, "--warehouse", there.root, "--max-bad", "1"]
    done = subprocess.run([*command, job.command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "on 2 GPUs" in done.stdout
    assert_same_content(there, Warehouse(str(chain.after(job.command))), job.writes)


def session(master: str, cores: int, **settings: str) -> Any:
    """What `plan_gpus` reads of a session."""
    conf = {f"spark.executor.{name}": value for name, value in settings.items()}
    context = SimpleNamespace(master=master, defaultParallelism=cores, getConf=lambda: conf)
    return SimpleNamespace(sparkContext=context)


def test_plans_without_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "Path", lambda _: tmp_path)
    expected = GpuPlan(None, 6, 1, uses_gpu=False)
    assert plan_gpus(session("local[6]", 6)) == plan_gpus(session("spark://host:7077", 6)) == expected
    (tmp_path / "nvidiactl").touch()  # there without a device, too
    assert plan_gpus(session("local[6]", 6)) == expected


def test_one_machine_with_a_gpu_has_one_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Spark gives no GPUs out there: two tasks would use the same."""
    monkeypatch.setattr(gpus, "Path", lambda _: tmp_path)
    (tmp_path / "nvidia0").touch()
    assert plan_gpus(session("local[6]", 6)) == GpuPlan(None, 1, 6, uses_gpu=True)


def test_outside_of_a_task_the_device_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from reprise.lib.nets import devices

    for device in ("cpu", "cuda:0"):
        monkeypatch.setattr(devices, "choose_device", lambda device=device: device)
        assert gpus.find_task_device() == device
