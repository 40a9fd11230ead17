"""The scale of the analysis: real recordings beside real files of the dataset."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from reprise.jobs._shipped_models.fit_analysis_scale import (
    CONFIDENCES,
    SHOWN,
    Analysis,
    analyse_source,
    compute_quantiles,
    fit,
    read_dataset,
    weigh,
)
from reprise.lib.analysis import dataset_scale
from reprise.lib.analysis.analyser import analyse, measure
from reprise.lib.arrays import Float64Array


@pytest.fixture(scope="module")
def dataset(shared_data: Path) -> list[Analysis]:
    return read_dataset(shared_data / "msd")


@pytest.fixture(scope="module")
def recordings(shared_data: Path) -> list[Analysis]:
    """Analyses of recordings that the scale was not fitted to."""
    return analyse_source(shared_data / "audio", analyse)


def quantiles(analyses: list[Analysis], name: str) -> Float64Array:
    return compute_quantiles(*weigh([[one] for one in analyses], name), SHOWN)


@pytest.mark.parametrize("name", CONFIDENCES)
def test_tables_keep_the_order_and_the_ends(name: str) -> None:
    ours, theirs = dataset_scale.CONFIDENCES[name]
    assert (np.diff(ours) > 0).all()
    assert (np.diff(theirs) >= 0).all()
    assert (ours[0], ours[-1], theirs[0], theirs[-1]) == (0, 1, 0, 1)


def test_scaling_keeps_everything_else() -> None:
    signal = 0.1 * np.random.default_rng(0).standard_normal(3 * 22_050).astype(np.float32)
    measured, scaled = measure(signal), analyse(signal)
    assert measured.keys() == scaled.keys()
    for name in measured.keys() - {*CONFIDENCES, "segments_timbre"}:
        np.testing.assert_array_equal(measured[name], scaled[name])
    np.testing.assert_array_equal(measured["segments_timbre"][:, 0], scaled["segments_timbre"][:, 0])


def test_weighted_quantiles() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert compute_quantiles(values, np.ones(3), np.array([0.0, 0.5, 1.0])).tolist() == [1, 2, 3]
    # a source of two files counts as much as a source of one
    sources = [[{"x": 0.0}, {"x": 0.0}], [{"x": 1.0}]]
    assert weigh(sources, "x")[1].tolist() == [0.5, 0.5, 1]


@pytest.mark.slow
def test_confidences_are_distributed_as_in_the_dataset(dataset: list[Analysis], recordings: list[Analysis]) -> None:
    assert len(recordings) == 6
    np.testing.assert_allclose(
        quantiles(recordings, "segments_confidence"), quantiles(dataset, "segments_confidence"), atol=0.1
    )
    for name in ("key_confidence", "mode_confidence", "time_signature_confidence"):
        low, _, _, _, high = quantiles(dataset, name)
        assert low <= quantiles(recordings, name)[2] <= high
    assert quantiles(recordings, "mode_confidence")[-1] < 0.8


@pytest.mark.slow
def test_timbre_and_loudness_are_distributed_as_in_the_dataset(
    dataset: list[Analysis], recordings: list[Analysis]
) -> None:
    def describe(analyses: list[Analysis]) -> Float64Array:
        rows = [np.reshape(one["segments_timbre"], (-1, 12)) for one in analyses]
        return np.array([[timbre.mean(axis=0), timbre.std(axis=0)] for timbre in rows])

    low, high = np.quantile(describe(dataset), (0.02, 0.98), axis=0)
    found = np.median(describe(recordings), axis=0)
    assert ((low <= found) & (found <= high)).all(), np.round([low, found, high])
    low, _, _, _, high = quantiles(dataset, "loudness")
    assert low <= quantiles(recordings, "loudness")[2] <= high


@pytest.mark.slow
def test_the_fit_finds_a_known_scale(dataset: list[Analysis], tmp_path: Path) -> None:
    """A measure that is the dataset's, squared and with another timbre, gets the dataset's values again."""
    factors, offsets = np.linspace(2, 4, 12), np.linspace(-30, 30, 12)
    factors[0], offsets[0] = 1, 0
    measured = [
        {
            **{name: np.square(one[name]) for name in CONFIDENCES},
            "segments_timbre": (np.reshape(one["segments_timbre"], (-1, 12)) + offsets) / factors,
        }
        for one in dataset
    ]
    module = tmp_path / "scale.py"
    module.write_text("\n".join(fit(dataset, [[one] for one in measured])))
    found = runpy.run_path(str(module))
    np.testing.assert_allclose(found["TIMBRE_FACTORS"], factors, rtol=1e-3)
    np.testing.assert_allclose(found["TIMBRE_OFFSETS"], offsets, atol=0.1)
    ours, theirs = found["CONFIDENCES"]["mode_confidence"]
    np.testing.assert_allclose(np.sqrt(ours), theirs, atol=2e-3)
