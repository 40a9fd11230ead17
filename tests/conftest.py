"""Fixtures that every room's tests share."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # a test of one function waits for nothing that it does not use: fixtures import what they need
    import pandas as pd
    from pyspark.sql import SparkSession

    from reprise.jobs._engine.warehouse import Warehouse
    from reprise.lib.tables import Table

pytest_plugins = ("tests.tiers", "tests.durations")
ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
RECORDED_HZ = 48_000
CODECS = {
    ".aac": ("aac", "adts"),
    ".aiff": ("pcm_s16be", "aiff"),
    ".flac": ("flac", "flac"),
    ".m4a": ("aac", "ipod"),
    ".mp3": ("libmp3lame", "mp3"),
    ".opus": ("libopus", "opus"),
    ".wav": ("pcm_s16le", "wav"),
}
# The JVMs of jobs in tests end too early to repay the time of compiling: they use the fast compiler alone and interpret
# the plans of queries. `make test-all` sets SPARK_SUBMIT_OPTS without the last two options, and so runs compiled plans,
# as in production.
FAST_COMPILER = "-XX:TieredStopAtLevel=1"
INTERPRETED_PLANS = "-Dspark.sql.codegen.wholeStage=false -Dspark.sql.codegen.factoryMode=NO_CODEGEN"
os.environ.setdefault("SPARK_SUBMIT_OPTS", f"{FAST_COMPILER} -XX:+UseSerialGC {INTERPRETED_PLANS}")
# the test processes use all cores; more threads of BLAS in each wait for each other, at twice the CPU time
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# compiled functions are kept between runs, in a cache for each test process: processes that compile librosa's functions
# into one cache at the same time can crash
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".cache" / "numba" / os.environ.get("PYTEST_XDIST_WORKER", "main"))
VOLATILE = {"run_id"}
"""Columns that name the run, which differ between runs that leave the same content."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the checkout; skips the test where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no shared/data beside the checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The one session of the test process, as jobs start it."""
    from reprise import conf
    from reprise.jobs._engine.session import get_session

    with pytest.MonkeyPatch.context() as patch:
        # this JVM runs for minutes, long enough for the compiler that takes longer
        patch.setenv("SPARK_SUBMIT_OPTS", os.environ["SPARK_SUBMIT_OPTS"].replace(FAST_COMPILER, ""))
        session = get_session(conf.load(environ={}))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def sample_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A composed sample of 60 tracks: ``msd/`` and ``annotations/``."""
    from reprise.lib.music import sample

    folder = tmp_path_factory.mktemp("sample")
    plan = sample.SamplePlan(60, seed=7)
    for index in range(60):
        sample.write_track(plan, index, folder / "msd")
    sample.write_annotations(plan, folder / "annotations")
    return folder


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An empty warehouse."""
    from reprise.jobs._engine.warehouse import Warehouse

    return Warehouse(str(tmp_path / "warehouse"))


@pytest.fixture
def run_job(warehouse: Warehouse, request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    """Run a job's ``main`` in this process on ``warehouse``; gives its summary, and asserts the exit code."""
    request.getfixturevalue("spark")
    capsys: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")

    def run(main: Callable[[list[str]], int], *args: object, exit_code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        code = main([*map(str, args), "--warehouse", warehouse.root, "--json"])
        printed = capsys.readouterr()
        assert code == exit_code, printed.err
        return json.loads(printed.out) if printed.out else {"error": printed.err}

    return run


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Warehouse, Table], pd.DataFrame]:
    """Content of a table in the order of its key, without what names the run: what "the same rows" compares."""
    from reprise.jobs._engine.warehouse import Warehouse
    from reprise.udfs.arrow import arrow_schema

    def rows(warehouse: Warehouse, table: Table) -> pd.DataFrame:
        frame = Warehouse(warehouse.root).lookup(table, table.key[0], "", "\U0010ffff").to_pandas()
        columns = [c for c in arrow_schema(table).names if c not in VOLATILE]
        return frame.sort_values(list(table.key))[columns].reset_index(drop=True)

    return rows


@pytest.fixture(scope="session")
def command() -> list[str]:
    """The ``reprise`` command of this environment, to run as a process of its own."""
    return [str(Path(sys.executable).with_name("reprise"))]


@pytest.fixture(scope="session")
def record() -> Callable[..., Path]:
    """Write a short recording, another one for every seed: the suffix of the path says in which format."""
    return _record


def _record(path: Path, seed: int = 0, length_s: float = 3.0, **tags: str) -> Path:
    import av
    import numpy as np
    import soundfile

    rng = np.random.default_rng(seed)
    time_s = np.arange(int(length_s * RECORDED_HZ)) / RECORDED_HZ
    tones = [np.sin(2 * np.pi * 220 * 2 ** (step / 12) * time_s) for step in rng.choice(24, 3, replace=False)]
    chord = 0.2 * np.exp(-6 * (time_s % 0.5)) * np.sum(tones, axis=0)  # struck twice a second
    samples = (chord + 0.01 * rng.standard_normal((2, len(time_s)))).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".ogg", ".oga"):
        with soundfile.SoundFile(path, "w", RECORDED_HZ, 2, format="OGG", subtype="VORBIS") as file:
            for name, value in tags.items():
                setattr(file, name, value)
            file.write(samples.T)
        return path
    codec, format_ = CODECS[path.suffix]
    with av.open(str(path), "w", format=format_) as container:
        container.metadata.update(tags)
        stream: Any = container.add_stream(codec, rate=RECORDED_HZ, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate = RECORDED_HZ
        context = stream.codec_context
        resampler = av.AudioResampler(context.format.name, "stereo", RECORDED_HZ, context.frame_size or None)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(part))
    return path


@pytest.fixture(scope="session")
def code_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a zip for ``--py-files``, with the links of the source layout followed."""
    folder = tmp_path_factory.mktemp("zip")
    package = Path(sys.modules["reprise"].__file__ or "").parent
    shutil.copytree(package, folder / "tree/reprise", ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.make_archive(str(folder / "reprise"), "zip", folder / "tree"))


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _write_soundfont(path: Path) -> Path:
    """Write a soundfont with program 5 and drum kit 8, both a looped sine of 440 Hz at key 69."""
    import numpy as np

    period = 100
    tone = np.round(20_000 * np.sin(2 * np.pi * np.arange(20 * period) / period)).astype("<i2").tobytes()
    info = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"INAM", b"sine\0\0")
    name = b"sine".ljust(20, b"\0")

    def preset(number: int, bank: int, bag: int) -> bytes:
        return name + struct.pack("<HHHIII", number, bank, bag, 0, 0, 0)

    gens = [(54, 1), (53, 0)]  # loop, and the sample
    pdta = _chunk(b"phdr", preset(5, 0, 0) + preset(8, 128, 1) + preset(0, 0, 2))
    pdta += _chunk(b"pbag", struct.pack("<6H", 0, 0, 1, 0, 2, 0)) + _chunk(b"pmod", b"\0" * 10)
    pdta += _chunk(b"pgen", struct.pack("<6H", 41, 0, 41, 0, 0, 0))
    pdta += _chunk(b"inst", name + struct.pack("<H", 0) + b"EOI".ljust(20, b"\0") + struct.pack("<H", 1))
    pdta += _chunk(b"ibag", struct.pack("<4H", 0, 0, len(gens), 0)) + _chunk(b"imod", b"\0" * 10)
    pdta += _chunk(b"igen", b"".join(struct.pack("<HH", *gen) for gen in gens) + b"\0" * 4)
    sample = name + struct.pack("<IIIIIBbHH", 0, 20 * period, 0, 20 * period, 44_100, 69, 0, 0, 1)
    pdta += _chunk(b"shdr", sample + b"EOS".ljust(46, b"\0"))
    body = b"sfbk" + _chunk(b"LIST", b"INFO" + info) + _chunk(b"LIST", b"sdta" + _chunk(b"smpl", tone + b"\0" * 92))
    path.write_bytes(_chunk(b"RIFF", body + _chunk(b"LIST", b"pdta" + pdta)))
    return path


@pytest.fixture(scope="session")
def soundfont(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A soundfont whose program 5 and drum kit 8 are a sine."""
    return _write_soundfont(tmp_path_factory.mktemp("soundfont") / "sine.sf2")
