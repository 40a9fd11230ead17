"""``reprise sql``: queries, their parameters and answers, and that nothing is written."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.jobs._engine import cli as _cli
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql import output as _sql_output
from reprise.jobs._sql.statements import (
    check_parameters,
    find_names,
    is_complete,
    split_statements,
    to_duckdb_parameters,
    tokenize,
)
from reprise.lib.tables import MSD_TRACKS, PLAYS, TABLES, Table
from reprise.lib.tables.views import VIEWS
from reprise.udfs.arrow import arrow_schema

HOSTILE = "'; DROP TABLE plays; --"
USERS = ["ann", HOSTILE, '🎧 "zoë" [bold]x[/]', "esc\x1b[31m\u202e\n"]
ENGINES = ("duckdb", "spark")

Ask = Callable[..., tuple[int, str, str]]


def rows_of(table: Table, rows: list[dict[str, object]]) -> pa.Table:
    made = {"string": "x", "int": 1, "bigint": 1}
    filled = [{c.name: made.get(c.type) for c in table.columns if not c.nullable} | row for row in rows]
    return pa.Table.from_pylist(filled, schema=arrow_schema(table))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of two tables, in a folder whose name is hostile too."""
    folder = tmp_path_factory.mktemp("it's 'a' $é; --") / "w"
    warehouse = Warehouse(str(folder))
    plays = [{"user_id": user, "song_id": f"S{i}", "play_count": i + 1} for i, user in enumerate(USERS)]
    warehouse.merge(PLAYS, rows_of(PLAYS, plays))
    tracks: list[dict[str, object]] = [
        {"track_id": f"T{i}", "uri": f"u{i}", "song_id": f"S{i}", "title": f"a [red]{i}[/]", "tempo": 100.0 + i,
         "artist_terms": ["pop", "rock"] if i else None}
        for i in range(3)
    ]  # fmt: skip
    warehouse.merge(MSD_TRACKS, rows_of(MSD_TRACKS, tracks))
    return folder


@pytest.fixture
def ask(root: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run ``reprise sql`` over the warehouse; it must leave each file of it as it was."""

    def run(*argv: str) -> tuple[int, str, str]:
        before = tree(root)
        code = _cli.main(["sql", "--warehouse", str(root), *argv])
        assert tree(root) == before
        printed = capsys.readouterr()
        assert printed.err.count("\n") == (code != 0), printed.err
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.parent.rglob("*")}


def answer(ask: Ask, *argv: str) -> list[dict[str, object]]:
    code, out, err = ask("--format", "json", *argv)
    assert (code, err) == (0, "")
    rows: list[dict[str, object]] = json.loads(out)
    return rows


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("spark")
def test_a_parameter_is_a_value_whatever_it_says(engine: str, ask: Ask) -> None:
    for i, user in enumerate(USERS):
        sql = "SELECT user_id, play_count FROM plays WHERE user_id = :u AND play_count = CAST(:n AS INT)"
        found = answer(ask, sql, "--param", f"u={user}", "--param", f"n={i + 1}", "--engine", engine)
        assert found == [{"user_id": user, "play_count": i + 1}]
    sql = "SELECT * FROM taste_overlap(:a, :b)"
    assert answer(ask, sql, "--param", f"a={HOSTILE}", "--param", "b=ann", "--engine", engine) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("spark")
def test_views_and_tables_that_were_never_made(engine: str, ask: Ask) -> None:
    assert answer(ask, "SELECT count(*) AS n FROM genre_scores", "--engine", engine) == [{"n": 0}]
    tracks = answer(ask, "SELECT song_id, tempo FROM song_tracks ORDER BY song_id", "--engine", engine)
    assert tracks == [{"song_id": f"S{i}", "tempo": 100.0 + i} for i in range(3)]
    lists = answer(ask, "SELECT artist_terms FROM msd_tracks ORDER BY track_id LIMIT 2", "--engine", engine)
    assert lists == [{"artist_terms": None}, {"artist_terms": ["pop", "rock"]}]


@pytest.mark.parametrize(
    ("engine", "sql", "says"),
    [
        ("duckdb", "SELECT * FROM playz", "unknown table or view playz; did you mean plays?"),
        ("spark", "SELECT * FROM playz", "unknown table or view playz; did you mean plays?"),
        ("duckdb", "SELECT * FROM taste_overlap", "did you mean taste_overlap(user_a, user_b) or "),
        ("spark", "SELECT * FROM taste_overlap", "did you mean taste_overlap(user_a, user_b) or "),
        ("duckdb", "SELECT FROM FROM plays", "Parser Error: syntax error"),
        ("spark", "SELECT ( FROM plays", "PARSE_SYNTAX_ERROR"),
        ("spark", "SELECT play_count / 0 FROM plays", "DIVIDE_BY_ZERO"),
        ("duckdb", "SELECT CAST(user_id AS INT) FROM plays", "Conversion Error: Could not convert string"),
        ("spark", "SELECT CAST(user_id AS INT) FROM plays", "CAST_INVALID_INPUT"),
        ("duckdb", "SELECT nothing FROM plays", 'column "nothing" not found'),
        ("duckdb", "SELECT 1; DROP TABLE plays", "DROP is not a read-only statement"),
        ("spark", "SELECT 1; DROP TABLE plays", "DropTable is not a read-only statement: give --write"),
        ("duckdb", "DELETE FROM plays", "DELETE is not a read-only statement"),
        ("spark", "DELETE FROM plays", "DeleteFromTable is not a read-only statement"),
        ("spark", "WITH a AS (SELECT 1) INSERT INTO plays SELECT * FROM a", "InsertIntoStatement is not a read-only"),
        ("spark", "CREATE TABLE t AS SELECT 1", "is not a read-only statement"),
        ("spark", "SET spark.sql.ansi.enabled=false", "is not a read-only statement"),
        ("spark", "BEGIN DROP TABLE plays; END", "PARSE_SYNTAX_ERROR"),
        ("spark", "VACUUM plays", "is not a read-only statement"),
        ("spark", "SELECT reflect('java.lang.System', 'getenv', 'HOME')", "reflect calls Java code"),
        ("spark", "SELECT `Java_Method`('java.lang.System', 'getenv', 'HOME')", "java_method calls Java code"),
        ("spark", "EXECUTE IMMEDIATE 'SELECT 1'", "is not a read-only statement"),
        ("spark", "SELECT * FROM text.`/etc/passwd`", "TABLE_OR_VIEW_NOT_FOUND"),
        ("duckdb", "COPY plays TO '/tmp/x.csv'", "COPY writes files: give --write"),
        ("duckdb", "EXPLAIN ANALYZE COPY plays TO '/tmp/x.csv'", "COPY writes files: give --write"),
        ("duckdb", "EXPLAIN /* */ ANALYZE COPY plays TO '/tmp/x.csv'", "COPY writes"),
        ("duckdb", "SELECT * FROM read_csv('/etc/passwd')", "Permission Error: Cannot access file"),
        ("duckdb", "SELECT * FROM glob('/etc/*')", "Permission Error"),
        ("duckdb", "ATTACH '/tmp/x.db'", "ATTACH is not a read-only statement"),
        ("duckdb", "INSTALL httpfs", "LOAD is not a read-only statement"),
        ("duckdb", "SET enable_external_access = true", "SET is not a read-only statement"),
    ],
)
def test_a_query_that_fails(engine: str, sql: str, says: str, ask: Ask, request: pytest.FixtureRequest) -> None:
    if engine == "spark":
        request.getfixturevalue("spark")
    code, out, err = ask(sql, "--engine", engine)
    assert (code, out) == (1, "")
    assert err.startswith("reprise sql: ")
    assert says in err
    assert "passwd:" not in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["SELECT :a"], "the query's :a has no value: give --param a=VALUE"),
        (["SELECT 1", "--param", "a=1"], "--param a: the query has no parameter :a"),
        (["SELECT 1", "--param", "a"], "--param takes NAME=VALUE, not 'a'"),
        (["SELECT 1", "--param", "1=a"], "--param takes NAME=VALUE"),
        (["SELECT 1", "--format", "parquet"], "--format parquet needs --out FILE"),
        (["SELECT 1", "--file", "x"], "give a query or --file, not both"),
        (["--file", "/nowhere/q.sql"], "--file /nowhere/q.sql: No such file or directory"),
        (["SELECT 1", "--engine", "sqlite"], "--engine"),
        (["SELECT 1", "--conf", "sed=1"], "unknown setting 'sed'"),
        (["SELECT 1", "--log-level", "LOUD"], "log_level"),
        (["SELECT 1", "SELECT 2"], "unrecognized arguments"),
        ([" -- nothing"], "the query contains no statement"),
    ],
)
def test_bad_usage(argv: list[str], says: str, ask: Ask) -> None:
    code, out, err = ask(*argv)
    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("made", [False, True])
def test_a_warehouse_with_nothing(made: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if made:
        (tmp_path / "w").mkdir()
    assert _cli.main(["sql", "--warehouse", str(tmp_path / "w"), "SELECT 1 FROM plays"]) == 1
    said = f"reprise sql: there are no tables in {tmp_path}/w: run an ingest job, or give --warehouse DIR\n"
    assert capsys.readouterr().err == said
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == (["w"] if made else [])


def test_statements_from_a_file_and_from_stdin(ask: Ask, root: Path, tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "q.sql"
    file.write_text("\ufeffSELECT 1 AS one; -- a; b\nSELECT ';' AS two;\n", "utf-8")
    code, out, _ = ask("--file", str(file))
    assert (code, out.count("1 row\n")) == (0, 2)
    run = [*command, "sql", "--warehouse", str(root), "--file", "-", "--format", "csv"]
    done = subprocess.run(run, input=b"SELECT 1 AS one", capture_output=True, check=True)
    assert done.stdout == b"one\n1\n"
    code, _, err = ask("--file", str(file), "--format", "csv")
    assert (code, "take the result of one statement" in err) == (2, True)


def test_csv_json_and_parquet_hold_every_row(ask: Ask, tmp_path: Path) -> None:
    sql = "SELECT user_id, play_count, [1, NULL] AS l, NULL AS n, 0.5 AS d FROM plays ORDER BY play_count"
    code, out, _ = ask(sql, "--format", "csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert (code, rows[0]) == (0, ["user_id", "play_count", "l", "n", "d"])
    assert rows[1:] == [[user, str(i + 1), "[1, null]", "", "0.5"] for i, user in enumerate(USERS)]
    expected = [{"user_id": u, "play_count": i + 1, "l": [1, None], "n": None, "d": 0.5} for i, u in enumerate(USERS)]
    assert answer(ask, sql) == expected
    out_file = tmp_path / "o.parquet"
    assert ask(sql, "--format", "parquet", "--out", str(out_file))[0] == 0
    assert pq.read_table(out_file)["user_id"].to_pylist() == USERS
    assert [path.name for path in tmp_path.iterdir()] == ["o.parquet"]
    assert answer(ask, "SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS x, sum(play_count) AS s FROM plays") == [
        {"a": 1, "a_2": 2, "x": None, "s": 10}
    ]
    assert answer(ask, "SELECT 1 AS a WHERE false") == []


def test_a_file_that_cannot_be_written_and_one_of_a_query_that_fails(ask: Ask, tmp_path: Path) -> None:
    code, _, err = ask("SELECT 1", "--format", "csv", "--out", str(tmp_path / "no" / "x.csv"))
    assert (code, "No such file or directory" in err) == (1, True)
    (tmp_path / "x.csv").write_text("before")
    sql = "SELECT CAST(CASE WHEN range = 50000 THEN 'x' ELSE '1' END AS INT) FROM range(100000)"
    code, _, err = ask(sql, "--format", "csv", "--out", str(tmp_path / "x.csv"))
    assert (code, "Conversion Error" in err) == (1, True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x.csv": "before"}


def test_the_table_shows_what_a_terminal_would_obey(ask: Ask) -> None:
    _, out, _ = ask("SELECT user_id, NULL AS n, 1.5 AS d, [1, 2] AS l FROM plays")
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert r"esc\x1b[31m\u202e\n" in out
    assert '🎧 "zoë" [bold]x[/]' in out
    assert all(word in out for word in ("NULL", "1.5", "[1, 2]", "4 rows"))
    _, out, _ = ask('SELECT 1 AS "[red]\x1b"')
    assert r"[red]\x1b" in out


def test_a_wide_table_is_shown_by_rows_and_a_long_one_by_a_page(ask: Ask) -> None:
    _, out, _ = ask("SELECT * FROM msd_tracks ORDER BY track_id")
    assert max(map(len, out.splitlines())) <= 120
    assert all(word in out for word in ("row 1", "row 3", "a [red]2[/]", "similar_artists", "3 rows"))
    _, out, _ = ask("SELECT range AS n FROM range(123456)")
    assert out.endswith("the first 100 of 123,456 rows: --format csv, json or parquet writes all of them\n")
    assert "│  99 │" in out or "│ 99 │" in out
    assert "│ 100 │" not in out


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1 + 0.2, "0.3"), (1234567.0, "1234567"), (1e-9, "1e-09"), (1e300, "1e+300"), (float("nan"), "nan"), (0.0, "0")],
)
def test_numbers_for_people(value: float, shown: str) -> None:
    assert _sql_output._format_number(value) == shown


def test_describe(ask: Ask) -> None:
    _, out, _ = ask("--describe")
    assert all(name in out for name in [*TABLES, *VIEWS])
    assert "taste_overlap(user_a, user_b)" in out
    for name in [*TABLES, *VIEWS]:
        code, out, _ = ask("--describe", name)
        assert (code, "example: " in out) == (0, True)
    assert "mean tempo in BPM" in ask("--describe", "genre_tempo")[1]
    code, _, err = ask("--describe", "playz")
    assert (code, "did you mean plays" in err) == (1, True)


def test_every_example_runs(ask: Ask) -> None:
    for name in [*TABLES, *VIEWS]:
        example = ask("--describe", name)[1].split("example: ")[1]
        used = {text for kind, text in tokenize(example, "duckdb") if kind == "parameter"}
        answer(ask, example, *[word for text in used for word in ("--param", f"{text}=ann")])


def test_duckdb_with_write_copies_to_a_file(ask: Ask, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    assert ask(f"COPY (SELECT user_id FROM plays WHERE user_id = 'ann') TO '{out}'", "--write")[0] == 0
    assert out.read_text() == "user_id\nann\n"
    assert ask("DELETE FROM plays", "--write")[0] == 1


@pytest.mark.usefixtures("spark")
def test_spark_with_write_changes_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse = Warehouse(str(tmp_path / "w"))
    warehouse.merge(PLAYS, rows_of(PLAYS, [{"user_id": user, "play_count": 1} for user in USERS]))
    run = ["sql", "--warehouse", str(tmp_path / "w"), "--engine", "spark"]
    assert _cli.main([*run, "--write", "DELETE FROM plays WHERE user_id = :u", "--param", f"u={HOSTILE}"]) == 0
    left = Warehouse(str(tmp_path / "w")).lookup(PLAYS, "user_id", "", "\U0010ffff", ["user_id"])
    assert sorted(left["user_id"].to_pylist()) == sorted(set(USERS) - {HOSTILE})
    capsys.readouterr()


def test_a_small_query_imports_nothing_slow(root: Path) -> None:
    code = "import sys; from reprise.jobs._engine import cli; code = cli.main(sys.argv[1:]); print(code, *sys.modules)"
    run = [sys.executable, "-c", code, "sql", "--warehouse", str(root), "SELECT count(*) FROM msd_tracks"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    words = done.stdout.split("1 row\n")[1].split()
    assert words[0] == "0"
    assert {"pyspark", "pandas", "delta", "py4j", "pyarrow.dataset", "matplotlib", "scipy"}.isdisjoint(words)


SQL = (
    "SELECT ':a', \"x:b\", $$:c;$$, E'\\':d', -- :e;\n/* :f; /* ; */ */ x::int, y[1:2], {'k':v}, :g FROM t; SELECT (:h)"
)


def test_parameters_and_statements_are_found_where_they_are() -> None:
    found = [text for kind, text in tokenize(SQL, "duckdb") if kind == "parameter"]
    assert found == ["g", "h"]
    assert to_duckdb_parameters(SQL) == SQL.replace(":g", "$g").replace(":h", "$h")
    assert split_statements(SQL, "duckdb") == [SQL.split("; SELECT (")[0], "SELECT (:h)"]
    spark = r"""SELECT 'it\'s :a;', `:b;`, "\":c;" -- x"""
    assert [kind for kind, _ in tokenize(spark, "spark") if kind in ("parameter", "end", "open")] == []


@pytest.mark.parametrize(
    ("sql", "complete"),
    [("SELECT 1;", True), ("SELECT 1; -- done", True), ("SELECT ';", False), ("SELECT 1", False), ("/* ;", False),
     ("SELECT 1; SELECT 2", False), ("", False), (";", True)],
)  # fmt: skip
def test_when_a_statement_is_complete(sql: str, complete: bool) -> None:
    assert is_complete(sql, "duckdb") == complete


@given(st.text(alphabet="ab:;'\"`$/*-\\ \nE1", max_size=40), st.sampled_from(ENGINES))
def test_no_text_is_lost_between_tokens(sql: str, engine: str) -> None:
    pieces = [f":{text}" if kind == "parameter" else text for kind, text in tokenize(sql, engine)]
    assert "".join(pieces) == sql


@given(st.dictionaries(st.sampled_from("abc"), st.text(max_size=20), max_size=3))
def test_what_is_given_is_what_is_wanted(given_values: dict[str, str]) -> None:
    sql = " ".join(f":{name}" for name in given_values)
    check_parameters(sql, "spark", given_values)
    if given_values:
        with pytest.raises(UsageError):
            check_parameters(sql, "spark", {})
        with pytest.raises(UsageError):
            check_parameters("", "spark", given_values)


def test_only_what_a_query_names_is_opened() -> None:
    assert find_names("SELECT * FROM plays") == ["plays"]
    found = set(find_names("SELECT * FROM Taste_Top_Genres"))
    # a column of theirs is called plays
    assert found == {"taste_top_genres", "taste_population", "taste_evidence", "taste_profiles", "plays"}
    assert find_names("SHOW TABLES") == [*TABLES, *VIEWS]
    order = find_names("SELECT * FROM song_tracks")
    assert order.index("all_tracks") < order.index("song_tracks")
