"""A separation that is killed at any moment and started again ends in the rows and files of a quiet one."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from reprise.jobs import separate_stems
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import COVER_STEMS, MODELS
from tests.jobs.chain import EVERYTHING, Chain, assert_same_content, copy_warehouse, make_once
from tests.jobs.processes import Start, count_files, kill_at

SEED = 20261127
RunJob = Callable[..., dict[str, Any]]


def arguments(chain: Chain) -> list[str]:
    """Small groups of tracks, so that some are committed before the others are separated."""
    return ["--model", str(chain.inputs / "separator.safetensors"), "--conf", "files_per_task=1"]


@pytest.fixture
def quiet(chain: Chain) -> Warehouse:
    """The warehouse of a run that was not disturbed."""

    def make(folder: Path) -> None:
        shutil.copytree(chain.after("ingest-library"), folder)
        assert separate_stems.main([*arguments(chain), "--json", "--warehouse", str(folder)]) == 0

    return Warehouse(str(make_once(chain.folder / "quiet-separation", make)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("moment", range(10))
def test_killed_at_ten_moments(
    moment: int, chain: Chain, quiet: Warehouse, start: Start, run_job: RunJob, warehouse: Warehouse
) -> None:
    """The moments are spread over the files of a quiet run; every second kill leaves Spark behind for a while."""
    killed = copy_warehouse(chain.after("ingest-library"), Path(warehouse.root))
    before, most = count_files(killed), count_files(quiet)
    chance = random.Random(SEED + moment)
    files, delay_s = before + 1 + moment * (most - before - 2) // 10, chance.uniform(0, 0.2)
    process = start("separate-stems", *arguments(chain), "--warehouse", killed.root)
    assert kill_at(process, killed, files, delay_s, alone=moment % 2 == 1)
    print(f"killed {delay_s:.3f} s after {files - before} of {most - before} files")
    run_job(separate_stems.main, *arguments(chain))
    assert_same_content(quiet, killed, (COVER_STEMS, MODELS))
    for artifact in killed.lookup(COVER_STEMS, "track_id", *EVERYTHING)["artifact"].to_pylist():
        there, here = Path(quiet.root, artifact), Path(killed.root, artifact)
        assert here.read_bytes() == there.read_bytes()
        assert soundfile.info(here).frames > 100_000
