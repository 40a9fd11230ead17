"""Views, checked by their text without an SQL engine."""

import re
from pathlib import Path

import pytest

from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS, View

NAMES = list(VIEWS)


def sources(sql: str) -> set[str]:
    """Tables and views that a query reads, without its common table expressions."""
    return set(re.findall(r"\b(?:FROM|JOIN) (\w+)", sql)) - set(re.findall(r"\b(\w+) AS \(", sql))


def last_select(sql: str) -> list[str]:
    """Column names of the last SELECT of a query."""
    columns = flatten(sql.rpartition("\nSELECT ")[2]).partition(" FROM ")[0].split(",")
    return [re.split(r" AS |\.", column.strip())[-1] for column in columns]


def flatten(text: str) -> str:
    """Remove all text in brackets."""
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return " ".join(text.split())


@pytest.mark.parametrize("view", VIEWS.values(), ids=NAMES)
def test_view_reads_only_tables_and_earlier_views(view: View) -> None:
    earlier = set(NAMES[: NAMES.index(view.name)])
    assert sources(view.sql)
    assert sources(view.sql) <= TABLES.keys() | earlier


@pytest.mark.parametrize("view", VIEWS.values(), ids=NAMES)
def test_columns_equal_those_of_the_query(view: View) -> None:
    assert last_select(view.sql) == list(view.columns)


@pytest.mark.parametrize("view", VIEWS.values(), ids=NAMES)
def test_view_has_docs_and_an_example(view: View) -> None:
    assert re.fullmatch(r"[A-Z][^\n]*\.", view.doc)
    for name, comment in view.columns.items():
        assert re.fullmatch(r"[a-z][a-z_]*", name)
        assert comment.strip() == comment
        assert comment
        assert "\n" not in comment
    assert re.search(rf"\b{view.name}\b", view.example)
    assert sources(view.example) <= TABLES.keys() | VIEWS.keys()


@pytest.mark.parametrize("view", VIEWS.values(), ids=NAMES)
def test_every_parameter_is_used_and_is_not_a_column(view: View) -> None:
    """In SQL, a parameter with the name of a column would refer to the column."""
    columns = {c.name for name in sources(view.sql) & TABLES.keys() for c in TABLES[name].columns}
    for parameter in view.parameters:
        assert re.search(rf"\b{parameter}\b", view.sql)
        assert parameter not in columns


def test_readme_lists_every_view() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    listed = readme.partition("<!-- views -->\n")[2].partition("<!-- /views -->")[0].splitlines()
    calls = [f"{v.name}({', '.join(v.parameters)})" if v.parameters else v.name for v in VIEWS.values()]
    assert listed[2:] == [f"| `{call}` | {v.doc} |" for call, v in zip(calls, VIEWS.values(), strict=True)]


def test_no_view_has_the_name_of_a_table() -> None:
    assert not TABLES.keys() & VIEWS.keys()
    assert [view.name for view in VIEWS.values()] == NAMES


def test_columns_of_one_name_have_one_unit_in_all_views() -> None:
    units = {"tempo": "BPM", "loudness": "dB", "tempo_mean": "BPM", "tempo_std": "BPM", "duration": " s"}
    for view in VIEWS.values():
        for name, unit in units.items():
            assert unit in view.columns.get(name, unit)
