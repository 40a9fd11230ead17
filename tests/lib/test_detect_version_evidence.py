"""Evidence for versions: melodies against a plain computation, titles and identifiers, and the fitted probability."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.arrays import Float64Array
from reprise.lib.detect.alignment import align_dtw, align_qmax
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.version_evidence import (
    SCORES,
    Metadata,
    Sound,
    SoundMatch,
    compare_sounds,
    compare_titles,
    extract_melody,
    have_same_id,
    is_same_title,
    read_metadata,
    score_pair,
    version_probability,
)
from reprise.lib.detect.version_weights import INTERCEPT, TYPICAL, WEIGHTS
from reprise.lib.music.sample.msd_columns import compute_msd_columns
from reprise.lib.music.sample.work_versions import KINDS, TRACKS_PER_WORK, WorkCollection

COLLECTION = WorkCollection(6, 77, (90.0, 140.0))
INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
NOTHING = Metadata(None, None, None, None)


@pytest.fixture(scope="module")
def sounds() -> list[Sound]:
    """Chroma of six works with five versions and two decoys each."""
    songs = (compute_msd_columns(COLLECTION.compose(one)) for one in COLLECTION.recordings())
    return [Sound(beat_chroma(*(song[name] for name in INPUTS))) for song in songs]


def extract_plainly(chroma: np.ndarray) -> np.ndarray:
    """The melody beat by beat."""

    def unit(column: np.ndarray) -> np.ndarray:
        norm = float(np.linalg.norm(column))
        return column / norm if norm > 1e-5 else 0 * column

    beats = chroma.shape[1]
    loud = np.array([unit(np.log1p(20 * column)) for column in chroma.T.astype(np.float64)])
    centred = loud - loud.mean(axis=1, keepdims=True)
    centred = np.array([unit(column) for column in centred - centred.mean(axis=0)])
    harmony = []
    for i in range(beats):
        around = [centred[j] for j in range(i - 2, i + 2) if 0 <= j < beats]
        harmony.append(unit(np.sum(around, axis=0)))
    rows = []
    for i in range(beats):
        others = [j for j in range(beats) if abs(i - j) >= 3]
        others.sort(key=lambda j: -float(harmony[i] @ harmony[j]))
        rows.append(unit(loud[i] - loud[others[: min(24, beats - 5)]].mean(axis=0)))
    return np.array(rows).T


def test_melody_as_computed_beat_by_beat(sounds: list[Sound]) -> None:
    for sound in sounds[:3]:
        for beats in (8, 40, sound.chroma.shape[1]):
            found = extract_melody(sound.chroma[:, :beats])
            assert found.shape == (12, beats)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, extract_plainly(sound.chroma[:, :beats]), atol=2e-4)


@pytest.mark.parametrize("chroma", [np.zeros((12, 0)), np.ones((12, 7)), np.zeros((12, 50)), np.ones((12, 50))])
def test_no_melody(chroma: np.ndarray) -> None:
    melody = extract_melody(chroma.astype(np.float32))
    assert melody.shape == chroma.shape
    assert not melody.any()


def test_a_recording_is_its_own_version_in_any_key(sounds: list[Sound]) -> None:
    higher = Sound(np.roll(sounds[0].chroma, 5, axis=0))
    match = compare_sounds(sounds[0], higher)
    assert match.melody_similarity == pytest.approx(1, abs=1e-5)
    assert match.transposition == 5
    assert match.alignment_distance == align_qmax(sounds[0].chroma, higher.chroma).distance


@pytest.mark.parametrize("beats", [0, 1, 16, 30])
def test_too_short_or_silent_to_compare(sounds: list[Sound], beats: int) -> None:
    for other in (sounds[0].chroma[:, :beats], np.zeros((12, 60), dtype=np.float32)):
        for pair in ((sounds[1], Sound(other)), (Sound(other), sounds[1])):
            match = compare_sounds(*pair)
            assert np.isfinite([match.alignment_distance, match.melody_similarity, match.tempo_ratio]).all()
            assert -1 <= match.melody_similarity <= 1


def test_melody_similarity_along_the_alignment(sounds: list[Sound]) -> None:
    one, other = sounds[0], sounds[1]
    path, t = align_dtw(one.chroma, other.chroma).path, align_dtw(one.chroma, other.chroma).transposition
    cosines = [float(one.melody[:, i] @ np.roll(other.melody, -t, axis=0)[:, j]) for i, j in path]
    means = [np.mean(cosines[n : n + 16]) for n in range(len(cosines) - 15)]
    assert compare_sounds(one, other).melody_similarity == pytest.approx(np.quantile(means, 0.75), abs=1e-5)


def test_versions_are_told_from_decoys_on_the_same_chords(sounds: list[Sound]) -> None:
    """By the sound alone on average, and with it the studio recording from its remaster always."""
    versions: list[Float64Array] = []
    decoys: list[Float64Array] = []
    strangers: list[Float64Array] = []
    for work in range(COLLECTION.n_works):
        first = sounds[work * TRACKS_PER_WORK]
        for place in range(1, TRACKS_PER_WORK):
            match = compare_sounds(first, sounds[work * TRACKS_PER_WORK + place])
            (versions if place < len(KINDS) else decoys).append(score_pair(match, NOTHING, NOTHING))
        stranger = sounds[(work + 1) * TRACKS_PER_WORK % len(sounds)]
        strangers.append(score_pair(compare_sounds(first, stranger), NOTHING, NOTHING))
    p = [version_probability(np.array(scores)) for scores in (versions, decoys, strangers)]
    assert np.median(p[0]) > 0.5 > 0.4 > np.median(p[1]) > np.median(p[2])
    assert max(p[2]) < 0.3
    assert min(p[0][KINDS.index("remaster") - 1 :: len(KINDS) - 1]) > 0.9


TEXT = st.none() | st.sampled_from(["", "Song", "song", "Other", "Track 3", "曲"])
METADATA = st.builds(
    lambda *values: read_metadata(dict(zip(("title", "artist_name", "isrc", "recording_mbid"), values, strict=True))),
    TEXT,
    TEXT,
    TEXT,
    TEXT,
)
MATCH = st.none() | st.builds(
    SoundMatch, st.floats(0, 100), st.floats(-1, 1), st.integers(0, 11), st.floats(0.5, 2)
)  # fmt: skip


@given(MATCH, METADATA, METADATA)
def test_the_order_of_the_metadata_is_nothing_and_the_probability_is_one(
    match: SoundMatch | None, one: Metadata, other: Metadata
) -> None:
    scores = score_pair(match, one, other)
    assert np.array_equal(scores, score_pair(match, other, one))
    assert scores.shape == (len(SCORES),)
    assert np.isfinite(scores).all()
    (p,) = version_probability(scores)
    assert 0 <= p <= 1
    assert p == pytest.approx(1 / (1 + np.exp(-(INTERCEPT + float(scores @ np.array(WEIGHTS))))), abs=1e-12)


def song(title: str | None, artist: str | None = "Ida", **more: Any) -> Metadata:
    return read_metadata({"title": title, "artist_name": artist, **more})


@pytest.mark.parametrize(
    ("one", "other", "tags"),
    [
        (song("Rain"), song("Rain (Live)"), (0, 0, -1, 0)),
        (song("Rain Man"), song("Rain Mn"), (0, 0, -1, 0)),
        (song("Rain"), song("Snow"), (1, 0, 0, 0)),
        (song("Rain"), song("Rain", "Bob"), (0, 0, 0, 0)),
        (song("Rain"), song("Snow", "Bob"), (0, 1, 0, 0)),
        (song("Rain"), song("Rain", None), (0, 0, -1, 0)),
        (song("Rain"), song("02 ida rain", None), (0, 0, 0, 0)),
        (song("Intro"), song("Intro"), (0, 0, 0, 0)),
        (song("Track 1", None), song("Track 1", None), (0, 0, 0, 0)),
        (song(None), song("Rain"), (0, 0, 0, 0)),
        (song("Rain", isrc="A"), song("Snow", isrc="A"), (1, 0, 0, -1)),
        (song("Rain", isrc="A"), song("Rain", isrc="B"), (0, 0, -1, 0)),
        (song(None, recording_mbid="m"), song(None, recording_mbid="m"), (0, 0, 0, -1)),
        (song(None, isrc=None), song(None, isrc=None), (0, 0, 0, 0)),
    ],
)
def test_tags(one: Metadata, other: Metadata, tags: tuple[int, int, int, int]) -> None:
    scores = score_pair(None, one, other)
    assert tuple(scores[:2]) == TYPICAL
    assert tuple(scores[2:]) == tags
    assert have_same_id(one, other) == bool(tags[3])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("rain", "rain", True),
        ("rainman", "rain man", True),
        ("dont find afternoon", "dont find aftrnoon", True),
        ("symphony no 5", "symphony no 6", False),
        ("rain", "ruin", False),
        ("love song", "love story", False),
    ],
)
def test_titles(one: str, other: str, same: bool) -> None:
    assert is_same_title(one, other) == is_same_title(other, one) == same


def test_unknown_titles_are_not_compared() -> None:
    assert compare_titles(song("Intro"), song("Intro")) is None
    assert compare_titles(song("Rain"), song(None)) is None


def test_sound_decides_against_tags_where_they_contradict_it() -> None:
    """One title of two songs that sound like nothing of each other; two titles of one recording."""
    strangers = SoundMatch(0.45, 0.1, 0, 1.0)
    same = SoundMatch(0.07, 0.75, 0, 1.0)
    assert version_probability(score_pair(strangers, song("Rain"), song("Rain")))[0] < 0.5
    assert version_probability(score_pair(same, song("Rain"), song("Lluvia")))[0] > 0.5
    assert version_probability(score_pair(same, NOTHING, NOTHING))[0] > 0.9
