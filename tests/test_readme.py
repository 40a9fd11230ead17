"""What the README says is there, is there."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from reprise.conf import Settings
from reprise.jobs._engine.cli import list_commands, list_jobs
from reprise.lib.tables import TABLES

TOP = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def readme() -> str:
    return (TOP / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def lister() -> ModuleType:
    """The script that ``make tables`` runs."""
    spec = importlib.util.spec_from_file_location("table_list", TOP / "tests" / "table_list.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(text: str) -> str:
    """What stands in code blocks and between backquotes: prose may say "make it"."""
    blocks = re.findall(r"^```.*?$(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*blocks, *spans])


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text("utf-8"), re.MULTILINE))


def test_table_list_is_that_of_the_contracts(readme: str, lister: ModuleType) -> None:
    assert readme == lister.with_list(readme), "run make tables"


def test_table_list_names_every_table_and_column(lister: ModuleType) -> None:
    listed = lister.table_list()
    for table in TABLES.values():
        assert f"| `{table.name}` | {table.doc} | {table.grain} | {', '.join(table.key)} |\n" in listed
        columns = {column.name: column for column in table.columns}
        section = listed.partition(f"<summary>{table.name}: {len(columns)} columns")[2].partition("</details>")[0]
        lines = re.findall(r"^\| `(\w+)`(?: … `(\w+)`)? \| ([^|,]+)", section, re.MULTILINE)
        names = list(columns)
        spans = [names[names.index(first) : names.index(last or first) + 1] for first, last, _ in lines]
        assert [name for span in spans for name in span] == names
        for span, (_, _, type_) in zip(spans, lines, strict=True):
            assert {columns[name].type for name in span} == {type_.strip()}
    assert all(line.count("|") in (4, 5) for line in listed.splitlines() if line.startswith("|"))


def test_make_tables_writes_the_list(lister: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "README.md"
    path.write_text("# é\n<!-- tables -->\nold\n<!-- /tables -->\nrest\n", "utf-8")
    assert lister.main([str(path)]) == 0
    first = path.read_text("utf-8")
    assert first == f"# é\n<!-- tables -->\n{lister.table_list()}<!-- /tables -->\nrest\n"
    assert lister.main([str(path)]) == 0
    assert path.read_text("utf-8") == first
    assert lister.main([]) == 2
    assert lister.main([str(tmp_path / "gone.md")]) == 1
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize(
    "text",
    ["", "<!-- tables -->\n", "<!-- /tables -->", "<!-- /tables -->\n<!-- tables -->\n", "<!-- tables -->\n" * 2],
)
def test_missing_markers_are_an_error(
    text: str, lister: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    assert lister.main([str(path)]) == 1
    assert path.read_text() == text
    assert "each once and in this order" in capsys.readouterr().err


def test_every_target_named_exists(readme: str) -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code(readme)))
    assert named >= {"demo", "test", "bench"}
    assert named <= makefile_targets()


def test_every_target_explains_itself() -> None:
    """``make help`` prints those that do."""
    explained = set(re.findall(r"^([a-z-]+):.*## \S", (TOP / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert makefile_targets() - explained == {"prerequisites"}


def test_every_subcommand_named_exists(readme: str) -> None:
    named = set(re.findall(r"\breprise ([a-z][a-z-]*)", code(readme)))
    assert named >= {"ingest-msd", "ingest-annotations", "make-sample"}
    assert named <= {*list_jobs(), *list_commands()}


def test_every_job_is_named(readme: str) -> None:
    assert {name for name in list_jobs() if name not in readme} <= {"show-tables"}


def test_every_file_named_exists(readme: str) -> None:
    paths = set(re.findall(r"\b(?:conf|jobs|lib|udfs|tests)/[\w./-]*\w", code(readme)))
    links = {target for target in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in target}
    assert paths >= {"jobs/ingest_msd.py", "conf/default.yaml"}
    assert [path for path in sorted(paths | links) if not (TOP / path).exists()] == []


def test_every_setting_named_exists(readme: str) -> None:
    named = set(re.findall(r"--conf (\w+)=", code(readme))) | {
        name.lower() for name in re.findall(r"\bREPRISE_([A-Z_]+)", readme)
    }
    assert named >= {"profile", "warehouse"}
    assert named <= Settings.model_fields.keys()
