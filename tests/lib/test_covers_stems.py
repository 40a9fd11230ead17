"""Stems as FLAC files: names, levels and hashes, bad mixes among good ones, and a disk that is full."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from reprise.lib.arrays import Float32Array
from reprise.lib.audio.loudness import LoudnessMeter
from reprise.lib.covers.stems import Stem, make_stems
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.nets.separators import STEMS, Separator

pytestmark = pytest.mark.torch
RATE = 44_100
GAINS = {"vocals": 2.0, "drums": 0.5, "bass": 0.0, "other": 0.25}
"""Stems of `separator`, in the order of its output: parts of the mix."""


@pytest.fixture(scope="module")
def separator() -> Separator:
    """A network without weights that multiplies the mix by a number for each stem."""
    import torch

    class Scale(torch.nn.Module):
        sources, samplerate, segment = tuple(GAINS), RATE, Fraction(1, 1)

        def forward(self, mix: torch.Tensor) -> torch.Tensor:
            return torch.stack([gain * mix for gain in GAINS.values()], 1)

    return Separator(Scale())


def noise(frames: int, peak: float, seed: int = 0) -> Float32Array:
    """Stereo noise without an offset: the normalisation adds the mean of the mix to each stem."""
    samples = np.random.default_rng(seed).uniform(-1, 1, (frames, 2))
    samples -= samples.mean()
    return (peak * samples / np.abs(samples).max()).astype(np.float32)


Make = Callable[..., dict[str, list[Stem] | InputError]]


@pytest.fixture
def make(separator: Separator, tmp_path: Path) -> Make:
    """Make the stems of mixes by name; an exception is raised instead of opening the mix."""

    def run(threads: int = 1, **mixes: Float32Array | Exception) -> dict[str, list[Stem] | InputError]:
        def open_mix(name: str) -> tuple[str, Float32Array]:
            mix = mixes[name]
            if isinstance(mix, Exception):
                raise mix
            return name, mix

        made = make_stems(
            separator, mixes, open_mix, folder=lambda name: tmp_path / name, temporary=tmp_path, threads=threads
        )
        return dict(made)

    return run


def of(found: list[Stem] | InputError) -> dict[str, Stem]:
    assert not isinstance(found, InputError)
    return {stem.name: stem for stem in found}


def test_each_stem_is_a_file_with_its_samples(make: Make, tmp_path: Path) -> None:
    mix = noise(3 * RATE, 0.4)
    found = of(make(song=mix)["song"])
    assert tuple(found) == STEMS
    for name, stem in found.items():
        assert stem.path == tmp_path / "song" / f"{name}.flac"
        samples, rate = soundfile.read(stem.path, dtype="int16")
        assert (rate, stem.sample_rate, stem.frame_count, stem.gain_db) == (RATE, RATE, 3 * RATE, 0)
        assert hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest() == stem.samples_sha256
        np.testing.assert_allclose(samples / 32_767, GAINS[name] * mix, rtol=0, atol=0.6 / 32_767)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "song"]


def test_levels_of_a_stem(make: Make) -> None:
    """A stem of twice the amplitude is 6 dB louder; silence has no level."""
    found = of(make(song=noise(3 * RATE, 0.4))["song"])
    loudness, peak = found["drums"].loudness_lufs, found["drums"].true_peak_dbtp
    assert loudness is not None
    assert peak is not None
    assert found["vocals"].loudness_lufs == pytest.approx(loudness + 12.04, abs=0.1)
    assert found["vocals"].true_peak_dbtp == pytest.approx(peak + 12.04, abs=0.1)
    assert -2 < (found["vocals"].true_peak_dbtp or 0) < 4  # the peak of a sample is 0.8
    assert [found[name].activity for name in STEMS] == [1, 0, 1, 1]
    assert (found["bass"].loudness_lufs, found["bass"].true_peak_dbtp) == (None, None)


def test_activity_is_the_share_of_time(make: Make) -> None:
    mix = noise(8 * RATE, 0.4)
    mix[2 * RATE :] = 0
    assert of(make(song=mix)["song"])["drums"].activity == pytest.approx(0.25, abs=0.05)


def test_all_stems_get_one_gain_if_one_exceeds_full_scale(make: Make) -> None:
    mix = noise(2 * RATE, 0.8)
    found = of(make(song=mix)["song"])
    gain_db = 20 * np.log10(1 / 1.6)
    for name, stem in found.items():
        assert stem.gain_db == pytest.approx(gain_db, abs=1e-4)
        samples = soundfile.read(stem.path)[0]
        np.testing.assert_allclose(samples, GAINS[name] * mix / 1.6, rtol=0, atol=1e-4)
    assert np.abs(soundfile.read(found["vocals"].path, dtype="int16")[0]).max() == 32_767


@pytest.mark.parametrize("frames", [1, 100, RATE // 2])
def test_short_mixes(make: Make, frames: int) -> None:
    found = of(make(song=noise(frames, 0.4))["song"])
    assert [stem.frame_count for stem in found.values()] == [frames] * 4
    assert len(soundfile.read(found["other"].path)[0]) == frames


def test_silence_has_silent_stems(make: Make) -> None:
    found = of(make(song=np.zeros((RATE, 2), np.float32))["song"])
    for stem in found.values():
        assert (stem.loudness_lufs, stem.true_peak_dbtp, stem.activity, stem.gain_db) == (None, None, 0, 0)
        assert not soundfile.read(stem.path)[0].any()
    assert len({stem.samples_sha256 for stem in found.values()}) == 1


@pytest.mark.parametrize("threads", [1, 8])
def test_bad_mixes_among_good_ones(make: Make, threads: int) -> None:
    bad = InputError("damaged", "bad.wav is damaged: replace it")
    mixes = {f"song{n}": noise(RATE, 0.2, n) for n in range(5)}
    found = make(threads, a=bad, **mixes, b=bad)
    assert found["a"] is found["b"] is bad
    assert found.keys() == {"a", "b", *mixes}
    alone = {name: of(make(**{name: mix})[name]) for name, mix in mixes.items()}
    for name in mixes:
        assert of(found[name]) == alone[name]
    assert make(only=bad) == {"only": bad}
    assert make() == {}


def test_files_are_equal_each_time(make: Make, tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        make(song=noise(2 * RATE, 0.9))
        return {path.name: path.read_bytes() for path in (tmp_path / "song").iterdir()}

    assert contents() == contents()


def test_a_full_disk_is_one_line_and_leaves_no_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LoudnessMeter, "add", full)  # in the middle of a file
    with pytest.raises(RepriseError, match=r"flac cannot be written \(No space left on device\): free space there"):
        make(song=noise(RATE, 0.2))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unreadable_machine_ends_the_run(make: Make) -> None:
    """Another error than InputError is no fault of one file."""
    with pytest.raises(OSError, match="out of order"):
        make(a=noise(RATE, 0.2), b=OSError("out of order"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_mix(tmp_path: Path) -> None:
    """All of it, mapped files included. The network copies the mix."""
    code = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np, torch
from reprise.lib.covers.stems import make_stems
from reprise.lib.nets.separators import STEMS, Separator

class Copy(torch.nn.Module):
    sources, samplerate, segment = STEMS, 44_100, Fraction(39, 5)
    def forward(self, mix):
        return torch.stack([mix / 4] * 4, 1)

folder, frames = Path(sys.argv[1]), 44_100 * 60 * int(sys.argv[2])
noise = np.random.default_rng(0).uniform(-0.5, 0.5, (44_100, 2)).astype(np.float32)
with open(folder / "mix", "wb") as file:
    for _ in range(frames // 44_100):
        file.write(noise)
samples = np.memmap(folder / "mix", np.float32, "r", shape=(frames, 2))
((_, stems),) = make_stems(
    Separator(Copy()), [0], lambda _: ("x", samples), folder=lambda _: folder / "stems", temporary=folder
)
assert [stem.frame_count for stem in stems] == [frames] * 4
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""

    def measure(minutes: int) -> int:
        command = [sys.executable, "-c", code, str(tmp_path), str(minutes)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert measure(8) < 1.1 * measure(1)
