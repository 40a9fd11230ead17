"""The decoding child process: its answers, and that crashes, hangs, limits and leaks affect one file only."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import reprise
from reprise.lib.audio.decoding import decode
from reprise.lib.audio.tag_reading import Tags, read_tags
from reprise.lib.errors import InputError, RepriseError
from reprise.udfs import sandbox
from reprise.udfs.sandbox import Sandbox

TASKS = '''
import os, signal, sys, time
from pathlib import Path
from reprise.udfs.sandbox import decode_in_child

def faulty(path, out, sample_rate, channel_count):
    """Read a file as the sandbox does, after a fault that the name of the file selects."""
    what = Path(path).name.split(".")[0]
    seen = Path(path).with_name("seen")
    if what == "once" and not seen.exists():
        seen.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        os._exit(7)
    if what == "hang":
        time.sleep(600)
    if what == "spin":
        while True:
            pass
    if what == "memory":
        bytearray(4 << 30)
    if what == "bug":
        raise TypeError("two\\nlines")
    if what == "verbose":
        os.write(1, b"to the standard output\\n"); os.write(2, b"to the standard error\\n"); print("{}", flush=True)
    if what == "large":
        with open(out, "wb") as file:
            file.truncate(100 << 30)
    if what == "full":
        raise OSError(28, "No space left on device")
    return decode_in_child(path, out, sample_rate, channel_count)
'''


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A task for the child that fails as selected by the name of the file."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "faulty_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    return "faulty_tasks:faulty"


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """One second of the note A4."""
    path = tmp_path / "tone.flac"
    soundfile.write(path, np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100) / 2, 44_100)
    return path


@pytest.fixture
def box(tmp_path: Path, task: str) -> Iterator[Sandbox]:
    with Sandbox(tmp_path, task=task) as opened:
        yield opened


def named(tone: Path, what: str) -> Path:
    return Path(shutil.copy(tone, tone.with_name(f"{what}.flac")))


def fault(box: Sandbox, path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        box.decode(path)
    assert str(caught.value).isprintable()
    assert path.name in str(caught.value)
    return caught.value


def test_result_equals_decoding_in_this_process(tone: Path, tmp_path: Path) -> None:
    with Sandbox(tmp_path) as box:
        audio = box.decode(tone)
        signal_ = audio.open_signal()
        again = box.decode(str(tone))
        assert not audio.signal_path.exists()
        assert audio[1:] == again[1:]
        np.testing.assert_array_equal(signal_, again.open_signal())
    assert audio.decoded == decode(tone, tmp_path / "here.f32")
    assert audio.tags == read_tags(tone) == Tags()
    np.testing.assert_array_equal(signal_, np.fromfile(tmp_path / "here.f32", np.float32))
    digest = subprocess.run(["sha256sum", tone], check=True, capture_output=True, text=True).stdout.split()[0]
    assert audio.sha256 == digest
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
    assert audio.channel_count == 1


def test_stereo_at_another_sample_rate(tmp_path: Path) -> None:
    sound = np.random.default_rng(3).uniform(-1, 1, (30_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", sound, 44_100, subtype="FLOAT")
    with Sandbox(tmp_path) as box:
        signal_ = box.decode(tmp_path / "noise.wav", sample_rate=44_100, channel_count=2).open_signal()
        np.testing.assert_array_equal(signal_, sound)
        assert box.decode(tmp_path / "noise.wav").open_signal().shape == (15_000,)
        assert box.decode(tmp_path / "noise.wav", sample_rate=48_000).open_signal().shape == (32_654,)


def test_file_name_that_is_not_utf_8(tone: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 \n\xff.flac")
    shutil.copy(tone, path)
    with Sandbox(tmp_path) as box:
        assert box.decode(path).decoded.length_status == "ok"


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("crash", "crashed", "signal 11"),
        ("exit", "crashed", "exit code 7"),
        ("bug", "crashed", "TypeError"),
        ("memory", "too_large", "2 GiB"),
        ("large", "too_large", "1.9 GB"),
    ],
)
def test_fault_affects_one_file_only(box: Sandbox, tone: Path, what: str, kind: str, message: str) -> None:
    for _ in range(2):
        caught = fault(box, named(tone, what))
        assert caught.kind == kind
        assert message in str(caught)
        assert box.decode(tone).decoded.length_status == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["hang", "spin"])
def test_file_that_takes_too_long(box: Sandbox, tone: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    box.decode(tone)
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "MIN_CPU_S", 1)
        patch.setattr(sandbox, "WALL_TO_CPU_RATIO", 2 if what == "hang" else 60)
        assert fault(box, named(tone, what)).kind == "hung"
    assert box.decode(tone).decoded.length_status == "ok"


@pytest.mark.slow
def test_child_that_is_stopped_from_outside(box: Sandbox, tone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box.decode(tone)
    assert box.pid is not None
    os.kill(box.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "MIN_CPU_S", 1)
        patch.setattr(sandbox, "WALL_TO_CPU_RATIO", 2)
        assert fault(box, tone).kind == "hung"
    assert box.decode(tone).decoded.length_status == "ok"


def test_child_that_died_between_two_files_is_no_fault_of_a_file(box: Sandbox, tone: Path) -> None:
    box.decode(tone)
    assert box.pid is not None
    os.kill(box.pid, signal.SIGKILL)
    assert box.decode(tone).decoded.length_status == "ok"


def test_file_that_crashed_a_used_child_is_tried_again_in_a_new_child(box: Sandbox, tone: Path) -> None:
    box.decode(tone)
    first = box.pid
    assert box.decode(named(tone, "once")).decoded.length_status == "ok"
    assert box.pid != first


def test_output_of_libraries_is_not_read_as_an_answer(box: Sandbox, tone: Path) -> None:
    assert box.decode(named(tone, "verbose")).decoded.codec == "flac"


def test_full_disk_is_an_error_of_the_machine(box: Sandbox, tone: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        box.decode(named(tone, "full"))


def test_child_is_replaced_after_a_number_of_files(box: Sandbox, tone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "FILES_PER_CHILD", 3)
    children = []
    for _ in range(7):
        box.decode(tone)
        children.append(box.pid)
    assert [children.count(pid) for pid in dict.fromkeys(children)] == [3, 3, 1]


def test_late_answer_after_an_interrupt_is_not_read_for_the_next_file(box: Sandbox, tone: Path) -> None:
    box.decode(tone)
    # a shell starts background jobs with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            box.decode(named(tone, "hang"))
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    louder = tone.with_name("louder.wav")
    soundfile.write(louder, np.ones(22_050), 22_050)
    assert box.decode(louder).decoded.codec == "pcm_16"


def test_limits_of_the_child(box: Sandbox, tone: Path) -> None:
    box.decode(tone)
    assert box.pid is not None
    assert resource.prlimit(box.pid, resource.RLIMIT_AS)[0] == sandbox.MAX_MEMORY_BYTES
    assert resource.prlimit(box.pid, resource.RLIMIT_CORE)[0] == 0
    assert sandbox.MIN_CPU_S <= resource.prlimit(box.pid, resource.RLIMIT_CPU)[0] <= sandbox.MIN_CPU_S + 5
    # six hours of audio fit
    assert 2e9 > resource.prlimit(box.pid, resource.RLIMIT_FSIZE)[0] > 6 * 3600 * 22_050 * 4
    box.decode(tone, sample_rate=44_100, channel_count=2)
    assert 8e9 > resource.prlimit(box.pid, resource.RLIMIT_FSIZE)[0] > 6 * 3600 * 44_100 * 2 * 4
    box.decode(tone)
    assert resource.prlimit(box.pid, resource.RLIMIT_FSIZE)[0] < 2e9
    maps = Path(f"/proc/{box.pid}/maps").read_text()
    for heavy in ("pyspark", "pandas", "pyarrow", "librosa", "numba", "libtorch"):
        assert heavy not in maps


PARENT = """
import sys
from reprise.udfs.sandbox import Sandbox
box = Sandbox(sys.argv[1], task="faulty_tasks:faulty")
box.decode(sys.argv[2])
print(box.pid, flush=True)
box.decode(sys.argv[3])
"""


def test_child_ends_with_its_parent(tone: Path, tmp_path: Path, task: str) -> None:
    for waits in (named(tone, "hang"), named(tone, "spin")):
        arguments = [sys.executable, "-c", PARENT, str(tmp_path), str(tone), str(waits)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "modules"), *sys.path])}
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as parent:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            time.sleep(0.3)
            assert Path(f"/proc/{child}").exists()
            parent.kill()
        end = time.monotonic() + 30
        while is_running(child) and time.monotonic() < end:
            time.sleep(0.05)
        assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_sandbox_works_with_code_in_a_zip(tone: Path, tmp_path: Path) -> None:
    """The executors of a cluster import the code from a zip."""
    package = Path(reprise.__file__).parent
    with zipfile.ZipFile(tmp_path / "reprise.zip", "w") as archive:
        for source in (package, package / "lib", package / "lib" / "audio", package / "udfs"):
            for path in source.glob("*.py"):
                archive.write(path, Path("reprise") / path.relative_to(package))
    parent = (
        "import sys; sys.path.insert(0, sys.argv[1]); import reprise; assert '.zip' in reprise.__file__\n"
        "from reprise.udfs.sandbox import Sandbox\n"
        "with Sandbox(sys.argv[2]) as box: print(box.decode(sys.argv[3]).decoded.codec)"
    )
    arguments = [sys.executable, "-c", parent, str(tmp_path / "reprise.zip"), str(tmp_path), str(tone)]
    assert subprocess.run(arguments, check=True, capture_output=True, text=True).stdout == "flac\n"


def test_child_that_cannot_start_is_an_error_of_the_machine(tone: Path, tmp_path: Path) -> None:
    with (
        Sandbox(tmp_path, task="no_such_module:f") as box,
        pytest.raises(RepriseError, match="no_such_module") as caught,
    ):
        box.decode(tone)
    assert not isinstance(caught.value, InputError)
    assert str(caught.value).isprintable()
