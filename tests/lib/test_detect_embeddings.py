"""Tests of embeddings against literal 900-D formulas, and of their invariances."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reprise.lib.detect import dictionary_lda
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.dictionary_lda import Dictionary, DictionaryLda
from reprise.lib.detect.learned import GAPS, Learned, augment, extract_features
from reprise.lib.detect.median_pca import MedianPatch, MedianPca
from reprise.lib.detect.patches import median_patch, patch_magnitudes, unfold
from reprise.lib.music import sample

pytestmark = pytest.mark.torch  # the fixture `models` trains an embedding with torch

Array = NDArray[Any]


@pytest.fixture(scope="module")
def music() -> tuple[list[Array], Array]:
    """Beat chroma and cliques (-1 for tracks outside cliques) of synthetic tracks."""
    plan = sample.SamplePlan(90, seed=5, n_cliques=12, n_covers=40)
    cliques = plan.tracks(np.arange(plan.n_tracks)).clique
    tracks, kept = [], []
    for i in range(plan.n_tracks):
        song = sample.compute_msd_columns(sample.compose(plan, i))
        names = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
        chroma = beat_chroma(*(song[name] for name in names))
        if chroma.shape[1] >= 75:
            tracks.append(chroma)
            kept.append(i)
    return tracks, cliques[kept]


@pytest.fixture(scope="module")
def medians(music: tuple[list[Array], Array]) -> list[Array]:
    return [median_patch(track) for track in music[0]]


@pytest.fixture(scope="module")
def dictionary(music: tuple[list[Array], Array]) -> Dictionary:
    return Dictionary.fit(_some_patches(music[0]), n_components=60, n_words=300, seed=1)


@pytest.fixture(scope="module")
def models(music: tuple[list[Array], Array], medians: list[Array], dictionary: Dictionary) -> dict[str, Any]:
    tracks, cliques = music
    codes = np.array([dictionary.encode(track) for track in tracks])
    covers = cliques >= 0
    return {
        "median_patch": MedianPatch(),
        "median_pca": MedianPca.fit(medians, 20),
        "dictionary_lda": DictionaryLda.fit(dictionary, codes[covers], cliques[covers], 8),
        "learned": Learned.fit(tracks, cliques, steps=3, seed=2),
    }


KINDS = ("median_patch", "median_pca", "dictionary_lda", "learned")


def _some_patches(tracks: list[Array]) -> Array:
    return np.concatenate([patch_magnitudes(track)[::40] for track in tracks])


def _embed(model: Any, chromas: list[Array]) -> Array:
    read: Callable[[Array], Array] = median_patch if model.reads == "median_patch" else np.asarray
    vectors: Array = model.embed([read(chroma) for chroma in chromas])
    return vectors


def _distances(vectors: Array) -> Array:
    x = np.asarray(vectors, dtype=np.float64)
    gaps: Array = np.linalg.norm(x[:, None] - x[None], axis=2)
    return gaps


def test_median_patch_has_the_distances_of_900_values(medians: list[Array]) -> None:
    whole = unfold(np.array(medians)).astype(np.float64)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(_distances(MedianPatch().embed(medians)), _distances(whole), atol=1e-6)


def test_median_pca_equals_the_pca_of_900_values(medians: list[Array]) -> None:
    whole = unfold(np.array(medians)).astype(np.float64)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    centred = whole - whole.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    literal = centred @ axes[:10].T
    ours = MedianPca.fit(medians, 10).embed(medians)
    signs = np.sign((ours * literal).sum(axis=0))
    np.testing.assert_allclose(ours, literal * signs, atol=1e-6)


def test_codes_equal_those_computed_from_900_values(
    music: tuple[list[Array], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.cluster import KMeans

    words: list[Array] = []
    fit = KMeans.fit

    def spy(self: Any, points: Array, *args: Any) -> Any:
        fitted = fit(self, points, *args)
        words.append(fitted.cluster_centers_.astype(np.float64))
        return fitted

    monkeypatch.setattr(KMeans, "fit", spy)
    patches = _some_patches(music[0])
    dictionary = Dictionary.fit(patches, n_components=40, n_words=400, seed=1)

    def log(half: Array) -> Array:
        v = unfold(half).astype(np.float64)
        logs: Array = np.log(1 + 5 * v / np.linalg.norm(v, axis=1, keepdims=True))
        return logs

    train = log(patches)
    _, _, axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    # the sign of an axis is arbitrary: use the signs with which the words were computed
    points = (train - train.mean(axis=0)) @ axes[:40].T
    labels = _nearest_words(patches, dictionary, words[0])
    centres = np.array([points[labels == w].mean(axis=0) if (labels == w).any() else np.zeros(40) for w in range(400)])
    signs = np.sign((centres * words[0]).sum(axis=0))
    for track in music[0][:8]:
        a = (log(patch_magnitudes(track)) - train.mean(axis=0)) @ axes[:40].T * signs @ words[0].T
        a = np.sign(a) * np.maximum(np.abs(a) - 0.2, 0)
        norms = np.linalg.norm(a, axis=1, keepdims=True)
        literal = np.median(a / np.where(norms > 0, norms, 1), axis=0)
        np.testing.assert_allclose(dictionary.encode(track), literal, atol=1e-5)
        assert np.count_nonzero(literal) > 5


def _nearest_words(patches: Array, dictionary: Dictionary, words: Array) -> Array:
    scores = dictionary_lda._log_compress(patches) @ dictionary.projection + dictionary.offset
    nearest: Array = (scores - (words**2).sum(axis=1) / 2).argmax(axis=1)
    return nearest


@pytest.mark.parametrize("as_published", [False, True])
def test_directions_equal_those_of_sklearn_lda(
    music: tuple[list[Array], Array], dictionary: Dictionary, as_published: bool
) -> None:
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(30), 10)
    codes = (rng.standard_normal((30, 80))[labels] + rng.standard_normal((300, 80))).astype(np.float32)
    ours = DictionaryLda.fit(dictionary, codes, labels, 5, as_published=as_published).embed_codes(codes)
    model = LinearDiscriminantAnalysis(solver="svd")
    if as_published:
        projected = model.fit(codes.astype(np.float64), labels).transform(codes.astype(np.float64))
        centres = np.array([projected[labels == label].mean(axis=0) for label in range(5)])
        literal = projected @ centres.T
    else:
        points = PCA(80).fit_transform(codes.astype(np.float64))
        literal = model.fit(points, labels).transform(points)[:, :5]
    literal /= np.linalg.norm(literal, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(_distances(ours)), _distances(literal), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_do_not_depend_on_the_key(models: dict[str, Any], music: tuple[list[Array], Array], kind: str) -> None:
    tracks = music[0][:6]
    original = _embed(models[kind], tracks)
    for shift in (1, 5, 11):
        rolled = _embed(models[kind], [np.roll(track, shift, axis=0) for track in tracks])
        np.testing.assert_allclose(rolled, original, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_vectors_do_not_depend_on_a_circular_shift_in_time(
    models: dict[str, Any], music: tuple[list[Array], Array], kind: str
) -> None:
    patches = [track[:, :75] for track in music[0][:6]]
    shifted = _embed(models[kind], [np.roll(patch, 20, axis=1) for patch in patches])
    np.testing.assert_allclose(shifted, _embed(models[kind], patches), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_do_not_depend_on_the_batch(
    models: dict[str, Any], music: tuple[list[Array], Array], kind: str
) -> None:
    tracks = music[0][:9]
    together = _embed(models[kind], tracks)
    alone = np.concatenate([_embed(models[kind], [track]) for track in tracks])
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_restored_from_tensors(models: dict[str, Any], music: tuple[list[Array], Array], kind: str) -> None:
    model = models[kind]
    assert model.kind == kind
    copies = {name: np.array(tensor) for name, tensor in model.tensors().items()}
    again = type(model).from_tensors(copies)
    np.testing.assert_array_equal(_embed(again, music[0][:5]), _embed(model, music[0][:5]))


@pytest.mark.parametrize("kind", KINDS)
def test_unusual_tracks_have_finite_vectors(models: dict[str, Any], kind: str) -> None:
    rng = np.random.default_rng(0)
    shortest = rng.random((12, 75)).astype(np.float32)
    quiet = shortest.copy()
    quiet[:, 10:70] = 0
    constant = np.ones((12, 100), dtype=np.float32)
    vectors = _embed(models[kind], [shortest, quiet, constant])
    assert np.isfinite(vectors).all()
    assert len(_embed(models[kind], [])) == 0


def test_fits_are_repeatable(music: tuple[list[Array], Array], medians: list[Array]) -> None:
    tracks, cliques = music[0][:40], music[1][:40]
    for fit in (
        lambda: MedianPca.fit(medians, 7).tensors(),
        lambda: vars(Dictionary.fit(_some_patches(tracks), n_words=30, seed=4)),
        lambda: Learned.fit(tracks, cliques, steps=2, seed=4).tensors(),
    ):
        first, second = fit(), fit()
        assert all(np.array_equal(first[name], second[name]) for name in first)
    other = Learned.fit(tracks, cliques, steps=2, seed=5)
    assert not np.array_equal(other.projection, second["projection"])


def test_too_little_training_data_is_refused(
    music: tuple[list[Array], Array], medians: list[Array], dictionary: Dictionary
) -> None:
    assert MedianPca.fit(medians[:5], 200).components.shape == (4, 451)
    with pytest.raises(ValueError, match="tracks: 1,"):
        MedianPca.fit(medians[:1], 200)
    with pytest.raises(ValueError, match="no direction"):
        MedianPatch().embed([np.zeros(451, dtype=np.float32)])
    assert Dictionary.fit(_some_patches(music[0][:2])).projection.shape[1] <= len(_some_patches(music[0][:2]))
    with pytest.raises(ValueError, match="patches: 1"):
        Dictionary.fit(_some_patches(music[0])[:1])
    short = music[0][0][:, :74]
    for compute in (dictionary.encode, extract_features):
        with pytest.raises(ValueError, match="number of beats is 74"):
            compute(short)
    with pytest.raises(ValueError, match="at least 8"):
        Learned.fit(music[0][:3], [0, 0, -1])
    with pytest.raises(ValueError, match="for each"):
        Learned.fit(music[0][:10], [0, 0, -1])


def test_cliques_without_information_are_refused_or_ignored(dictionary: Dictionary) -> None:
    codes = np.random.default_rng(0).standard_normal((9, 80)).astype(np.float32)
    with pytest.raises(ValueError, match="more tracks: 1,"):
        DictionaryLda.fit(dictionary, codes[:3], [4, 4, 7])
    with pytest.raises(ValueError, match="all the same"):
        DictionaryLda.fit(dictionary, np.ones_like(codes[:4]), [4, 4, 7, 7])
    with_single = DictionaryLda.fit(dictionary, codes, [0, 0, 0, 1, 1, 1, 2, 2, 3])
    without = DictionaryLda.fit(dictionary, codes[:8], [0, 0, 0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(with_single.directions, without.directions)
    assert with_single.embed_codes(codes).shape == (9, 2)


@pytest.mark.parametrize("cliques", [np.full(12, -1), np.zeros(12, dtype=np.int64), np.repeat([0, 1, -1], 4)])
def test_learns_with_any_cliques(music: tuple[list[Array], Array], cliques: Array) -> None:
    model = Learned.fit(music[0][:12], cliques, steps=2)
    vectors = model.embed(music[0][:12])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_chord_features_are_relative_frequencies_of_triples(music: tuple[list[Array], Array]) -> None:
    # C major for 4 beats, then A minor for 4 beats: at a gap of 4 the third chord is the same as the first
    c, a = np.zeros(12), np.zeros(12)
    c[[0, 4, 7]], a[[9, 0, 4]] = 1, 1
    chroma = np.tile(np.concatenate([np.tile(c, (4, 1)), np.tile(a, (4, 1))]).T, 20).astype(np.float32)
    triples = extract_features(chroma)[-len(GAPS) * 1152 :].reshape(len(GAPS), 2, 24, 24)[GAPS.index(4)]
    # from C: A minor is 9 semitones above, then C; from A minor: C is 3 semitones above, then A minor
    # one window in four contains two beats of each chord and is equally similar to both
    assert triples[0, 19, 0] ** 2 + triples[1, 6, 1] ** 2 == pytest.approx(0.75, abs=0.03)


def test_augmented_tracks_are_beat_chroma(music: tuple[list[Array], Array]) -> None:
    rng = np.random.default_rng(1)
    for track in [*music[0][:20], np.ones((12, 75), dtype=np.float32), np.zeros((12, 75), dtype=np.float32)]:
        changed = augment(track, rng)
        assert changed.dtype == np.float32
        assert changed.shape[0] == 12
        assert changed.shape[1] >= 75
        assert np.isfinite(changed).all()
        assert changed.min() >= 0
        assert changed.max() <= 1


def test_learned_embedding_finds_versions_outside_the_training_data(models: dict[str, Any]) -> None:
    plan = sample.SamplePlan(60, seed=77, n_cliques=12, n_covers=36)
    cliques = plan.tracks(np.arange(60)).clique
    chromas, labels = [], []
    for i in range(60):
        song = sample.compute_msd_columns(sample.compose(plan, i))
        names = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
        chroma = beat_chroma(*(song[name] for name in names))
        if chroma.shape[1] >= 75:
            chromas.append(chroma)
            labels.append(cliques[i])

    def share_with_nearest_mate(vectors: Array) -> float:
        gaps = _distances(vectors)
        np.fill_diagonal(gaps, np.inf)
        names = np.array(labels)
        return float(np.mean((names[gaps.argmin(axis=1)] == names)[names >= 0]))

    assert share_with_nearest_mate(_embed(models["learned"], chromas)) > 1.3 * share_with_nearest_mate(
        _embed(models["median_pca"], chromas)
    )
