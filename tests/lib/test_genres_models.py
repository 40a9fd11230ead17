"""Genre models: what they answer, and that what was kept comes back and nothing else is taken for it."""

import contextlib
import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
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
SMALL = {
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


MODELS = {learner: fit(learner) for learner in LEARNERS}
ARCHIVES = {learner: dump(model) for learner, model in MODELS.items()}
ROWS = make_rows(1, 40)[0]


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_comes_back_answers_the_same_to_the_last_bit(learner: str) -> None:
    model, back = MODELS[learner], load(ARCHIVES[learner])
    assert (back.learner, back.features, back.feature_set, back.genres) == (learner, FEATURES, "toy", model.genres)
    assert model.genres == ("jazz", "rock", "Čeká")
    np.testing.assert_array_equal(back.predict(ROWS), model.predict(ROWS))
    assert dump(back) == ARCHIVES[learner]


ELSEWHERE = """
import hashlib, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_genres_models as made
for learner, data in made.ARCHIVES.items():
    kept = made.load(open(f"{sys.argv[2]}/{learner}", "rb").read())
    print(hashlib.sha256(data).hexdigest(), hashlib.sha256(kept.predict(made.ROWS).tobytes()).hexdigest())
"""


def test_another_process_makes_the_same_bytes_and_answers_the_same(tmp_path: Path) -> None:
    for learner, data in ARCHIVES.items():
        (tmp_path / learner).write_bytes(data)
    folder = Path(__file__).parent
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, folder, tmp_path], capture_output=True, text=True, check=True
    )
    here = [(ARCHIVES[learner], model.predict(ROWS).tobytes()) for learner, model in MODELS.items()]
    assert found.stdout.split() == [hashlib.sha256(part).hexdigest() for pair in here for part in pair]


@pytest.mark.parametrize("learner", LEARNERS)
def test_answers_are_probabilities_whatever_is_asked(learner: str) -> None:
    model = MODELS[learner]
    wild = np.array(
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
    found = model.predict(wild)
    assert found.shape == (8, 3)
    assert found.dtype == np.float64
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(found[1], found[2])  # what is not finite is unknown
    np.testing.assert_array_equal(found[1], found[6])
    assert model.predict(np.zeros((0, 5), dtype=np.float32)).shape == (0, 3)
    with pytest.raises(ValueError, match="5 features"):
        model.predict(np.zeros((1, 4)))


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_tells_what_can_be_told(learner: str) -> None:
    rows, genres, _ = make_rows(2, 120)
    found = np.array(MODELS[learner].genres, dtype=object)[MODELS[learner].predict(rows).argmax(axis=1)]
    assert (found == genres).mean() > 0.6  # one in three by chance


def test_rows_that_teach_nothing_are_said_to() -> None:
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
    with pytest.raises(ValueError, match="do not fit"):
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


def run_something(files: dict[str, bytes]) -> None:
    schema = json.loads(files["schema.json"])
    schema["content"]["content"]["steps"] = {
        "__class__": "partial",
        "__module__": "functools",
        "__loader__": "PartialNode",
        "content": {},
    }
    files["schema.json"] = json.dumps(schema).encode()


LINEAR = ARCHIVES["logistic_regression"]
LOADED = '"__class__":"Pipeline","__module__":"sklearn.pipeline","__loader__":"ObjectNode"'


def test_rewriting_alone_breaks_nothing() -> None:
    assert load(rewrite(LINEAR, lambda _: None, zipfile.ZIP_STORED)).genres == MODELS["logistic_regression"].genres


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"\0" * 100,
        LINEAR[:-1],
        LINEAR[: len(LINEAR) // 2],
        pickle.dumps({"learner": "knn"}),
        rewrite(LINEAR, in_schema(LOADED, LOADED.replace("Pipeline", "FeatureUnion"))),
        rewrite(LINEAR, in_schema(LOADED, '"__class__":"system","__module__":"os","__loader__":"ObjectNode"')),
        rewrite(LINEAR, in_schema(LOADED, '"__class__":"system","__module__":"os","__loader__":"FunctionNode"')),
        rewrite(LINEAR, in_schema(LOADED, '"__class__":"system","__module__":"os","__loader__":"TypeNode"')),
        rewrite(LINEAR, in_schema(LOADED, LOADED.replace("ObjectNode", "MethodNode"))),
        rewrite(LINEAR, run_something),
        rewrite(LINEAR, in_schema('"protocol":2', '"protocol":0')),
        rewrite(LINEAR, in_schema('"protocol":2', '"protocol":true')),
        rewrite(LINEAR, add("schema.json", b"[" * 100_000)),
        rewrite(LINEAR, add("schema.json", b"{}")),
        rewrite(LINEAR, add("model.json", b"[]")),
        rewrite(LINEAR, add("payload.pkl", pickle.dumps(print))),
        rewrite(LINEAR, in_header(genres=["jazz", "rock"])),
        rewrite(LINEAR, in_header(genres=["rock", "jazz", "Čeká"])),
        rewrite(LINEAR, in_header(features=["a", "a", "b", "c", "d"])),
        rewrite(LINEAR, in_header(learner=None)),
        rewrite(LINEAR, in_header(format=2)),
        rewrite(LINEAR, in_header(versions={"scikit-learn": "0.24.2"})),
        rewrite(LINEAR, all_arrays(lambda array: array.astype(object))),
        rewrite(LINEAR, all_arrays(lambda array: array.reshape(-1)[:1])),
        rewrite(LINEAR, all_arrays(lambda array: array * np.nan if array.dtype.kind == "f" else array)),
        rewrite(ARCHIVES["random_forest"], all_arrays(lambda array: array + 1_000_000)),
        rewrite(ARCHIVES["gradient_boosting"], all_arrays(lambda array: array + 100)),
        rewrite(ARCHIVES["svm"], all_arrays(lambda array: array[:1] if array.ndim else array)),
        rewrite(ARCHIVES["knn"], all_arrays(lambda array: array + 1_000_000)),
    ],
    ids=range(31),
)
def test_other_bytes_are_no_model(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        load(data)
    assert caught.value.kind == "not_a_model"


def test_branches_of_xgboost_that_lead_nowhere_are_not_followed() -> None:
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
        load(rewrite(ARCHIVES["xgboost"], change))
    assert "leads nowhere" in caught.value.message


def test_a_file_that_would_fill_the_memory_is_not_opened() -> None:
    bomb = rewrite(LINEAR, add(f"{0:032x}.npy", bytes(1 << 28)))
    assert len(bomb) < 1 << 20
    with pytest.raises(InputError):
        load(bomb)
    # one that says it is small
    place = bomb.rindex(f"{0:032x}.npy".encode()) - 46
    assert bomb[place : place + 4] == b"PK\1\2"
    lying = bomb[: place + 24] + (100).to_bytes(4, "little") + bomb[place + 28 :]
    with pytest.raises(InputError):
        load(lying)


@given(
    at=st.integers(min_value=0), value=st.integers(0, 255), cut=st.integers(0, 40), data=st.sampled_from([*ARCHIVES])
)
def test_damaged_bytes_are_a_model_or_said_to_be_none(at: int, value: int, cut: int, data: str) -> None:
    damaged = bytearray(ARCHIVES[data])
    damaged[at % len(damaged)] = value
    with contextlib.suppress(InputError):
        load(bytes(damaged[: len(damaged) - cut]))


def test_nothing_is_trusted_that_no_learner_needs() -> None:
    needed = set()
    for data in ARCHIVES.values():
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            left = [json.loads(archive.read("schema.json"))]
        while left:
            one = left.pop()
            if isinstance(one, dict):
                if "__loader__" in one:
                    needed.add((one["__loader__"], f"{one['__module__']}.{one['__class__']}"))
                left.extend(one.values())
            elif isinstance(one, list):
                left.extend(one)
    assert needed == NODES
