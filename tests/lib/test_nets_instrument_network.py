"""Networks of instruments: Magenta's against a plain loader, windows against one pass, synthesiser against ddsp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.lib.covers.magenta import FILES, load_magenta
from reprise.lib.covers.synthesis import Synthesiser
from reprise.lib.errors import RepriseError
from reprise.lib.nets import ddsp_library
from reprise.lib.nets.ddsp_library import import_ddsp
from reprise.lib.nets.instrument_network import (
    Controls,
    InstrumentNetwork,
    NetworkShape,
    find_context,
    make_autoencoder,
)
from reprise.lib.nets.tensor_bundles import read_tensor_bundle

pytestmark = pytest.mark.tensorflow
CONVOLUTIONS = NetworkShape(
    "DilatedConvDecoder", {"ch": 8, "kernel_size": 3, "layers_per_stack": 3, "stacks": 2}, 20, 33
)
RECURRENT = NetworkShape("RnnFcDecoder", {"rnn_channels": 16, "ch": 8, "layers_per_stack": 1}, 20, 33)


def draw_performance(n: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    f0_hz = 300 * 2 ** (np.cumsum(rng.normal(0, 0.02, n)) / 5)
    return f0_hz.astype(np.float32), np.clip(np.cumsum(rng.normal(0, 2, n)) - 30, -80, 0).astype(np.float32)


def join(parts: Any) -> Controls:
    return Controls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def exp_sigmoid(x: Any) -> Any:
    return 2 / (1 + np.exp(-x)) ** np.log(10) + 1e-7


def play_plainly(folder: Path, f0_hz: Any, loudness_db: Any) -> Controls:
    """Magenta's network in numpy, from the arrays of the checkpoint, for one window."""
    arrays = read_tensor_bundle(
        (folder / "ckpt-0.index").read_bytes(), (folder / "ckpt-0.data-00000-of-00001").read_bytes()
    )

    def get(name: str) -> Any:
        return arrays[f"model/decoder/{name}/.ATTRIBUTES/VARIABLE_VALUE"].astype(np.float64)

    def convolve(x: Any, name: str, dilation: int) -> Any:
        kernel = get(f"dilated_conv_stack/{name}/kernel")[:, 0]
        padded = np.pad(x, ((dilation, dilation), (0, 0)))
        taps = [padded[i * dilation : i * dilation + len(x)] @ kernel[i] for i in range(3)]
        return sum(taps) + get(f"dilated_conv_stack/{name}/bias")

    midi = 12 * (np.log2(f0_hz.astype(np.float64)) - np.log2(440)) + 69
    x = convolve(np.stack([loudness_db / 120 + 1, midi / 127], axis=1), "conv_in", 1)
    for layer in range(16):
        y = convolve(np.maximum(x, 0), f"layers/{layer}/layer_with_weights-0", 2 ** (layer % 8))
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-5)
        norm = f"dilated_conv_stack/norms/{layer}"
        x = x + y * get(f"{norm}/scale")[0, 0] + get(f"{norm}/shift")[0, 0]
    out = x @ get("dense_out/kernel") + get("dense_out/bias")
    harmonics = exp_sigmoid(out[:, 1:61]) * (f0_hz[:, None] * np.arange(1, 61) < 8000)
    harmonics /= harmonics.sum(axis=1, keepdims=True)
    return Controls(exp_sigmoid(out[:, 0]), harmonics, exp_sigmoid(out[:, 61:] - 5))


@pytest.mark.parametrize("name", ["flute", "tenor_saxophone", "trumpet", "violin"])
def test_magenta_equals_a_plain_loader(shared_data: Path, name: str) -> None:
    folder = shared_data / "ddsp" / name
    instrument = load_magenta(name, {file: (folder / file).read_bytes() for file in FILES})
    f0_hz, loudness_db = draw_performance(1250)
    loudness_db = loudness_db * 1.5
    # the loudness of the instrument has 120 dB
    played = join(instrument.network.play(f0_hz, loudness_db * np.float32(80 / 120)))
    expected = play_plainly(folder, f0_hz, loudness_db)
    for found, true in zip(played, expected, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-4)
    assert played.amplitude.max() > 0.01


def test_magenta_windows_are_cross_faded(shared_data: Path) -> None:
    folder = shared_data / "ddsp" / "violin"
    instrument = load_magenta("violin", {file: (folder / file).read_bytes() for file in FILES})
    # nine windows: more than one batch
    f0_hz, loudness_db = draw_performance(9000)
    played = join(instrument.network.play(f0_hz, loudness_db))
    assert len(played.amplitude) == 9000
    single = [
        join(instrument.network.play(f0_hz[s : s + 1250], loudness_db[s : s + 1250])) for s in range(0, 7751, 1000)
    ]
    for number, window in enumerate(single[1:], 1):
        rise = (np.arange(250) + 1) / 251
        expected = single[number - 1].amplitude[1000:] * (1 - rise) + window.amplitude[:250] * rise
        np.testing.assert_allclose(played.amplitude[1000 * number : 1000 * number + 250], expected, atol=1e-5)
        np.testing.assert_allclose(
            played.harmonics[1000 * number + 250 : 1000 * number + 1000], window.harmonics[250:1000], atol=1e-5
        )


@pytest.mark.parametrize("n", [1, 3, 199, 200, 201, 3333])
def test_windows_equal_one_pass(n: int) -> None:
    before, after = find_context(CONVOLUTIONS)
    assert before == after == 15
    network = InstrumentNetwork(lambda: make_autoencoder(CONVOLUTIONS, 230), window=230, context=(before, after))
    f0_hz, loudness_db = draw_performance(n)
    played = join(network.play(f0_hz, loudness_db))
    padded = n + before + after
    whole = InstrumentNetwork(lambda: make_autoencoder(CONVOLUTIONS, padded), window=padded, context=(before, after))
    whole.weights = network.weights
    expected = join(whole.play(f0_hz, loudness_db))
    for found, true in zip(played, expected, strict=True):
        assert len(found) == n
        np.testing.assert_allclose(found, true, atol=1e-5)


def test_recurrent_network_forgets_what_is_long_past() -> None:
    before, after = find_context(RECURRENT)
    network = InstrumentNetwork(lambda: make_autoencoder(RECURRENT, 450), window=450, context=(before, after))
    f0_hz, loudness_db = draw_performance(1000)
    played = join(network.play(f0_hz, loudness_db))
    whole = InstrumentNetwork(lambda: make_autoencoder(RECURRENT, 1250), window=1250, context=(before, after))
    whole.weights = network.weights
    np.testing.assert_allclose(played.harmonics, join(whole.play(f0_hz, loudness_db)).harmonics, atol=1e-3)


def test_synthesiser_sounds_as_ddsp() -> None:
    """Levels of short spectra: phases differ, and ddsp loses the pitch of long notes."""
    from scipy.signal import stft

    ddsp = import_ddsp()
    f0_hz, loudness_db = draw_performance(250)
    network = InstrumentNetwork(lambda: make_autoencoder(CONVOLUTIONS, 280), window=280, context=(15, 15))
    controls = join(network.play(f0_hz, loudness_db))
    synth = ddsp.synths.Harmonic(n_samples=16_000, amp_resample_method="linear", use_angular_cumsum=True)
    tones = controls.amplitude[None, :, None], controls.harmonics[None], f0_hz[None, :, None]
    expected = synth.get_signal(*tones).numpy()[0]
    synthesiser = Synthesiser(16_000, 0)
    silent = Controls(controls.amplitude, controls.harmonics, np.zeros_like(controls.noise))
    found = np.concatenate([synthesiser.render(f0_hz, silent), synthesiser.finish()])
    levels = [np.abs(stft(signal, nperseg=1024)[2]) for signal in (found, expected)]
    loud = levels[1] > levels[1].max() / 10
    assert np.median(np.abs(20 * np.log10(levels[0][loud] / levels[1][loud]))) < 0.2
    assert found.std() == pytest.approx(expected.std(), rel=0.02)


def test_import_leaves_other_packages_alone() -> None:
    import sys

    import_ddsp()
    assert not {"crepe", "note_seq", "hypertune", "tensorflow_datasets"} & set(sys.modules)


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import_ddsp()
    monkeypatch.setitem(sys.modules, "ddsp", None)
    with pytest.raises(RepriseError, match="run pip install --no-deps ddsp"):
        ddsp_library.import_ddsp.__wrapped__()
