"""Genre models: predictions, saving and loading, and rejection of damaged or malicious files."""

import contextlib
import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.models import GenreModel, dump, fit_model, load
from reprise.lib.genres.skops_archives import NODES

FEATURES = ("loudness", "tempo", "mode", "unknown everywhere", "always 1")
N = 90
SMALL: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 7, "selection": "embedded", "kept": 0.6},
    "gradient_boosting": {"rounds": 5},
    "xgboost": {"rounds": 5},
    "voting": {"members": "laplace+normal+linear+forest+boosting+knn+svm"},
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


def rewrite(data: bytes, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def in_schema(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        text = files["schema.json"].decode()
        assert old in text
        files["schema.json"] = text.replace(old, new).encode()

    return change


def in_header(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files["model.json"] = json.dumps({**json.loads(files["model.json"]), **changes}).encode()

    return change


def add(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.update({name: content})


def all_arrays(content: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        for name in [name for name in files if name.endswith(".npy")]:
            buffer = io.BytesIO()
            np.save(buffer, content(np.load(io.BytesIO(files[name]))), allow_pickle=True)
            files[name] = buffer.getvalue()

    return change


def call_a_function(files: dict[str, bytes]) -> None:
    schema = json.loads(files["schema.json"])
    schema["content"]["content"]["steps"] = {
        "__class__": "partial",
        "__module__": "functools",
        "__loader__": "PartialNode",
        "content": {},
    }
    files["schema.json"] = json.dumps(schema).encode()


PIPELINE_NODE = '"__class__":"Pipeline","__module__":"sklearn.pipeline","__loader__":"ObjectNode"'


def test_a_rewritten_archive_loads() -> None:
    rewritten = rewrite(archive_of("logistic_regression"), lambda _: None, zipfile.ZIP_STORED)
    assert load(rewritten).genres == model_of("logistic_regression").genres


@cache
def other_bytes() -> list[bytes]:
    linear = archive_of("logistic_regression")
    return [
        b"",
        b"PK",
        b"\0" * 100,
        linear[:-1],
        linear[: len(linear) // 2],
        pickle.dumps({"learner": "knn"}),
        rewrite(linear, in_schema(PIPELINE_NODE, PIPELINE_NODE.replace("Pipeline", "FeatureUnion"))),
        rewrite(linear, in_schema(PIPELINE_NODE, '"__class__":"system","__module__":"os","__loader__":"ObjectNode"')),
        rewrite(linear, in_schema(PIPELINE_NODE, '"__class__":"system","__module__":"os","__loader__":"FunctionNode"')),
        rewrite(linear, in_schema(PIPELINE_NODE, '"__class__":"system","__module__":"os","__loader__":"TypeNode"')),
        rewrite(linear, in_schema(PIPELINE_NODE, PIPELINE_NODE.replace("ObjectNode", "MethodNode"))),
        rewrite(linear, call_a_function),
        rewrite(linear, in_schema('"protocol":2', '"protocol":0')),
        rewrite(linear, in_schema('"protocol":2', '"protocol":true')),
        rewrite(linear, add("schema.json", b"[" * 100_000)),
        rewrite(linear, add("schema.json", b"{}")),
        rewrite(linear, add("model.json", b"[]")),
        rewrite(linear, add("payload.pkl", pickle.dumps(print))),
        rewrite(linear, in_header(genres=["jazz", "rock"])),
        rewrite(linear, in_header(genres=["rock", "jazz", "Čeká"])),
        rewrite(linear, in_header(features=["a", "a", "b", "c", "d"])),
        rewrite(linear, in_header(learner=None)),
        rewrite(linear, in_header(format=2)),
        rewrite(linear, in_header(versions={"scikit-learn": "0.24.2"})),
        rewrite(linear, all_arrays(lambda array: array.astype(object))),
        rewrite(linear, all_arrays(lambda array: array.reshape(-1)[:1])),
        rewrite(linear, all_arrays(lambda array: array * np.nan if array.dtype.kind == "f" else array)),
        rewrite(archive_of("random_forest"), all_arrays(lambda array: array + 1_000_000)),
        rewrite(archive_of("gradient_boosting"), all_arrays(lambda array: array + 100)),
        rewrite(archive_of("svm"), all_arrays(lambda array: array[:1] if array.ndim else array)),
        rewrite(archive_of("knn"), all_arrays(lambda array: array + 1_000_000)),
    ]


@pytest.mark.parametrize("number", range(31))
def test_other_bytes_are_rejected(number: int) -> None:
    assert len(other_bytes()) == 31
    with pytest.raises(InputError) as caught:
        load(other_bytes()[number])
    assert caught.value.kind == "not_a_model"


def test_invalid_branches_of_xgboost_are_rejected() -> None:
    def change(files: dict[str, bytes]) -> None:
        for name in [name for name in files if name.endswith(".npy")]:
            array = np.load(io.BytesIO(files[name]))
            if array.dtype == np.uint8:
                text = array.tobytes().decode().replace('"left_children":[1,', '"left_children":[100000,')
                assert text != array.tobytes().decode()
                buffer = io.BytesIO()
                np.save(buffer, np.frombuffer(text.encode(), dtype=np.uint8))
                files[name] = buffer.getvalue()

    with pytest.raises(InputError) as caught:
        load(rewrite(archive_of("xgboost"), change))
    assert "does not lead to a later node" in caught.value.message


@pytest.mark.slow
def test_a_decompression_bomb_is_rejected() -> None:
    bomb = rewrite(archive_of("logistic_regression"), add(f"{0:032x}.npy", bytes(1 << 28)))
    assert len(bomb) < 1 << 20
    with pytest.raises(InputError):
        load(bomb)
    # the same file with a false size in its directory
    offset = bomb.rindex(f"{0:032x}.npy".encode()) - 46
    assert bomb[offset : offset + 4] == b"PK\1\2"
    falsified = bomb[: offset + 24] + (100).to_bytes(4, "little") + bomb[offset + 28 :]
    with pytest.raises(InputError):
        load(falsified)


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


def test_only_types_that_learners_need_are_allowed() -> None:
    needed = set()
    for learner in LEARNERS:
        with zipfile.ZipFile(io.BytesIO(archive_of(learner))) as archive:
            stack = [json.loads(archive.read("schema.json"))]
        while stack:
            one = stack.pop()
            if isinstance(one, dict):
                if "__loader__" in one:
                    needed.add((one["__loader__"], f"{one['__module__']}.{one['__class__']}"))
                stack.extend(one.values())
            elif isinstance(one, list):
                stack.extend(one)
    assert needed == NODES
