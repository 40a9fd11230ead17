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
from reprise.lib.genres.domains import Domain
from reprise.lib.genres.ensembles import fit_pipeline
from reprise.lib.genres.estimator_files import from_tree, to_tree
from reprise.lib.genres.learners import LEARNERS, TrainingContext
from reprise.lib.tensors import pack_tensors, unpack_tensors

MAX_BYTES = 1 << 30
"""Maximum total size of a model's arrays in bytes."""

_FORMAT = 2
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
    domain
        Music on which the model was trained; None if it is not known.
    min_probability
        If no genre is at least this likely, the model abstains.
    """

    learner: str
    features: tuple[str, ...]
    feature_set: str
    genres: tuple[str, ...]
    estimator: Any
    domain: Domain | None = None
    min_probability: float = 0.0

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
        warnings.filterwarnings("ignore", "n_quantiles .* is greater than the total number of samples")
        warnings.filterwarnings("ignore", "Only one sample available")
        try:
            fit_pipeline(pipeline, cleaned, codes, group_names)
        except ValueError as error:
            raise InputError(
                "bad_params", f"{learner} cannot be fitted with {dict(params)} ({error}): use other hyperparameters"
            ) from error
    # without what predictions do not need, and with arrays in the order of a file: the order can change the last bits
    return GenreModel(learner, tuple(features), feature_set, tuple(names), from_tree(*to_tree(pipeline, "")))


def dump(model: GenreModel) -> bytes:
    """Serialise a model as safetensors. The same model gives the same bytes.

    Raises
    ------
    InputError
        ``too_large``: the model exceeds the size limit of `load`.
    """
    tree, arrays = to_tree(model.estimator, "estimator")
    header: dict[str, Any] = {
        "format": _FORMAT,
        "learner": model.learner,
        "features": list(model.features),
        "feature_set": model.feature_set,
        "genres": list(model.genres),
        "estimator": tree,
        "min_probability": model.min_probability,
        "domain": None,
    }
    if model.domain is not None:
        header["domain"], of_domain = _pack_domain(model.domain)
        arrays |= of_domain
    if sum(array.nbytes for array in arrays.values()) > MAX_BYTES:
        raise InputError(
            "too_large", f"the fitted model exceeds {MAX_BYTES >> 20} MiB: use fewer trees, members or training rows"
        )
    return pack_tensors(arrays, header)


def load(data: bytes) -> GenreModel:
    """Load a model from bytes that `dump` returned.

    No code from the bytes runs: they name kinds of estimators and contain arrays. The indices in trees, which compiled
    code follows, are checked.

    Raises
    ------
    InputError
        ``not_a_model``: the bytes are not a genre model.
    """
    try:
        if data[:2] == b"PK":
            raise InputError(
                "not_a_model",
                "it has the format of an older version of reprise: run train-genre --reproduce ID --force, then"
                " score-genres --force",
            )
        if len(data) > 2 * MAX_BYTES:
            raise ValueError(f"it is larger than {2 * MAX_BYTES >> 20} MiB")
        header, arrays = unpack_tensors(data)
        model = _read_model(header, arrays)
    except InputError:
        raise
    except Exception as error:  # libraries can raise any error when they predict with damaged arrays
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError("not_a_model", f"the file is not a genre model ({reason}): train the model again") from None
    return model


def _read_model(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> GenreModel:
    if header["format"] != _FORMAT:
        raise ValueError(f"unsupported format {header['format']!r}")
    names = [header["features"], header["genres"]]
    if not all(isinstance(one, list) and one and len(set(one)) == len(one) for one in names):
        raise TypeError("features or genres are not a list of distinct names")
    if not all(isinstance(one, str) for one in (header["learner"], header["feature_set"], *names[0], *names[1])):
        raise TypeError("a name is not a string")
    if sorted(header["genres"]) != header["genres"]:
        raise ValueError("the genres are not sorted")
    model = GenreModel(
        header["learner"],
        tuple(header["features"]),
        header["feature_set"],
        tuple(header["genres"]),
        from_tree(header["estimator"], arrays),
        None if header["domain"] is None else _read_domain(header["domain"], arrays),
        float(header["min_probability"]),
    )
    d, k = len(model.features), len(model.genres)
    found = np.asarray(model.estimator.predict_proba(np.vstack([np.zeros(d), np.full(d, np.nan)])))
    if found.shape != (2, k) or not np.isfinite(found).all() or (found < 0).any() or (found.sum(axis=1) <= 0).any():
        raise ValueError("its predictions are not probabilities")
    return model


def _pack_domain(domain: Domain) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the domain for the header of a file, and its arrays."""
    arrays: dict[str, NDArray[Any]] = {"domain/quantiles": domain.quantiles}
    trees: dict[str, Any] = {}
    for name, pipeline in (("distances", domain.distances), ("other", domain.other)):
        trees[name] = None
        if pipeline is not None:
            trees[name], more = to_tree(pipeline, f"domain/{name}")
            arrays |= more
    limits = {"max_distance": domain.max_distance, "max_other": domain.max_other}
    return {"features": list(domain.features), **trees, **limits}, arrays


def _read_domain(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Domain:
    domain = Domain(
        tuple(map(str, header["features"])),
        arrays["domain/quantiles"],
        from_tree(header["distances"], arrays),
        float(header["max_distance"]),
        None if header["other"] is None else from_tree(header["other"], arrays),
        float(header["max_other"]),
    )
    if not (domain.measure(np.zeros((1, len(domain.features)))) >= 0).all():
        raise ValueError("its domain cannot be measured")
    return domain


def _replace_unusable(rows: NDArray[np.floating[Any]], d: int) -> Float64Array:
    """Return rows as float64, with NaN for values that are infinite or overflow float32."""
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != d:
        raise ValueError(f"expected rows of {d} features, got shape {values.shape}")
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= _MAX_VALUE, values, np.nan)
