"""The sample as a job: files, reruns, refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reprise.jobs import make_sample
from reprise.lib import msd

Run = Callable[..., dict[str, Any]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_gives_the_same_bytes(tmp_path: Path, run_job: Run) -> None:
    for name in ("a", "b"):
        run_job(make_sample.main, "--out", tmp_path / name, "--tracks", 12, "--conf", "seed=5")
    run_job(make_sample.main, "--out", tmp_path / "c", "--tracks", 12, "--conf", "seed=6")
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c
    tracks = [name for name in a if name.endswith(".h5")]
    assert len(tracks) == 12
    for name in tracks:
        track_id = msd.read(tmp_path / "a" / name, ["track_id"])["track_id"][0]
        assert name == f"msd/{msd.track_path(track_id)}"


def test_killed_run_goes_on_where_it_stopped(tmp_path: Path, run_job: Run) -> None:
    run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 8)
    whole = contents(tmp_path / "s")
    lost = [name for name in whole if name.endswith(".h5")][:3]
    for name in lost:
        (tmp_path / "s" / name).unlink()
    summary = run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 8)
    assert summary["counts"] == {"tracks": 8, "written": 3}
    assert contents(tmp_path / "s") == whole


def test_other_sample_or_full_folder_is_refused(tmp_path: Path, run_job: Run) -> None:
    run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 2)
    for out, tracks, says in ((tmp_path / "s", 3, "another sample"), (tmp_path, 2, "not empty")):
        answer = run_job(make_sample.main, "--out", out, "--tracks", tracks, exit_code=2)
        assert says in answer["error"]
        assert answer["error"].count("\n") == 1


def test_plan_that_contradicts_itself_is_bad_usage(tmp_path: Path, run_job: Run) -> None:
    for arguments in (("--tracks", 5, "--cliques", 9), ("--tracks", -1)):
        answer = run_job(make_sample.main, "--out", tmp_path / "s", *arguments, exit_code=2)
        assert answer["error"].count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_no_tracks_is_an_empty_sample(tmp_path: Path, run_job: Run) -> None:
    assert run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 0)["counts"] == {"tracks": 0, "written": 0}
    assert json.loads((tmp_path / "s/plan.json").read_text())["n_tracks"] == 0
