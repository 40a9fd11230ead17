"""The listing of input files: local folders, oddities in them, and what Hadoop lists and reads."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import ingest_msd
from reprise.jobs._engine import listing as _files
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.listing import SCHEMA, Listing
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE

NAMES = [
    "plain.h5",
    "with space.h5",
    "100%25.h5",
    "%2Fetc.h5",
    "a#b?c=d&e;f.h5",
    "[a-z].h5",
    "{b,c}.h5",
    "star*.h5",
    "Björk — 音楽.h5",
    'it\'s "so".h5',
    "UPPER.H5",
    "sub folder/[x]/100% {y}.h5",
]


def uri_of(path: Path) -> str:
    return "file://" + quote(os.fsencode(path))


NO_SPARK: Any = None
"""What lists a local folder needs no session."""


def listed(source: Path | str, size: int = 1000) -> list[dict[str, Any]]:
    with Listing(NO_SPARK, str(source), (".h5",)) as listing:
        return [row for chunk in listing.chunks(size) for row in chunk.to_pylist()]


def make(folder: Path, *names: str | bytes) -> list[Path]:
    """Files with their own names as content."""
    paths = [Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name)))) for name in names]  # noqa: PTH118
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(path.name))
    return paths


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    names: list[str | bytes] = [
        "b.h5",
        "a.h5",
        "B.h5",
        "a/z.h5",
        "a/b/c.h5",
        "c/a.h5",
        "b.h5.d/a.h5",
        "é.h5",
        b"\xff.h5",
        "no.txt",
    ]
    make(tmp_path, *names)
    expected: list[str | bytes] = [
        "B.h5",
        "a.h5",
        "b.h5",
        "é.h5",
        b"\xff.h5",
        "a/z.h5",
        "a/b/c.h5",
        "b.h5.d/a.h5",
        "c/a.h5",
    ]
    found = [row["uri"] for row in listed(tmp_path)]
    assert found == [f"{uri_of(tmp_path)}/{quote(os.fsencode(name))}" for name in expected]


def test_a_row_says_size_and_time(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "some.h5")
    os.utime(path, ns=(0, 1_234_567_891_234_567_891))
    expected = {"uri": path.as_uri(), "file_size": 7, "file_mtime_us": 1_234_567_891_234_567}
    expected |= {"fault_kind": None, "fault": None}
    assert listed(tmp_path) == [expected]
    assert listed(path) == [expected]
    assert listed(f"{tmp_path}/../{tmp_path.name}/") == [expected]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 30])
@pytest.mark.parametrize("rows", [4, 7, 8192])
def test_chunks_are_of_the_size_asked_for(
    count: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "_ROWS", rows)
    make(tmp_path, *(f"{i:02}.h5" for i in range(count)))
    with Listing(NO_SPARK, str(tmp_path), (".h5",)) as listing:
        assert listing.count == count
        for size in (1, 3, 10, 100):
            chunks = list(listing.chunks(size))
            assert all(chunk.schema == SCHEMA for chunk in chunks)
            assert [len(chunk) for chunk in chunks] == [size] * (count // size) + [count % size] * (count % size > 0)
            uris = [uri for chunk in chunks for uri in chunk["uri"].to_pylist()]
            assert [uri[-5:] for uri in uris] == [f"{i:02}.h5" for i in range(count)]


def test_the_spool_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    make(tmp_path / "tree", "a.h5")
    with Listing(NO_SPARK, str(tmp_path / "tree"), (".h5",)) as listing:
        assert listing.count == 1
        assert not any((tmp_path / "spool").iterdir())


def test_links_within_the_tree_are_followed_to_files_only(tmp_path: Path) -> None:
    inside, outside = make(tmp_path, "tree/sub/inside.h5", "elsewhere/outside.h5")
    links = {
        "file_within.h5": inside,
        "folder_within": inside.parent,
        "file_outside.h5": outside,
        "folder_outside": outside.parent,
        "folder_outside.h5": outside.parent,
        "passed_over.txt": outside,
        "loop": tmp_path / "tree",
        "broken.h5": tmp_path / "nothing",
    }
    for name, target in links.items():
        (tmp_path / "tree" / name).symlink_to(target)
    rows = {row["uri"].rsplit("/", 1)[1]: row for row in listed(tmp_path / "tree")}
    outward = {"file_outside.h5", "folder_outside", "folder_outside.h5"}
    assert set(rows) == {"inside.h5", "file_within.h5", "broken.h5"} | outward
    assert rows["inside.h5"]["fault"] is None
    assert rows["file_within.h5"]["fault"] is None
    assert rows["file_within.h5"]["file_size"] == len("inside.h5")
    for name in outward:
        assert rows[name]["fault"].startswith(f"{name} is a symbolic link that points outside the source")
    assert rows["broken.h5"]["fault"] == "cannot read broken.h5: No such file or directory; repair or remove it"


def test_a_source_that_is_a_link_is_the_tree_it_leads_to(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "tree/a.h5")
    (tmp_path / "link").symlink_to("tree")
    assert [(row["uri"], row["fault"]) for row in listed(tmp_path / "link")] == [(path.as_uri(), None)]


def test_what_is_no_file_has_a_fault(tmp_path: Path) -> None:
    (tmp_path / "folder.h5").mkdir()
    make(tmp_path, "folder.h5/a.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    os.mknod(tmp_path / "node.h5", stat.S_IFSOCK)
    faults = {row["uri"].rsplit("/", 1)[1]: row["fault"] for row in listed(tmp_path)}
    assert faults.pop("a.h5") is None
    suffix = "but its name has the suffix of an input file: rename it; the files in it are read"
    assert faults == {
        "folder.h5": f"folder.h5 is a folder, {suffix}",
        "pipe.h5": "pipe.h5 is not a regular file: remove or rename it",
        "node.h5": "node.h5 is not a regular file: remove or rename it",
    }


@contextlib.contextmanager
def nobody() -> Iterator[Path]:
    """Be a user to whom permissions apply, in a folder that this user owns."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(os.getuid())


def test_a_folder_that_may_not_be_read_is_one_fault(tmp_path: Path) -> None:
    with nobody() as folder:
        (inside,) = make(folder, "good/a.h5")
        make(folder, "locked/b.h5")
        (folder / "locked").chmod(0)
        try:
            rows = {row["uri"]: row["fault"] for row in listed(folder)}
            assert rows == {
                inside.as_uri(): None,
                (folder / "locked").as_uri(): "cannot list locked: Permission denied; make it readable",
            }
            with pytest.raises(UsageError, match="locked cannot be read: Permission denied"):
                listed(folder / "locked")
        finally:
            (folder / "locked").chmod(0o700)


@pytest.fixture
def mounted(spark: Any, tmp_path: Path) -> str:
    """URI at which a Hadoop file system that is not ``file:`` shows ``tmp_path``."""
    table = tmp_path.name.replace("_", "-")
    configuration = spark.sparkContext._jsc.hadoopConfiguration()
    configuration.set(f"fs.viewfs.mounttable.{table}.link./mount", tmp_path.as_uri())
    return f"viewfs://{table}/mount"


def test_hadoop_lists_and_reads_the_same_files(spark: Any, mounted: str, tmp_path: Path) -> None:
    folder = tmp_path / "hadoop tree [1] 100%25"
    paths = make(folder, *NAMES, "passed_over.txt")[:-1]
    for i, path in enumerate(paths):
        os.utime(path, ns=(0, 10**18 + i * 10**9))
    source = f"{mounted}/{folder.name}"
    with Listing(spark, source, (".h5",)) as listing:
        files = pa.concat_tables(listing.chunks(5))
        assert listing.count == len(NAMES)
        paths_of = [unquote(uri) for uri in files["uri"].to_pylist()]
        assert paths_of == sorted(paths_of)
        assert files["fault"].null_count == len(NAMES)
        rows = listing.frame(spark, files).toPandas()
    found = {}
    for row in rows.to_dict("records"):
        name = unquote(row["uri"]).removeprefix(f"{source}/")
        found[name] = (bytes(row["content"]), row["file_size"], row["file_mtime_us"])
    expected = {
        os.fspath(path.relative_to(folder)): (path.name.encode(), path.stat().st_size, path.stat().st_mtime_ns // 1000)
        for path in paths
    }
    assert found == expected


def test_hadoop_says_when_there_is_no_such_folder(spark: Any, mounted: str) -> None:
    with pytest.raises(UsageError, match=r"/noth\*\[x\] does not exist"):
        Listing(spark, f"{mounted}/noth*[x]", (".h5",))


def test_ingest_through_hadoop_gives_the_same_rows(
    sample_dir: Path,
    mounted: str,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, other = tmp_path / "hadoop tree [1] 100%25", Warehouse(str(tmp_path / "other"))
    for path, name in zip(sorted((sample_dir / "msd").rglob("*.h5")), NAMES, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    (folder / "bad [1] 100%.h5").write_text("not HDF5")
    source = f"{mounted}/{folder.name}"
    local = run_job(ingest_msd.main, "--source", folder, "--max-bad", 1)
    for counts in (local["counts"], local["counts"] | {"skipped": len(NAMES) + 1, "tracks_read": 0, "quarantined": 0}):
        assert ingest_msd.main(["--source", source, "--warehouse", other.root, "--max-bad", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["counts"] == counts
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        ours, theirs = (rows_of(house, table).drop(columns="uri") for house in (other, warehouse))
        assert len(ours) == len(NAMES)
        pd.testing.assert_frame_equal(ours, theirs)
    messages = [rows_of(house, QUARANTINE)["message"].tolist() for house in (other, warehouse)]
    assert messages[0] == messages[1] == ["bad [1] 100%.h5: is not an HDF5 file"]
    assert all(uri.startswith("viewfs://") for uri in rows_of(other, MANIFEST)["uri"])


LIST = """
import resource, sys
from reprise.jobs._engine.listing import Listing
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Listing(None, sys.argv[1], (".h5",)) as listing:
    count = sum(len(chunk) for chunk in listing.chunks(2048))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    n_files, began = 100_000, time.monotonic()
    (content,) = make(tmp_path, "content")
    for number in range(n_files // 1000):
        if number % 50 == 0:  # a file may have 65,000 names
            content = Path(shutil.copy(content, tmp_path / f"content {number}"))
        folder = tmp_path / f"{number:03}"
        folder.mkdir()
        for i in range(1000):
            os.link(content, folder / f"TRAAAAA{i:011}.h5")
        if time.monotonic() - began > 20:
            pytest.skip("this file system makes files slowly")
    # a process of its own, for a peak that nothing else has set
    done = subprocess.run([sys.executable, "-c", LIST, tmp_path], check=True, capture_output=True, text=True)
    count, grown_kb = map(int, done.stdout.split())
    assert count == n_files
    assert grown_kb < 25_000  # their rows as Python objects would take 50 MB
