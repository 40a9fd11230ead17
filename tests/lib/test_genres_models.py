"""Genre models: predictions, saving and loading, and rejection of damaged or malicious files."""

import contextlib
import hashlib
import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.genres.estimator_files import KINDS
from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.models import GenreModel, dump, fit_model, load
from reprise.lib.tensors import pack_tensors, unpack_tensors

FEATURES = ("loudness", "tempo", "mode", "unknown everywhere", "always 1")
N = 90
SMALL: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 7, "selection": "embedded", "kept": 0.6},
    "gradient_boosting": {"rounds": 5},
    "xgboost": {"rounds": 5},
    "voting": {"members": "laplace+normal+linear+forest+boosting+knn+svm+discriminant2"},
    "naive_bayes": {"selection": "recursive", "kept": 0.4},
    "knn": {"scaling": "standard", "selection": "univariate"},
}


def make_rows(seed: int = 0, n: int = N) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    genres = np.array(["rock", "jazz", "Čeká"], dtype=object)[np.arange(n) % 3]
    rows = rng.normal(size=(n, len(FEATURES))).astype(np.float32)
    rows[:, 0] += 2.0 * (np.arange(n) % 3)
    rows[rng.random(n) < 0.2, 1] = np.nan
    rows[:, 3], rows[:, 4] = np.nan, 1
    return rows, genres, np.array([f"artist {row // 2}" for row in range(n)], dtype=object)


def fit(learner: str, params: dict[str, Any] | None = None, *, balanced: bool = True, seed: int = 7) -> GenreModel:
    rows, genres, groups = make_rows()
    return fit_model(
        learner,
        SMALL.get(learner, {}) if params is None else params,
        rows,
        genres,
        groups,
        features=FEATURES,
        feature_set="toy",
        balanced=balanced,
        seed=seed,
    )


@cache
def model_of(learner: str) -> GenreModel:
    return fit(learner)


@cache
def archive_of(learner: str) -> bytes:
    return dump(model_of(learner))


ROWS = make_rows(1, 40)[0]


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_loaded_model_predicts_the_same_to_the_last_bit(learner: str) -> None:
    model, loaded = model_of(learner), load(archive_of(learner))
    assert (loaded.learner, loaded.features, loaded.feature_set, loaded.genres) == (
        learner,
        FEATURES,
        "toy",
        model.genres,
    )
    assert model.genres == ("jazz", "rock", "Čeká")
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS))
    assert dump(loaded) == archive_of(learner)


SCRIPT = """
import hashlib, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_genres_models as module
for learner in module.LEARNERS:
    data = module.archive_of(learner)
    loaded = module.load(open(f"{sys.argv[2]}/{learner}", "rb").read())
    print(hashlib.sha256(data).hexdigest(), hashlib.sha256(loaded.predict(module.ROWS).tobytes()).hexdigest())
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_and_predicts_the_same(tmp_path: Path) -> None:
    for learner in LEARNERS:
        (tmp_path / learner).write_bytes(archive_of(learner))
    folder = Path(__file__).parent
    found = subprocess.run([sys.executable, "-c", SCRIPT, folder, tmp_path], capture_output=True, text=True, check=True)
    here = [(archive_of(learner), model_of(learner).predict(ROWS).tobytes()) for learner in LEARNERS]
    assert found.stdout.split() == [hashlib.sha256(part).hexdigest() for pair in here for part in pair]


@pytest.mark.parametrize("learner", LEARNERS)
def test_predictions_are_probabilities_for_any_values(learner: str) -> None:
    model = model_of(learner)
    extreme = np.array(
        [
            np.zeros(5),
            np.full(5, np.nan),
            np.full(5, np.inf),
            np.full(5, -np.inf),
            np.full(5, 3e38),
            np.full(5, -3e38),
            np.full(5, 1e300),
            np.full(5, 1e-300),
        ]
    )
    found = model.predict(extreme)
    assert found.shape == (8, 3)
    assert found.dtype == np.float64
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(found[1], found[2])  # infinite values count as unknown
    np.testing.assert_array_equal(found[1], found[6])
    assert model.predict(np.zeros((0, 5), dtype=np.float32)).shape == (0, 3)
    with pytest.raises(ValueError, match="5 features"):
        model.predict(np.zeros((1, 4)))


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_learns_separable_genres(learner: str) -> None:
    rows, genres, _ = make_rows(2, 120)
    model = model_of(learner)
    found = np.array(model.genres, dtype=object)[model.predict(rows).argmax(axis=1)]
    assert (found == genres).mean() > 0.6  # 1/3 by chance


def test_rows_without_information_are_rejected() -> None:
    rows, genres, groups = make_rows()

    def learn(rows: Any, genres: Any, groups: Any) -> GenreModel:
        return fit_model(
            "naive_bayes", {}, rows, genres, groups, features=FEATURES, feature_set="toy", balanced=False, seed=0
        )

    for bad in (
        (rows[:0], genres[:0], groups[:0]),
        (rows, np.full(N, "rock", dtype=object), groups),
        (rows * np.nan, genres, groups),
    ):
        with pytest.raises(InputError) as caught:
            learn(*bad)
        assert caught.value.kind == "not_learnable"
        assert "\n" not in caught.value.message
    with pytest.raises(ValueError, match="do not match"):
        learn(rows, genres[1:], groups)


Change = Callable[[dict[str, Any], dict[str, np.ndarray[Any, Any]]], None]


def rewrite(learner: str, change: Change) -> bytes:
    header, arrays = unpack_tensors(archive_of(learner))
    change(header, arrays)
    return pack_tensors(arrays, header)


def in_header(**changes: Any) -> Change:
    return lambda header, _: header.update(changes)


def in_last_step(**changes: Any) -> Change:
    return lambda header, _: header["estimator"]["steps"][-1][1].update(changes)


def all_arrays(content: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Change:
    return lambda _, arrays: arrays.update({name: content(array) for name, array in arrays.items()})


def in_arrays(name: str, content: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Change:
    def change(_: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        found = [path for path in arrays if path.endswith(f"/{name}")]
        assert found
        arrays.update({path: content(arrays[path]) for path in found})

    return change


def nest(header: dict[str, Any], _: dict[str, np.ndarray[Any, Any]]) -> None:
    for _level in range(100):
        header["estimator"] = {"steps": [["learner", header["estimator"]]]}


def test_a_rewritten_file_loads() -> None:
    assert rewrite("logistic_regression", lambda *_: None) == archive_of("logistic_regression")


@cache
def other_bytes() -> list[bytes]:
    data, linear = archive_of("logistic_regression"), "logistic_regression"
    forest = "random_forest"
    return [
        b"",
        b"PK",
        b"\0" * 100,
        data[:-1],
        data[: len(data) // 2],
        pickle.dumps({"learner": "knn"}),
        pack_tensors({}, {}),
        safetensors.numpy.save({"rows": np.zeros(3)}),
        (1 << 60).to_bytes(8, "little") + data[8:],
        rewrite(linear, in_last_step(kind="os.system")),
        rewrite(linear, in_last_step(kind="FeatureUnion")),
        rewrite(linear, in_last_step(kind="forest")),
        rewrite(linear, in_last_step(state={})),
        rewrite(linear, in_header(estimator=None)),
        rewrite(linear, in_header(estimator={"steps": []})),
        rewrite(linear, in_header(estimator={"array": "/nothing"})),
        rewrite(linear, nest),
        rewrite(linear, in_header(genres=["jazz", "rock"])),
        rewrite(linear, in_header(genres=["rock", "jazz", "Čeká"])),
        rewrite(linear, in_header(features=["a", "a", "b", "c", "d"])),
        rewrite(linear, in_header(features=["a", "b", "c", "d"])),
        rewrite(linear, in_header(learner=None)),
        rewrite(linear, in_header(format=1)),
        rewrite(linear, all_arrays(lambda array: array.reshape(-1)[:1])),
        rewrite(linear, all_arrays(lambda array: array * np.nan if array.dtype.kind == "f" else array)),
        rewrite(linear, all_arrays(lambda array: array.view(np.uint8))),
        rewrite(forest, all_arrays(lambda array: array + 1_000_000)),
        rewrite(forest, in_arrays("feature_", lambda array: array + 100)),
        rewrite(forest, in_arrays("left_", lambda array: np.where(array > 0, 1_000_000, array))),
        rewrite(forest, in_arrays("left_", lambda array: np.where(array > 0, 0, array))),
        rewrite(forest, in_arrays("threshold_", lambda array: array[:1])),
        rewrite(forest, in_arrays("leaves_", lambda array: array[:1])),
        rewrite("xgboost", in_arrays("right_", lambda array: np.where(array > 0, 100_000, array))),
        rewrite("xgboost", in_arrays("unknown_left_", lambda array: array[:1])),
        rewrite("gradient_boosting", all_arrays(lambda array: array[:1])),
        rewrite("gradient_boosting", in_arrays("value_", lambda array: array[:1])),
        rewrite("svm", all_arrays(lambda array: array[:1] if array.ndim else array)),
        rewrite("svm", in_arrays("counts_", lambda array: array + 100_000)),
        rewrite("knn", in_arrays("codes_", lambda array: array + 1_000_000)),
    ]


@pytest.mark.parametrize("number", range(39))
def test_other_bytes_are_rejected(number: int) -> None:
    assert len(other_bytes()) == 39
    with pytest.raises(InputError) as caught:
        load(other_bytes()[number])
    assert caught.value.kind == "not_a_model"
    assert "\n" not in caught.value.message


@given(
    at=st.integers(min_value=0),
    value=st.integers(0, 255),
    cut=st.integers(0, 40),
    learner=st.sampled_from([*LEARNERS]),
)
def test_damaged_bytes_load_or_raise_an_input_error(at: int, value: int, cut: int, learner: str) -> None:
    damaged = bytearray(archive_of(learner))
    damaged[at % len(damaged)] = value
    with contextlib.suppress(InputError):
        load(bytes(damaged[: len(damaged) - cut]))


def test_a_file_contains_only_kinds_that_learners_need() -> None:
    needed = set()
    for learner in LEARNERS:
        stack = [unpack_tensors(archive_of(learner))[0]["estimator"]]
        while stack:
            one = stack.pop()
            if isinstance(one, dict):
                needed |= {one["kind"]} if "kind" in one else set()
                stack.extend(one.values())
            elif isinstance(one, list):
                stack.extend(one)
    assert needed | {"distances"} == set(KINDS)  # those are in domains


def test_attributes_of_scikit_learn_in_files_are_public() -> None:
    for kind in KINDS.values():
        if kind.estimator.__module__.startswith("sklearn."):
            assert not [name for name in kind.attributes if name.startswith("_")]
            module = importlib.import_module(kind.estimator.__module__.partition("._")[0])
            assert getattr(module, kind.estimator.__name__) is kind.estimator
