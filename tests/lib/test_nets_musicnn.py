"""The tagging network, held against what the original network says, and its input against librosa."""

import json
from importlib.resources import files
from pathlib import Path

import librosa
import numpy as np
import pytest
import soxr

from reprise.lib.arrays import Float32Array
from reprise.lib.errors import InputError
from reprise.lib.nets import musicnn
from reprise.lib.nets.musicnn import HOP, N_MELS, SAMPLE_RATE, WINDOW_FRAMES, iterate_windows

RATE = 22_050
REFERENCE = json.loads(Path(__file__).with_name("musicnn_reference.json").read_text("utf-8"))
"""Probabilities by the original graph in TensorFlow 2.21 for the mel spectra of `play`, by the seed."""


def play(seed: int, length_s: float = 7.0) -> Float32Array:
    """Notes, noise and beats at 22,050 Hz."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(length_s * RATE)) / RATE
    notes = sum(np.sin(2 * np.pi * hz * time) for hz in 110 * 2 ** (rng.integers(0, 36, 4) / 12))
    beats = np.exp(-8 * (time % rng.uniform(0.3, 0.7))) * rng.standard_normal(len(time))
    return np.asarray(0.1 * notes + 0.2 * beats, dtype=np.float32)


def spectra(signal: Float32Array) -> Float32Array:
    return np.concatenate(list(iterate_windows(signal)))


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    """The files in the package."""
    folder = files("musicnn").joinpath("MSD_musicnn")
    return {file: folder.joinpath(file).read_bytes() for file in (".index", ".data-00000-of-00001")}


@pytest.fixture(scope="module")
def network(published: dict[str, bytes]) -> musicnn.Musicnn:
    return musicnn.load(musicnn.convert_checkpoint(published))


@pytest.mark.parametrize("length_s", [3.0, 7.3, 31.0])
def test_mel_spectra_equal_librosa(length_s: float) -> None:
    signal = play(1, length_s)
    found = spectra(signal)
    whole = librosa.feature.melspectrogram(
        y=soxr.resample(signal, RATE, SAMPLE_RATE), sr=SAMPLE_RATE, n_fft=512, hop_length=HOP, n_mels=N_MELS
    )
    expected = np.log10(10_000 * whole.T + 1)
    n = len(expected) // WINDOW_FRAMES
    assert found.shape == (n, WINDOW_FRAMES, N_MELS)
    errors = np.abs(found.reshape(-1, N_MELS) - expected[: n * WINDOW_FRAMES]).max(axis=1)
    assert errors[1:].max() < 1e-4
    assert errors[0] < 0.1  # half of the first frame lies before the signal, where the resampling filter starts


@pytest.mark.parametrize("samples", [1, 100, 40_000, 65_000])
def test_short_signal_is_repeated(samples: int) -> None:
    signal = play(3)[:samples]
    found = spectra(signal)
    assert found.shape == (1, WINDOW_FRAMES, N_MELS)
    longer = spectra(np.tile(signal, 70_000 // samples + 1))[:1]
    np.testing.assert_allclose(found[:, :-3], longer[:, :-3], atol=1e-5)


def test_silence_no_samples_and_samples_that_are_not_finite() -> None:
    assert not spectra(np.zeros(100_000, np.float32)).any()
    assert list(iterate_windows(np.zeros(0, np.float32))) == []
    signal = play(4)
    signal[1000:1010] = np.nan, np.inf, -np.inf, *[np.nan] * 7
    assert np.isfinite(spectra(signal)).all()


@pytest.mark.torch
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tags_equal_those_of_the_original(seed: int, network: musicnn.Musicnn) -> None:
    found = network.predict(spectra(play(seed)))
    np.testing.assert_allclose(found, REFERENCE[str(seed)], atol=1e-5)


@pytest.mark.torch
def test_tags_of_a_window_do_not_depend_on_the_other_windows(network: musicnn.Musicnn) -> None:
    windows = spectra(play(5, 20))
    together = network.predict(windows)
    np.testing.assert_allclose(np.concatenate([network.predict(w[None]) for w in windows]), together, atol=1e-6)
    assert together.shape == (6, 50)
    assert ((together > 0) & (together < 1)).all()


def test_conversion_is_deterministic_and_refuses_other_files(published: dict[str, bytes]) -> None:
    data = musicnn.convert_checkpoint(published)
    assert data == musicnn.convert_checkpoint(published)
    for other in (b"", data[:1000], data.replace(b"dense_1/bias", b"dense_1/base")):
        with pytest.raises(InputError) as error:
            musicnn.load(other)
        assert error.value.kind == "not_a_model"
