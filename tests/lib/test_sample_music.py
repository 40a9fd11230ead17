"""Composed tracks and their simulated analysis: reproducible bytes, valid arrays, recognisable versions."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reprise.lib import msd
from reprise.lib.music.sample import (
    DRUMS,
    GENRES,
    AnalysisErrors,
    Difficulty,
    SamplePlan,
    compose,
    compute_msd_columns,
    track_id,
    truth,
    truth_columns,
    write_track,
)

PLAN = SamplePlan(240, seed=11)
# large enough to have both short and beatless tracks
ODD = SamplePlan(3000, seed=5)


def compute_digest(song: dict) -> str:
    hasher = hashlib.sha256()
    for name in sorted(song):
        value = song[name]
        hasher.update(name.encode())
        hasher.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return hasher.hexdigest()


def rows_of(plan: SamplePlan) -> list[dict]:
    columns = truth_columns(plan, np.arange(plan.n_tracks))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def find_odd_tracks() -> list[int]:
    states = dict(enumerate(truth_columns(ODD, np.arange(1500))["state"]))
    indices = [index for index, state in states.items() if state != "normal"]
    assert {states[index] for index in indices} == {"short", "beatless"}
    return indices


@pytest.fixture(scope="module")
def songs() -> list[dict]:
    return [compute_msd_columns(compose(PLAN, index)) for index in range(PLAN.n_tracks)]


def test_bytes_are_equal_in_any_order_and_process(songs):
    again = [compute_digest(compute_msd_columns(compose(PLAN, index))) for index in (200, 3, 117)]
    assert again == [compute_digest(songs[index]) for index in (200, 3, 117)]
    code = (
        "import sys; from reprise.lib.music.sample import *; from reprise.lib import msd; import hashlib;"
        "plan = SamplePlan(240, seed=11);"
        "print(*[hashlib.sha256(msd.to_bytes([compute_msd_columns(compose(plan, i))])).hexdigest() for i in (117, 3)])"
    )
    digests_there = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert digests_there == [hashlib.sha256(msd.to_bytes([songs[index]])).hexdigest() for index in (117, 3)]


def test_another_seed_gives_another_dataset(songs):
    other = SamplePlan(240, seed=12)
    assert track_id(other, 0) != track_id(PLAN, 0)
    assert compute_digest(compute_msd_columns(compose(other, 0))) != compute_digest(songs[0])


def test_every_array_satisfies_the_format(songs):
    songs = songs + [compute_msd_columns(compose(ODD, index)) for index in find_odd_tracks()]
    assert set(msd.FIELDS) - set(songs[0]) <= {name for name in msd.FIELDS if name.startswith("idx_")} | {
        "analyzer_version",
        "genre",
    }
    for song in songs:
        n = len(song["segments_start"])
        assert 1 <= n <= 3600
        for name in ("confidence", "pitches", "timbre", "loudness_start", "loudness_max", "loudness_max_time"):
            assert len(song[f"segments_{name}"]) == n
            assert np.isfinite(song[f"segments_{name}"]).all()
        assert song["segments_start"][0] == 0.0
        assert song["segments_pitches"].shape == song["segments_timbre"].shape == (n, 12)
        assert (song["segments_pitches"].max(axis=1) == 1.0).all()
        assert song["segments_pitches"].min() >= 0.0
        for name in ("segments_loudness_start", "segments_loudness_max"):
            assert song[name].min() >= -60.0
            assert song[name].max() <= 2.3
        assert (song["segments_loudness_start"] <= song["segments_loudness_max"]).all()
        assert (song["segments_loudness_max_time"] >= 0).all()
        assert 0.0 <= song["segments_timbre"][:, 0].min() <= song["segments_timbre"][:, 0].max() <= 60.0
        for kind in ("segments", "beats", "bars", "tatums", "sections"):
            start, confidence = song[f"{kind}_start"], song[f"{kind}_confidence"]
            assert len(start) == len(confidence)
            assert (np.diff(start) > 0).all()
            if len(start):
                assert 0.0 <= start[0] <= start[-1] < song["duration"]
                assert 0.0 <= confidence.min() <= confidence.max() <= 1.0
        assert set(song["bars_start"]) <= set(song["beats_start"]) <= set(song["tatums_start"])
        assert 0.0 <= song["end_of_fade_in"] <= song["start_of_fade_out"] <= song["duration"]
        assert song["key"] in range(12)
        assert song["mode"] in (0, 1)
        assert song["time_signature"] in (0, 1, 3, 4, 5, 7)
        assert -45 < song["loudness"] < 0
        assert len(song["similar_artists"]) == len(set(song["similar_artists"])) == 100
        assert song["artist_id"] not in song["similar_artists"]
        assert len(song["artist_terms"]) == len(song["artist_terms_freq"]) == len(song["artist_terms_weight"])


def test_short_and_beatless_tracks_have_their_properties():
    for index in find_odd_tracks():
        song, expected = compute_msd_columns(compose(ODD, index)), truth(ODD, index)
        if expected["state"] == "beatless":
            assert len(song["beats_start"]) == len(song["bars_start"]) == song["tempo"] == song["time_signature"] == 0
        else:
            assert 0 < len(song["beats_start"]) < 120
        assert song["duration"] < 60


def test_written_track_reads_back(tmp_path: Path):
    for index in (0, 9, find_odd_tracks()[0]):
        path = write_track(ODD, index, tmp_path)
        assert path == tmp_path / msd.track_path(track_id(ODD, index))
        read = msd.read(path, expect_id=track_id(ODD, index))
        song = compute_msd_columns(compose(ODD, index))
        for name, value in song.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(read[name][0], value.astype(read[name][0].dtype))
            elif isinstance(value, float):
                assert read[name][0] == pytest.approx(value)
            else:
                assert read[name][0] == value, name


def test_notes_are_valid_and_agree_with_the_truth():
    for index in range(60):
        song = compose(PLAN, index)
        notes, expected = song.notes, truth(PLAN, index)
        assert len(notes) > 50
        assert (notes.start_s >= 0).all()
        assert (notes.duration_s > 0).all()
        assert (notes.start_s + notes.duration_s <= song.duration_s).all()
        assert notes.pitch.min() >= 20
        assert notes.pitch.max() <= 108
        assert 0 < notes.velocity.min() <= notes.velocity.max() <= 1
        drums = notes.part == 0
        assert set(notes.pitch[drums].tolist()) <= set(DRUMS.values())
        assert drums.any() != expected["drumless"]
        assert [instrument.name for instrument in song.instruments] == [
            expected[part] for part in ("drums", "bass", "harmony", "lead")
        ]
        assert song.form == expected["form"]
        period = np.median(np.diff(song.beat_s))
        assert 60 / period == pytest.approx(expected["tempo_bpm"], rel=0.05)
        assert len(song.section_s) == len(song.form)


def test_bass_agrees_with_chords_and_notes_are_in_key():
    in_key_share, roots = [], []
    for index in range(60):
        notes, expected = compose(PLAN, index).notes, truth(PLAN, index)
        scale = {0, 2, 4, 5, 7, 9, 11} if expected["mode"] else {0, 2, 3, 5, 7, 8, 10}
        pitched = notes.part > 0
        in_key_share.append(np.mean([(p - expected["key"]) % 12 in scale for p in notes.pitch[pitched]]))
        chords: dict[int, set[int]] = {}
        for cell, pitch in zip(notes.cell[notes.part == 2], notes.pitch[notes.part == 2], strict=True):
            chords.setdefault(int(cell), set()).add(int(pitch) % 12)
        bass = zip(notes.cell[notes.part == 1], notes.pitch[notes.part == 1], strict=True)
        roots += [int(pitch) % 12 in chords[int(cell)] for cell, pitch in bass if int(cell) in chords]
    assert np.median(in_key_share) > 0.8
    assert np.mean(roots) > 0.95


def test_chroma_of_segments_follows_the_notes(songs):
    """The pitch classes that are played most have the largest values in the chroma."""
    agreement = []
    for index in range(40):
        notes = compose(PLAN, index).notes
        pitched = notes.part > 0
        weight = notes.duration_s[pitched] * notes.velocity[pitched]
        played = np.bincount(notes.pitch[pitched] % 12, weight, 12)
        agreement.append(np.corrcoef(played, songs[index]["segments_pitches"].mean(axis=0))[0, 1])
    assert np.median(agreement) > 0.8


def test_planned_analysis_errors_are_in_the_msd_columns(songs):
    for index, song in enumerate(songs):
        expected = truth(PLAN, index)
        assert song["key"] == (expected["key"] + expected["key_error"]) % 12
        assert song["mode"] == expected["mode"] ^ expected["mode_error"]
        if expected["state"] == "normal":
            assert song["tempo"] == pytest.approx(expected["tempo_bpm"] * expected["tempo_factor"], rel=0.05)
            assert song["time_signature"] == expected["reported_meter"]
    rows = rows_of(ODD)
    errors = AnalysisErrors()
    assert np.mean([row["key_error"] != 0 for row in rows]) == pytest.approx(errors.key_wrong, abs=0.03)
    assert np.mean([row["mode_error"] for row in rows]) == pytest.approx(errors.mode_wrong, abs=0.03)
    assert np.mean([row["tempo_factor"] == 1 for row in rows]) > 0.8
    without_errors = SamplePlan(50, seed=3, errors=AnalysisErrors(0, 0, 0, 0, 0, 0, 0))
    for index in range(50):
        row = truth(without_errors, index)
        assert (row["tempo_factor"], row["key_error"], row["mode_error"], row["off_beat"]) == (1.0, 0, False, False)
        assert row["lost_share"] == 0
        assert row["reported_meter"] == row["meter"]


def beat_chroma(song: dict) -> np.ndarray:
    """Return the chroma of each beat, shape (beats, 12), with rows of norm 1."""
    beats = song["beats_start"]
    at = np.searchsorted(song["segments_start"], (beats[:-1] + beats[1:]) / 2, side="right") - 1
    before = np.searchsorted(song["segments_start"], beats[:-1], side="right") - 1
    chroma = song["segments_pitches"][at] + song["segments_pitches"][before]
    chroma -= chroma.mean(axis=1, keepdims=True)
    return chroma / np.maximum(np.linalg.norm(chroma, axis=1, keepdims=True), 1e-9)


def compute_similarity(one: np.ndarray, other: np.ndarray, *, width: int = 16) -> float:
    """Return the mean, over the windows of one track, of the best correlation with a window of another track."""
    similarity = one @ other.T
    windows = sum(similarity[i : len(one) - width + i, i : len(other) - width + i] for i in range(width)) / width
    return float(windows.max(axis=1).mean())


def test_versions_are_more_similar_than_unrelated_tracks():
    plan = SamplePlan(120, seed=2, n_cliques=40, n_covers=120, errors=AnalysisErrors(0, 0, 0, 0, 0, 0, 0))
    usable = [row for row in rows_of(plan) if row["state"] == "normal" and not row["melody_lost"]]
    chroma = {row["index"]: beat_chroma(compute_msd_columns(compose(plan, row["index"]))) for row in usable}
    versions, unrelated = [], []
    for one in usable:
        for other in usable:
            if one["index"] >= other["index"]:
                continue
            transposed = np.roll(chroma[other["index"]], one["key"] - other["key"], axis=1)
            if one["clique"] == other["clique"]:
                versions.append(compute_similarity(chroma[one["index"]], transposed))
            elif (one["index"] * 7 + other["index"]) % 40 == 0:
                unrelated.append(compute_similarity(chroma[one["index"]], transposed))
    assert len(versions) > 60
    assert len(unrelated) > 60
    order_share = np.mean([version > other_value for version in versions for other_value in unrelated])
    assert order_share > 0.85, order_share


def test_without_difficulty_versions_equal_their_original():
    easy = Difficulty(**dict.fromkeys(Difficulty.__dataclass_fields__, 0.0) | {"chroma_noise": 1.0})
    plan = SamplePlan(40, seed=4, n_cliques=20, n_covers=40, difficulty=easy)
    rows = rows_of(plan)
    for clique in range(20):
        one, other = (row for row in rows if row["clique"] == clique)
        assert one["key"] == other["key"]
        assert one["tempo_ratio"] == other["tempo_ratio"] == 1.0
        assert one["genre"] == other["genre"]


def test_tempi_of_genres_differ_but_overlap():
    rows = rows_of(ODD)
    tempo = [[row["tempo_bpm"] for row in rows if row["genre"] == genre.name] for genre in GENRES]
    lows, highs = [np.quantile(t, 0.1) for t in tempo], [np.quantile(t, 0.9) for t in tempo]
    assert max(lows) < min(highs)
    medians = [np.median(t) for t in tempo]
    assert max(medians) / min(medians) > 1.15
