"""Training of the small separator: draws, augmentation, loss, and a short training that learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.lib.covers import separator_training as training
from reprise.lib.covers.separator_training import BankPlan, Material, StemBank, augment, compute_loss, measure_sdr
from reprise.lib.nets.separators import STEMS
from reprise.lib.nets.training import Schedule

pytestmark = pytest.mark.torch

RATE = 44_100


def draw_stems(batch: int = 3, n: int = 40_000, seed: int = 0) -> Any:
    import torch

    rng = np.random.default_rng(seed)
    t = np.arange(n) / RATE
    hz = np.array([90.0, 60.0, 440.0, 700.0])[:, None, None] * np.ones((1, 2, 1))
    stems = 0.2 * np.sin(2 * np.pi * hz * t) * (0.5 + rng.random((batch, 4, 2, 1)))
    return torch.from_numpy(stems.astype(np.float32))


def test_sdr_against_numpy() -> None:
    import torch

    truth, estimate = draw_stems(seed=1), draw_stems(seed=2)
    truth[0, 2] = 0
    found = measure_sdr(estimate, truth).numpy()
    a, b = truth.numpy().astype(np.float64), estimate.numpy().astype(np.float64)
    with np.errstate(divide="ignore"):
        expected = 10 * np.log10((a**2).sum((-1, -2)) / ((a - b) ** 2).sum((-1, -2)))
    assert np.isnan(found[0, 2])
    keep = np.isfinite(expected)
    np.testing.assert_allclose(found[keep], expected[keep], atol=1e-3)
    assert float(measure_sdr(torch.zeros(1, 2, 9), torch.ones(1, 2, 9))) == pytest.approx(0)


@pytest.mark.parametrize("seed", range(4))
def test_augmented_stems_are_finite_and_depend_on_the_seed_alone(seed: int) -> None:
    stems = draw_stems()
    first, second = (augment(stems, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == stems.shape
    assert bool(first.isfinite().all())
    assert bool((first == second).all())
    assert not bool((first == augment(stems, np.random.default_rng(seed + 99))).all())


def test_augmentation_is_linear_in_the_stems_up_to_the_limiter() -> None:
    """A stem that is silent stays silent, so nothing of one stem leaks into another."""
    stems = draw_stems()
    stems[:, 1] = 0
    assert float(augment(stems, np.random.default_rng(1))[:, 1].abs().max()) == 0


def test_the_limiter_keeps_its_ceiling_without_distortion() -> None:
    import torch

    t = torch.arange(RATE) / RATE
    loudness = torch.where((t > 0.4) & (t < 0.6), 1.0, 0.1)
    stems = torch.zeros(1, 4, 2, RATE)
    stems[0, 1] = torch.sin(2 * torch.pi * 100 * t) * loudness
    limited = training._limit(
        stems, lambda low, high, *shape: torch.full(shape, low), lambda _, *shape: torch.ones(shape)
    )
    ceiling = 2.0 * float(stems.sum(1).std())
    assert float(limited.sum(1).abs().max()) <= ceiling * 1.001
    assert float(limited[0, 1, 0, : RATE // 4].abs().max()) == pytest.approx(0.1, rel=0.01)
    spectrum = torch.fft.rfft(limited[0, 1, 0] * torch.hann_window(RATE)).abs() ** 2
    assert float(spectrum[1000:].sum() / spectrum.sum()) < 1e-5


def test_a_slower_signal_has_a_lower_pitch() -> None:
    import torch

    t = torch.arange(RATE) / RATE
    signal = torch.sin(2 * torch.pi * 400 * t).expand(2, 2, -1)
    slow = training._change_speed(signal, torch.tensor([1.0, 0.9]))
    peaks = torch.fft.rfft(slow[:, 0, : RATE // 2]).abs().argmax(-1) * 2
    assert peaks.tolist() == [400, 360]


class Perfect:
    """Returns the true stems of the mixture it is given."""

    def __init__(self, stems: Any) -> None:
        self.stems = stems

    def __call__(self, mix: Any) -> Any:
        scale = mix.std(dim=(1, 2)) / self.stems.sum(1).std(dim=(1, 2))
        return self.stems * scale[:, None, None, None]


def test_the_loss_is_zero_for_the_truth_and_grows_with_the_error() -> None:
    stems = draw_stems()
    assert float(compute_loss(Perfect(stems), stems, np.random.default_rng(0))) == pytest.approx(0, abs=1e-5)

    class Silent:
        def __call__(self, mix: Any) -> Any:
            return 0 * mix[:, None].expand(-1, 4, -1, -1)

    assert float(compute_loss(Silent(), stems, np.random.default_rng(0))) > 0.3


@pytest.fixture(scope="module")
def material(soundfont: Path) -> Material:
    return Material((), (str(soundfont),), excerpt_s=2.0)


@pytest.fixture
def rendered_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render in this process."""
    from concurrent.futures import Executor, Future

    class Here(Executor):
        def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
            done: Future[Any] = Future()
            done.set_result(function(*args, **options))
            return done

    monkeypatch.setattr(training, "_players", {})
    monkeypatch.setattr(training, "ProcessPoolExecutor", lambda workers, mp_context: Here())


@pytest.mark.usefixtures("rendered_here")
def test_items_depend_on_their_number(material: Material) -> None:
    first, again, other = (training.render_item(material, number) for number in (3, 3, 4))
    assert first.shape == (4, 2, 2 * RATE)
    assert first.dtype == np.int16
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.usefixtures("rendered_here")
def test_the_bank_holds_the_newest_items_and_resumes(material: Material) -> None:
    plan = BankPlan(first=2, each_step=1, capacity=3, workers=1)
    bank = StemBank(material, plan, "cpu")
    assert len(bank) == 3
    bank.advance(4)
    resumed = StemBank(material, plan, "cpu", first_step=4)
    assert bool((bank.stems == resumed.stems).all())
    newest = training.render_item(material, 5)
    assert any(np.array_equal(item.numpy(), newest) for item in bank.stems)
    batch = bank.draw(4, 8_000, np.random.default_rng(0))
    assert batch.shape == (4, 4, 2, 8_000)
    bank.close()
    resumed.close()


@pytest.mark.slow
@pytest.mark.usefixtures("rendered_here")
def test_a_short_training_learns(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    from reprise.lib.nets import spectrogram_unet

    monkeypatch.setattr(
        training, "make_spectrogram_unet", lambda names, _: spectrogram_unet.make_spectrogram_unet(names, (4, 8, 8))
    )
    schedule = Schedule(40, 0.01, 1, warmup_steps=5, validation_steps=20, averaging=0.8)
    said: list[str] = []
    plan = BankPlan(4, 0, 4, 1)
    state, history = training.train_separator(
        material, plan, schedule, "cpu", batch=2, segment_frames=32, n_validation=2, report=said.append
    )
    assert history.losses[-1][1] < history.losses[0][1]
    assert set(state) == set(spectrogram_unet.make_spectrogram_unet(STEMS, (4, 8, 8)).state_dict())
    assert sum(text.startswith("SDR ") for text in said) == 2
