"""Tables without an owner, where the last writer wins: every kind of key, deletions, and what lookups give."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._engine.warehouse.commits import Staged
from reprise.lib.tables import GENRE_LABELS, MANIFEST, QUARANTINE, SONG_MISMATCHES, TABLES, Table
from reprise.udfs.arrow import arrow_schema

EVERYTHING = ("", "\U0010ffff")
Key = tuple[str, str, int]
KEYS = [
    "a",
    "b",
    "B",
    "é",
    "e\u0301",
    "日本",
    "\U0001f3b5",
    "a b",
    "a'b",
    "a\\b",
    "\x01",
    "\uffff",
    "",
    "TR%41",
    "x" * 300,
]
"""Bytes, UTF-16 and collations order these differently: U+FFFF comes before the note in UTF-8 only."""


def labels(rows: dict[Key, str]) -> pa.Table:
    columns = [{"track_id": t, "source": s, "rank": r, "genre": g, "run_id": "r"} for (t, s, r), g in rows.items()]
    return pa.Table.from_pylist(columns, schema=arrow_schema(GENRE_LABELS))


def stored(warehouse: Warehouse) -> dict[Key, str]:
    rows = Warehouse(warehouse.root).lookup(GENRE_LABELS, "track_id", *EVERYTHING).to_pylist()
    found = {(row["track_id"], row["source"], row["rank"]): row["genre"] for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_any_sequence_is_as_on_a_dict(seed: int, warehouse: Warehouse) -> None:
    rng, model = random.Random(seed), dict[Key, str]()
    for _ in range(40):
        offered = {
            (rng.choice(KEYS), rng.choice("st"), rng.randrange(2)): str(rng.random())
            for _ in range(rng.choice((0, 1, 3, 9)))
        }
        scope = [source for source in "st" if rng.random() < 0.1]
        gone = rng.sample(sorted(model), min(len(model), rng.choice((0, 0, 2))))
        model = {k: g for k, g in model.items() if k[1] not in scope and k not in gone} | offered
        warehouse.merge(
            GENRE_LABELS,
            labels(offered),
            scope=("source", scope),
            delete=labels(dict.fromkeys(gone, "")) if gone else None,
        )
        assert stored(warehouse) == model


@pytest.mark.parametrize("text", KEYS)
def test_every_key_is_found_again(text: str, warehouse: Warehouse) -> None:
    warehouse.merge(GENRE_LABELS, labels({(key, "s", 0): "old" for key in KEYS}))
    warehouse.merge(GENRE_LABELS, labels({(text, "s", 0): "new"}))
    assert stored(warehouse) == {(key, "s", 0): "new" if key == text else "old" for key in KEYS}
    found = warehouse.lookup(GENRE_LABELS, "track_id", text, text)
    assert found["genre"].to_pylist() == ["new"]
    warehouse.merge(GENRE_LABELS, labels({}), delete=labels({(text, "s", 0): ""}))
    assert (text, "s", 0) not in stored(warehouse)
    assert len(stored(warehouse)) == len(KEYS) - 1


def test_of_several_rows_with_one_key_the_first_is_taken_and_the_rest_told(warehouse: Warehouse) -> None:
    key = {"song_id": "S", "track_id": "T", "source": "s", "run_id": "r"}
    rows = [{**key, "song_title": "1"}, {**key, "track_id": "U", "song_title": "2"}, {**key, "song_title": "3"}]
    refused = warehouse.merge(SONG_MISMATCHES, pa.Table.from_pylist(rows, schema=arrow_schema(SONG_MISMATCHES)))
    assert refused[["song_id", "track_id"]].to_numpy().tolist() == [["S", "T"]]
    found = warehouse.lookup(SONG_MISMATCHES, "song_id", "S", "S").sort_by("track_id")
    assert found["song_title"].to_pylist() == ["1", "2"]


def test_delete_of_what_is_not_there_writes_nothing(warehouse: Warehouse) -> None:
    warehouse.merge(GENRE_LABELS, labels({("T", "s", 0): "g"}))
    before = warehouse.versions()[GENRE_LABELS.name]
    warehouse.merge(GENRE_LABELS, labels({}), delete=labels({("T", "s", 1): "", ("U", "s", 0): ""}))
    assert warehouse.versions()[GENRE_LABELS.name] == before
    assert stored(warehouse) == {("T", "s", 0): "g"}


def test_a_row_deleted_and_offered_at_once_is_there(warehouse: Warehouse) -> None:
    warehouse.merge(GENRE_LABELS, labels({("T", "s", 0): "old"}))
    warehouse.merge(GENRE_LABELS, labels({("T", "s", 0): "new"}), delete=labels({("T", "s", 0): ""}))
    assert stored(warehouse) == {("T", "s", 0): "new"}


def test_a_merge_is_one_commit(warehouse: Warehouse) -> None:
    """Insert, replace, deletion by key and by scope: a reader sees all of it or nothing."""
    warehouse.merge(GENRE_LABELS, labels({(f"T{n}", "s", 0): "old" for n in range(5)} | {("T9", "t", 0): "old"}))
    before = warehouse.versions()[GENRE_LABELS.name]
    new = {("T1", "s", 0): "new", ("N", "s", 0): "new"}
    warehouse.merge(GENRE_LABELS, labels(new), scope=("source", ["t"]), delete=labels({("T2", "s", 0): ""}))
    assert warehouse.versions()[GENRE_LABELS.name] == before + 1
    assert stored(warehouse) == {("T0", "s", 0): "old", ("T3", "s", 0): "old", ("T4", "s", 0): "old", **new}


def test_lookup_is_by_range_and_its_ends_count(warehouse: Warehouse) -> None:
    for block in ("bc", "de", "fg"):
        warehouse.merge(GENRE_LABELS, labels({(letter, "s", 0): letter for letter in block}))

    def found(least: str, greatest: str) -> str:
        return "".join(sorted(warehouse.lookup(GENRE_LABELS, "track_id", least, greatest)["track_id"].to_pylist()))

    assert found("c", "f") == "cdef"
    assert found("b", "b") == "b"
    assert found("cc", "cz") == found("a", "az") == found("z", "zz") == found("f", "c") == ""
    assert found(*EVERYTHING) == "bcdefg"
    assert warehouse.lookup(GENRE_LABELS, "track_id", "z", "z").schema.equals(arrow_schema(GENRE_LABELS))


def test_may_hold(warehouse: Warehouse) -> None:
    assert not warehouse.may_hold(GENRE_LABELS, "track_id", ["T"])
    warehouse.merge(GENRE_LABELS, labels({("T1", "s", 0): "g", ("T3", "s", 0): "g"}))
    assert warehouse.may_hold(GENRE_LABELS, "track_id", ["T3"])
    assert warehouse.may_hold(GENRE_LABELS, "track_id", ["T0", "T9"])
    assert warehouse.may_hold(GENRE_LABELS, "source", ["s"])
    assert not warehouse.may_hold(GENRE_LABELS, "track_id", ["T4", "T9"])
    assert not warehouse.may_hold(GENRE_LABELS, "source", ["t"])
    assert not warehouse.may_hold(GENRE_LABELS, "source", [])


def test_head_sizes_and_versions(warehouse: Warehouse) -> None:
    assert warehouse.versions() == {}
    assert not warehouse.exists(GENRE_LABELS)
    assert warehouse.head(GENRE_LABELS, ["genre"], 3) == []
    assert warehouse.sizes(GENRE_LABELS) == (0, 0)
    assert warehouse.exists(GENRE_LABELS)
    warehouse.merge(GENRE_LABELS, labels({(f"T{n}", "s", 0): "g" for n in range(5)}))
    assert warehouse.head(GENRE_LABELS, ["rank", "genre"], 3) == [{"rank": 0, "genre": "g"}] * 3
    rows, size = warehouse.sizes(GENRE_LABELS)
    on_disk = sum(path.stat().st_size for path in _files(warehouse, GENRE_LABELS))
    assert (rows, size) == (5, on_disk)


def _files(warehouse: Warehouse, table: Table) -> list[Path]:
    return list(Path(warehouse.uri(table)).glob("*.parquet"))


def test_what_another_process_wrote_is_seen(warehouse: Warehouse) -> None:
    """A warehouse that has the table open does not stay at the version it opened."""
    warehouse.merge(GENRE_LABELS, labels({("T1", "s", 0): "g"}))
    Warehouse(warehouse.root).merge(GENRE_LABELS, labels({("T2", "t", 0): "g"}))
    assert len(warehouse.lookup(GENRE_LABELS, "track_id", *EVERYTHING)) == 2
    Warehouse(warehouse.root).merge(GENRE_LABELS, labels({("T3", "u", 0): "g"}))
    assert warehouse.sizes(GENRE_LABELS)[0] == 3
    Warehouse(warehouse.root).merge(GENRE_LABELS, labels({("T4", "v", 0): "g"}))
    assert warehouse.may_hold(GENRE_LABELS, "source", ["v"])
    before = warehouse.versions()[GENRE_LABELS.name]
    Warehouse(warehouse.root).merge(GENRE_LABELS, labels({("T5", "v", 0): "g"}))
    assert warehouse.versions()[GENRE_LABELS.name] == before + 1
    Warehouse(warehouse.root).merge(GENRE_LABELS, labels({}), scope=("source", ["s", "t", "u", "v"]))
    assert warehouse.head(GENRE_LABELS, ["genre"], 9) == []


def test_a_root_may_end_in_a_slash_and_have_any_name(warehouse: Warehouse) -> None:
    root = f"{warehouse.root} 100% #1?/é"
    Warehouse(f"{root}/").merge(GENRE_LABELS, labels({("T", "s", 0): "g"}))
    assert stored(Warehouse(root)) == {("T", "s", 0): "g"}


def test_null_in_a_key_is_refused(warehouse: Warehouse) -> None:
    rows = labels({("T", "s", 0): "g"})
    nulls = rows.set_column(0, rows.schema.field(0), pa.nulls(1, pa.string()))
    with pytest.raises((ValueError, TypeError, pa.ArrowInvalid)):
        warehouse.merge(GENRE_LABELS, nulls)
    assert stored(warehouse) == {}


def test_rows_for_the_driver_take_the_contract_s_schema() -> None:
    first, second = Staged(), Staged()
    row = {c.name: 1 if "int" in c.type else "x" for c in MANIFEST.columns}
    first.rows[MANIFEST.name] = [pa.Table.from_pylist([row])]
    second.rows[MANIFEST.name] = [pa.Table.from_pylist([row | {"uri": "y"}])]
    first.add(second)
    assert first.table(MANIFEST)["uri"].to_pylist() == ["x", "y"]
    assert first.table(MANIFEST).schema.equals(arrow_schema(MANIFEST))
    assert first.table(QUARANTINE).num_rows == 0


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_table_can_be_made_and_is_empty(table: Table, warehouse: Warehouse) -> None:
    found = warehouse.lookup(table, table.key[0], *EVERYTHING)
    assert found.num_rows == 0
    assert found.schema.equals(arrow_schema(table))
