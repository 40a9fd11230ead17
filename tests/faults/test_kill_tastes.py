"""Profiles whose making is killed while it writes, and started again, are those of a quiet build."""

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from reprise.jobs import build_taste_profiles, ingest_annotations
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.music import sample
from reprise.lib.tables import PLAYS, TASTE_PROFILES, UNIQUE_TRACKS, Table
from reprise.udfs.arrow import arrow_schema

SEED = 20110211


@pytest.mark.exhaustive
def test_killed_and_started_again(
    spark: Any,
    start: Callable[..., subprocess.Popen[bytes]],
    written: Callable[[Warehouse], int],
    kill_at: Callable[..., bool],
    assert_same: Callable[[Warehouse, Warehouse, list[Table]], None],
    tmp_path: Path,
) -> None:
    """Killed while it brings profiles up to date: at that time the table holds the old ones."""
    sample.write_annotations(sample.Plan(300, seed=SEED), tmp_path / "annotations")
    done, killed = (Warehouse(str(tmp_path / name)) for name in ("done", "killed"))
    assert ingest_annotations.main(["--source", str(tmp_path / "annotations"), "--warehouse", killed.root]) == 0
    assert build_taste_profiles.main(["--warehouse", killed.root]) == 0
    song = killed.lookup(UNIQUE_TRACKS, "track_id", "", "\U0010ffff", ["song_id"])["song_id"][0].as_py()
    users = sorted(set(killed.lookup(PLAYS, "user_id", "", "\U0010ffff")["user_id"].to_pylist()))[:20]
    more = [{"user_id": u, "song_id": song, "source": "new", "play_count": 9, "run_id": "r"} for u in users]
    write_deltalake(killed.uri(PLAYS), pa.Table.from_pylist(more, arrow_schema(PLAYS)), mode="append")
    shutil.copytree(killed.root, done.root)
    files = written(killed)
    assert build_taste_profiles.main(["--warehouse", done.root]) == 0
    chance = random.Random(SEED)
    at, delay_s = files + chance.randint(1, written(done) - files - 1), chance.uniform(0, 0.02)
    process = start("build-taste-profiles", "--warehouse", killed.root)
    was_killed = kill_at(process, killed, at, delay_s)
    print(f"seed {SEED}, killed at {written(killed)} of {written(done)} files (after {at}, {delay_s:.3f} s)")
    assert was_killed, (tmp_path / "said.txt").read_text()
    assert build_taste_profiles.main(["--warehouse", killed.root]) == 0
    assert_same(killed, done, [TASTE_PROFILES])
