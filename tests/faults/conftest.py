"""Fixtures of the tests of faults: jobs as processes, and a sample with bad files."""

import os
from pathlib import Path

import pytest

from reprise.lib.music import sample
from tests.jobs.chain import chain as chain
from tests.jobs.processes import start as start


@pytest.fixture(scope="session")
def big_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A composed sample of 150 tracks, with two bad files and a bad line: ``msd/`` and ``annotations/``."""
    folder = tmp_path_factory.mktemp("big_sample")
    plan = sample.SamplePlan(150, seed=11)
    paths = [sample.write_track(plan, index, folder / "msd") for index in range(plan.n_tracks)]
    os.truncate(paths[40], 1000)
    os.truncate(paths[90], 0)
    sample.write_annotations(plan, folder / "annotations")
    with (folder / "annotations" / "msd_tagtraum.cls").open("a") as labels:
        labels.write("a line that is none\n")
    return folder
