"""Domains of models: distances equal a plain formula, limits come from held-out rows, and other music lies outside."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from reprise.lib.genres import domains
from reprise.lib.genres.domains import QUANTILES, Distances, Domain, fit_domain
from reprise.lib.genres.models import dump, fit_model, load

D = 6
FEATURES = tuple(f"feature {number}" for number in range(D))
MIXING = np.random.default_rng(0).standard_normal((D, D))


def draw(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Draw correlated rows, all shifted by ``shift`` standard deviations in the same direction."""
    rows = np.random.default_rng(seed).standard_normal((count, D))
    rows[:, 0] += shift
    return rows @ MIXING


def name_groups(count: int, size: int = 5) -> np.ndarray:
    return np.array([f"song {row // size}" for row in range(count)], dtype=object)


@cache
def fitted(other: bool = False) -> Domain:
    more = {"other": draw(300, 2, 3), "other_groups": name_groups(300)} if other else {}
    return fit_domain(draw(600, 1), name_groups(600), FEATURES, seed=3, **more)


def test_distances_equal_a_plain_formula() -> None:
    rows, queries = draw(80, 4), draw(20, 5, 0.7)
    covariance = LedoitWolf().fit(rows).covariance_ + 1e-6 * np.eye(D)
    inverse = np.linalg.inv(covariance)
    expected = [mahalanobis(query, rows.mean(axis=0), inverse) / np.sqrt(D) for query in queries]
    np.testing.assert_allclose(Distances().fit(rows).transform(queries)[:, 0], expected, rtol=1e-9)


def test_quite_another_value_of_a_constant_feature_lies_outside() -> None:
    rows, queries = draw(200, 6), draw(100, 7)
    rows[:, 2] = queries[:, 2] = 4.0
    domain = fit_domain(rows, name_groups(200), FEATURES, seed=0)
    assert np.median(domain.measure(queries)) < 1
    queries[:, 2] = 12.0
    assert (domain.measure(queries) > 2).all()


def test_one_percent_of_unseen_rows_of_the_same_music_lie_outside() -> None:
    outside = fitted().measure(draw(5000, 7))
    assert outside.dtype == np.float64
    assert (outside >= 0).all()
    assert 0.002 < (outside > 1).mean() < 0.03


def test_the_further_from_the_training_rows_the_further_outside() -> None:
    shifted = [fitted().measure(draw(100, 8, shift)) for shift in (0, 2, 4, 8)]
    medians = [np.median(measured) for measured in shifted]
    assert medians == sorted(medians)
    assert medians[0] < 1
    assert (shifted[-1] > 1).all()


def test_the_limit_is_that_of_the_rows_themselves_if_none_can_be_held_out() -> None:
    rows = draw(200, 9)
    domain = fit_domain(rows, np.array(["one song"] * 200, dtype=object), FEATURES, seed=0)
    assert np.quantile(domain.measure(rows), 0.99) == pytest.approx(1)


def test_held_out_rows_share_no_group_with_the_others() -> None:
    """The rows of a song are nearly equal: if the other rows of its song were known, the limit would be too small."""
    songs = np.repeat(np.random.default_rng(10).standard_t(3, (30, D)), 8, axis=0)
    rows = songs + 0.01 * draw(240, 11)
    groups = name_groups(240, 8)
    apart = fit_domain(rows, groups, FEATURES, seed=0)
    mixed = fit_domain(rows, np.arange(240).astype(str).astype(object), FEATURES, seed=0)
    assert apart.max_distance > 1.1 * mixed.max_distance
    np.testing.assert_allclose(
        apart.measure(rows) * apart.max_distance, mixed.measure(rows) * mixed.max_distance, rtol=1e-9
    )


def test_equal_rows_have_a_domain() -> None:
    rows = np.full((40, D), 2.0)
    domain = fit_domain(rows, name_groups(40), FEATURES, seed=0)
    assert (domain.measure(rows[:2]) <= 1).all()
    assert (domain.measure(rows[:2] + 1) > 1).all()


def test_music_of_another_kind_lies_outside() -> None:
    alone, beside = fitted(), fitted(other=True)
    own, other = draw(2000, 12), draw(2000, 13, 3)
    assert 0.005 < (beside.measure(own) > 1).mean() < 0.08
    # most of the other music is near enough to the training rows
    assert (alone.measure(other) > 1).mean() < 0.5
    assert (beside.measure(other) > 1).mean() > 0.75


def test_the_greater_of_both_measures_counts() -> None:
    beside = fitted(other=True)
    assert beside.other is not None
    rows = np.concatenate([draw(200, 14), draw(200, 15, 3), draw(50, 16, -9)])
    by_distance = beside.distances.transform(rows)[:, 0] / beside.max_distance
    by_kind = beside.other.predict_proba(rows)[:, 1] / beside.max_other
    assert 0 < (by_distance > by_kind).sum() < len(rows)
    np.testing.assert_array_equal(beside.measure(rows), np.maximum(by_distance, by_kind))
    np.testing.assert_array_equal(replace(beside, other=None).measure(rows), by_distance)
    # the other music changes nothing about the distances
    np.testing.assert_array_equal(fitted().measure(rows), by_distance)


def test_the_limit_of_the_other_kind_is_exceeded_by_two_percent_of_unseen_rows() -> None:
    beside = fitted(other=True)
    assert beside.other is not None
    assert isinstance(beside.other[-1], LogisticRegression)
    own = beside.other.predict_proba(draw(5000, 17))[:, 1]
    assert 0.005 < (own > beside.max_other).mean() < 0.05


def test_rows_with_more_than_half_of_the_values_missing_are_not_measured() -> None:
    rows = draw(4, 18)
    rows[1, 3:] = np.nan  # half
    rows[2, 2:] = np.nan
    rows[3] = np.nan
    for other in (False, True):
        measured = fitted(other).measure(rows)
        assert np.isnan(measured).tolist() == [False, False, True, True]
        # a missing value counts as the median of the training rows
        filled = rows[1].copy()
        filled[3:] = fitted().quantiles[1, 3:]
        np.testing.assert_allclose(measured[1], fitted(other).measure(filled[None])[0], rtol=1e-9)


@pytest.mark.parametrize("other", [False, True])
def test_values_that_are_not_finite_count_as_missing_and_huge_ones_lie_outside(other: bool) -> None:
    rows = draw(3, 9)
    rows[0, 1], rows[1, 1], rows[2, 1] = np.inf, -np.inf, np.nan
    missing = np.where(np.isfinite(rows), rows, np.nan)
    np.testing.assert_array_equal(fitted(other).measure(rows), fitted(other).measure(missing))
    assert (fitted(other).measure(np.full((1, D), 3e38)) > 1).all()


def test_no_rows_give_no_measures() -> None:
    assert fitted(other=True).measure(np.empty((0, D))).shape == (0,)


@given(
    missing=st.floats(0, 0.9),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_a_row_is_measured_alone_as_among_others(missing: float, dtype: type, seed: int) -> None:
    rows: np.ndarray = draw(9, seed).astype(dtype)
    rows[np.random.default_rng(seed).random(rows.shape) < missing] = np.nan
    domain = fitted(other=True)
    given_rows = rows.copy()
    measured = domain.measure(rows)
    np.testing.assert_array_equal(rows, given_rows)
    alone = np.concatenate([domain.measure(row[None]) for row in rows])
    np.testing.assert_allclose(measured, alone, rtol=1e-9)
    np.testing.assert_array_equal(np.isnan(measured), np.isnan(rows).sum(axis=1) > D / 2)


def test_the_description_has_the_quantiles_of_each_feature() -> None:
    rows = draw(101, 19)
    rows[::3, 1] = np.nan
    rows[:, 4] = np.nan
    described = fit_domain(rows, name_groups(101), FEATURES, seed=0).describe()
    assert tuple(described) == FEATURES
    for name, column in zip(FEATURES, rows.T, strict=True):
        known = column[~np.isnan(column)]
        expected = np.quantile(known, QUANTILES) if len(known) else np.zeros(3)
        np.testing.assert_allclose(described[name], expected, rtol=1e-5)
        assert all(type(value) is float for value in described[name])
    assert QUANTILES == (0.01, 0.5, 0.99)


def test_fits_are_reproducible() -> None:
    again = fit_domain(
        draw(600, 1), name_groups(600), FEATURES, seed=3, other=draw(300, 2, 3), other_groups=name_groups(300)
    )
    rows = draw(50, 20)
    np.testing.assert_array_equal(again.measure(rows), fitted(other=True).measure(rows))
    assert again.describe() == fitted(other=True).describe()


def test_of_many_rows_a_sample_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "_MAX_ROWS", 200)
    few = fit_domain(draw(600, 1), name_groups(600), FEATURES, seed=3)
    rows = draw(5000, 7)
    assert few.describe() != fitted().describe()
    assert 0.001 < (few.measure(rows) > 1).mean() < 0.06
    again = fit_domain(draw(600, 1), name_groups(600), FEATURES, seed=3)
    np.testing.assert_array_equal(again.measure(rows), few.measure(rows))


@pytest.mark.parametrize("other", [False, True])
def test_a_file_of_a_model_keeps_its_domain(other: bool) -> None:
    rows, genres = draw(60, 21), np.array(["Jazz", "Rock", "Été"])[np.arange(60) % 3]
    model = fit_model(
        "logistic_regression", {}, rows, genres, name_groups(60),
        features=FEATURES, feature_set="audio", balanced=False, seed=0,
    )  # fmt: skip
    assert (model.domain, model.min_probability) == (None, 0)
    assert load(dump(model)).domain is None
    model = replace(model, domain=fitted(other), min_probability=0.25)
    data = dump(model)
    loaded = load(data)
    assert loaded.domain is not None
    assert loaded.domain.features == FEATURES
    assert loaded.min_probability == 0.25
    assert dump(loaded) == data
    queries = np.concatenate([draw(20, 22), draw(20, 23, 3), np.full((1, D), np.nan)])
    np.testing.assert_allclose(loaded.domain.measure(queries), fitted(other).measure(queries), rtol=1e-12)
    assert loaded.domain.describe() == fitted(other).describe()
