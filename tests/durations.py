"""Seconds of each test file, kept in ``.cache/durations.json``, and the folders that are over their budget.

A tier runs several groups of tests. Each is a pytest process with ``--group NAME`` and adds its part to the file.
As a script, print how many tests of all groups passed and failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

RECORD = Path(".cache", "durations.json")
"""Where the seconds are kept, in the root folder."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--group", metavar="NAME", help=f"keep the seconds in {RECORD} under this name")
    parser.addini("budgets", "lines of a folder and its budget in seconds, summed over its tests", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    group = config.getoption("group")
    if group and not hasattr(config, "workerinput"):  # workers of xdist report to the first process
        config.pluginmanager.register(Durations(config, group))


class Durations:
    """Records one group of tests."""

    def __init__(self, config: pytest.Config, group: str) -> None:
        self.group = group
        self.budgets = {folder: float(s) for folder, s in map(str.split, config.getini("budgets"))}
        self.started = time.monotonic()
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.partition("::")[0]] += report.duration  # type: ignore[assignment]

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        counts = {name: len(terminalreporter.stats.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
        job_runs = count_job_runs(config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
        seconds = {path: round(s, 2) for path, s in self.seconds.most_common()}
        record = config.rootpath / RECORD
        groups = read(record)
        wall_s = round(time.monotonic() - self.started, 1)
        groups[self.group] = {**counts, "job_runs": job_runs, "wall_s": wall_s, "seconds": seconds}
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps(groups, indent=1) + "\n", "utf-8")
        if job_runs:
            terminalreporter.write_line(f"job runs: {job_runs}")
        for line in over_budget(groups, self.budgets):
            terminalreporter.write_line(line)


def read(record: Path) -> dict[str, Any]:
    """Read the groups of the tier that runs or ran last."""
    return json.loads(record.read_text("utf-8")) if record.exists() else {}


def over_budget(groups: dict[str, Any], budgets: dict[str, float]) -> list[str]:
    """One line for each folder whose tests took longer than its budget, in all groups together."""
    lines = []
    for folder, budget_s in budgets.items():
        files = [file for group in groups.values() for file in group["seconds"].items()]
        total_s = sum(s for path, s in files if path.startswith(f"{folder}/"))
        if total_s > budget_s:
            lines.append(f"{folder} is over its budget: {total_s:.1f} s of {budget_s:.1f} s")
    return lines


def count_job_runs(folder: Path) -> int:
    """Count the runs of jobs that left a row in a warehouse below ``folder``, in this or another process."""
    runs: set[str] = set()
    for path, folders, _ in os.walk(folder):
        if "job_runs" in folders:
            import pyarrow as pa
            import pyarrow.parquet as pq

            for file in Path(path, "job_runs").glob("*.parquet"):
                with contextlib.suppress(pa.ArrowInvalid):  # some tests write files that are not Parquet
                    runs.update(pq.read_table(file, columns=["run_id"])["run_id"].to_pylist())
            folders.clear()  # the rest are the other tables
    return len(runs)


def main() -> int:
    """Print how many tests of all groups passed and failed."""
    groups = read(RECORD).values()
    passed, failed = (sum(group[name] for group in groups) for name in ("passed", "failed"))
    print(f"{passed} passed, {failed + sum(group['error'] for group in groups)} failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
