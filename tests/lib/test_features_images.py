"""Images compared with sums and librosa, features of analyses compared with numpy: real tracks and edge cases."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest

from reprise.lib import msd as msd_files
from reprise.lib.errors import InputError
from reprise.lib.features import msd
from reprise.lib.features.images import AUDIO_KINDS, integrate_between, make_audio_images, make_msd_image
from reprise.lib.music import sample
from reprise.lib.tables import MSD_GENRE_FEATURES

RATE = 22_050


def sweep(seconds: float) -> Any:
    time = np.arange(round(seconds * RATE)) / RATE
    fade = np.minimum(np.minimum(time, seconds - time), 1)
    return (fade * np.sin(2 * np.pi * (100 * time + 40 * time**2))).astype(np.float32)


def compose_track() -> dict[str, Any]:
    return sample.compute_msd_columns(sample.compose(sample.SamplePlan(20, seed=3), 4))


def test_integrals_equal_sums_over_small_steps() -> None:
    rng = np.random.default_rng(2)
    edges = np.sort(rng.integers(0, 1000, 41))
    rows = rng.random((40, 3))
    bounds = np.sort(rng.integers(-100, 1100, 18))
    steps = np.zeros((1300, 3))
    for row, start, stop in zip(rows, edges[:-1], edges[1:], strict=True):
        steps[start + 100 : stop + 100] = row
    sums = [steps[a + 100 : b + 100].sum(axis=0) for a, b in pairwise(bounds)]
    np.testing.assert_allclose(integrate_between(rows, edges, bounds), sums, atol=1e-9)


def test_mel_image_equals_averaged_librosa() -> None:
    signal = sweep(9.0)  # 388 frames: a column is the mean of one and a half
    mel = librosa.feature.melspectrogram(y=signal, sr=RATE, n_mels=256)
    fine = np.repeat(mel, 256, axis=1).reshape(256, 256, -1).mean(axis=2)
    expected = 1 + librosa.power_to_db(fine, ref=np.max, top_db=80) / 80
    images = make_audio_images(signal, ["mel", "mfcc"])
    np.testing.assert_allclose(images["mel"], expected[None], atol=1e-4)
    cepstrum = librosa.feature.mfcc(S=images["mel"][0], n_mfcc=256) / 16
    np.testing.assert_allclose(images["mfcc"], cepstrum[None], atol=1e-6)


def test_cqt_image_equals_averaged_librosa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reprise.lib.features.images._BLOCK_FRAMES", 200)
    signal = sweep((384 * 512 - 1) / RATE)
    power = np.abs(librosa.cqt(signal, sr=RATE)) ** 2
    means = power.reshape(84, 96, 4).mean(axis=2)
    expected = 1 + librosa.power_to_db(means, ref=np.max, amin=1e-20, top_db=80) / 80
    (image,) = make_audio_images(signal, ["cqt"]).values()
    assert image.shape == (1, 84, 96)
    np.testing.assert_allclose(image[0], expected, atol=0.01)


@pytest.mark.parametrize("n", [0, 1, 700, 5000, 100_000])
def test_images_of_any_length(n: int) -> None:
    images = make_audio_images(sweep(5.0)[-n:] if n else sweep(0), AUDIO_KINDS)
    columns = max(-(-(n // 512 + 1) // 4), 1)
    assert {k: i.shape for k, i in images.items()} == {
        "mel": (1, 256, 256),
        "mfcc": (1, 256, 256),
        "cqt": (1, 84, columns),
    }
    for kind, image in images.items():
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert -1 <= image.min() <= image.max() <= 1
        assert (image.max() > 0) == (n > 0), kind
    silent = make_audio_images(np.zeros(n, dtype=np.float32), AUDIO_KINDS)
    assert not any(image.any() for image in silent.values())


def test_msd_image_is_the_mean_over_time() -> None:
    pitches = np.eye(12)[[0, 3, 5, 7]]
    timbre = np.array([[60.0] + 11 * [100.0], [30.0] + 11 * [-100.0], [0.0] * 12, [15.0] + 11 * [500.0]])
    image = make_msd_image(pitches, timbre, [0.0, 1.0, 3.0, 3.5], 4.0)
    assert image.shape == (2, 12, 256)
    np.testing.assert_allclose(image[0].sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(image[0].argmax(axis=0)[[0, 63, 64, 191, 192, 223, 224]], [0, 0, 3, 3, 5, 5, 7])
    expected = np.array([[1, 0.5], [0.5, -0.5], [0, 0], [0.25, 1]])
    np.testing.assert_allclose(image[1, :2, [0, 100, 200, 255]], expected, atol=1e-6)
    np.testing.assert_array_equal(image, make_msd_image(pitches.reshape(-1), timbre.reshape(-1), [0, 1, 3, 3.5], 4.0))


@pytest.mark.parametrize(("start", "duration"), [([0.0], 5.0), ([0.0], None), ([2.0, 2.0], 1.0), ([], 5.0)])
def test_msd_image_of_few_segments(start: list[float], duration: float | None) -> None:
    ones = np.ones(12 * len(start))
    image = make_msd_image(ones, 60 * ones, start, duration)
    np.testing.assert_allclose(image[:, 0], float(bool(start)))


def test_features_of_a_real_analysis_equal_numpy(shared_data: Path) -> None:
    path = sorted((shared_data / "msd").rglob("*.h5"))[0]
    with msd_files.open_msd(path) as file:
        track = {k: v[0] for k, v in file.read({*msd.SCALARS, *msd.ARRAYS}, 0, 1).items()}
    features = msd.measure(track, track)
    assert set(features) == {c.name for c in MSD_GENRE_FEATURES.columns} - {"track_id", "sha256", "run_id"}
    pitches = np.reshape(track["segments_pitches"], (-1, 12)).astype(float)
    timbre = np.reshape(track["segments_timbre"], (-1, 12)).astype(float)
    duration, periods = track["duration"], np.diff(np.asarray(track["beats_start"], float))
    lengths = np.diff(np.append(np.asarray(track["segments_start"], float), duration))
    for name, value in {
        "tempo": track["tempo"],
        "key": track["key"],
        "fade_out_s": max(duration - track["start_of_fade_out"], 0),
        "segments_per_s": len(pitches) / duration,
        "sections_per_min": 60 * len(track["sections_start"]) / duration,
        "beats_period_cv": periods.std() / periods.mean(),
        "segments_length_mean": duration / len(pitches),
        "segments_length_var": lengths.var(),
        "segments_pitches1_mean": pitches[:, 0].mean(),
        "segments_pitches12_var": pitches[:, 11].var(),
        "segments_timbre2_mean": timbre[:, 1].mean(),
        "segments_loudness_max_var": np.var(np.asarray(track["segments_loudness_max"], float)),
    }.items():
        assert features[name] == pytest.approx(value, rel=1e-9), name


def test_undefined_features_are_none() -> None:
    song = compose_track()
    empty = msd.measure(dict.fromkeys(msd.SCALARS), {name: [] for name in msd.ARRAYS})
    assert set(empty.values()) == {None}
    partial = msd.measure({**song, "tempo": 0.0, "duration": float("nan")}, {**song, "beats_start": [1.0, 2.0]})
    undefined = {name for name, value in partial.items() if value is None}
    assert undefined == {
        *("tempo", "duration", "fade_out_s", "segments_per_s", "beats_per_s", "bars_per_s", "sections_per_min"),
        "beats_period_cv",
    }
    assert partial["segments_length_mean"] is not None


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"segments_timbre": [np.nan] * 24}, "not_finite"),
        ({"segments_confidence": [0.5]}, "lengths_differ"),
        ({"beats_start": [2.0, 1.0]}, "not_ascending"),
        ({"segments_start": [1.0, 0.0]}, "not_ascending"),
    ],
)
def test_damaged_analyses_are_rejected(change: dict[str, Any], kind: str) -> None:
    arrays = {name: [0.0] * (24 if name in ("segments_pitches", "segments_timbre") else 2) for name in msd.ARRAYS}
    with pytest.raises(InputError) as caught:
        msd.measure(dict.fromkeys(msd.SCALARS), {**arrays, **change})
    assert caught.value.kind == kind
