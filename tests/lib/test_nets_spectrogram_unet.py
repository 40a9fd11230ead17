"""The small separator's network: spectrogram and back, shapes, silence, scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reprise.lib.nets.separators import STEMS
from reprise.lib.nets.spectrogram_unet import HOP, N_BINS, N_FFT, make_spectrogram_unet

pytestmark = pytest.mark.torch

CHANNELS = (4, 6, 8)


@pytest.fixture(scope="module")
def network() -> Any:
    import torch

    torch.manual_seed(0)
    return make_spectrogram_unet(STEMS, CHANNELS).eval()


def noise(*shape: int) -> Any:
    import torch

    samples = np.random.default_rng(0).standard_normal(shape)
    # without the highest frequency, which the network leaves out
    return torch.from_numpy((samples + np.roll(samples, 1, -1)).astype(np.float32) / 2)


@pytest.mark.parametrize("n", [1, 100, HOP, 5 * HOP + 17, 40_000])
def test_the_inverse_of_the_spectrogram_is_the_signal(network: Any, n: int) -> None:
    audio = noise(2, n)
    spectrum = network.transform(audio)
    assert spectrum.shape == (2, -(-n // HOP), N_BINS)
    error = (network.invert(spectrum, n) - audio).abs()
    assert float(error.max()) < 0.02 * max(float(audio.abs().max()), 1)


def test_the_spectrogram_is_that_of_numpy(network: Any) -> None:
    audio = noise(1, 8 * HOP)
    lead = (N_FFT - HOP) // 2
    padded = np.pad(audio.numpy()[0], (lead, lead))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    expected = np.fft.rfft(padded[3 * HOP : 3 * HOP + N_FFT] * window)[:N_BINS]
    np.testing.assert_allclose(network.transform(audio)[0, 3].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("n", [1, HOP, 3 * HOP + 5, 30 * HOP])
def test_every_length_keeps_its_length(network: Any, n: int) -> None:
    import torch

    with torch.inference_mode():
        stems = network(noise(3, 2, n))
    assert stems.shape == (3, 4, 2, n)
    assert bool(stems.isfinite().all())


def test_silence_stays_silent(network: Any) -> None:
    import torch

    with torch.inference_mode():
        assert not network(torch.zeros(1, 2, 20_000)).any()


def test_masks_of_one_give_the_mixture(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    mix = noise(1, 2, 20 * HOP)
    ones = torch.ones(1, 4, 2, 20, N_BINS, dtype=torch.complex64)
    monkeypatch.setattr(network, "compute_masks", lambda _: ones)
    with torch.inference_mode():
        stems = network(mix)
    assert float((stems - mix[:, None]).abs().max()) < 0.05


def test_frequencies_and_channels_do_not_mix_up(network: Any) -> None:
    """A mask depends on its own place: each band's output goes to its own frequencies and its own channel."""
    import torch

    spectrum = network.transform(noise(1, 2, 16 * HOP))
    with torch.inference_mode():
        before = network.compute_masks(spectrum)
        bias = network.write.bias
        changed = (1 * 16) + (1 * 8) + 0 * 4 + 2  # stem 1, right channel, real part, third band
        bias[changed] += 1
        after = network.compute_masks(spectrum)
        bias[changed] -= 1
    moved = (after - before).abs() > 0.5
    expected = torch.zeros_like(moved)
    expected[:, 1, 1, :, 2 * N_BINS // 4 : 3 * N_BINS // 4] = True
    assert torch.equal(moved, expected)
