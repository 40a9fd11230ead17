"""What a person sees of versions: the works of the library or of a listener, and why a track belongs to its group."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pytest

from reprise.jobs import show_versions
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import LIBRARY_COPIES, LIBRARY_TRACKS, LIBRARY_VERSION_PAIRS, LIBRARY_VERSIONS, Table
from reprise.udfs.arrow import arrow_schema

Show = Callable[..., str]

STUDIO, LIVE, OTHER, ALONE, NEW = (f"LB{n:016d}" for n in range(5))
TITLES = {STUDIO: "Ночь [b]", LIVE: "Ночь (Live)\x1b[31m", OTHER: "Another Song", ALONE: None, NEW: "New"}


def put(warehouse: Warehouse, table: Table, *rows: Mapping[str, Any]) -> None:
    """Write rows; what must not be NULL gets a value."""
    values = {"string": "x", "int": 1, "double": 1.0, "boolean": False}
    filled = {c.name: values[c.type] for c in table.columns if not c.nullable}
    warehouse.merge(table, pa.Table.from_pylist([{**filled, **row} for row in rows], arrow_schema(table)))


@pytest.fixture
def library(warehouse: Warehouse) -> Warehouse:
    """A studio and a live version of a work, two tracks alone, and one that is not grouped yet."""
    tracks = [{"track_id": t, "title": title, "artist_name": "Zoë", "duration": 61.6} for t, title in TITLES.items()]
    put(warehouse, LIBRARY_TRACKS, *tracks)
    put(warehouse, LIBRARY_COPIES, {"user_id": "ann", "track_id": STUDIO}, {"user_id": "bob", "track_id": ALONE})
    group = {"group_id": STUDIO, "representative_id": STUDIO, "version_count": 2, "probability": 0.875}
    put(
        warehouse,
        LIBRARY_VERSIONS,
        {"track_id": LIVE, "kind": "live", **group},
        {"track_id": STUDIO, "kind": None, **group},
        *({"track_id": t, "group_id": t, "representative_id": t, "version_count": 1} for t in (OTHER, ALONE)),
    )
    compared = {"alignment_distance": 0.1234, "melody_similarity": 0.5678, "same_title": True}
    put(
        warehouse,
        LIBRARY_VERSION_PAIRS,
        {"track_id": STUDIO, "other_id": LIVE, "probability": 0.875, **compared},
        {"track_id": STUDIO, "other_id": OTHER, "probability": 0.125, **compared, "same_title": False},
        {"track_id": LIVE, "other_id": ALONE, "probability": 0.25, "same_id": True},
    )
    return warehouse


def test_works_of_the_library(library: Warehouse, shown: Show) -> None:
    lines = shown(show_versions).splitlines()
    tracks = [line for line in lines if "LB0" in line]
    assert len(tracks) == 2
    assert STUDIO in tracks[0]
    assert "*" in tracks[0]
    assert "Ночь [b]" in tracks[0]
    assert "1:02" in tracks[0]
    assert "0.88" in tracks[0] or "0.87" in tracks[0]
    assert LIVE in tracks[1]
    assert "live" in tracks[1]
    assert "\x1b" not in tracks[1]
    assert "*" not in tracks[1]


def test_works_of_a_listener(library: Warehouse, shown: Show, refusal: Show) -> None:
    said = shown(show_versions, "--user", "ann")
    assert STUDIO in said
    assert LIVE not in said
    assert "LB0" not in shown(show_versions, "--user", "bob")
    assert refusal(show_versions, "--user", "'; DROP TABLE plays; --") == (
        "--user '; DROP TABLE plays; -- has no library: run ingest-library with their music, then group-versions"
    )


def test_versions_of_a_track_and_what_it_was_compared_with(library: Warehouse, shown: Show) -> None:
    versions, _, compared = shown(show_versions, "--track", LIVE).partition("compared with")
    assert [STUDIO in versions, LIVE in versions, OTHER in versions] == [True, True, False]
    tracks = [line for line in compared.splitlines() if "│ LB" in line]
    assert [STUDIO in tracks[0], ALONE in tracks[1], len(tracks)] == [True, True, 2]
    assert all(text in tracks[0] for text in ("yes", "0.875", "0.123", "0.568"))
    assert "0.250" in tracks[1]
    _, _, most = shown(show_versions, "--track", STUDIO, "--top", 1).partition("compared with")
    assert len([line for line in most.splitlines() if "│ LB" in line]) == 1


def test_a_track_alone(library: Warehouse, shown: Show) -> None:
    assert shown(show_versions, "--track", OTHER).count(OTHER) == 2


def test_what_it_refuses(library: Warehouse, refusal: Show) -> None:
    assert refusal(show_versions, "--track", NEW) == f"--track {NEW} is not grouped yet: run group-versions"
    assert refusal(show_versions, "--track", "LBx") == "--track LBx is not a library track: run ingest-library"
    assert refusal(show_versions, "--top", 0) == "--top must be at least 1, not 0"
    assert refusal(show_versions, "--track", NEW, "--user", "ann") == "--track does not go together with --user"


def test_a_warehouse_without_groups(refusal: Show) -> None:
    assert refusal(show_versions) == "the library tracks are not grouped yet: run group-versions first"


def test_json_and_no_spark(
    library: Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reprise.jobs._engine import run as engine

    monkeypatch.setattr(engine, "get_session", lambda _: pytest.fail("Spark was started"))
    for flags, counts in (((), {"works": 1, "tracks": 2}), (("--track", LIVE), {"versions": 2, "compared": 2})):
        assert show_versions.main([*flags, "--json", "--warehouse", library.root]) == 0
        assert json.loads(capsys.readouterr().out)["counts"] == counts
