"""Bad, hostile and oddly named files in one tree: each is refused with its reason or read rightly, the rest goes on."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import h5py
import numpy as np
import pandas as pd
import pytest

from reprise.jobs import ingest_msd
from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE

STARTS = "/analysis/segments_start"
FREQUENCIES = "/metadata/artist_terms_freq"
SECRET = 31337.0
"""Start of every segment of the file outside of the tree."""

Spoil = Callable[[Path, Path], object]


def replace(path: Path, name: str, **dataset: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, **dataset)


def edit(path: Path, table: str, **values: Any) -> None:
    """Change fields of the one row of a table; ``floats`` changes all that are floating-point numbers."""
    with h5py.File(path, "r+") as file:
        row = file[table][...]
        for name in row.dtype.names:
            if name in values or ("floats" in values and row.dtype[name].kind == "f"):
                row[name] = values.get(name, values.get("floats"))
        file[table][...] = row


def link(path: Path, name: str, target: Any) -> None:
    with h5py.File(path, "r+") as file:
        file.move(name, "/elsewhere")
        file[name] = target


def truncate(length: float) -> Spoil:
    return lambda path, _: os.truncate(path, int(length * path.stat().st_size) if 0 < length < 1 else int(length))


def map_virtually(path: Path, secret: Path) -> None:
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout(file[STARTS].shape, "f8")
        layout[:] = h5py.VirtualSource(str(secret), STARTS, file[STARTS].shape)
        del file[STARTS]
        file.create_virtual_dataset(STARTS, layout)


def store_outside(path: Path, secret: Path) -> None:
    raw = secret.with_suffix(".raw")
    np.full(8, SECRET).tofile(raw)
    replace(path, STARTS, shape=(8,), dtype="f8", external=[(str(raw), 0, 64)])


def bomb(path: Path, _: Path) -> None:
    with h5py.File(path, "r+") as file:
        file[STARTS].id.write_direct_chunk((0,), zlib.compress(bytes(4 << 20)))


def shorten(path: Path, _: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["/analysis/segments_timbre"].resize(5, axis=0)


def set_start(index: int, value: float) -> Spoil:
    def spoil(path: Path, _: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[STARTS][index] = value

    return spoil


def instead(make: Callable[[Path, Path], object]) -> Spoil:
    def spoil(path: Path, secret: Path) -> None:
        path.unlink()
        make(path, secret)

    return spoil


def listen(path: Path, _: Path) -> None:
    """Make a socket; its address may have 107 bytes only, so it is bound elsewhere and moved."""
    address = Path(f"/tmp/{os.getpid()}.socket")  # noqa: S108
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        shutil.move(address, path)


class Bad(NamedTuple):
    kind: str
    says: str
    spoil: Spoil


BAD = {
    "zero_bytes": Bad("empty_file", "is empty", truncate(0)),
    "cut_in_the_signature": Bad("not_hdf5", "not an HDF5 file", truncate(7)),
    "cut_after_the_signature": Bad("unreadable|truncated", "HDF5", truncate(8)),
    "cut_in_the_superblock": Bad("truncated", "shorter", truncate(95)),
    "cut_in_the_groups": Bad("truncated", "shorter", truncate(2000)),
    "cut_in_half": Bad("truncated", "shorter", truncate(0.5)),
    "cut_near_the_end": Bad("truncated", "shorter", truncate(0.99)),
    "text": Bad("not_hdf5", "not an HDF5 file", lambda path, _: path.write_text("TRACK,TITLE\n" * 999)),
    "folder": Bad("not_a_file", "is a folder", instead(lambda path, _: path.mkdir())),
    "fifo": Bad("not_a_file", "not a regular file", instead(lambda path, _: os.mkfifo(path))),
    "socket": Bad("not_a_file", "not a regular file", instead(listen)),
    "link_that_leaves": Bad("not_a_file", "points outside the source", instead(lambda p, secret: p.symlink_to(secret))),
    "broken_link": Bad("not_a_file", "No such file", instead(lambda path, _: path.symlink_to("nowhere.h5"))),
    "link_to_itself": Bad("not_a_file", "Too many levels", instead(lambda path, _: path.symlink_to(path.name))),
    "gone_before_it_is_read": Bad("unreadable", "No such file", lambda path, _: None),
    "external_link": Bad(
        "unsafe_link", "/analysis is a", lambda p, secret: link(p, "/analysis", h5py.ExternalLink(secret, "/analysis"))
    ),
    "soft_link": Bad("unsafe_link", "/analysis is a", lambda p, _: link(p, "/analysis", h5py.SoftLink("/elsewhere"))),
    "external_storage": Bad("external_storage", STARTS, store_outside),
    "virtual_dataset": Bad("virtual_dataset", STARTS, map_virtually),
    "eight_terabytes": Bad(
        "too_large", FREQUENCIES, lambda p, _: replace(p, FREQUENCIES, shape=(10**12,), dtype="f8", chunks=(1024,))
    ),
    "eight_terabytes_of_segments": Bad(
        "unequal_lengths", "1000000000000", lambda p, _: replace(p, STARTS, shape=(10**12,), dtype="f8", chunks=(1024,))
    ),
    "bomb": Bad("too_large", STARTS, bomb),
    "bomb_that_says_so": Bad(
        "too_large",
        FREQUENCIES,
        lambda p, _: replace(p, FREQUENCIES, data=np.zeros(16 << 20), chunks=(1 << 20,), compression=9, shuffle=True),
    ),
    "unequal_segments": Bad("unequal_lengths", "segments_timbre 5", shorten),
    "decreasing_starts": Bad("not_monotone", STARTS, set_start(3, 1e6)),
    "nan_in_starts": Bad("not_monotone", STARTS, set_start(3, np.nan)),
    "infinite_start": Bad("not_monotone", STARTS, set_start(-1, np.inf)),
    "another_id": Bad("id_mismatch", "TRATRATRATRATRATRA", lambda p, _: edit(p, "/analysis/songs", track_id="TRA" * 6)),
    "no_id": Bad("bad_track_id", "16 capital letters", lambda path, _: edit(path, "/analysis/songs", track_id="")),
    "bad_under_a_bad_name": Bad("empty_file", "caf\ufffd: \N{SNOWMAN}", truncate(0)),
}
BAD_NAMES = {"bad_under_a_bad_name": os.fsdecode(b"caf\xe9: \xe2\x98\x83.h5")}

ODD_NAMES = {
    "spaces": "a b  c.h5",
    "percent": "100%25 %zz %2F.h5",
    "unicode": "Björk — 音楽 \N{MUSICAL NOTE}.h5",
    "not_utf8": os.fsdecode(b"caf\xe9 \xff\xfe.h5"),
    "brackets": "[a-z]{b,c}*?.h5",
    "uri_marks": "a#b?c&d;e=f:g.h5",
    "quotes": 'it\'s "so" `odd` \\n.h5',
    "newline": "a\nb\tc.h5",
    "upper_case": "{track}.H5",
    "hidden": ".hidden.h5",
    "other_suffix": "track.hdf5",
    "long": "x" * 250 + ".h5",
}
GOOD = ("plain", "inside_the_folder", "invalid_utf8", "nan_everywhere", "linked_within", "kept", *ODD_NAMES)


class Result(NamedTuple):
    root: Path
    files: dict[str, Path]
    tracks: dict[str, str]
    summary: dict[str, Any]
    tables: dict[str, pd.DataFrame]

    def rows(self, table: Any, case: str) -> pd.DataFrame:
        """Rows that come from the file of one case."""
        rows = self.tables[table.name]
        return rows[rows["uri"] == uri_of(self.files[case])]


def uri_of(path: Path) -> str:
    return "file://" + quote(os.fsencode(path))


def forget_one(path: Path) -> type:
    """Build a listing that loses one file between the look at it and its reading."""

    class Forgetful(Listing):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            path.unlink()

    return Forgetful


def lay_out(root: Path, sample: list[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """One folder and one track a case; gives the file and the track of each."""
    assert len(sample) >= len(BAD) + len(GOOD)
    tracks = {case: path.stem for case, path in zip([*BAD, *GOOD], sample, strict=False)}
    files = {case: root / case / f"{tracks[case]}.h5" for case in tracks}
    files |= {
        case: root / case / name.replace("{track}", tracks[case]) for case, name in (BAD_NAMES | ODD_NAMES).items()
    }
    files["inside_the_folder"] = files["folder"] / files["inside_the_folder"].name
    for case, path in zip(tracks, sample, strict=False):
        if case != "inside_the_folder":
            files[case].parent.mkdir(parents=True)
            shutil.copy(path, files[case])
    # what is wrong with them is wrong between files
    files["zzz_link"] = root / "zzz_link" / files["linked_within"].name
    for case, twin in {"twin": "plain", "conflict": "kept"}.items():
        files[case] = root / "zzz" / case / files[twin].name
        files[case].parent.mkdir(parents=True)
        shutil.copy(files[twin], files[case])
    edit(files["conflict"], "/metadata/songs", title="another title")
    files["zzz_link"].parent.mkdir()
    files["zzz_link"].symlink_to(os.path.relpath(files["linked_within"], files["zzz_link"].parent))
    edit(files["invalid_utf8"], "/metadata/songs", title=b"caf\xe9 \xff\xfe!")
    for group in ("analysis", "metadata", "musicbrainz"):
        edit(files["nan_everywhere"], f"/{group}/songs", floats=np.nan)
    return files, tracks


@pytest.fixture(scope="module")
def result(
    spark: Any, sample_dir: Path, rows_of: Callable[..., pd.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Result]:
    """One ingest of a tree with everything wrong at once."""
    folder = tmp_path_factory.mktemp("bad")
    root = folder / "tree of [files] 100%"
    sample = sorted((sample_dir / "msd").rglob("*.h5"))
    files, tracks = lay_out(root, sample)
    secret = folder / f"{sample[-1].stem}.h5"
    shutil.copy(sample[-1], secret)
    with h5py.File(secret, "r+") as file:
        file[STARTS][...] = SECRET
    tracks["secret"] = secret.stem
    for case, bad in BAD.items():
        bad.spoil(files[case], secret)
    shutil.copy(sample[len(BAD) + GOOD.index("inside_the_folder")], files["inside_the_folder"])
    (root / "linked_folder").symlink_to(secret.parent, target_is_directory=True)
    files["linked_folder"] = root / "linked_folder"
    (root / "not_counted.txt").write_text("not a track")
    printed, warehouse = io.StringIO(), Warehouse(str(folder / "warehouse"))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(ingest_msd, "Listing", forget_one(files["gone_before_it_is_read"]))
        assert ingest_msd.main(["--source", str(root), "--warehouse", warehouse.root, "--json"]) == 3
    tables = {table.name: rows_of(warehouse, table) for table in (MSD_TRACKS, MSD_ANALYSIS, MANIFEST, QUARANTINE)}
    yield Result(root, files, tracks, json.loads(printed.getvalue()), tables)
    shutil.rmtree(folder)  # names that other tools stumble over


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_becomes_one_quarantine_row(result: Result, case: str) -> None:
    rows = result.rows(QUARANTINE, case)
    assert len(rows) == 1
    row = rows.iloc[0]
    assert re.fullmatch(BAD[case].kind, row["error_class"]), row["message"]
    assert BAD[case].says in row["message"]
    assert row["message"].isprintable()
    assert result.files[case].stem in row["message"] or case in BAD_NAMES
    assert (row["stage"], row["attempts"]) == ("ingest_msd", 1)
    manifest = result.rows(MANIFEST, case)
    assert manifest[["status", "row_count", "reject_count"]].to_numpy().tolist() == [["quarantined", 0, 1]]
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        assert result.rows(table, case).empty
        assert result.tracks[case] not in set(result.tables[table.name]["track_id"])


def test_nothing_else_is_in_quarantine(result: Result) -> None:
    wrong = {uri_of(result.files[case]) for case in (*BAD, "conflict", "linked_folder")}
    assert set(result.tables[QUARANTINE.name]["uri"]) == wrong
    counts = result.summary["counts"]
    assert counts == {
        "files": len(result.files),
        "skipped": 0,
        "tracks_read": len(GOOD),
        "duplicates": 2,
        "quarantined": len(wrong),
    }


@pytest.mark.parametrize("case", GOOD)
def test_a_good_file_among_them_is_read(result: Result, case: str) -> None:
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        rows = result.rows(table, case)
        assert rows["track_id"].tolist() == [result.tracks[case]]
    sha256 = hashlib.sha256(result.files[case].read_bytes()).hexdigest()
    manifest = result.rows(MANIFEST, case)
    assert manifest[["status", "row_count", "sha256"]].to_numpy().tolist() == [["done", 1, sha256]]
    assert result.rows(QUARANTINE, case).empty


def test_the_tables_hold_nothing_else(result: Result) -> None:
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        assert sorted(result.tables[table.name]["track_id"]) == sorted(result.tracks[case] for case in GOOD)


@pytest.mark.parametrize("case", ["link_that_leaves", "linked_folder"])
def test_what_a_link_leads_to_outside_is_not_read(result: Result, case: str) -> None:
    row = result.rows(QUARANTINE, case).iloc[0]
    assert "points outside the source" in row["message"]
    assert row["sha256"] is None


def test_no_value_of_another_file_is_in_the_tables(result: Result) -> None:
    assert result.tracks["secret"] not in set(result.tables[MSD_TRACKS.name]["track_id"])
    starts = np.concatenate(result.tables[MSD_ANALYSIS.name]["segments_start"].to_list())
    assert len(starts) > 1000
    assert starts.max() < SECRET


@pytest.mark.parametrize(("case", "of"), [("twin", "plain"), ("zzz_link", "linked_within")])
def test_the_same_content_at_two_paths_is_a_duplicate(result: Result, case: str, of: str) -> None:
    assert result.rows(MANIFEST, case)[["status", "row_count"]].to_numpy().tolist() == [["duplicate", 0]]
    assert result.rows(MANIFEST, case)["sha256"].item() == result.rows(MANIFEST, of)["sha256"].item()
    assert result.rows(QUARANTINE, case).empty


def test_of_two_contents_of_one_track_the_first_stays(result: Result) -> None:
    kept = result.rows(MSD_TRACKS, "kept")
    assert kept["title"].tolist() != ["another title"]
    assert result.rows(QUARANTINE, "conflict")["error_class"].tolist() == ["duplicate_track"]
    message = result.rows(QUARANTINE, "conflict")["message"].item()
    assert result.tracks["kept"] in message
    assert uri_of(result.files["kept"]) in message
    assert result.rows(MANIFEST, "conflict")[["status", "reject_count"]].to_numpy().tolist() == [["quarantined", 1]]
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        assert result.rows(table, "conflict").empty


def test_text_that_is_not_utf8_is_read_with_replacement(result: Result) -> None:
    assert result.rows(MSD_TRACKS, "invalid_utf8")["title"].item() == "caf\ufffd \ufffd\ufffd!"


def test_nan_becomes_null(result: Result) -> None:
    row = result.rows(MSD_TRACKS, "nan_everywhere").iloc[0]
    doubles = [column.name for column in MSD_TRACKS.columns if column.type == "double"]
    assert len(doubles) > 10
    assert row[doubles].isna().all()
    assert row["title"]
    raw = result.tables[MSD_TRACKS.name]["duration"]
    assert raw.isna().sum() == 1


def test_files_of_other_people(
    shared_data: Path,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
    tmp_path: Path,
) -> None:
    names = ["TRAAAAW128F429D538.not_msd_10048B.h5", "TRAXLZU12903D05F94.empty_1040B.h5"]
    for name in names:
        shutil.copy(shared_data / "msd_bad" / name, tmp_path)
    summary = run_job(ingest_msd.main, "--source", tmp_path, exit_code=3)
    assert summary["counts"]["quarantined"] == 2
    rows = rows_of(warehouse, QUARANTINE)
    assert rows["uri"].str.rpartition("/")[2].tolist() == names
    assert rows["error_class"].tolist() == ["missing_group"] * 2
    assert all(name in message for name, message in zip(names, rows["message"], strict=True))
    assert rows_of(warehouse, MSD_TRACKS).empty
