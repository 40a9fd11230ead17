"""The overview of the tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprise.jobs import ingest_msd, show_tables
from reprise.jobs._engine.warehouse.tables import Warehouse


def test_counts_are_those_of_the_tables(
    sample_dir: Path, run_job: Callable[..., dict[str, Any]], warehouse: Warehouse
) -> None:
    run_job(ingest_msd.main, "--source", sample_dir / "msd")
    counts = run_job(show_tables.main)["counts"]
    assert counts == {"msd_tracks": 60, "msd_analysis": 60, "manifest": 60, "quarantine": 0, "job_runs": 2}


def test_a_person_sees_tables_and_example_rows(
    sample_dir: Path, run_job: Callable[..., dict[str, Any]], warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job(ingest_msd.main, "--source", sample_dir / "msd")
    assert show_tables.main(["--warehouse", warehouse.root]) == 0
    printed = capsys.readouterr().out
    for words in ("msd_analysis", "what it holds", "track_id", "succeeded"):
        assert words in printed


def test_empty_warehouse_is_no_error(run_job: Callable[..., dict[str, Any]]) -> None:
    assert run_job(show_tables.main)["counts"] == {"job_runs": 1}
