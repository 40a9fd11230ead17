"""Rendering of whole songs: valid stems, tuning, timing, loudness, fades, limiter, reproducibility."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from reprise.lib.music.render import SAMPLE_RATE, render
from reprise.lib.music.render.compiled import compute_limiter_gain
from reprise.lib.music.sample import DRUMS, GENRES, INSTRUMENTS, PARTS, Composition, Notes, SamplePlan, compose

PLAN = SamplePlan(400, seed=5)
SHORT = [i for i in range(400) if PLAN.track(i).state == 1 and PLAN.track(i).length_s < 16]
BASS, HARMONY, LEAD = 1, 2, 3


def make_song(
    rows: list[tuple[float, float, int, float, int]], names: tuple[str, str, str, str], *, tuning_cents: float = 0.0
) -> Composition:
    """Return a song of four seconds with these notes (start_s, duration_s, pitch, velocity, part) and instruments."""
    song = compose(PLAN, SHORT[0])
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    cell = np.zeros(columns.shape[1], dtype=np.int64)
    notes = Notes(
        columns[0], columns[1], columns[2].astype(np.int64), columns[3], columns[4].astype(np.int8), cell, cell + 1
    )
    return replace(
        song,
        notes=notes,
        track=replace(song.track, tuning_cents=tuning_cents),
        instruments=tuple(INSTRUMENTS[name] for name in names),
        section_db=np.zeros_like(song.section_db),
        duration_s=4.0,
        fade_out_s=0.0,
    )


BAND = ("kit", "electric bass", "piano", "flute")


def mono(stem: np.ndarray) -> np.ndarray:
    return stem.astype(np.float64).mean(axis=1)


def level_db(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal.astype(np.float64) ** 2) + 1e-12))


def peak_hz(signal: np.ndarray, near_hz: float) -> float:
    size = 1 << 20
    power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), size))
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    inside = (hz > near_hz * 0.9) & (hz < near_hz * 1.1)
    return float(hz[inside][power[inside].argmax()])


@pytest.mark.parametrize("index", SHORT[:5])
def test_stems_are_valid_and_stay_below_full_scale(index: int) -> None:
    song = compose(PLAN, index)
    stems = render(song)
    voice = "voice" if song.instruments[LEAD].name == "voice" else "lead"
    assert list(stems) == ["drums", "bass", "harmony", voice]
    for stem in stems.values():
        assert stem.dtype == np.float32
        assert stem.shape == (round(song.duration_s * SAMPLE_RATE), 2)
        assert np.isfinite(stem).all()
        assert np.abs(stem).max() < 1
    mix = np.sum(list(stems.values()), axis=0)
    assert 0.05 < np.abs(mix).max() < 1
    assert np.abs(mix[-1]).max() < 1e-3
    assert not stems["drums"].any() or not song.track.drumless


@pytest.mark.slow
def test_level_is_near_that_of_the_genre() -> None:
    songs = [compose(PLAN, index) for index in SHORT[:8]]
    measured = [level_db(np.sum(list(render(song).values()), axis=0)) for song in songs]
    expected = [GENRES[song.track.genre].level_db[0] for song in songs]
    assert -8 < np.mean(np.array(measured) - expected) < 2
    assert max(measured) < -6


def test_song_without_notes_is_silence() -> None:
    stems = render(make_song([], BAND))
    assert all(not stem.any() for stem in stems.values())


@pytest.mark.slow
def test_samples_are_equal_in_another_process() -> None:
    def digest(stems: dict[str, np.ndarray]) -> str:
        return hashlib.sha256(b"".join(stem.tobytes() for stem in stems.values())).hexdigest()

    code = (
        "import hashlib; from reprise.lib.music.sample import SamplePlan, compose; "
        "from reprise.lib.music.render import render;"
        f"stems = render(compose(SamplePlan(400, seed=5), {SHORT[1]}));"
        "print(hashlib.sha256(b''.join(s.tobytes() for s in stems.values())).hexdigest())"
    )
    render(compose(PLAN, SHORT[2]))  # a song rendered before must not change the next one
    digest_here = digest(render(compose(PLAN, SHORT[1])))
    digest_there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert digest_here == digest_there


def test_notes_start_at_the_times_of_the_score() -> None:
    times = (0.5, 1.25, 2.0, 2.9)
    drums = [(t, 0.1, DRUMS["rim"], 0.9, 0) for t in times]
    lead = [(t, 0.4, 69, 0.9, LEAD) for t in times]
    stems = render(make_song(drums + lead, ("kit", "electric bass", "piano", "banjo")))
    for name in ("drums", "lead"):
        signal = np.abs(mono(stems[name]))
        assert not signal[: round(0.5 * SAMPLE_RATE) - 1].any()
        for time in times:
            position = round(time * SAMPLE_RATE)
            before, after = signal[position - 441 : position].max(), signal[position : position + 441].max()
            assert after > 5 * before, (name, time)


def test_tuning_shifts_every_pitched_part() -> None:
    rows = [(0.2, 3.0, pitch, 0.9, part) for part, pitch in ((BASS, 33), (HARMONY, 57), (LEAD, 76))]
    for cents in (0.0, 37.0, -45.0):
        stems = render(make_song(rows, BAND, tuning_cents=cents))
        for name, pitch in (("bass", 33), ("harmony", 57), ("lead", 76)):
            expected = 440 * 2 ** ((pitch - 69 + cents / 100) / 12)
            measured = peak_hz(mono(stems[name])[SAMPLE_RATE // 2 : 3 * SAMPLE_RATE], expected)
            assert abs(1200 * np.log2(measured / expected)) < 6, (name, cents)


def test_notes_end_after_their_release() -> None:
    rows = [(0.2, 0.5, 60, 0.9, HARMONY)]
    for name in ("organ", "strings", "piano", "distorted guitar"):
        signal = mono(render(make_song(rows, ("kit", "electric bass", name, "flute")))["harmony"])
        sounding_db = level_db(signal[round(0.4 * SAMPLE_RATE) : round(0.7 * SAMPLE_RATE)])
        assert level_db(signal[round(2.9 * SAMPLE_RATE) :]) < sounding_db - 40, name


def test_harder_notes_and_louder_sections_are_louder() -> None:
    soft, loud = [(0.2, 0.8, 60, 0.4, HARMONY)], [(2.2, 0.8, 60, 1.0, HARMONY)]
    song = make_song(soft + loud, BAND)
    signal = mono(render(song)["harmony"])
    half = len(signal) // 2
    assert level_db(signal[half:]) > level_db(signal[:half]) + 6

    notes = replace(song.notes, velocity=np.full(2, 0.8), cell=np.array([0, 40]))
    louder = replace(song, notes=notes, section_cells=np.array([0, 32]), section_db=np.array([0.0, 6.0]))
    signal = mono(render(louder)["harmony"])
    assert 4 < level_db(signal[half:]) - level_db(signal[:half]) < 8


def test_fade_out_fades() -> None:
    rows = [(0.2 + 0.25 * i, 0.25, 60 + i, 0.9, HARMONY) for i in range(15)]
    song = make_song(rows, ("kit", "electric bass", "organ", "flute"))
    plain, faded = mono(render(song)["harmony"]), mono(render(replace(song, fade_out_s=3.0))["harmony"])
    seconds = [slice(round(a * SAMPLE_RATE), round((a + 0.4) * SAMPLE_RATE)) for a in (0.3, 1.6, 2.4, 3.2)]
    reduction_db = [level_db(plain[s]) - level_db(faded[s]) for s in seconds]
    assert abs(reduction_db[0]) < 1
    assert reduction_db[0] < reduction_db[1] < reduction_db[2] < reduction_db[3]
    assert reduction_db[3] > 20


def test_distorted_chord_decays_more_slowly_than_a_clean_one() -> None:
    rows = [(0.2, 3.0, pitch, 0.9, HARMONY) for pitch in (45, 52, 57)]
    decay_db = {}
    for name in ("acoustic guitar", "distorted guitar"):
        signal = mono(render(make_song(rows, ("kit", "electric bass", name, "flute")))["harmony"])
        decay_db[name] = level_db(signal[2 * SAMPLE_RATE : 3 * SAMPLE_RATE]) - level_db(signal[: SAMPLE_RATE // 2])
    assert decay_db["distorted guitar"] > decay_db["acoustic guitar"] + 6


def test_every_drum_stroke_is_audible() -> None:
    drums = [*(drum for drum in DRUMS if drum not in ("ride", "crash")), "ride", "crash"]
    rows = [(0.3 + 0.28 * i, 0.1, DRUMS[drum], 0.9, 0) for i, drum in enumerate(drums)]
    for kit in ("kit", "brushes", "drum machine", "electronic kit", "hand drums"):
        signal = mono(render(make_song(rows, (kit, *BAND[1:])))["drums"])
        for (start, *_), drum in zip(rows, drums, strict=True):
            position = round(start * SAMPLE_RATE)
            before, after = signal[position - 882 : position], signal[position : position + 2205]
            assert level_db(np.diff(after)) > level_db(np.diff(before)) + 3, (kit, drum)


def test_limiter_gain_keeps_the_ceiling_and_changes_slowly() -> None:
    rng = np.random.default_rng(3)
    peaks = rng.random(500) * (1 + 3 * (rng.random(500) > 0.97))
    gain = compute_limiter_gain(peaks, 0.9, 0.8, 1.004)
    assert len(gain) == 501
    # the gain is linear over a block, so it must keep the ceiling at both ends
    assert (peaks * np.maximum(gain[:-1], gain[1:]) <= 0.9 + 1e-12).all()
    assert (gain[1:] <= gain[:-1] * 1.004 + 1e-12).all()
    assert (gain[1:] >= gain[:-1] * 0.8 - 1e-12).all()
    assert np.array_equal(compute_limiter_gain(np.full(5, 0.5), 0.9, 0.8, 1.004), np.ones(6))


def test_order_of_parts_is_that_of_the_stems() -> None:
    assert PARTS == ("drums", "bass", "harmony", "lead")
