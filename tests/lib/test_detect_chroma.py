"""Tests of beat chroma and patches against literal formulas, on real and synthetic tracks and in edge cases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reprise.lib import msd
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.patches import (
    HALF_PATCH_SIZE,
    HALF_PATCH_WEIGHTS,
    count_patches,
    median_patch,
    patch_magnitudes,
    unfold,
)
from reprise.lib.errors import InputError
from reprise.lib.music import sample

INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
TINY = 1e-6


def literal_chroma(pitches: Any, loudness: Any, start: Any, beats: Any) -> Any:
    """Compute beat chroma in float64 from the overlap of every segment with every beat."""
    x = np.asarray(pitches, float).reshape(-1, 12).T * 10 ** (np.asarray(loudness, float) / 20)
    s, b = np.asarray(start, float), np.asarray(beats, float)
    if b.max() > s.max():
        s, x = np.append(s, b.max()), np.append(x, x[:, -1:], axis=1)
    overlap = np.minimum(s[1:, None], b[None, 1:]) - np.maximum(s[:-1, None], b[None, :-1])
    y = x[:, :-1] @ np.maximum(overlap, 0)
    y += x[:, :1] * np.maximum(np.minimum(s[0], b[1:]) - b[:-1], 0)  # the first segment is extended to the first beat
    width = np.diff(b)
    y /= np.where(width > 0, width, 1)
    at_once = x[:, [np.max(np.flatnonzero(s <= t), initial=0) for t in b]]
    y = np.append(np.where(width > 0, y, at_once[:, :-1]), at_once[:, -1:], axis=1)
    peak = y.max(axis=0)
    return np.where(peak > 0, y / np.where(peak > 0, peak, 1), 0)


def literal_median(chroma: Any) -> Any:
    """Compute the 900-D median of the published code from all patches."""
    norms = np.linalg.norm(chroma, axis=0)
    norms[norms == 0] = 1
    powered = (chroma / norms) ** 1.96
    again = np.linalg.norm(powered, axis=0)
    again[again == 0] = 1
    sharp = norms * powered / again
    windows = np.lib.stride_tricks.sliding_window_view(sharp, 75, axis=1).swapaxes(0, 1)
    patches = np.fft.fftshift(np.abs(np.fft.fft2(windows)), axes=(1, 2)).swapaxes(1, 2).reshape(len(windows), 900)
    return np.median(patches, axis=0)


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def analysis(n_segments: int, n_beats: int, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.uniform(0, 60, n_segments))
    beats = np.sort(rng.uniform(start[0] if n_segments else 0, 61, n_beats))
    pitches = rng.random((n_segments, 12))
    return [pitches.astype("f"), rng.uniform(-60, 0, n_segments).astype("f"), start.astype("f"), beats.astype("f")]


@pytest.mark.slow
def test_real_tracks_equal_the_formulas(shared_data: Path) -> None:
    files = sorted((shared_data / "msd").rglob("*.h5"))
    assert len(files) == 260
    n_vectors = 0
    for path in files:
        with msd.open_msd(path) as file:
            read = file.read(set(INPUTS), 0, 1)
        inputs = [read[name][0] for name in INPUTS]
        chroma = beat_chroma(*inputs)
        if not chroma.shape[1]:
            assert len(inputs[2]) < 3 or len(inputs[3]) < 2
            continue
        expected = literal_chroma(*inputs)
        np.testing.assert_allclose(chroma, expected, atol=TINY, rtol=0)
        if count_patches(chroma.shape[1]):
            vector = unfold(median_patch(chroma))
            np.testing.assert_allclose(unit(vector), unit(literal_median(expected)), atol=TINY, rtol=0)
            n_vectors += 1
    assert n_vectors > 250


@pytest.mark.parametrize("index", range(6))
def test_synthetic_tracks_equal_the_formulas(index: int) -> None:
    plan = sample.SamplePlan(60, seed=7)
    fields = sample.compute_msd_columns(sample.compose(plan, index))
    inputs = [np.asarray(fields[name], dtype=np.float32) for name in INPUTS]
    expected = literal_chroma(*inputs)
    chroma = beat_chroma(*inputs)
    np.testing.assert_allclose(chroma, expected, atol=TINY, rtol=0)
    if count_patches(chroma.shape[1]):
        np.testing.assert_allclose(
            unit(unfold(median_patch(chroma))), unit(literal_median(expected)), atol=TINY, rtol=0
        )


@given(st.integers(3, 30), st.integers(2, 40), st.integers(0, 10**6), st.floats(-3, 30))
def test_any_beats_among_any_segments(n_segments: int, n_beats: int, seed: int, shift: float) -> None:
    inputs = analysis(n_segments, n_beats, seed)
    inputs[3] = np.sort(np.round(inputs[3] + shift, 1)).astype("f")  # duplicates, beats before and after all segments
    chroma = beat_chroma(*inputs)
    np.testing.assert_allclose(chroma, literal_chroma(*inputs), atol=2e-5, rtol=0)
    assert chroma.min() >= 0
    assert chroma.max() <= 1


@pytest.mark.parametrize(("n_segments", "n_beats"), [(0, 0), (0, 100), (2, 100), (100, 0), (100, 1)])
def test_too_few_segments_or_beats_give_no_columns(n_segments: int, n_beats: int) -> None:
    assert beat_chroma(*analysis(n_segments, n_beats)).shape == (12, 0)


def test_silence_is_zero_and_does_not_affect_other_beats() -> None:
    inputs = analysis(200, 100)
    inputs[0][50:120] = 0
    chroma = beat_chroma(*inputs)
    silent = chroma.max(axis=0) == 0
    assert 0 < silent.sum() < 100
    assert np.isfinite(patch_magnitudes(chroma)).all()
    np.testing.assert_allclose(unfold(median_patch(chroma)), literal_median(chroma.astype(float)), rtol=2e-5, atol=1e-4)
    assert not median_patch(np.zeros((12, 80), dtype=np.float32)).any()


@pytest.mark.parametrize(
    ("index", "value", "kind"),
    [
        (0, np.nan, "not_finite"),
        (1, np.inf, "not_finite"),
        (2, np.nan, "not_finite"),
        (3, np.nan, "not_finite"),
        (2, 1e3, "not_ascending"),
        (3, 1e3, "not_ascending"),
    ],
)
def test_invalid_values_are_reported(index: int, value: float, kind: str) -> None:
    inputs = analysis(20, 20)
    inputs[index].reshape(-1)[3] = value
    with pytest.raises(InputError) as error:
        beat_chroma(*inputs)
    assert error.value.kind == kind


@pytest.mark.parametrize("index", [0, 1, 2])
def test_different_lengths_are_reported(index: int) -> None:
    inputs = analysis(20, 20)
    inputs[index] = inputs[index][:-1]
    with pytest.raises(InputError) as error:
        beat_chroma(*inputs)
    assert error.value.kind == "lengths_differ"


def chromas(n_beats: int) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float32, (12, n_beats), elements=st.floats(0, 1, width=32), fill=st.just(0.5))


@given(chromas(75), st.integers(0, 11), st.integers(0, 74))
def test_median_patch_is_invariant_to_key_and_circular_shift(chroma: Any, semitones: int, beats: int) -> None:
    chroma[0, 0] = 1
    moved = np.roll(chroma, (semitones, beats), axis=(0, 1))
    np.testing.assert_allclose(unit(median_patch(moved)), unit(median_patch(chroma)), atol=TINY, rtol=0)


def test_median_patch_of_a_track_is_invariant_to_key() -> None:
    chroma = beat_chroma(*analysis(400, 300))
    for semitones in range(12):
        rolled = median_patch(np.roll(chroma, semitones, axis=0))
        np.testing.assert_allclose(unit(rolled), unit(median_patch(chroma)), atol=TINY, rtol=0)


@pytest.mark.parametrize("n_beats", [0, 1, 74, 75, 76, 77, 200])
def test_one_patch_per_beat_without_padding(n_beats: int) -> None:
    chroma = np.random.default_rng(1).random((12, n_beats)).astype("f")
    assert (
        patch_magnitudes(chroma).shape
        == (max(n_beats - 74, 0), HALF_PATCH_SIZE)
        == (count_patches(n_beats), HALF_PATCH_SIZE)
    )
    if n_beats < 75:
        with pytest.raises(ValueError, match="a patch needs at least 75 beats"):
            median_patch(chroma)


def test_half_patches_contain_all_900_values() -> None:
    rng = np.random.default_rng(2)
    one, other = patch_magnitudes(rng.random((12, 75)).astype("f"))[0], rng.random(HALF_PATCH_SIZE).astype("f")
    whole = unfold(one)
    assert whole.shape == (900,)
    assert whole[450] == whole.max()  # DC
    assert np.unique(unfold(np.arange(HALF_PATCH_SIZE, dtype=np.float32))).size == HALF_PATCH_SIZE
    distance = np.linalg.norm(unfold(one) - unfold(other))
    np.testing.assert_allclose(np.linalg.norm((one - other) * HALF_PATCH_WEIGHTS), distance, rtol=1e-6)
