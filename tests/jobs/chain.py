"""The chain: every job that writes tables, in an order in which each finds what it reads, and warehouses made by it.

The warehouses are made once per run of the tests and shared by all test processes. A test that only reads uses one in
place; a test that writes copies it first. A new job adds one line to `CHAIN`.
"""

import fcntl
import gzip
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.detect.part_network import PartNetwork
from reprise.lib.music import sample
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    BEAT_CHORDS,
    BEAT_CHROMA,
    CHROMA_PATCHES,
    COVER_CLIQUES,
    COVER_MATCHES,
    COVER_STEMS,
    COVER_VECTORS,
    GENRE_IMAGES,
    GENRE_LABELS,
    GENRE_SCORES,
    JOB_RUNS,
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    LIBRARY_VERSION_PAIRS,
    LIBRARY_VERSIONS,
    MANIFEST,
    MODELS,
    MSD_ANALYSIS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    PLAYS,
    QUARANTINE,
    SONG_MISMATCHES,
    TASTE_PROFILES,
    TRACK_TAGS,
    UNIQUE_TRACKS,
    UNMATCHED_PLAYS,
    Table,
)
from reprise.udfs.arrow import arrow_schema
from tests.separators import write_separator

PLAN = sample.SamplePlan(80, seed=5, n_cliques=12, n_covers=36)
"""Composed tracks of the Million Song Dataset; two of the test list are too short for an embedding."""

PCA = ("--method", "median_pca", "--param", "dimensions=10")
_FIXED = ("--param", "scaling=quantile", "--param", "selection=none", "--param", "smoothing=0.1")
ONE_CANDIDATE = ("--learner", "naive_bayes", *_FIXED)
"""A genre learner with nothing left to choose."""

LEARNED = ("--features", "msd_scalars", "--labels", "msd_tagtraum", "--folds", "3")
EVERYTHING = ("", "\U0010ffff")


@dataclass(frozen=True)
class Job:
    """A job that writes tables, and what the contract test needs to know about it.

    Parameters
    ----------
    command
        Sub-command of ``reprise``.
    arguments
        ``{inputs}`` stands for the folder of input files.
    writes
        Its tables. The first has one row or more for each good input.
    work
        Counts of the summary that are 0 when everything was skipped.
    refused, says
        Arguments that it refuses on an empty warehouse, and the line that it prints.
    refuses_without_spark
        It does not start Spark for that.
    bad, rows
        URI of its bad input as the quarantine has it, and rows of the first table without that input.
    damage
        Makes that input bad, where it is a row of a table. It is made so before the job runs, and stays so after it.
    """

    command: str
    writes: tuple[Table, ...]
    work: tuple[str, ...]
    says: str
    arguments: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    refuses_without_spark: bool = True
    bad: str | None = None
    rows: int | None = None
    damage: Callable[[Warehouse], None] | None = None

    @property
    def name(self) -> str:
        """Name in ``job_runs``."""
        return self.command.replace("-", "_")

    @property
    def module(self) -> ModuleType:
        """The job's module."""
        return import_module(f"reprise.jobs.{self.name}")


DAMAGED = sample.track_id(PLAN, 0)
"""Track whose analysis is damaged before chroma and features are extracted from it; no version of anything."""


def damage_analysis(warehouse: Warehouse) -> None:
    """Reverse the beats of one analysis, as no file that was read can have them."""
    (row,) = warehouse.lookup(MSD_ANALYSIS, "track_id", DAMAGED, DAMAGED).to_pylist()
    row["beats_start"] = row["beats_start"][::-1]
    warehouse.merge(MSD_ANALYSIS, pa.Table.from_pylist([row], arrow_schema(MSD_ANALYSIS)), force=True)


GONE = "LB0000000000000000"
"""Library track whose only file does not exist."""


def add_track_without_file(warehouse: Warehouse) -> None:
    """Add a track and its copy, as if its file had been deleted after it was ingested."""
    for table in (LIBRARY_TRACKS, LIBRARY_COPIES):
        row = warehouse.lookup(table, "track_id", *EVERYTHING).slice(0, 1).to_pylist()[0]
        row |= {"track_id": GONE, "uri": "file:///nowhere/gone.flac"} if "uri" in row else {"track_id": GONE}
        warehouse.merge(table, pa.Table.from_pylist([row], arrow_schema(table)))


_INGEST = ("--source", "/nowhere"), "--source /nowhere does not exist: name an existing file or folder"
CHAIN = (
    Job(
        "ingest-msd",
        (MSD_TRACKS, MSD_ANALYSIS, MANIFEST, QUARANTINE),
        work=("tracks_read",),
        arguments=("--source", "{inputs}/msd", "--conf", "files_per_task=10"),
        refused=_INGEST[0],
        says=_INGEST[1],
        bad="file://{inputs}/msd/bad.h5",
        rows=80,
    ),
    Job(
        "ingest-annotations",
        (GENRE_LABELS, COVER_CLIQUES, PLAYS, SONG_MISMATCHES, UNIQUE_TRACKS, MANIFEST, QUARANTINE),
        work=("rows_read",),
        arguments=("--source", "{inputs}/annotations"),
        refused=_INGEST[0],
        says=_INGEST[1],
        bad="file://{inputs}/annotations/msd_tagtraum_cd2.cls#L2",
        rows=299,
    ),
    Job(
        "ingest-library",
        (LIBRARY_TRACKS, LIBRARY_ANALYSIS, LIBRARY_COPIES, PLAYS, UNMATCHED_PLAYS, MANIFEST, QUARANTINE),
        work=("tracks", "lists_read"),
        arguments=("--source", "{inputs}/library"),
        refused=_INGEST[0],
        says=_INGEST[1],
        bad="file://{inputs}/library/bob/bad.mp3",
        rows=3,
    ),
    Job(
        "extract-chroma",
        (BEAT_CHROMA, CHROMA_PATCHES, QUARANTINE),
        work=("extracted",),
        says="there are no rows in msd_analysis and library_analysis: run ingest-msd or ingest-library first",
        refuses_without_spark=False,
        bad=f"msd_analysis#{DAMAGED}",
        rows=82,
        damage=damage_analysis,
    ),
    Job(
        "estimate-chords",
        (BEAT_CHORDS, QUARANTINE),
        work=("estimated",),
        says="there are no rows in msd_analysis and library_analysis: run ingest-msd or ingest-library first",
        refuses_without_spark=False,
        bad=f"msd_analysis#{DAMAGED}",
        rows=82,
    ),
    Job(
        "extract-genre-features",
        (MSD_GENRE_FEATURES, AUDIO_GENRE_FEATURES, GENRE_IMAGES, QUARANTINE),
        work=("analyses", "audio", "images"),
        arguments=("--images", "msd,mel"),
        says="there are no rows in msd_analysis and library_analysis: run ingest-msd or ingest-library first",
        refuses_without_spark=False,
        bad=f"msd_analysis#{DAMAGED}",
        rows=82,
    ),
    Job(
        "train-cover-index",
        (COVER_VECTORS, MODELS),
        work=("models_trained", "embedded"),
        arguments=PCA,
        refused=PCA,
        says="the table chroma_patches does not exist: run extract-chroma and ingest-annotations first",
    ),
    Job(
        "find-covers",
        (COVER_MATCHES,),
        work=("searched",),
        arguments=("--cliques", "shs_dataset_test", "--rerank", "simple", "--candidates", "20"),
        refused=("--track", "TRA"),
        says="there is no cover embedding model yet: run train-cover-index first",
    ),
    Job(
        "group-versions",
        (LIBRARY_VERSIONS, LIBRARY_VERSION_PAIRS),
        work=("compared",),
        says="there are no rows in library_tracks: run ingest-library first",
    ),
    Job(
        "train-genre",
        (MODELS,),
        work=("models_trained",),
        arguments=(*LEARNED, *ONE_CANDIDATE),
        refused=LEARNED,
        says="the table msd_genre_features does not exist: run extract-genre-features first",
    ),
    Job(
        "tag-tracks",
        (TRACK_TAGS, MODELS, QUARANTINE),
        work=("tagged",),
        arguments=("--models", "{inputs}/models"),
        says="there are no rows in library_tracks: run ingest-library first",
        bad=f"library_tracks#{GONE}",
        rows=6,
        damage=add_track_without_file,
    ),
    Job(
        "separate-stems",
        (COVER_STEMS, MODELS, QUARANTINE),
        work=("separated",),
        arguments=("--model", "{inputs}/separator.safetensors"),
        says="there are no rows in library_tracks: run ingest-library first",
        bad=f"library_tracks#{GONE}",
        rows=12,
    ),
    Job(
        "score-genres",
        (GENRE_SCORES, MODELS),
        work=("scored",),
        says="there are no tags and no features: run tag-tracks or extract-genre-features first",
    ),
    Job(
        "build-taste-profiles",
        (TASTE_PROFILES,),
        work=("users_touched",),
        says="there are no plays and no library tracks: run ingest-annotations or ingest-library first",
    ),
)
NUMBERS = {job.command: number for number, job in enumerate(CHAIN)}
VOLATILE = {"run_id", "trained_at", "training_s"}
"""What the clock and the run say, which differs between runs that leave the same content."""


class Chain:
    """The warehouses before and after each job, made when they are first asked for.

    Parameters
    ----------
    folder
        Where they are, the same for all test processes.
    record
        Writes a recording, as the fixture of this name.
    """

    def __init__(self, folder: Path, record: Callable[..., Path]) -> None:
        self.folder = folder
        self._record = record

    @cached_property
    def inputs(self) -> Path:
        """Folder of input files, a bad one among those for each ingest: ``msd``, ``annotations``, ``library``."""
        return make_once(self.folder / "inputs", partial(write_inputs, record=self._record))

    def before(self, command: str) -> Path:
        """The warehouse that a job finds."""
        number = NUMBERS[command]
        damage = CHAIN[number].damage
        if damage is None:
            return self.after(CHAIN[number - 1].command) if number else make_once(self.folder / "empty", Path.mkdir)

        def make(folder: Path) -> None:
            shutil.copytree(self.after(CHAIN[number - 1].command), folder)
            damage(Warehouse(str(folder)))

        return make_once(self.folder / f"before-{command}", make)

    def after(self, command: str) -> Path:
        """The warehouse that a job leaves."""
        return make_once(self.folder / command, partial(self._run, CHAIN[NUMBERS[command]]))

    def arguments(self, job: Job) -> list[str]:
        """Command line of a job, without the warehouse."""
        return [argument.replace("{inputs}", str(self.inputs)) for argument in job.arguments]

    def bad(self, job: Job) -> str | None:
        """URI of the bad input of a job."""
        return job.bad and job.bad.replace("{inputs}", str(self.inputs))

    def summary(self, job: Job) -> dict[str, Any]:
        """What a job printed for programs, and as ``commits`` how often it wrote."""
        summary: dict[str, Any] = json.loads(self.after(job.command).joinpath("summary.json").read_text("utf-8"))
        return summary

    def _run(self, job: Job, folder: Path) -> None:
        shutil.copytree(self.before(job.command), folder)
        with counted_commits() as commits, redirect_stdout(io.StringIO()) as printed:
            # over what is allowed where an input is bad: the good ones are written all the same
            code = job.module.main([*self.arguments(job), "--max-bad", "0", "--json", "--warehouse", str(folder)])
        assert code == (3 if job.bad else 0), f"{job.command} exits with {code}"
        summary = json.loads(printed.getvalue()) | {"commits": len(commits)}
        folder.joinpath("summary.json").write_text(json.dumps(summary), "utf-8")


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """``folder`` as ``make`` makes it, in whichever test process asks for it first; the others wait."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = folder.with_name(f"{folder.name}.unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                make(unfinished)
                unfinished.rename(folder)
    return folder


@contextmanager
def counted_commits(interrupt_at: int | None = None) -> Iterator[list[str]]:
    """Names of the tables that jobs write, in order; the write with number ``interrupt_at`` is interrupted instead."""
    written: list[str] = []

    def count(write: Callable[..., Any]) -> Callable[..., Any]:
        def counting(warehouse: Warehouse, table: Table, *arguments: Any, **options: Any) -> Any:
            if table is not JOB_RUNS:
                written.append(table.name)
                if len(written) == interrupt_at:
                    raise KeyboardInterrupt
            return write(warehouse, table, *arguments, **options)

        return counting

    with pytest.MonkeyPatch.context() as patch:
        for name in ("merge", "append", "replace"):
            patch.setattr(Warehouse, name, count(getattr(Warehouse, name)))
        yield written


def write_inputs(folder: Path, *, record: Callable[..., Path]) -> None:
    """Composed tracks and annotations, label files of every kind, and the files of two listeners who share a song."""
    for index in range(PLAN.n_tracks):
        sample.write_track(PLAN, index, folder / "msd")
    (folder / "msd/bad.h5").write_bytes(b"no HDF5")
    annotations = folder / "annotations"
    sample.write_annotations(PLAN, annotations)
    lines = (annotations / "msd_tagtraum.cls").read_text("utf-8").splitlines()
    labels = [line.split("\t")[:2] for line in lines if not line.startswith("#")]
    one = "".join(f"{track_id}\t{genre}\n" for track_id, genre in labels)
    two = "".join(f"{track_id}\t{genre}\tMetal\r\n" for track_id, genre in labels[::2])
    (annotations / "msd_tagtraum_cd1.cls").write_text(f"# genres of tracks\n{one}", "utf-8")
    (annotations / "msd_tagtraum_cd2.cls").write_text(f"# genres of tracks\r\nno label\r\n{two}", "utf-8")
    (annotations / "msd_tagtraum_cd2c.cls.gz").write_bytes(gzip.compress(one.encode()))
    library = folder / "library"
    for seed, (name, title) in enumerate(
        (("ann/a.flac", "Song 0"), ("ann/b.mp3", "Song 1"), ("bob/c.ogg", "Song 0 (Live)"))
    ):
        record(library / name, seed, title=title, artist="Ann", genre="Jazz")
    shutil.copy(library / "ann/a.flac", library / "bob/a.flac")
    (library / "ann/list.m3u8").write_text("#EXTM3U\na.flac\n#EXTINF:3,Bob - Not There\nnowhere.flac\n", "utf-8")
    (library / "bob/list.m3u8").write_text("#EXTM3U\nc.ogg\na.flac\n", "utf-8")
    (library / "bob/bad.mp3").write_bytes(b"no audio " * 500)
    write_separator(folder / "separator.safetensors")


def copy_warehouse(source: Path, folder: Path) -> Warehouse:
    """A copy of a warehouse, to be written to."""
    shutil.copytree(source, folder)
    return Warehouse(str(folder))


def forget_part_network(warehouse: Warehouse) -> Warehouse:
    """Leave what a former version of reprise has left: without the model of the package and its embeddings."""
    models = warehouse.lookup(MODELS, "model_id", *EVERYTHING).to_pylist()
    gone = {row["model_id"] for row in models if row["kind"] == PartNetwork.kind}
    warehouse.merge(MODELS, [], delete=pa.table({"model_id": sorted(gone)}))
    vectors = warehouse.lookup(COVER_VECTORS, "track_id", *EVERYTHING, columns=["track_id", "model_id"]).to_pylist()
    keys = [row for row in vectors if row["model_id"] in gone]
    warehouse.merge(COVER_VECTORS, [], delete=pa.Table.from_pylist(keys))
    return warehouse


def versions(warehouse: Warehouse) -> dict[str, int]:
    """Version of each table but ``job_runs``, as a process sees it that comes later."""
    found = Warehouse(warehouse.root).versions()
    return {name: version for name, version in found.items() if name != JOB_RUNS.name}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a data frame."""
    found: Any = frame.to_dict("records")
    return list(found)


def content(warehouse: Warehouse, table: Table) -> pd.DataFrame:
    """Rows of a table in the order of its key, without what the clock and the run say."""
    rows = Warehouse(warehouse.root).lookup(table, table.key[0], *EVERYTHING).to_pandas()
    if table is MODELS:
        rows["metrics"] = [_without_volatile(json.loads(text)) for text in rows["metrics"]]
    columns = [name for name in rows.columns if name not in VOLATILE]
    return rows.sort_values(list(table.key))[columns].reset_index(drop=True)


def _without_volatile(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in VOLATILE}


def assert_same_content(ours: Warehouse, other: Warehouse, tables: tuple[Table, ...], *ignored: str) -> None:
    """Assert that two warehouses hold the same rows but for the columns ``ignored``, each key once."""
    for table in tables:
        rows, others = (content(warehouse, table) for warehouse in (ours, other))
        assert len(rows), table.name
        assert not rows.duplicated(list(table.key)).any(), table.name
        columns = [name for name in rows.columns if name not in ignored]
        pd.testing.assert_frame_equal(rows[columns], others[columns], obj=table.name)


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, record: Callable[..., Path], spark: Any) -> Chain:
    """The warehouses of the chain."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return Chain(folder / "chain", record)


class Real(NamedTuple):
    """A warehouse of the real files beside the checkout: tracks, annotations, triplets, and the profiles of them."""

    warehouse: Warehouse
    counts: dict[str, dict[str, int]]
    """Counts of the summaries: ``msd``, ``annotations``, ``taste`` and ``profiles``."""


@pytest.fixture(scope="session")
def real(chain: Chain, shared_data: Path) -> Real:
    """The warehouse of real files, to be read."""

    def make(folder: Path) -> None:
        counts = {}
        for name, job, *arguments in (
            ("msd", "ingest_msd", "--source", str(shared_data / "msd")),
            ("annotations", "ingest_annotations", "--source", str(shared_data / "annotations")),
            ("taste", "ingest_annotations", "--source", str(shared_data / "taste")),
            ("profiles", "build_taste_profiles"),
        ):
            main = import_module(f"reprise.jobs.{job}").main
            with redirect_stdout(io.StringIO()) as printed:
                assert main([*arguments, "--max-bad", "1", "--json", "--warehouse", str(folder)]) == 0
            counts[name] = json.loads(printed.getvalue())["counts"]
        folder.joinpath("counts.json").write_text(json.dumps(counts), "utf-8")

    folder = make_once(chain.folder / "real", make)
    return Real(Warehouse(str(folder)), json.loads(folder.joinpath("counts.json").read_text("utf-8")))
