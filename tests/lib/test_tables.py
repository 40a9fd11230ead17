"""Table contracts: names, texts, keys and types are consistent, and the Arrow schemas follow them."""

import re
from collections.abc import Iterator

import pyarrow as pa
import pytest

from reprise.lib.tables import MSD_TRACKS, TABLES, Column, Table
from reprise.udfs.arrow import arrow_schema, arrow_type

SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
CONTRACTS = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())


def faults(table: Table) -> list[str]:
    """List the faults of a contract."""
    return [*name_faults(table), *text_faults(table), *key_faults(table), *type_faults(table)]


def name_faults(table: Table) -> Iterator[str]:
    names = [column.name for column in table.columns]
    for name in (table.name, *names, *table.checks):
        if not SNAKE_CASE.fullmatch(name):
            yield f"{name} is not snake_case"
    yield from (f"{name} occurs twice" for name in set(names) if names.count(name) > 1)
    if table.name.endswith("_v1"):
        yield "the first version has no suffix"


def text_faults(table: Table) -> Iterator[str]:
    for text in (table.doc, table.grain, *(column.comment for column in table.columns)):
        if not text.strip() or "\n" in text or "'" in text:  # an apostrophe in a comment breaks the DDL
            yield f"text is empty, has an apostrophe or a line break: {text!r}"
    if not table.doc.endswith("."):
        yield "the doc does not end in a full stop"


def key_faults(table: Table) -> Iterator[str]:
    names = [column.name for column in table.columns]
    if not table.key or len(set(table.key)) != len(table.key):
        yield "has no key, or a key with a column twice"
    elif sorted(names[: len(table.key)]) != sorted(table.key):
        yield "the key does not come first"
    for name in sorted({*table.key, *(("sha256", table.owner) if table.owner else ())}):
        if name not in names:
            yield f"has no {name}"
        elif table.column(name).nullable:
            yield f"{name} may be NULL"


def type_faults(table: Table) -> Iterator[str]:
    for column in table.columns:
        try:
            is_list = pa.types.is_list(arrow_type(column.type))
        except KeyError:
            yield f"{column.name} has an unknown type"
            continue
        if is_list and (not column.nullable or column.name in table.key):
            yield f"{column.name}: an array must be nullable and must not be in the key"
    for condition in table.checks.values():
        words = set(re.findall(r"[a-z_0-9]+", re.sub("'[^']*'", "", condition)))
        if not words & {column.name for column in table.columns}:
            yield f"no column in the check {condition!r}"


@CONTRACTS
def test_contract_has_no_faults(table: Table) -> None:
    assert faults(table) == []


@CONTRACTS
def test_contract_is_registered_under_its_name(table: Table) -> None:
    assert TABLES[table.name] is table


def test_table_names_differ_also_without_case() -> None:
    assert len({name.casefold() for name in TABLES}) == len(TABLES)


@CONTRACTS
def test_schema_follows_the_contract(table: Table) -> None:
    schema = arrow_schema(table)
    assert schema.names == [column.name for column in table.columns]
    for column in table.columns:
        field = schema.field(column.name)
        assert field.nullable == column.nullable
        assert field.metadata == {b"comment": column.comment.encode()}


@CONTRACTS
def test_scalars_come_before_arrays(table: Table) -> None:
    is_array = [column.type.startswith("array") for column in table.columns]
    assert is_array == sorted(is_array)


@CONTRACTS
def test_lookup_columns_are_among_the_columns_with_statistics(table: Table) -> None:
    """Delta keeps statistics of the first 32 columns; a lookup by another column would read every file."""
    names = [column.name for column in table.columns]
    assert {*table.key, table.owner or table.key[0]} <= set(names[:32])


def test_column_is_found_by_name() -> None:
    assert MSD_TRACKS.column("tempo").type == "double"
    with pytest.raises(KeyError, match="msd_tracks has no column temp"):
        MSD_TRACKS.column("temp")


def example(*columns: Column, key: tuple[str, ...] = ("a",), doc: str = "Things.", owner: str | None = None) -> Table:
    return Table("things", doc, "one thing", key, columns, {}, owner=owner)


A, B = Column("a", "string", "first", nullable=False), Column("b", "int", "second")


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (example(B, A), "the key does not come first"),
        (example(A, B, key=("b",)), "the key does not come first"),
        (example(Column("a", "string", "first")), "a may be NULL"),
        (example(A, B, key=()), "has no key"),
        (example(A, B, B), "b occurs twice"),
        (example(A, Column("someThing", "int", "x")), "someThing is not snake_case"),
        (example(A, Column("c", "int", "")), "text is empty"),
        (example(A, Column("c", "int", "the song's")), "text is empty, has an apostrophe"),
        (example(A, Column("c", "decimal", "x")), "c has an unknown type"),  # type: ignore[arg-type]
        (example(A, B, doc="Things"), "the doc does not end in a full stop"),
        (example(A, B, owner="uri"), "has no uri"),
        (example(A, B, owner="a"), "has no sha256"),
        (example(A, B, Column("uri", "string", "x"), Column("sha256", "string", "x"), owner="uri"), "uri may be NULL"),
    ],
)
def test_checker_finds_faults(table: Table, fault: str) -> None:
    assert [found for found in faults(table) if found.startswith(fault)]


def test_checker_accepts_a_correct_contract() -> None:
    assert faults(example(A, B)) == []
