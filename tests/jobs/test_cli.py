"""The ``reprise`` command: one sub-command for each job and command, and one line for every mistake."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reprise.jobs._engine import cli
from reprise.jobs._engine import run as engine
from reprise.lib.tables import JOB_RUNS, TABLES

JOBS = Path(__file__).resolve().parents[2] / "jobs"
INGESTS = ("ingest-annotations", "ingest-library", "ingest-msd")
NEEDS = {
    **dict.fromkeys(INGESTS, "--source"),
    "build-stem-dataset": "--out",
    "make-sample": "--out",
    "show-taste": "--user",
}


def list_modules(folder: Path) -> dict[str, str]:
    """Sub-command and first docstring line of each public module."""
    return {
        path.stem.replace("_", "-"): (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]
        for path in sorted(folder.glob("[a-z]*.py"))
    }


MODULES = list_modules(JOBS)
EACH_JOB = pytest.mark.parametrize("name", MODULES)


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting Spark takes seconds, which a mistake does not wait for."""

    def start(_: Any) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(engine, "get_session", start)


def mistake(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that ``reprise argv`` prints when it exits 2."""
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert "Traceback" not in printed.err
    return printed.err


def test_sub_commands_are_the_public_modules() -> None:
    assert cli.list_jobs() == MODULES
    assert cli.list_jobs().keys() >= {"ingest-msd", "ingest-annotations", "make-sample", "show-tables"}
    assert cli.list_commands() == list_modules(JOBS / "_commands")
    assert "sql" in cli.list_commands()


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_list_of_sub_commands(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    printed = capsys.readouterr()
    lines = [line.split(None, 1) for line in printed.out.splitlines() if line.startswith("  ")]
    assert lines == [list(pair) for pair in (*MODULES.items(), *list_modules(JOBS / "_commands").items())]
    assert printed.err == ""


@EACH_JOB
def test_help_of_every_job(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"usage: reprise {name} ")
    words = [MODULES[name], "Reads:", "Writes:", NEEDS.get(name, "")]
    words += ["--warehouse DIR", "--max-bad SHARE", "--conf KEY=VALUE", "--log-level LEVEL", "--json"]
    assert [word for word in words if word not in printed.out] == []
    assert max(map(len, printed.out.splitlines())) <= 120


@pytest.mark.parametrize("name", ["ingest", "ingest_", "_run", "-run", "--version", "", "__init__", "a\nb", "../jobs"])
def test_an_unknown_sub_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, name, "--source", "x")
    assert said.startswith(f"reprise: unknown command {name!r}; choose from: ")
    assert all(job in said for job in (*MODULES, "sql"))


@pytest.mark.parametrize(("name", "argument"), NEEDS.items())
def test_a_missing_argument(name: str, argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, name, "--warehouse", str(tmp_path / "w"))
    assert said == f"reprise {name}: the following arguments are required: {argument} (see --help)\n"
    assert not (tmp_path / "w").exists()


def test_no_window_cannot_be_tagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, "tag-tracks", "--every", "0", "--warehouse", str(tmp_path / "w"))
    assert said == "reprise tag-tracks: --every must be at least 1, not 0\n"


@EACH_JOB
def test_bad_usage_of_every_job(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of the mistakes that all jobs share: their one parser and their settings are tested with ``run_job``."""
    needed = [NEEDS[name], str(tmp_path / "x")] if name in NEEDS else []
    for extra, says in ((["--frobnicate"], "unrecognized arguments: --frobnicate"), (["--conf", "sed=1"], "'sed'")):
        said = mistake(capsys, name, *needed, "--warehouse", str(tmp_path / "w"), *extra)
        assert said.startswith(f"reprise {name}: ")
        assert says in said
        assert list(tmp_path.iterdir()) == []


def test_the_list_imports_nothing_slow() -> None:
    code = "import sys; from reprise.jobs._engine import cli; cli.main([]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"pyspark", "pandas", "pyarrow", "numpy", "h5py", "deltalake", "rich", "pydantic"}
    assert slow.isdisjoint(done.stderr.split())


def test_the_command_itself(command: list[str], tmp_path: Path) -> None:
    """As a process: stdout is JSON and nothing else, and a mistake is one line on stderr."""
    run = [*command, "show-tables", "--warehouse", str(tmp_path / "w")]
    done = subprocess.run([*run, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["counts"] == {JOB_RUNS.name: 1}
    assert done.stderr == ""
    shown = subprocess.run(run, capture_output=True, text=True, check=True, env={"COLUMNS": "200"})
    assert TABLES[JOB_RUNS.name].doc.split(".")[0] in shown.stdout
    run = [*command, "ingest-msd", "--source", str(tmp_path / "nowhere")]
    wrong = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert (
        wrong.stderr
        == f"reprise ingest-msd: --source {tmp_path}/nowhere does not exist: name an existing file or folder\n"
    )
