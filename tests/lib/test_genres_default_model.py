"""The genre model in the package: it loads, its checksum is verified, and its training is reproducible."""

import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from reprise.lib.errors import InputError
from reprise.lib.genres import default_model
from reprise.lib.genres.default_model import DEFAULT_SHA256, load_default
from reprise.lib.genres.feature_sets import FEATURE_SETS
from reprise.lib.genres.gtzan_table import COLUMNS, read_table
from reprise.lib.genres.models import dump, fit_model

HOME = files("reprise.lib.genres").joinpath("default")
TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "gtzan" / "features_30_sec.csv"
GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def test_the_model_loads_and_predicts() -> None:
    model = load_default()
    assert model.genres == GENRES
    assert model.feature_set == "gtzan"
    assert model.features == FEATURE_SETS["gtzan"].columns == COLUMNS
    found = model.predict(np.full((3, len(COLUMNS)), np.nan))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_the_card_names_the_checksum_and_the_limits() -> None:
    card = HOME.joinpath("card.md").read_text("utf-8")
    assert DEFAULT_SHA256 in card
    for word in ("GTZAN", "faults", "licence", "macro F1"):
        assert word.lower() in card.lower()
    assert len(HOME.joinpath("model.skops").read_bytes()) < 2_000_000


def test_a_changed_file_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_model, "DEFAULT_SHA256", hashlib.sha256(b"").hexdigest())
    with pytest.raises(InputError, match="install reprise again") as caught:
        load_default()
    assert caught.value.kind == "not_a_model"


@pytest.mark.skipif(not TABLE.exists(), reason=f"needs {TABLE.name}, which is not in the repository")
@pytest.mark.slow
def test_training_is_reproducible() -> None:
    table = read_table(TABLE)
    rows = np.argsort(table.names, kind="stable")
    model = fit_model(
        "voting", {}, table.rows[rows], table.genres[rows], table.names[rows],
        features=COLUMNS, feature_set="gtzan", balanced=False, seed=0,
    )  # fmt: skip
    if hashlib.sha256(dump(model)).hexdigest() != DEFAULT_SHA256:  # on other processors sums differ in their last bits
        np.testing.assert_allclose(model.predict(table.rows), load_default().predict(table.rows), atol=1e-6)
    found = np.array(GENRES, dtype=object)[load_default().predict(table.rows).argmax(axis=1)]
    assert (found == table.genres).mean() > 0.95  # training rows
