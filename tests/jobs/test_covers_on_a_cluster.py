"""Cover detection on a cluster whose workers have the code from a zip ends in the rows of one machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd

from reprise.jobs import extract_chroma, find_covers, train_cover_index
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, COVER_MATCHES, COVER_VECTORS, MODELS, Table

Rows = Callable[[Warehouse, Table], pd.DataFrame]


def test_on_a_cluster_that_has_the_code_from_a_zip(
    cover_states: dict[str, Path], code_zip: Path, tmp_path: Path, rows_of: Rows
) -> None:
    here, there = Warehouse(str(tmp_path / "here")), Warehouse(str(tmp_path / "there"))
    shutil.copytree(cover_states["trained"], here.root)
    shutil.copytree(cover_states["ingested"], there.root)
    (packages,) = {p for p in sys.path if p.endswith("site-packages")}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "cluster"], check=True)
    (site,) = (tmp_path / "cluster").glob("lib/python3*/site-packages")
    # packages, but not reprise: the .pth file of its editable install is not followed from here
    (site / "packages.pth").write_text(packages + "\n")
    python = str(tmp_path / "cluster/bin/python")
    assert subprocess.run([python, "-c", "import reprise"], cwd="/", capture_output=True, check=False).returncode
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME", "NUMBA_CACHE_DIR")}
    env |= {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    submit = [Path(packages, "pyspark/bin/spark-submit"), "--master", "local-cluster[2,1,1024]", "--py-files", code_zip]

    def run(job: ModuleType, *arguments: str) -> None:
        script = shutil.copy(job.__file__ or "", tmp_path)
        command = [*submit, script, *arguments, "--warehouse", there.root, "--json"]
        done = subprocess.run(map(str, command), cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    run(extract_chroma)
    # the model as it was trained here: training is the driver's, the vectors are the workers'
    shutil.copytree(Path(here.root, "_artifacts"), Path(there.root, "_artifacts"))
    there.merge(MODELS, here.lookup(MODELS, "model_id", "", "\U0010ffff"))
    (model,) = there.lookup(MODELS, "model_id", "", "\U0010ffff", ["model_id"])["model_id"].to_pylist()
    run(train_cover_index, "--model", model)
    search = ("--cliques", "shs_dataset_train", "--candidates", "5", "--top", "3")
    run(find_covers, *search)
    assert find_covers.main([*search, "--warehouse", here.root]) == 0
    for table in (BEAT_CHROMA, CHROMA_PATCHES, COVER_VECTORS, COVER_MATCHES):
        rows = rows_of(here, table)
        assert len(rows), table.name
        pd.testing.assert_frame_equal(rows_of(there, table), rows, obj=table.name)
    # what one application compiled the next ones found
    compiled = [path.name for path in (tmp_path / "temporary").rglob("*.nbi")]
    assert compiled
    assert len(set(compiled)) == len(compiled)
