"""Cache of loaded models: one load for each file and device, and a bound on how many are kept."""

import pytest

from reprise.udfs import model_cache
from reprise.udfs.model_cache import MAX_MODELS, cached_model


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_LOADED", type(model_cache._LOADED)())


def test_a_model_is_loaded_once_for_each_file_and_device() -> None:
    loads: list[str] = []

    def load(name: str) -> str:
        loads.append(name)
        return name

    for _ in range(2):
        assert cached_model("a", lambda: load("a on cpu")) == "a on cpu"
        assert cached_model("a", lambda: load("a on gpu"), device="cuda:0") == "a on gpu"
        assert cached_model("b", lambda: load("b on cpu")) == "b on cpu"
    assert loads == ["a on cpu", "a on gpu", "b on cpu"]


def test_the_model_used_least_recently_is_dropped() -> None:
    for number in range(MAX_MODELS):
        cached_model(str(number), lambda: "first load")
    cached_model("0", lambda: "never loaded")
    cached_model("new", lambda: "first load")
    assert len(model_cache._LOADED) == MAX_MODELS
    assert cached_model("0", lambda: "second load") == "first load"
    assert cached_model("1", lambda: "second load") == "second load"


def test_a_failed_load_leaves_nothing_behind() -> None:
    def fail() -> str:
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        cached_model("a", fail)
    assert cached_model("a", lambda: "loaded") == "loaded"
