"""Evidence that two recordings are versions of one work: alignment of chroma, melody, titles, artists and identifiers.

The evidence is a row of scores, smaller for versions. A logistic model with a few fitted numbers converts it to a
probability, see `reprise.lib.detect.version_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.detect.alignment import align_dtw, align_qmax
from reprise.lib.detect.calibration import Calibration
from reprise.lib.detect.version_titles import normalise_artist, parse_title
from reprise.lib.detect.version_weights import INTERCEPT, TYPICAL, WEIGHTS

SCORES = ("alignment", "melody", "other_title", "other_title_and_artist", "same_title", "same_id")
"""Names of the scores, in the order of the columns."""

MIN_BEATS = 40
"""Number of beats that a recording must have to be compared by its sound."""

HARMONY_BEATS = 4
N_SIMILAR_BEATS = 24
MELODY_BEATS = 16
MELODY_QUANTILE = 0.75
_MIN_TITLE_RATIO = 0.85
_COMPRESSION = 20


@dataclass(frozen=True)
class Sound:
    """Chroma of a recording, prepared for comparison.

    Parameters
    ----------
    chroma
        Beat chroma, float32 (12, B).
    """

    chroma: Float32Array

    @cached_property
    def melody(self) -> Float32Array:
        """What a beat has beyond its harmony, float32 (12, B); columns have norm 1 or 0, see `extract_melody`."""
        return extract_melody(self.chroma)


@dataclass(frozen=True)
class SoundMatch:
    """Comparison of the chroma of two recordings, of which the first is the query.

    Attributes
    ----------
    alignment_distance
        Distance of `align_qmax`.
    melody_similarity
        Similarity of the melodies along the alignment, -1 to 1; 0 without an alignment.
    transposition, tempo_ratio
        As in `reprise.lib.detect.alignment.Alignment`.
    """

    alignment_distance: float
    melody_similarity: float
    transposition: int
    tempo_ratio: float


@dataclass(frozen=True)
class Metadata:
    """What the tags of a recording say. A missing value is None.

    ``work_title`` and ``artist`` are normalised, see `reprise.lib.detect.version_titles`.
    """

    work_title: str | None
    artist: str | None
    isrc: str | None
    recording_mbid: str | None


def read_metadata(row: Mapping[str, object]) -> Metadata:
    """Return the metadata in a row of ``library_tracks``."""

    def text(name: str) -> str | None:
        value = row.get(name)
        return value if isinstance(value, str) and value else None

    return Metadata(
        work_title=parse_title(text("title")).work_title,
        artist=normalise_artist(text("artist_name")),
        isrc=text("isrc"),
        recording_mbid=text("recording_mbid"),
    )


def extract_melody(chroma: Float32Array) -> Float32Array:
    """Return for each beat what distinguishes it from the beats with the most similar harmony in the recording.

    Two songs on the same chord progression have similar chroma; what is left after the mean of similar beats is
    subtracted is mostly the melody. The harmony of a beat is the mean chroma over 4 beats around it. The mean is over
    the 24 beats with the most similar harmony that are at least 3 beats away.

    Parameters
    ----------
    chroma
        Beat chroma, float32 (12, B).

    Returns
    -------
    numpy.ndarray
        float32 (12, B). Columns have norm 1, or 0 where nothing is left. All are 0 if B is less than 8.
    """
    beats = chroma.shape[1]
    if beats < 2 * HARMONY_BEATS:
        return np.zeros((12, beats), dtype=np.float32)
    compressed = _normalise(np.log1p(_COMPRESSION * np.asarray(chroma, dtype=np.float32)))
    levelled = compressed - compressed.mean(axis=0)
    centred = _normalise(levelled - levelled.mean(axis=1, keepdims=True))
    around = np.pad(centred, ((0, 0), (HARMONY_BEATS // 2, HARMONY_BEATS // 2 - 1)))
    harmony = _normalise(np.asarray(sliding_window_view(around, HARMONY_BEATS, axis=1).mean(axis=2), np.float32))
    similarity = harmony.T @ harmony
    number = np.arange(beats)
    similarity[np.abs(number[:, None] - number) < 3] = -2
    count = min(N_SIMILAR_BEATS, beats - 5)
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    return _normalise(compressed - compressed[:, nearest].mean(axis=2))


def _normalise(columns: Float32Array) -> Float32Array:
    norm = np.sqrt(np.einsum("ij,ij->j", columns, columns))
    scale = np.where(norm > 1e-5, norm, np.inf).astype(np.float32)
    unit: Float32Array = columns / scale
    return unit


def compare_sounds(query: Sound, candidate: Sound) -> SoundMatch:
    """Align two recordings and compare their melodies along the alignment.

    The melodies are compared where `align_dtw` places the query in the candidate. The similarity is the upper quartile
    of the mean cosine over 16 beats: versions can differ in some sections, but not in all.
    """
    aligned = align_qmax(query.chroma, candidate.chroma)
    placed = align_dtw(query.chroma, candidate.chroma)
    path = placed.path
    path = path[(path[:, 0] < query.chroma.shape[1]) & (path[:, 1] < candidate.chroma.shape[1])]
    similarity = 0.0
    if len(path) >= MELODY_BEATS:
        other = np.roll(candidate.melody, -placed.transposition, axis=0)
        cosines = np.einsum("ij,ij->j", query.melody[:, path[:, 0]], other[:, path[:, 1]])
        means = np.convolve(cosines, np.full(MELODY_BEATS, 1 / MELODY_BEATS), mode="valid")
        similarity = float(np.quantile(means, MELODY_QUANTILE))
    return SoundMatch(aligned.distance, similarity, aligned.transposition, aligned.tempo_ratio)


def score_pair(match: SoundMatch | None, query: Metadata, candidate: Metadata) -> Float64Array:
    """Return the scores of two recordings, (len(SCORES),); ``match`` is None if a recording has no chroma.

    What is unknown has the score of a pair about which nothing is known: the typical alignment and melody of the data
    of the fit, and 0 for titles and identifiers. A title that another artist has too says nothing, because many works
    have the same title.
    """
    alignment, melody = TYPICAL
    if match is not None:
        alignment, melody = float(np.log(max(match.alignment_distance, 1e-3))), -match.melody_similarity
    same_title = compare_titles(query, candidate)
    has_artists = query.artist is not None and candidate.artist is not None
    is_other_artist = has_artists and query.artist != candidate.artist
    # without an artist, the title may be the name of a file, which can say anything
    is_other = same_title is False and has_artists
    is_same = same_title is True and not is_other_artist
    return np.array([
        alignment, melody, float(is_other and not is_other_artist), float(is_other and is_other_artist),
        -float(is_same), -float(have_same_id(query, candidate)),
    ])  # fmt: skip


def compare_titles(query: Metadata, candidate: Metadata) -> bool | None:
    """Return whether two recordings have the title of one work; None if a title is not known."""
    if query.work_title is None or candidate.work_title is None:
        return None
    return is_same_title(query.work_title, candidate.work_title)


def have_same_id(query: Metadata, candidate: Metadata) -> bool:
    """Return whether two recordings have the same ISRC or MusicBrainz recording id."""
    ids = ((query.isrc, candidate.isrc), (query.recording_mbid, candidate.recording_mbid))
    return any(one is not None and one == other for one, other in ids)


def is_same_title(one: str, other: str) -> bool:
    """Return whether two normalised titles of works are equal, or so similar that one is a misspelling."""
    if one == other or one.replace(" ", "") == other.replace(" ", ""):
        return True
    if min(len(one), len(other)) < 5 or _digits(one) != _digits(other):
        return False
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return matcher.quick_ratio() >= _MIN_TITLE_RATIO and matcher.ratio() >= _MIN_TITLE_RATIO


def _digits(text: str) -> str:
    """Return the digits of a title: "Symphony No. 5" is not a misspelling of "Symphony No. 6"."""
    return "".join(character for character in text if character.isdigit())


def version_probability(scores: Float64Array) -> Float64Array:
    """Return the probability that two recordings are versions of one work, (n,), from scores (n, len(SCORES))."""
    return Calibration(WEIGHTS, INTERCEPT).probability(scores.reshape(-1, len(SCORES)))
