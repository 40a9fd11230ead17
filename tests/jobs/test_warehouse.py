"""Merging by the ``arrow`` writer, held against a plain dict."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import MSD_TRACKS, Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import StagedFile, Stager

EVERYTHING = ("", "\U0010ffff")


@dataclass(frozen=True)
class Track:
    """A row of a table with an owner."""

    track_id: str
    uri: str
    sha256: str = "1"
    title: str = ""

    def row(self) -> dict[str, str]:
        return {**vars(self), "run_id": "r"}


@dataclass
class Owned:
    """What ``merge`` promises of a table with an owner, on a dict."""

    rows: dict[str, Track] = field(default_factory=dict)

    def merge(
        self,
        offered: Iterable[Track],
        scope: Iterable[str] = (),
        leave_out: Iterable[tuple[str, str]] = (),
        force: bool = False,
    ) -> list[tuple[str, str, str, str, str]]:
        offered = sorted(offered, key=lambda track: track.uri)
        held = {(track.track_id, track.uri) for track in offered}
        self.rows = {k: t for k, t in self.rows.items() if t.uri not in set(scope) or (k, t.uri) in held}
        before, taken, refused = dict(self.rows), set(), []
        for track in offered:
            key = track.track_id
            if (key, track.uri) in set(leave_out):
                continue
            kept = before.setdefault(key, track)
            if track.uri != kept.uri or key in taken:
                refused.append((key, track.uri, track.sha256, kept.uri, kept.sha256))
                continue
            taken.add(key)
            if key not in self.rows or force or track.sha256 != kept.sha256:
                self.rows[key] = track
        return refused


def ident(number: int) -> str:
    return f"TR{number:016d}"


def tracks(rows: Iterable[Track]) -> pa.Table:
    return pa.Table.from_pylist([track.row() for track in rows], schema=arrow_schema(MSD_TRACKS))


def staged(warehouse: Warehouse, table: Table, *tables: pa.Table) -> list[StagedFile]:
    """One file a table of rows, as workers leave them."""
    files = []
    for rows in tables:
        stager = Stager(table, warehouse.uri(table))
        for batch in rows.to_batches():
            stager.write(batch)
        files.append(stager.close())
    return [file for file in files if file is not None]


def stored(warehouse: Warehouse) -> dict[str, Track]:
    """Content, as a process sees it that comes later; fails when a key is there twice."""
    rows = Warehouse(warehouse.root).lookup(MSD_TRACKS, "track_id", *EVERYTHING).to_pylist()
    assert len({row["track_id"] for row in rows}) == len(rows)
    return {row["track_id"]: Track(row["track_id"], row["uri"], row["sha256"], row["title"]) for row in rows}


def refusals(refused: pd.DataFrame) -> list[tuple[str, ...]]:
    columns = ["track_id", "uri", "sha256", "kept_owner", "kept_sha256"]
    return sorted(refused[columns].itertuples(index=False, name=None)) if len(refused) else []


def version(warehouse: Warehouse) -> int:
    return Warehouse(warehouse.root).versions()[MSD_TRACKS.name]


A, B, C = Track(ident(1), "a.h5", title="A"), Track(ident(2), "b.h5", title="B"), Track(ident(3), "c.h5", title="C")


def test_rows_are_inserted_and_a_rerun_writes_nothing(warehouse: Warehouse) -> None:
    assert warehouse.merge(MSD_TRACKS, tracks([A, B])).empty
    assert stored(warehouse) == {A.track_id: A, B.track_id: B}
    before = version(warehouse)
    assert warehouse.merge(MSD_TRACKS, tracks([B, A])).empty
    assert warehouse.merge(MSD_TRACKS, tracks([A]), scope=("uri", ["a.h5", "none.h5"])).empty
    assert version(warehouse) == before
    assert warehouse.merge(MSD_TRACKS, tracks([A, C])).empty
    assert stored(warehouse) == {A.track_id: A, B.track_id: B, C.track_id: C}
    assert version(warehouse) == before + 1


def test_the_same_content_is_left_alone_unless_forced(warehouse: Warehouse) -> None:
    warehouse.merge(MSD_TRACKS, tracks([A, B]))
    renamed = Track(A.track_id, A.uri, A.sha256, "read by newer code")
    warehouse.merge(MSD_TRACKS, tracks([renamed]))
    assert stored(warehouse)[A.track_id] == A
    warehouse.merge(MSD_TRACKS, tracks([renamed]), force=True)
    assert stored(warehouse) == {A.track_id: renamed, B.track_id: B}


def test_changed_content_replaces(warehouse: Warehouse) -> None:
    warehouse.merge(MSD_TRACKS, tracks([A, B, C]))
    changed = Track(B.track_id, B.uri, "2", "new")
    assert warehouse.merge(MSD_TRACKS, tracks([changed])).empty
    assert stored(warehouse) == {A.track_id: A, B.track_id: changed, C.track_id: C}


def test_a_key_of_another_owner_is_refused_and_told(warehouse: Warehouse) -> None:
    warehouse.merge(MSD_TRACKS, tracks([B]))
    intruder = Track(B.track_id, "0.h5", "2", "intruder")
    for force in (False, True):
        refused = warehouse.merge(MSD_TRACKS, tracks([intruder, A]), force=force)
        assert refusals(refused) == [(B.track_id, "0.h5", "2", "b.h5", "1")]
        assert stored(warehouse) == {A.track_id: A, B.track_id: B}


def test_of_one_key_the_first_owner_wins_in_whichever_order(warehouse: Warehouse) -> None:
    first, second = Track(ident(1), "x/1.h5", "1"), Track(ident(1), "x/2.h5", "2")
    files = staged(warehouse, MSD_TRACKS, tracks([second, B]), tracks([first]))
    refused = warehouse.merge(MSD_TRACKS, files)
    assert refusals(refused) == [(ident(1), "x/2.h5", "2", "x/1.h5", "1")]
    assert stored(warehouse) == {ident(1): first, B.track_id: B}


def test_of_one_key_twice_in_one_input_the_first_row_is_taken(warehouse: Warehouse) -> None:
    twice = [Track(ident(1), "a.h5", "1", "first"), Track(ident(1), "a.h5", "1", "second")]
    refused = warehouse.merge(MSD_TRACKS, tracks(twice))
    assert refusals(refused) == [(ident(1), "a.h5", "1", "a.h5", "1")]
    assert stored(warehouse)[ident(1)].title == "first"


def test_an_owner_replaces_its_row_though_another_offers_the_key_first(warehouse: Warehouse) -> None:
    warehouse.merge(MSD_TRACKS, tracks([B]))
    changed, intruder = Track(B.track_id, B.uri, "2", "new"), Track(B.track_id, "a.h5", "3")
    refused = warehouse.merge(MSD_TRACKS, tracks([intruder, changed]), scope=("uri", [B.uri]))
    assert [row[:2] for row in refusals(refused)] == [(B.track_id, "a.h5")]
    assert stored(warehouse) == {B.track_id: changed}


def test_scope_deletes_what_an_input_holds_no_more(warehouse: Warehouse) -> None:
    album = [Track(ident(n), "album.h5") for n in range(5)]
    warehouse.merge(MSD_TRACKS, tracks([*album, Track(ident(7), "other.h5")]))
    now = [Track(ident(n), "album.h5", "2") for n in (1, 3, 6)]
    warehouse.merge(MSD_TRACKS, tracks(now), scope=("uri", ["album.h5"]))
    assert stored(warehouse) == {t.track_id: t for t in [*now, Track(ident(7), "other.h5")]}
    warehouse.merge(MSD_TRACKS, [], scope=("uri", ["album.h5", "never.h5"]))
    assert stored(warehouse).keys() == {ident(7)}


def test_a_key_that_its_owner_gives_up_goes_to_who_offers_it(warehouse: Warehouse) -> None:
    """Else the row of the first owner would stay for ever: its file is done, and holds the track no more."""
    warehouse.merge(MSD_TRACKS, tracks([B]))
    moved, instead = Track(B.track_id, "a.h5", "3"), Track(ident(9), B.uri, "2")
    assert warehouse.merge(MSD_TRACKS, tracks([moved, instead]), scope=("uri", [B.uri])).empty
    assert stored(warehouse) == {B.track_id: moved, ident(9): instead}


def test_what_is_left_out_is_not_written_and_keeps_what_stands(warehouse: Warehouse) -> None:
    warehouse.merge(MSD_TRACKS, tracks([A]))
    changed = Track(A.track_id, A.uri, "2")
    leave_out = pd.DataFrame({"track_id": [A.track_id, C.track_id], "uri": [A.uri, C.uri]})
    refused = warehouse.merge(MSD_TRACKS, tracks([changed, B, C]), leave_out=leave_out, scope=("uri", [A.uri]))
    assert refused.empty
    assert stored(warehouse) == {A.track_id: A, B.track_id: B}


def test_nothing_offered_makes_an_empty_table(warehouse: Warehouse) -> None:
    nothing: list[StagedFile] = []
    for rows in (nothing, tracks([])):
        assert warehouse.merge(MSD_TRACKS, rows).empty
        made = version(warehouse)
        assert warehouse.merge(MSD_TRACKS, rows, scope=("uri", ["a.h5"]), delete=tracks([A])).empty
        assert version(warehouse) == made
    assert stored(warehouse) == {}


def test_rows_of_a_file_that_stay_out_leave_the_rest_of_it(warehouse: Warehouse) -> None:
    warehouse.merge(MSD_TRACKS, tracks([B]))
    file = [A, Track(B.track_id, "z.h5"), C]
    refused = warehouse.merge(MSD_TRACKS, staged(warehouse, MSD_TRACKS, tracks(file), tracks([])))
    assert refusals(refused) == [(B.track_id, "z.h5", "1", "b.h5", "1")]
    assert stored(warehouse) == {t.track_id: t for t in (A, B, C)}


def test_keys_at_the_edges_of_file_statistics(warehouse: Warehouse) -> None:
    """A file is looked at when the offered key is its least or its greatest."""
    for block in (range(10, 20), range(20, 30), range(30, 40)):
        warehouse.merge(MSD_TRACKS, tracks([Track(ident(n), f"{n}.h5") for n in block]))
    edges = [10, 19, 20, 29, 30, 39]
    before = version(warehouse)
    for n in edges:
        assert warehouse.merge(MSD_TRACKS, tracks([Track(ident(n), f"{n}.h5")])).empty
        assert len(warehouse.merge(MSD_TRACKS, tracks([Track(ident(n), "other.h5")]))) == 1
    assert version(warehouse) == before
    warehouse.merge(MSD_TRACKS, tracks([Track(ident(n), f"{n}.h5", "2") for n in (9, *edges, 40)]))
    assert sorted(k for k, t in stored(warehouse).items() if t.sha256 == "2") == [ident(n) for n in (9, *edges, 40)]
    assert len(stored(warehouse)) == 32


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_any_sequence_is_as_on_a_dict(seed: int, warehouse: Warehouse) -> None:
    rng, model = random.Random(seed), Owned()
    warehouse.merge(MSD_TRACKS, [])
    for _ in range(40):
        offered = [
            Track(ident(rng.randrange(12)), f"{rng.choice('abcd')}.h5", rng.choice("12"), str(rng.random()))
            for _ in range(rng.choice((0, 1, 2, 6)))
        ]
        scope = [f"{uri}.h5" for uri in "abcd" if rng.random() < 0.2]
        leave_out = [(t.track_id, t.uri) for t in offered if rng.random() < 0.1]
        force = rng.random() < 0.1
        before, version_before = dict(model.rows), version(warehouse)
        expected = model.merge(offered, scope, leave_out, force)
        halves = [tracks(offered[: len(offered) // 2]), tracks(offered[len(offered) // 2 :])]
        refused = warehouse.merge(
            MSD_TRACKS,
            staged(warehouse, MSD_TRACKS, *halves) if rng.random() < 0.5 else tracks(offered),
            scope=("uri", scope),
            leave_out=pd.DataFrame(leave_out, columns=["track_id", "uri"]),
            force=force,
        )
        assert stored(warehouse) == model.rows
        assert refusals(refused) == sorted(expected)
        if model.rows != before:
            assert version(warehouse) == version_before + 1
        elif not force:
            assert version(warehouse) == version_before
