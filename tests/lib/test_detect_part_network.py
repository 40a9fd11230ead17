"""The part network: the same vectors as torch's layers, in every key, from twelve beats on."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprise.jobs._shipped_models import fit_part_network
from reprise.lib.detect import part_network, part_network_training
from reprise.lib.detect.embeddings import dump, load
from reprise.lib.detect.learned import Learned
from reprise.lib.detect.part_network import (
    MIN_BEATS,
    PartNetwork,
    describe_shipped_model,
    prepare_input,
    read_shipped_model,
)
from reprise.lib.errors import InputError
from reprise.lib.music import sample

RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def network() -> PartNetwork:
    """The package's own."""
    found = load(read_shipped_model())
    assert isinstance(found, PartNetwork)
    return found


def make_chroma(n_beats: int) -> np.ndarray:
    return RNG.random((12, n_beats)).astype(np.float32)


@pytest.mark.parametrize("n_beats", [MIN_BEATS, 13, 40, 401])
def test_transpositions_are_rotations_of_the_chroma(n_beats: int, network: PartNetwork) -> None:
    chroma = make_chroma(n_beats)
    found = network.embed_transpositions(chroma)
    each = network.embed([np.roll(chroma, semitones, axis=0) for semitones in range(12)])
    np.testing.assert_allclose(found, each, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    # another key is another place, unlike in models that are invariant to the key
    assert np.linalg.norm(found[0] - found[1:], axis=1).min() > 0.01


def test_a_vector_does_not_depend_on_the_other_tracks(network: PartNetwork) -> None:
    tracks = [make_chroma(n) for n in (12, 75, 300)]
    together = network.embed(tracks)
    for track, vector in zip(tracks, together, strict=True):
        np.testing.assert_array_equal(network.embed([track])[0], vector)


@pytest.mark.parametrize(
    "chroma",
    [
        np.zeros((12, 30), np.float32),
        np.ones((12, 30), np.float32),
        np.eye(12, 30, dtype=np.float32),
        np.full((12, 30), 1e-30, np.float32),
    ],
    ids=["zeros", "flat", "mostly silent", "tiny"],
)
def test_silence_and_flat_chroma_have_finite_vectors(chroma: np.ndarray, network: PartNetwork) -> None:
    assert np.isfinite(network.embed([chroma])).all()
    assert np.isfinite(prepare_input(chroma)).all()


@pytest.mark.torch
def test_exported_weights_compute_what_the_layers_of_the_training_compute() -> None:
    import torch

    torch.manual_seed(3)
    trained = part_network_training.make_torch_network()
    for _ in range(3):  # the running means of the normalisation move away from their start
        trained(torch.from_numpy(RNG.normal(0.2, 1, (8, 12, 64)).astype(np.float32)))
    trained.eval()
    features = Learned(np.zeros(9598, np.float32), np.zeros((9598, 256), np.float32))
    exported = PartNetwork(features, part_network_training.export_weights(trained.state_dict()), 0.0)
    for n_beats in (12, 13, 14, 15, 77, 200):
        chroma = make_chroma(n_beats)
        with torch.inference_mode():
            expected = trained(torch.from_numpy(prepare_input(chroma)[None])).numpy()
        np.testing.assert_allclose(exported.embed([chroma])[:, 256:], expected, atol=2e-6)


@pytest.mark.torch
@pytest.mark.slow
def test_training_separates_a_melody_from_other_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few works and steps: its own work is nearer than the others are on average, by more than before."""
    plan = sample.SamplePlan(24, seed=5, n_cliques=12, n_covers=24)
    works: dict[int, list[list[fit_part_network.View]]] = {}
    for index in range(24):
        work, analyses, from_notes = fit_part_network.make_views(index, plan=plan)
        if any(name == "all" for name, _ in analyses):  # not where a track is too short
            works.setdefault(work, []).append(analyses + from_notes)
    assert {name for versions in works.values() for views in versions for name, _ in views} == set(
        fit_part_network.VIEWS
    )
    phase = part_network_training.Phase(60, 0.003, [(128, 192)], [1.0], 0.5, False)
    margins = []
    for steps in (1, 60):
        monkeypatch.setattr(fit_part_network, "PHASES", [replace(phase, steps=steps)])
        weights = fit_part_network.train(list(works.values()), [])
        network = PartNetwork(Learned(np.zeros(9598, np.float32), np.zeros((9598, 1), np.float32)), weights, 0.0)

        def embed_first(wanted: str, network: PartNetwork = network) -> list[np.ndarray | None]:
            chromas = [next((chroma for name, chroma in one[0] if name == wanted), None) for one in works.values()]
            return [None if one is None else network.apply_network(prepare_input(one)) for one in chromas]

        complete = np.stack([one for one in embed_first("all") if one is not None])
        assert len(complete) == len(works)
        leads = [(number, lead) for number, lead in enumerate(embed_first("lead")) if lead is not None]
        margin = [complete[number] @ lead - np.mean(complete @ lead) for number, lead in leads]
        margins.append(np.mean(margin))
    assert margins[1] > margins[0] + 0.1


def test_the_shipped_file_is_the_described_one(network: PartNetwork) -> None:
    described = describe_shipped_model()
    data = read_shipped_model()
    assert hashlib.sha256(data).hexdigest() == described.sha256
    assert described.model_id == f"default-part-network-{described.sha256[:12]}"
    assert dump(network, described.params) == data
    card = Path(part_network.__file__).with_name("default").joinpath("part_network.md").read_text("utf-8")
    assert described.model_id in card
    assert described.sha256 in card
    json.dumps(described.metrics)


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    described = describe_shipped_model()
    changed = part_network.ShippedModel(described.model_id, "0" * 64, {}, {}, {})
    monkeypatch.setattr(part_network, "describe_shipped_model", lambda: changed)
    with pytest.raises(InputError, match="was changed after installation"):
        read_shipped_model()
