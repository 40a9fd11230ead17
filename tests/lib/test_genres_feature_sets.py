"""Feature sets are columns of their tables, and pooling equals statistics over all frames."""

import csv
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.features.gtzan import WINDOW_SAMPLES, measure
from reprise.lib.genres.feature_sets import (
    CLIP_WINDOWS,
    FEATURE_SETS,
    INPUT_ANALYSES,
    INPUT_AUDIO,
    INPUT_LIBRARY_ANALYSES,
    INPUT_TAGS,
    MIN_TAG_PROBABILITY,
    TEMPO,
    WINDOW_S,
    FeatureSet,
    compute_logits,
    name_input,
    pool,
    pool_tags,
)
from reprise.lib.music import sample
from reprise.lib.music.render import render
from reprise.lib.tables import AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES, TRACK_TAGS
from reprise.lib.tables.tags import TAGS

PAIR = ("level_mean", "level_var")
SETS = pytest.mark.parametrize("one", FEATURE_SETS.values(), ids=FEATURE_SETS.keys())


def windows_of(frames: list[np.ndarray]) -> np.ndarray:
    """Return the mean and the variance of each window's frames."""
    return np.array([[values.mean(), values.var()] for values in frames]).reshape(-1, 2)


def pooled_windows(window: int, count: int, span: int) -> range:
    """Return the windows to pool for one of ``count``: ``span`` windows around it, shifted to stay in the track."""
    first = max(min(window - span // 2, count - span), 0)
    return range(first, min(first + span, count))


@SETS
def test_a_set_consists_of_float_columns_of_its_table(one: FeatureSet) -> None:
    assert FEATURE_SETS[one.name] is one
    assert len(set(one.columns)) == len(one.columns)
    assert {one.table.column(name).type for name in one.columns} == {"float"}
    assert not {"start_s", "length_s"} & set(one.columns)
    assert one.table.name.startswith("audio") == (TEMPO in one.columns and "mfcc1_mean" in one.columns)


@SETS
def test_every_mean_has_its_variance(one: FeatureSet) -> None:
    for name in one.columns:
        stem, _, kind = name.rpartition("_")
        if kind in ("mean", "var"):
            assert {f"{stem}_mean", f"{stem}_var"} <= set(one.columns)


def test_sizes_of_the_sets() -> None:
    """15 scalars as in the thesis; mean and variance of 5 + 12 + 12 segment features; 58 GTZAN columns minus length."""
    sizes = {name: len(one.columns) for name, one in FEATURE_SETS.items()}
    assert sizes == {
        "gtzan": 57,
        "gtzan_windows": 57,
        "audio": 57 + 2 * (1 + 7 + 1 + 6),
        "msd_scalars": 15,
        "msd_segments": 58,
        "msd": 15 + 58 + 1,
        "track_tags": 50,
    }
    assert set(FEATURE_SETS["msd"].columns) - set(FEATURE_SETS["msd_scalars"].columns) - set(
        FEATURE_SETS["msd_segments"].columns
    ) == {"beats_period_cv"}
    assert [name for name, one in FEATURE_SETS.items() if one.by_window] == ["gtzan_windows"]


def test_features_are_the_columns_but_for_tags() -> None:
    for name, one in FEATURE_SETS.items():
        assert one.features == one.columns or name == "track_tags"
    tags = FEATURE_SETS["track_tags"]
    assert (tags.table, tags.columns) == (TRACK_TAGS, tuple(TAGS))
    assert len(set(tags.features)) == len(tags.features) == 3 * len(TAGS)
    first, last = tags.columns[0], tags.columns[-1]
    assert tags.features[0] == f"{first}_logit_mean"
    assert tags.features[49:51] == (f"{last}_logit_mean", f"{first}_logit_std")
    assert tags.features[99:101] == (f"{last}_logit_std", f"{first}_mean")


def test_a_set_describes_its_own_domain_but_for_tags() -> None:
    for name, one in FEATURE_SETS.items():
        assert one.domain_set is FEATURE_SETS["gtzan" if name == "track_tags" else name]
        assert one.domain_set.domain_set is one.domain_set


def test_inputs_of_models() -> None:
    names = {
        (name, library): name_input(name, from_library=library) for name in FEATURE_SETS for library in (False, True)
    }
    inputs = {
        AUDIO_GENRE_FEATURES.name: (INPUT_AUDIO, INPUT_AUDIO),
        TRACK_TAGS.name: (INPUT_TAGS, INPUT_TAGS),
        MSD_GENRE_FEATURES.name: (INPUT_ANALYSES, INPUT_LIBRARY_ANALYSES),
    }
    for (name, library), found in names.items():
        assert found == inputs[FEATURE_SETS[name].table.name][library]
    assert set(names.values()) == {"audio", "track tags", "analyses", "library analyses"}
    with pytest.raises(KeyError):
        name_input("future", from_library=False)


def test_window_length_equals_that_of_the_features() -> None:
    assert WINDOW_S * SAMPLE_RATE == WINDOW_SAMPLES
    assert CLIP_WINDOWS * WINDOW_S == 30


def test_the_gtzan_set_has_the_columns_of_the_published_table(shared_data: Path) -> None:
    with (shared_data / "gtzan" / "features_30_sec.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert FEATURE_SETS["gtzan"].columns == tuple(header[2:-1])  # file name and length before, label after


@given(
    tracks=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=14), min_size=1, max_size=4),
    span=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from([0.0, 1.0, 1e6]),
)
def test_pooling_equals_statistics_over_all_frames(tracks: list[list[int]], span: int, seed: int, level: float) -> None:
    """Windows of one to six frames, several tracks in sequence, values around 0 or far from it."""
    rng = np.random.default_rng(seed)
    frames = [[level + rng.standard_normal(count) for count in track] for track in tracks]
    expected = [
        windows_of([np.concatenate([track[i] for i in pooled_windows(window, len(track), span)])])[0]
        for track in frames
        for window in range(len(track))
    ]
    lengths = [float(count) for track in tracks for count in track]
    starts = np.cumsum([0, *(len(track) for track in tracks[:-1])])
    windows = np.concatenate([windows_of(track) for track in frames])
    pooled = pool(windows, lengths, PAIR, span, starts=starts)
    np.testing.assert_allclose(pooled, expected, rtol=1e-9, atol=1e-9 * max(level, 1))
    # a track pooled alone gives the same values to the last bit
    alone = [
        pool(windows[start:stop], lengths[start:stop], PAIR, span)
        for start, stop in zip(starts, [*starts[1:], len(windows)], strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(alone), pooled)


def test_the_span_is_shifted_at_the_ends_of_a_track() -> None:
    windows = np.column_stack([np.arange(25.0), np.zeros(25)])
    pooled = pool(windows, np.full(25, 3.0), PAIR)
    assert pooled[:7, 0].tolist() == [4.5, 4.5, 4.5, 4.5, 4.5, 4.5, 5.5]
    assert pooled[-6:, 0].tolist() == [18.5, 19.5, 19.5, 19.5, 19.5, 19.5]
    np.testing.assert_allclose(pooled[:, 1], 8.25)  # variance of ten consecutive integers


def test_windows_are_weighted_by_their_lengths() -> None:
    pooled = pool([[0, 0], [3, 1]], [3.0, 1.5], PAIR)
    # weights 2/3 at 0 and 1/3 at 3: mean variance 1/3 · 1, variance of the means 2/3 · 1 + 1/3 · 4 = 2
    np.testing.assert_allclose(pooled, [[1, 1 / 3 + 2]] * 2)


def test_one_window_no_window_and_silence() -> None:
    np.testing.assert_array_equal(pool([[2.5, 0.5]], [3.0], PAIR), [[2.5, 0.5]])
    assert pool(np.empty((0, 2)), [], PAIR).shape == (0, 2)
    np.testing.assert_array_equal(pool([[0.1, 0]] * 12, [3.0] * 12, PAIR), [[0.1, 0]] * 12)


def test_unknown_windows_are_ignored_and_other_columns_unchanged() -> None:
    nan = np.nan
    windows: list[list[float]] = [[1, 0, 120], [nan, 0, 121], [3, nan, nan], [5, 0, 123]]
    pooled = pool(windows, [3.0] * 4, (*PAIR, TEMPO))
    np.testing.assert_array_equal(pooled, [[3, 4, 120], [3, 4, 121], [3, 4, nan], [3, 4, 123]])
    np.testing.assert_array_equal(pool([[nan, 0], [1, nan]], [3.0, 3.0], PAIR), [[nan, nan]] * 2)


def test_the_input_is_not_modified() -> None:
    windows = np.array([[1.0, 0.0], [2.0, 0.0]])
    pool(windows, [3.0, 3.0], PAIR)
    assert windows.tolist() == [[1, 0], [2, 0]]


def pool_one_clip(windows: np.ndarray) -> list[float]:
    """Pool the tags of some windows in a straightforward way."""
    limited = [[min(max(value, 1e-7), 1 - 1e-7) for value in column] for column in windows.T]
    logits = [[math.log(value / (1 - value)) for value in column] for column in limited]
    return [
        *(statistics.fmean(column) for column in logits),
        *(statistics.pstdev(column) for column in logits),
        *(statistics.fmean(column) for column in windows.T),
    ]


@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=4),
    span=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    sure=st.floats(0, 1),
)
@settings(max_examples=30, deadline=None)
def test_pooled_tags_equal_those_of_a_plain_loop(lengths: list[int], span: int, seed: int, sure: float) -> None:
    """Several tracks in sequence; some probabilities are 0 or 1, of which the logits are limited."""
    rng = np.random.default_rng(seed)
    tracks = [rng.random((length, len(TAGS))) for length in lengths]
    for track in tracks:
        track[rng.random(track.shape) < sure] = rng.choice([0.0, 1.0, 1e-9])
    expected = [
        pool_one_clip(track[list(pooled_windows(window, len(track), span))])
        for track in tracks
        for window in range(len(track))
    ]
    starts = np.cumsum([0, *lengths[:-1]])
    pooled = pool_tags(np.concatenate(tracks), span, starts=starts)
    # the square root of the last bits of a variance of 0 is about 1e-7
    np.testing.assert_allclose(pooled, expected, rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([pool_tags(track, span) for track in tracks]), pooled)


def test_pooled_tags_of_float32_have_the_digits_of_float64() -> None:
    windows = np.random.default_rng(3).random((15, len(TAGS))).astype(np.float32)
    pooled = pool_tags(windows)
    assert pooled.dtype == np.float64
    np.testing.assert_allclose(pooled[7], pool_one_clip(windows[2:12].astype(np.float64)), rtol=1e-9)


def test_logits_of_sure_tags_are_limited() -> None:
    limit = math.log((1 - MIN_TAG_PROBABILITY) / MIN_TAG_PROBABILITY)
    found = compute_logits(np.array([0, 1e-30, 0.5, 0.75, 1 - 1e-12, 1]))
    np.testing.assert_allclose(found, [-limit, -limit, 0, math.log(3), limit, limit], rtol=1e-9)


def test_each_set_pools_its_own_way() -> None:
    rng = np.random.default_rng(4)
    lengths_s, starts = np.full(14, 3.0), [0, 12]
    for name in ("gtzan", "gtzan_windows", "audio", "track_tags"):
        one = FEATURE_SETS[name]
        windows = rng.random((14, len(one.columns)))
        clips = one.pool_windows(windows, lengths_s, starts)
        assert clips.shape == (14, len(one.features))
        if name == "gtzan_windows":
            np.testing.assert_array_equal(clips, windows)
        elif name == "track_tags":
            np.testing.assert_array_equal(clips, pool_tags(windows, starts=starts))
        else:
            np.testing.assert_array_equal(clips, pool(windows, lengths_s, one.columns, starts=starts))


@pytest.mark.slow
def test_pooled_windows_of_a_song_are_close_to_features_of_its_clip() -> None:
    """A 30 s clip has its own loudest band, tuning and edges, so its features differ by up to 2 %."""
    columns = [name for name in FEATURE_SETS["gtzan"].columns if name != TEMPO]
    stems = render(sample.compose(sample.SamplePlan(50, seed=1), 0)).values()
    song = np.asarray(sum(stems)).mean(axis=1)
    signal = song[: len(song) // 2 * 2].reshape(-1, 2).mean(axis=1)[: 60 * SAMPLE_RATE].astype(np.float32)
    rows = [row for row in measure(signal) if row["window"] != -1]
    windows = np.array([[row[name] for name in columns] for row in rows], dtype=np.float64)
    lengths_s = np.array([row["length_s"] for row in rows], dtype=np.float64)
    pooled = pool(windows, lengths_s, columns)[9]
    (whole, *_) = measure(signal[4 * WINDOW_SAMPLES : 14 * WINDOW_SAMPLES])
    clip = {name: value for name, value in whole.items() if value is not None}
    for name, value in zip(columns, pooled, strict=True):
        stem, _, kind = name.rpartition("_")
        # scale a mean by the standard deviation of its frames, because some means are near 0
        scale = clip[f"{stem}_var"] ** 0.5 if kind == "mean" else clip[name]
        assert abs(value - clip[name]) <= 0.02 * scale, name
