"""What is shown of tracks of the warehouse and of audio files, as lines and as a picture."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from matplotlib.image import imread

from reprise.jobs._commands import show_analysis
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.analysis.charts import format_chart, list_bars
from reprise.lib.music import sample
from reprise.lib.music.compose.plan import NORMAL
from reprise.lib.music.render import render
from reprise.lib.tables import BEAT_CHORDS, JOB_RUNS, LIBRARY_COPIES, LIBRARY_TRACKS, MSD_ANALYSIS
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import EVERYTHING, PLAN, Chain, copy_warehouse

Show = Callable[..., tuple[int, str, str]]
HZ = 22_050


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """The command, in this process: exit code and what it prints."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = show_analysis.main([*map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A composed song of a minute as a WAV file, with a name that shells and fonts find hard."""
    plan = sample.SamplePlan(60, seed=7)
    index = next(i for i in range(60) if plan.track(i).state == NORMAL)
    mix = np.sum(list(render(sample.compose(plan, index)).values()), axis=0)
    path = tmp_path_factory.mktemp("songs") / "東京 $x_1$ 'é\u0301' 🎵.wav"
    soundfile.write(path, mix[: 44_100 * 60], 44_100)
    return path


def fields(out: str) -> dict[str, str]:
    """The lines that have a name, by name."""
    lines = [line for line in out.splitlines()[1:] if not line.startswith("drawn: ")]
    return {line[:16].strip(): line[16:] for line in lines if line[:16].strip()}


def test_an_audio_file_needs_no_warehouse(
    show: Show, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    png = tmp_path / "sheet.png"
    code, out, err = show("--track", song, "--plot", png)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("東京")
    found = fields(out)
    assert found["duration"] == "1:00"
    assert "BPM; candidates: " in found["tempo"]
    assert " major " in found["key"] or " minor " in found["key"]
    assert found["time signature"].startswith(("3/4", "4/4"))
    assert " beats, " in found["found"]
    assert found["chords"].startswith("| ")
    assert out.splitlines()[-1] == f"drawn: {png}"
    picture = imread(png)
    assert picture.shape[0] > 400
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50
    assert list(tmp_path.iterdir()) == [png]
    first = png.read_bytes()
    show("--track", song, "--plot", png)
    assert png.read_bytes() == first


def test_the_file_of_the_library_and_its_track_show_the_same(chain: Chain, show: Show, tmp_path: Path) -> None:
    """Beside the table: the chords of the track are those that the job wrote."""
    warehouse = Warehouse(str(chain.after("estimate-chords")))
    rows = warehouse.lookup(BEAT_CHORDS, "track_id", "LB", "LC").to_pylist()
    (track, *_) = warehouse.lookup(LIBRARY_TRACKS, "track_id", rows[0]["track_id"], rows[0]["track_id"]).to_pylist()
    copies = warehouse.lookup(LIBRARY_COPIES, "user_id", *EVERYTHING).to_pylist()
    path = next(row["uri"] for row in copies if row["track_id"] == track["track_id"]).removeprefix("file://")
    one, other = (
        show("--track", name, "--warehouse", warehouse.root, "--plot", tmp_path / f"{i}.png")
        for i, name in enumerate((track["track_id"], path))
    )
    assert one[0] == other[0] == 0
    assert one[1].splitlines()[0] == f"{track['track_id']}  {other[1].splitlines()[0]}"
    assert fields(one[1]) == fields(other[1])


def test_a_track_of_the_dataset(chain: Chain, show: Show, tmp_path: Path) -> None:
    """It has no audio: the picture shows the loudness of its segments."""
    warehouse = Warehouse(str(chain.after("estimate-chords")))
    row = next(row for row in warehouse.lookup(BEAT_CHORDS, "track_id", "TR", "TS").to_pylist() if row["n_beats"] > 100)
    code, out, err = show("--track", row["track_id"], "--warehouse", warehouse.root, "--plot", tmp_path / "a.png")
    assert (code, err) == (0, "")
    (analysis,) = warehouse.lookup(MSD_ANALYSIS, "track_id", row["track_id"], row["track_id"]).to_pylist()
    chart = format_chart(list_bars(row["chords"], analysis["beats_start"], analysis["bars_start"])[:16])
    assert [line[16:] for line in out.splitlines() if line[16:].startswith("|")] == chart
    assert fields(out)["found"].startswith(
        f"{len(analysis['beats_start'])} beats, {len(analysis['bars_start'])} bars, "
    )
    assert imread(tmp_path / "a.png").shape[0] > 400
    ids = {record["job"] for record in warehouse.lookup(JOB_RUNS, "run_id", *EVERYTHING).to_pylist()}
    assert "show_analysis" not in ids


def test_without_the_table_and_with_outdated_rows_the_chords_are_estimated(
    chain: Chain, show: Show, warehouse: Warehouse
) -> None:
    track = sample.track_id(PLAN, 5)
    before = show("--track", track, "--warehouse", chain.before("estimate-chords"))
    after = show("--track", track, "--warehouse", chain.after("estimate-chords"))
    assert before == after
    copy_warehouse(chain.after("estimate-chords"), Path(warehouse.root))
    (row,) = warehouse.lookup(BEAT_CHORDS, "track_id", track, track).to_pylist()
    row |= {"sha256": "old", "chords": ["N"] * row["n_beats"]}
    warehouse.merge(BEAT_CHORDS, pa.Table.from_pylist([row], arrow_schema(BEAT_CHORDS)))
    assert show("--track", track, "--warehouse", warehouse.root) == before


def test_a_library_track_whose_file_is_gone(chain: Chain, show: Show, warehouse: Warehouse, tmp_path: Path) -> None:
    copy_warehouse(chain.after("estimate-chords"), Path(warehouse.root))
    copies = warehouse.lookup(LIBRARY_COPIES, "user_id", *EVERYTHING).to_pylist()
    track = copies[0]["track_id"]
    there = show("--track", track, "--warehouse", warehouse.root, "--plot", tmp_path / "a.png")
    gone = [{**row, "uri": f"file:///nowhere/{i}"} for i, row in enumerate(copies)]
    warehouse.merge(LIBRARY_COPIES, pa.Table.from_pylist(gone, arrow_schema(LIBRARY_COPIES)))
    code, out, err = show("--track", track, "--warehouse", warehouse.root, "--plot", tmp_path / "b.png")
    assert (code, err) == (0, "")
    assert out.splitlines()[:-1] == there[1].splitlines()[:-1]
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros(HZ * 20), "0 beats, 0 bars, 0 sections"),
        (np.zeros(HZ // 10), "0 beats, 0 bars, 0 sections"),
        (0.1 * np.sin(np.arange(HZ // 10)), "0 beats, 0 bars, "),
        (0.1 * np.sin(np.arange(HZ * 5) * 2 * np.pi * 220 / HZ), " beats, "),
    ],
    ids=["silent", "silent and short", "short", "a tone"],
)
def test_little_to_show(samples: np.ndarray, says: str, show: Show, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", samples, HZ)
    code, out, err = show("--track", tmp_path / "a.wav", "--plot", tmp_path / "a.png")
    assert (code, err) == (0, "")
    assert says in fields(out)["found"]
    assert "nan" not in out.lower()
    assert (tmp_path / "a.png").exists()


def test_what_it_refuses_is_one_line(chain: Chain, show: Show, tmp_path: Path, song: Path) -> None:
    warehouse = chain.after("ingest-msd")
    (tmp_path / "a.flac").write_bytes(b"no audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    for arguments, code, says in (
        (
            ("--track", "TRNONE0000000000"),
            2,
            "--track TRNONE0000000000 is neither an audio file nor a track of the ware",
        ),
        (("--track", "LB0000000000000000"), 2, "--track LB0000000000000000 is neither an audio file nor a track"),
        (("--track", ""), 2, "--track  is neither an audio file nor a track of the warehouse"),
        (("--track", tmp_path / "a.flac"), 1, "a.flac"),
        (("--track", tmp_path / "empty.wav"), 1, "empty.wav"),
        (("--track", tmp_path), 1, "is a folder, a pipe or a device, not a file"),
        (("--track", song, "--plot", tmp_path / "no" / "a.png"), 1, "No such file or directory"),
        ((), 2, "the following arguments are required: --track (see --help)"),
        (("--track", "x", "--conf", "sed=1"), 2, "'sed'"),
    ):
        found, _, err = show(*arguments, "--warehouse", warehouse)
        assert found == code, (arguments, err)
        assert err.startswith("reprise show-analysis: ")
        assert says in err
        assert err.count("\n") == 1


def test_no_warehouse_is_made(show: Show, tmp_path: Path) -> None:
    code, _, err = show("--track", "TRNONE0000000000", "--warehouse", tmp_path / "w")
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "w").exists()


def test_it_starts_without_spark(song: Path, tmp_path: Path) -> None:
    """Nor does it import Spark or the readers of tables for a file."""
    code = (
        "import sys; from reprise.jobs._commands import show_analysis as s; code = s.main(sys.argv[1:]);"
        "print(*(m for m in ('pyspark', 'deltalake', 'duckdb', 'torch', 'librosa') if m in sys.modules));"
        "sys.exit(code)"
    )
    run = [sys.executable, "-c", code, "--track", str(song)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path, env=os.environ)
    assert done.stdout.splitlines()[-1] == ""
    assert list(tmp_path.iterdir()) == []


def test_tags_are_one_printable_line(show: Show, record: Callable[..., Path], tmp_path: Path) -> None:
    path = record(tmp_path / "a.flac", 1, title="Two\nLines [red]", artist="A\x1b[31m B")
    code, out, _ = show("--track", path)
    assert code == 0
    title = out.splitlines()[0]
    assert "[red]" in title
    assert title.isprintable()
    shutil.copy(path, tmp_path / "-b.flac")
    assert show("--track", tmp_path / "-b.flac")[0] == 0
