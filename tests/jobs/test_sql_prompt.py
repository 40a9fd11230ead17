"""The prompt of ``reprise sql``: lines in, answers out, and on after a mistake."""

import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.duckdb_engine import DuckDB
from reprise.jobs._sql.prompt import complete, run_prompt
from reprise.lib.tables import SONG_MISMATCHES
from reprise.udfs.arrow import arrow_schema


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompt") / "w"
    row = {"song_id": "S1", "track_id": "T1", "source": "s", "run_id": "r"}
    Warehouse(str(folder)).merge(SONG_MISMATCHES, pa.Table.from_pylist([row], schema=arrow_schema(SONG_MISMATCHES)))
    return folder


def lines(*given: str | type[BaseException]) -> Iterator[str]:
    for line in given:
        if not isinstance(line, str):
            raise line
        yield line
    raise EOFError


def talk(root: Path, capsys: pytest.CaptureFixture[str], *given: str, **parameters: str) -> tuple[str, str, list[str]]:
    """What is printed, what is complained of, and the prompts."""
    prompts: list[str] = []
    said = lines(*given)

    def read(prompt: str) -> str:
        prompts.append(prompt)
        line = next(said)
        if line == "^C":
            raise KeyboardInterrupt
        return line

    run_prompt(DuckDB(Warehouse(str(root)), write=False), parameters, read)
    printed = capsys.readouterr()
    return printed.out, printed.err, prompts


def test_a_statement_over_lines(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err, prompts = talk(root, capsys, "SELECT song_id", "FROM song_mismatches", "WHERE song_id = :s;", s="S1")
    assert ("S1" in out, err) == (True, "")
    assert prompts == ["reprise> ", "    ...> ", "    ...> ", "reprise> "]


def test_a_mistake_is_a_line_and_on_it_goes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (
        "SELECT * FROM song_mismatche;",
        "DROP TABLE plays;",
        "SELECT :x;",
        r"\z",
        r"\d playz",
        "SELECT 6 * 7 AS a;",
    )
    out, err, _ = talk(root, capsys, *given)
    assert "42" in out
    assert err.splitlines() == [
        "unknown table or view song_mismatche; did you mean song_mismatches?",
        "DROP is not a read-only statement: to change tables, give --write --engine spark",
        "the query's :x has no value: give --param x=VALUE",
        r"unknown command \z: end a statement with ;   \d lists tables and views   \d TABLE lists its columns   \q or"
        " Ctrl-D quits",
        "unknown table or view playz; did you mean plays?",
    ]


def test_ctrl_c_forgets_the_line_and_q_ends(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err, prompts = talk(root, capsys, "SELECT 'forgotten'", "^C", "SELECT 1 AS kept;", r"\q", "SELECT 2 AS after;")
    assert ("kept" in out, "forgotten" in out, "after" in out, err) == (True, False, False, "")
    assert prompts == ["reprise> ", "    ...> ", "reprise> ", "reprise> "]


def test_commands_describe(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err, _ = talk(root, capsys, r"\d", r"\d genre_tempo;")
    assert err == ""
    assert all(
        word in out for word in ("quarantine_overview", "mean tempo in BPM", "example: SELECT genre, tempo_mean")
    )


@pytest.mark.parametrize(
    ("text", "among"),
    [
        ("taste_o", "taste_overlap"),
        ("msd_t", "msd_tracks"),
        ("play_c", "play_count"),
        ("sel", "select"),
        ("SEL", "SELECT"),
    ],
)
def test_completion(text: str, among: str) -> None:
    found = complete(text)
    assert among in found
    assert all(name.startswith(text) for name in found)


def test_a_prompt_on_a_terminal_remembers(root: Path, tmp_path: Path, command: list[str]) -> None:
    before = sorted(root.rglob("*"))
    for ask, expect in (("SELECT 6 * 7 AS a;", "42"), ("\x1b[A", "42")):  # the arrow up brings the last line back
        ours, theirs = pty.openpty()
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "100"}
        run = subprocess.Popen(
            [*command, "sql", "--warehouse", str(root)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        seen = read_until(ours, "reprise> ")
        os.write(ours, f"{ask}\r".encode())
        seen += read_until(ours, "1 row")
        seen += read_until(ours, "reprise> ") if "reprise> " not in seen.rsplit("1 row", 1)[1] else ""
        os.write(ours, b"\x04")
        assert run.wait(60) == 0
        os.close(ours)
        assert expect in seen.split("quits", 1)[1]
    history = tmp_path / "reprise" / "sql_history"
    assert "SELECT 6 * 7 AS a;" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
    assert sorted(root.rglob("*")) == before


def read_until(terminal: int, text: str) -> str:
    seen, ends = "", time.monotonic() + 120
    while text not in seen:
        assert time.monotonic() < ends, seen
        seen += os.read(terminal, 4096).decode("utf-8", "replace")
    return seen
