"""Jobs on a cluster whose workers have the code from a zip end in the rows of one machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from reprise.jobs import ingest_msd
from reprise.jobs._engine.warehouse import Warehouse
from tests.jobs.chain import CHAIN, NUMBERS, Chain, Job, assert_same_content

CLUSTER = "local-cluster[2,1,1024]"
Submit = Callable[..., None]
SEVERAL = """
import json, sys
from importlib import import_module
for name, arguments in json.loads(sys.argv[1]):
    code = import_module("reprise.jobs." + name).main(arguments)
    if code:
        sys.exit(f"{name} exits with {code}")
"""
"""Runs several jobs in one application."""


@pytest.fixture
def submit(tmp_path: Path, code_zip: Path) -> Submit:
    """Submit a script to a Spark whose Pythons have every package but reprise, which comes from the zip.

    The configuration is Spark's own, as set-up left it: no jar and no Delta option.
    """
    (packages,) = {p for p in sys.path if p.endswith("site-packages")}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "cluster"], check=True)
    (site,) = (tmp_path / "cluster").glob("lib/python3*/site-packages")
    # the .pth file that makes the editable install importable is not followed from a folder named in a .pth file
    (site / "packages.pth").write_text(packages + "\n")
    python = str(tmp_path / "cluster/bin/python")
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME", "NUMBA_CACHE_DIR")}
    missing = subprocess.run(
        [python, "-c", "import reprise"], cwd="/", env=env, capture_output=True, text=True, check=False
    )
    assert "No module named 'reprise'" in missing.stderr
    (tmp_path / "temporary").mkdir()
    env |= {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, "TMPDIR": str(tmp_path / "temporary")}

    def run(script: Path, *arguments: object, master: str = CLUSTER) -> None:
        command = [Path(packages, "pyspark/bin/spark-submit"), "--master", master, "--py-files", code_zip, script]
        done = subprocess.run(
            [*map(str, [*command, *arguments])], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return run


@pytest.mark.jvm
@pytest.mark.parametrize("master", [pytest.param("local[2]", marks=pytest.mark.exhaustive), CLUSTER])
def test_spark_submit_of_the_file_of_a_job(master: str, submit: Submit, chain: Chain, tmp_path: Path) -> None:
    job, there = CHAIN[NUMBERS["ingest-msd"]], Warehouse(str(tmp_path / "there"))
    script = Path(shutil.copy(ingest_msd.__file__, tmp_path))
    submit(script, *chain.arguments(job), "--json", "--warehouse", there.root, master=master)
    assert_same_content(there, Warehouse(str(chain.after(job.command))), job.writes)


@pytest.mark.jvm
@pytest.mark.exhaustive
def test_every_job_of_the_chain(submit: Submit, chain: Chain, tmp_path: Path) -> None:
    """A job before which a row is damaged starts another application."""
    there, script = Warehouse(str(tmp_path / "there")), tmp_path / "several.py"
    script.write_text(SEVERAL)

    def arguments(job: Job) -> list[str]:
        return [*chain.arguments(job), "--max-bad", "1", "--json", "--warehouse", there.root]

    bounds = [0, *(number for number, job in enumerate(CHAIN) if job.damage), len(CHAIN)]
    for first, last in pairwise(bounds):
        if damage := CHAIN[first].damage:
            damage(Warehouse(there.root))
        submit(script, json.dumps([(job.name, arguments(job)) for job in CHAIN[first:last]]))
    here = Warehouse(str(chain.after(CHAIN[-1].command)))
    for job in CHAIN:
        assert_same_content(there, here, job.writes)
    # what the first application compiled the second found
    compiled = [path.name for path in (tmp_path / "temporary").rglob("*.nbi")]
    assert compiled
    assert len(set(compiled)) == len(compiled)
