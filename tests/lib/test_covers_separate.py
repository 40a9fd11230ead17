"""Separation in blocks: equal to demucs in one pass, on all lengths, in bounded memory, whatever the device has."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.lib.arrays import Float32Array
from reprise.lib.covers import separate
from reprise.lib.covers.separate import Mix, RawStems, separate_mixes
from reprise.lib.nets.separators import STEMS, Separator, load_separator, pack_separator

pytestmark = pytest.mark.torch
SEGMENT = 44_100
STRIDE = SEGMENT * 3 // 4
LENGTHS = (1, 2, 1000, STRIDE - 1, STRIDE, STRIDE + 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * STRIDE, 150_001)
ARGUMENTS: dict[str, Any] = {"sources": list(STEMS), "channels": 8, "t_layers": 1, "segment": Fraction(1, 1)}


@pytest.fixture(scope="module")
def network() -> Any:
    import torch
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    return HTDemucs(**ARGUMENTS).eval()


@pytest.fixture
def separator(network: Any) -> Separator:
    return load_separator(pack_separator("demucs.htdemucs.HTDemucs", ARGUMENTS, network.state_dict()))


def noise(frames: int, seed: int = 0) -> Float32Array:
    """Stereo noise with an offset."""
    return (0.2 * np.random.default_rng(seed).standard_normal((frames, 2)) + 0.01).astype(np.float32)


def end(stems: Iterable[RawStems[Any]]) -> list[RawStems[Any]]:
    """All stems, with closed files."""
    found = list(stems)
    for raw in found:
        raw.close()
    return found


def stack(raw: RawStems[Any], separator: Separator) -> Float32Array:
    assert raw.fault is None
    stems = np.stack([raw.samples[name] for name in separator.sources])
    raw.close()
    return stems


def by_demucs(network: Any, samples: Float32Array) -> Float32Array:
    """Stems (stems, frames, 2) as ``demucs.api.Separator`` makes them, in one pass."""
    import torch
    from demucs.apply import apply_model

    wav = torch.from_numpy(samples.T.copy())
    mono = wav.mean(0)
    mean, std = mono.mean(), (mono.std() if len(samples) > 1 else torch.tensor(1.0)) + 1e-8
    stems = apply_model(network, ((wav - mean) / std)[None], shifts=0, split=True, overlap=0.25)[0]
    found: Float32Array = (stems * std + mean).detach().numpy().transpose(0, 2, 1)
    return found


@pytest.mark.parametrize("batch_size", [1, 3])
def test_stems_equal_those_of_demucs_in_one_pass(batch_size: int, network: Any, separator: Separator) -> None:
    mixes = [Mix(frames, str(frames), noise(frames, frames)) for frames in LENGTHS]
    found = list(separate_mixes(separator, mixes, batch_size=batch_size))
    assert [raw.mix.source for raw in found] == list(LENGTHS)
    for raw in found:
        expected = by_demucs(network, raw.mix.samples)
        np.testing.assert_allclose(stack(raw, separator), expected, rtol=0, atol=1e-5)
        assert raw.peak == pytest.approx(np.abs(expected).max(), abs=1e-5)


@pytest.mark.slow
def test_the_published_size_equals_demucs_in_one_pass() -> None:
    import torch
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(1)
    arguments = {"sources": list(STEMS), "bottom_channels": 512, "segment": Fraction(39, 5)}
    network = HTDemucs(**arguments).eval()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(41.5e6, rel=0.01)
    packed = pack_separator("demucs.htdemucs.HTDemucs", arguments, network.state_dict())
    assert len(packed) == pytest.approx(166e6, rel=0.01)
    big = load_separator(packed)
    samples = noise(10 * 44_100)
    (raw,) = separate_mixes(big, [Mix(None, "x", samples)])
    np.testing.assert_allclose(stack(raw, big), by_demucs(network, samples), rtol=0, atol=1e-3)


def test_samples_do_not_depend_on_the_other_mixes(separator: Separator) -> None:
    samples = noise(100_000)
    (alone,) = separate_mixes(separator, [Mix(0, "x", samples)], batch_size=4)
    others = [Mix(1, "a", noise(50_000, 1)), Mix(0, "x", samples), Mix(2, "b", noise(70_000, 2))]
    first, among, last = separate_mixes(separator, others, batch_size=4)
    np.testing.assert_array_equal(stack(alone, separator), stack(among, separator))
    end([first, last])


def test_silence_stays_silent(separator: Separator) -> None:
    (raw,) = separate_mixes(separator, [Mix(0, "x", np.zeros((90_000, 2), np.float32))])
    assert raw.peak < 1e-6
    assert stack(raw, separator).shape == (4, 90_000, 2)


def test_loud_and_quiet_mixes_have_proportional_stems(separator: Separator) -> None:
    samples = noise(60_000)
    mixes = [Mix(factor, "x", samples * np.float32(factor)) for factor in (1, 2**-10, 2**31)]
    plain, quiet, loud = (stack(raw, separator).astype(float) for raw in separate_mixes(separator, mixes))
    np.testing.assert_allclose(quiet * 2**10, plain, rtol=0, atol=1e-4)
    np.testing.assert_allclose(loud / 2**31, plain, rtol=0, atol=1e-4)


def test_no_mixes_give_no_stems(separator: Separator) -> None:
    assert list(separate_mixes(separator, [])) == []


def test_progress_adds_up_to_the_length_of_the_mixes(separator: Separator) -> None:
    told: list[float] = []
    mixes = [Mix(0, "a", noise(100_000)), Mix(1, "b", noise(44_101))]
    end(separate_mixes(separator, mixes, batch_size=2, on_progress=told.append))
    assert sum(told) == pytest.approx(144_101 / 44_100)
    assert len(told) == 3


def test_mixes_are_read_as_they_are_needed(separator: Separator) -> None:
    """Not all at once: a library has more of them than fit the disk."""
    read = []

    def mixes() -> Iterator[Mix[int]]:
        for number in range(12):
            read.append(number)
            yield Mix(number, "x", noise(1000, number))

    stems = separate_mixes(separator, mixes())
    (first,) = end([next(stems)])
    assert first.mix.source == 0
    assert len(read) <= 6
    assert len(end(stems)) == 11


def test_files_of_stems_have_no_names(separator: Separator, tmp_path: Path) -> None:
    """So a killed process leaves none."""
    for raw in separate_mixes(separator, [Mix(n, "x", noise(60_000, n)) for n in range(3)], folder=tmp_path):
        assert stack(raw, separator).any()
        assert list(tmp_path.iterdir()) == []


def test_a_network_that_returns_nan_is_a_fault_of_one_mix(
    separator: Separator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sample of one stem, in a segment between others."""
    call = Separator.__call__

    def spoil(self: Separator, mix: Any) -> Any:
        stems = call(self, mix)
        if float(mix[0, 0, 0]) > 5:
            stems[0, 2, 1, 20_000] = float("nan")
        return stems

    monkeypatch.setattr(Separator, "__call__", spoil)
    bad = noise(150_000)
    bad[STRIDE] = 50
    songs = [Mix(n, f"song {n}", m) for n, m in enumerate((noise(50_000), bad, noise(50_000)))]
    found = end(separate_mixes(separator, songs))
    assert [raw.fault is None for raw in found] == [True, False, True]
    fault = found[1].fault
    assert fault
    assert fault.kind == "bad_stems"
    assert fault.message == "HTDemucs returns NaN or infinite samples for song 1: use another separator (--model)"


class FullGpu:
    """A device with memory for so many frames in one batch, as far as the separator knows."""

    def __init__(self, patch: pytest.MonkeyPatch, frames: int) -> None:
        import torch

        self.frames, self.calls = frames, []  # type: ignore[var-annotated]
        call, to = Separator.__call__, Separator.to

        def limited(separator: Separator, mix: Any) -> Any:
            self.calls.append((separator.device, mix.shape[0], mix.shape[2]))
            if separator.device != "cpu" and mix.shape[0] * mix.shape[2] > self.frames:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return call(separator, mix)

        def move(separator: Separator, device: str) -> Separator:
            to(separator, "cpu")
            separator.device = device
            return separator

        patch.setattr(Separator, "__call__", limited)
        patch.setattr(Separator, "to", move)
        patch.setattr(separate, "_compute", self._on_cpu(separate._compute))
        patch.setattr(separate, "_read_batches", self._on_cpu(separate._read_batches, position=1))
        patch.setattr(separate, "_triangle", self._on_cpu(separate._triangle))
        patch.setattr(torch.cuda, "empty_cache", lambda: None)

    @staticmethod
    def _on_cpu(function: Any, position: int = 0) -> Any:
        """Let a function see the CPU as the device: there is no GPU here."""

        def call(*arguments: Any) -> Any:
            import torch

            real = arguments[position]

            class View:
                device = "cpu"
                segment = real.segment
                sample_rate = real.sample_rate

                def __call__(self, mix: torch.Tensor) -> torch.Tensor:
                    return real(mix)

            return function(*arguments[:position], View(), *arguments[position + 1 :])

        return call


@pytest.mark.parametrize(
    ("frames", "last", "sizes"),
    [
        (4 * SEGMENT, ("gpu", 4, SEGMENT), []),
        (3 * SEGMENT, ("gpu", 2, SEGMENT), [16, 8, 4, 2]),
        (SEGMENT, ("gpu", 1, SEGMENT), [16, 8, 4, 2, 1]),
        (0, ("cpu", 1, SEGMENT), [16, 8, 4, 2, 1]),
    ],
)
def test_a_gpu_with_too_little_memory(
    frames: int,
    last: tuple[str, int, int],
    sizes: list[int],
    network: Any,
    separator: Separator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The segments of this network, 1 s, cannot be shortened. A mix has four of them."""
    caplog.set_level("WARNING", "reprise")  # a job of another test may have changed it
    gpu = FullGpu(monkeypatch, frames)
    separator.to("gpu")
    mixes = [Mix(n, str(n), noise(100_000, n)) for n in range(3)]
    found = list(separate_mixes(separator, mixes))
    assert [raw.mix.source for raw in found] == list(range(3))
    assert gpu.calls[-1] == last
    for raw in found:
        np.testing.assert_allclose(stack(raw, separator), by_demucs(network, raw.mix.samples), rtol=0, atol=1e-5)
    said = [f"gpu has too little memory: batches of {size} segments" for size in sizes]
    assert caplog.messages == said + (["gpu has too little memory: separating on the CPU"] if frames == 0 else [])


def test_shorter_segments_come_before_the_cpu(
    network: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = {**ARGUMENTS, "segment": Fraction(39, 5)}
    long = load_separator(pack_separator("demucs.htdemucs.HTDemucs", arguments, network.state_dict()))
    caplog.set_level("WARNING", "reprise")
    gpu = FullGpu(monkeypatch, 100_000)
    long.to("gpu")
    (raw,) = separate_mixes(long, [Mix(0, "x", noise(400_000))])
    assert gpu.calls[-1] == ("gpu", 1, 343_980 // 4)
    assert caplog.messages[-2:] == [
        "gpu has too little memory: segments of 3.9 s",
        "gpu has too little memory: segments of 1.9 s",
    ]
    expected = by_demucs(long._network, raw.mix.samples)
    np.testing.assert_allclose(stack(raw, long), expected, rtol=0, atol=1e-5)


def test_a_full_disk_is_an_error_of_the_machine(separator: Separator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(separate._Track, "write", refuse)
    with pytest.raises(OSError, match="No space left"):
        list(separate_mixes(separator, [Mix(0, "x", noise(50_000))]))
