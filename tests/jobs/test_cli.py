"""The ``reprise`` command: one sub-command a job, and one line for every mistake."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reprise.jobs._engine import cli as _cli
from reprise.jobs._engine import run as _run
from reprise.lib.tables import JOB_RUNS, TABLES

ROOM = Path(__file__).resolve().parents[2] / "jobs"
MODULES = {path.stem.replace("_", "-"): path for path in ROOM.glob("*.py") if not path.name.startswith("_")}
EACH_JOB = pytest.mark.parametrize("name", sorted(MODULES))
INGESTS = ("ingest-annotations", "ingest-library", "ingest-msd")
NEEDS = {**dict.fromkeys(INGESTS, "--source"), "make-sample": "--out", "show-genres": "--track", "show-taste": "--user"}


def first_line(name: str) -> str:
    return (ast.get_docstring(ast.parse(MODULES[name].read_text("utf-8"))) or "").split("\n")[0]


@pytest.fixture
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting Spark takes seconds: what is said at once must not wait for it."""

    def start(_: Any) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(_run, "get_session", start)


def mistake(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that ``reprise argv`` says when it exits 2."""
    assert _cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert "Traceback" not in printed.err
    return printed.err


def test_sub_commands_are_the_public_jobs() -> None:
    assert _cli.jobs() == {name: first_line(name) for name in sorted(MODULES)}
    assert _cli.jobs().keys() >= {"ingest-msd", "ingest-annotations", "make-sample", "show-tables"}


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_list_of_jobs(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(argv) == 0
    printed = capsys.readouterr()
    of_jobs, _, others = printed.out.split("Jobs:\n")[1].partition("\nOver all of them:\n")
    listed = [line.split(None, 1) for line in of_jobs.splitlines()]
    assert listed == [[name, first_line(name)] for name in sorted(MODULES)]
    sql = ast.get_docstring(ast.parse((ROOM / "_sql.py").read_text("utf-8"))) or ""
    assert [line.split(None, 1) for line in others.splitlines()] == [["sql", sql.split("\n")[0]]]
    assert printed.err == ""


@EACH_JOB
def test_every_job_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        _cli.main([name, "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"usage: reprise {name} ")
    words = [first_line(name), "Reads:", "Writes:", NEEDS.get(name, "")]
    words += ["--warehouse DIR", "--max-bad SHARE", "--conf KEY=VALUE", "--log-level LEVEL", "--json"]
    assert [word for word in words if word not in printed.out] == []
    assert max(map(len, printed.out.splitlines())) <= 120


@pytest.mark.parametrize("name", ["ingest", "ingest_msd", "_run", "-run", "--version", "", "__init__", "a\nb"])
def test_an_unknown_job(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, name, "--source", "x")
    assert said.startswith(f"reprise: no job {name!r}; there are: ")
    assert all(job in said for job in MODULES)


@pytest.mark.parametrize(("name", "argument"), NEEDS.items())
@pytest.mark.usefixtures("no_spark")
def test_a_missing_argument(name: str, argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, name, "--warehouse", str(tmp_path / "w"))
    assert said == f"reprise {name}: the following arguments are required: {argument} (see --help)\n"
    assert not (tmp_path / "w").exists()


@EACH_JOB
@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--conf", "seed"], "--conf takes KEY=VALUE, not 'seed'"),
        (["--conf", "sed=1"], "unknown setting 'sed'"),
        (["--conf", "profile=moon"], "profile is local or cluster"),
        (["--max-bad", "-1"], "max_bad"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
@pytest.mark.usefixtures("no_spark")
def test_bad_usage(name: str, extra: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needed = [NEEDS[name], str(tmp_path / "x")] if name in NEEDS else []
    said = mistake(capsys, name, *needed, "--warehouse", str(tmp_path / "w"), *extra)
    assert said.startswith(f"reprise {name}: ")
    assert says in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", INGESTS)
@pytest.mark.parametrize("source", ["nowhere", "file:/nowhere/at all", "no\nwhere", "caf\udce9"])
@pytest.mark.usefixtures("no_spark")
def test_a_source_that_does_not_exist(
    name: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = mistake(capsys, name, "--source", source, "--warehouse", "w")
    assert said.startswith(f"reprise {name}: --source /")
    assert said.endswith(" does not exist\n")


@pytest.mark.parametrize("name", ["ingest-msd", "ingest-annotations"])
@pytest.mark.usefixtures("spark")
def test_a_source_of_hadoop_s_that_does_not_exist(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"file://localhost{tmp_path}/nowhere"
    code = _cli.main([name, "--source", source, "--warehouse", str(tmp_path / "w")])
    err = capsys.readouterr().err
    assert code in (1, 2)
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("extra", [["--tracks", "many"], ["--tracks", "-3"], ["--covers", "11"], ["--cliques", "-1"]])
@pytest.mark.usefixtures("no_spark")
def test_a_sample_that_makes_no_sense(extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    mistake(capsys, "make-sample", "--out", str(out), "--tracks", "10", *extra, "--warehouse", str(tmp_path / "w"))
    assert not out.exists()


def test_the_list_needs_no_import_of_what_is_slow() -> None:
    code = "import sys; from reprise.jobs._engine import cli; cli.main([]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"pyspark", "pandas", "pyarrow", "numpy", "h5py", "deltalake", "rich", "pydantic"}
    assert slow.isdisjoint(done.stderr.split())


def test_the_command_itself(command: list[str], tmp_path: Path) -> None:
    """As a process: what is on stdout is JSON and nothing else, and a mistake is one line on stderr."""
    run = [*command, "show-tables", "--warehouse", str(tmp_path / "w")]
    done = subprocess.run([*run, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["counts"] == {JOB_RUNS.name: 1}
    assert done.stderr == ""
    shown = subprocess.run(run, capture_output=True, text=True, check=True, env={"COLUMNS": "200"})
    assert TABLES[JOB_RUNS.name].doc.split(".")[0] in shown.stdout
    run = [*command, "ingest-msd", "--source", str(tmp_path / "nowhere")]
    wrong = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == f"reprise ingest-msd: --source {tmp_path}/nowhere does not exist\n"
