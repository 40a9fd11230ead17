"""Trained genre models: fit, predict, save and load."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from reprise.lib.arrays import Float64Array
from reprise.lib.errors import InputError
from reprise.lib.genres.ensembles import fit_pipeline
from reprise.lib.genres.learners import LEARNERS, TrainingContext
from reprise.lib.genres.skops_archives import pack, unpack

_MAX_VALUE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class GenreModel:
    """A trained model.

    Parameters
    ----------
    learner
        Key in ``LEARNERS``.
    features
        Names of the d input columns, in order.
    feature_set
        Key in ``FEATURE_SETS`` of the feature set with these features.
    genres
        The k genres in ascending order. The columns of predictions are in the same order.
    estimator
        Fitted pipeline that maps rows, which can contain NaN, to the probabilities of codes 0 to k - 1.
    """

    learner: str
    features: tuple[str, ...]
    feature_set: str
    genres: tuple[str, ...]
    estimator: Any

    def predict(self, rows: NDArray[np.floating[Any]]) -> Float64Array:
        """Predict the probabilities of the genres.

        Parameters
        ----------
        rows
            Shape (n, d). Values that are not finite or overflow float32 are missing values.

        Returns
        -------
        ndarray, float64, shape (n, k)
            All values are at least 0, and each row sums to 1.

        Raises
        ------
        ValueError
            The rows do not have d columns.
        """
        cleaned = _replace_unusable(rows, len(self.features))
        if not len(cleaned):
            return np.zeros((0, len(self.genres)))
        probabilities = np.asarray(self.estimator.predict_proba(cleaned), dtype=np.float64)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_model(
    learner: str,
    params: Mapping[str, Any],
    rows: NDArray[np.floating[Any]],
    genres: ArrayLike,
    groups: ArrayLike,
    *,
    features: Sequence[str],
    feature_set: str,
    balanced: bool,
    seed: int,
) -> GenreModel:
    """Fit a learner. The result is deterministic.

    Parameters
    ----------
    learner
        Key in ``LEARNERS``.
    params
        Hyperparameters that differ from the learner's defaults.
    rows
        Shape (n, d). Values that are not finite or overflow float32 are missing values.
    genres, groups
        Shape (n,), str. Inner splits keep all rows of a group on the same side.
    features
        Names of the d columns.
    feature_set
        Key in ``FEATURE_SETS``.
    balanced
        Whether all genres have the same total weight. Most learners use row weights for this, and naive Bayes uses
        uniform priors. k-NN ignores it.
    seed
        Seed of the learner's random numbers.

    Raises
    ------
    InputError
        ``not_learnable``: there are no rows, there is only one genre, or all values are missing. ``bad_params``: the
        learner is unknown, or the hyperparameters are invalid. ``missing_extra``: the package of the learner is not
        installed.
    ValueError
        The shapes do not match.
    """
    from threadpoolctl import threadpool_limits

    labels, group_names = np.asarray(genres, dtype=object), np.asarray(groups, dtype=object)
    cleaned = _replace_unusable(rows, len(features))
    if not len(cleaned) == len(labels) == len(group_names):
        raise ValueError(f"{len(cleaned)} rows, {len(labels)} genres and {len(group_names)} groups do not match")
    names = sorted(set(labels.tolist()))
    if len(names) < 2:
        fault = f"all rows have the genre {names[0]}" if names else "there are no rows"
        raise InputError("not_learnable", f"{fault}: label tracks of at least two genres")
    if np.isnan(cleaned).all():
        raise InputError(
            "not_learnable", f"the features {feature_set} have no known value in any row: use another feature set"
        )
    if learner not in LEARNERS:
        raise InputError("bad_params", f"unknown learner {learner}; choose from: {', '.join(LEARNERS)}")
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.array([code_of[name] for name in labels.tolist()], dtype=np.int64)
    pipeline = LEARNERS[learner].build(params, TrainingContext(len(names), balanced, seed))
    # one thread: executors fit several models at once, and sums over several threads differ in their last bits
    with threadpool_limits(1), warnings.catch_warnings():
        # a fit that stopped before convergence is evaluated on held-out rows like any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            fit_pipeline(pipeline, cleaned, codes, group_names)
        except ValueError as error:
            raise InputError(
                "bad_params", f"{learner} cannot be fitted with {dict(params)} ({error}): use other hyperparameters"
            ) from error
    return GenreModel(learner, tuple(features), feature_set, tuple(names), pipeline)


def dump(model: GenreModel) -> bytes:
    """Serialise a model as a skops archive. The same model gives the same bytes.

    Raises
    ------
    InputError
        ``too_large``: the model exceeds the size limit of `load`.
    """
    header = {
        "learner": model.learner,
        "features": list(model.features),
        "feature_set": model.feature_set,
        "genres": list(model.genres),
    }
    return pack(header, model.estimator)


def load(data: bytes) -> GenreModel:
    """Load a model from bytes that `dump` returned.

    No code from the bytes runs. Only objects whose types are in an allow-list are created. The contents of these
    objects are checked.

    Raises
    ------
    InputError
        ``not_a_model``: the bytes are not a genre model, or were written with another version of scikit-learn.
        ``missing_extra``: the model is an XGBoost model, and XGBoost is not installed.
    """
    header, estimator = unpack(data)
    return GenreModel(
        header["learner"],
        tuple(header["features"]),
        header["feature_set"],
        tuple(header["genres"]),
        estimator,
    )


def _replace_unusable(rows: NDArray[np.floating[Any]], d: int) -> Float64Array:
    """Return rows as float64, with NaN for values that are infinite or overflow float32."""
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != d:
        raise ValueError(f"expected rows of {d} features, got shape {values.shape}")
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= _MAX_VALUE, values, np.nan)
