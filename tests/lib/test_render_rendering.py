"""Whole songs: stems that sum to the mix, in tune and in time, faded, limited, and the same each time."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from reprise.lib.music.render import SAMPLE_RATE, render
from reprise.lib.music.render.compiled import ride_gain
from reprise.lib.music.sample import DRUMS, GENRES, INSTRUMENTS, PARTS, Composition, Notes, Plan, compose

PLAN = Plan(400, seed=5)
SHORT = [i for i in range(400) if PLAN.track(i).state == 1 and PLAN.track(i).length_s < 16]
BASS, HARMONY, LEAD = 1, 2, 3


def make_song(
    rows: list[tuple[float, float, int, float, int]], names: tuple[str, str, str, str], **track: float
) -> Composition:
    """A song of four seconds with these notes (start, duration, pitch, velocity, part) and instruments."""
    song = compose(PLAN, SHORT[0])
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    cell = np.zeros(columns.shape[1], dtype=np.int64)
    notes = Notes(
        columns[0], columns[1], columns[2].astype(np.int64), columns[3], columns[4].astype(np.int8), cell, cell + 1
    )
    return replace(
        song,
        notes=notes,
        track=replace(song.track, **{"tuning_cents": 0.0, **track}),
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
def test_stems_are_sound_and_stay_below_full_scale(index: int) -> None:
    song = compose(PLAN, index)
    stems = render(song)
    voice = "voice" if song.instruments[LEAD].name == "voice" else "lead"
    assert list(stems) == ["drums", "bass", "harmony", voice]
    for stem in stems.values():
        assert stem.dtype == np.float32
        assert stem.shape == (round(song.duration_s * SAMPLE_RATE), 2)
        assert np.isfinite(stem).all()
        assert np.abs(stem).max() < 1
    mix = sum(stems.values())
    assert 0.05 < np.abs(mix).max() < 1
    assert np.abs(mix[-1]).max() < 1e-3
    assert not stems["drums"].any() or not song.track.drumless


def test_level_follows_the_genre() -> None:
    songs = [compose(PLAN, index) for index in SHORT[:8]]
    heard = [level_db(sum(render(song).values())) for song in songs]
    wanted = [GENRES[song.track.genre].level_db[0] for song in songs]
    assert -8 < np.mean(np.array(heard) - wanted) < 2
    assert max(heard) < -6


def test_song_without_notes_is_silence() -> None:
    stems = render(make_song([], BAND))
    assert all(not stem.any() for stem in stems.values())


def test_same_song_same_samples_in_another_process() -> None:
    def digest(stems: dict[str, np.ndarray]) -> str:
        return hashlib.sha256(b"".join(stem.tobytes() for stem in stems.values())).hexdigest()

    code = (
        "import hashlib; from reprise.lib.music.sample import Plan, compose; "
        "from reprise.lib.music.render import render;"
        f"print(hashlib.sha256(b''.join(s.tobytes() for s in render(compose(Plan(400, seed=5), {SHORT[1]})).values()))"
        ".hexdigest())"
    )
    render(compose(PLAN, SHORT[2]))  # what was played before makes no difference
    here = digest(render(compose(PLAN, SHORT[1])))
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert here == there


def test_notes_start_where_the_score_says() -> None:
    times = (0.5, 1.25, 2.0, 2.9)
    drums = [(t, 0.1, DRUMS["rim"], 0.9, 0) for t in times]
    lead = [(t, 0.4, 69, 0.9, LEAD) for t in times]
    stems = render(make_song(drums + lead, ("kit", "electric bass", "piano", "banjo")))
    for name in ("drums", "lead"):
        signal = np.abs(mono(stems[name]))
        assert not signal[: round(0.5 * SAMPLE_RATE) - 1].any()
        for time in times:
            place = round(time * SAMPLE_RATE)
            before, after = signal[place - 441 : place].max(), signal[place : place + 441].max()
            assert after > 5 * before, (name, time)


def test_tuning_moves_every_pitched_part() -> None:
    rows = [(0.2, 3.0, pitch, 0.9, part) for part, pitch in ((BASS, 33), (HARMONY, 57), (LEAD, 76))]
    for cents in (0.0, 37.0, -45.0):
        stems = render(make_song(rows, BAND, tuning_cents=cents))
        for name, pitch in (("bass", 33), ("harmony", 57), ("lead", 76)):
            wanted = 440 * 2 ** ((pitch - 69 + cents / 100) / 12)
            heard = peak_hz(mono(stems[name])[SAMPLE_RATE // 2 : 3 * SAMPLE_RATE], wanted)
            assert abs(1200 * np.log2(heard / wanted)) < 6, (name, cents)


def test_notes_are_let_go() -> None:
    rows = [(0.2, 0.5, 60, 0.9, HARMONY)]
    for name in ("organ", "strings", "piano", "distorted guitar"):
        signal = mono(render(make_song(rows, ("kit", "electric bass", name, "flute")))["harmony"])
        held = level_db(signal[round(0.4 * SAMPLE_RATE) : round(0.7 * SAMPLE_RATE)])
        assert level_db(signal[round(2.9 * SAMPLE_RATE) :]) < held - 40, name


def test_harder_notes_and_louder_sections_are_louder() -> None:
    soft, hard = [(0.2, 0.8, 60, 0.4, HARMONY)], [(2.2, 0.8, 60, 1.0, HARMONY)]
    song = make_song(soft + hard, BAND)
    signal = mono(render(song)["harmony"])
    half = len(signal) // 2
    assert level_db(signal[half:]) > level_db(signal[:half]) + 6

    notes = replace(song.notes, velocity=np.full(2, 0.8), cell=np.array([0, 40]))
    loud = replace(song, notes=notes, section_cells=np.array([0, 32]), section_db=np.array([0.0, 6.0]))
    signal = mono(render(loud)["harmony"])
    assert 4 < level_db(signal[half:]) - level_db(signal[:half]) < 8


def test_fade_out_fades() -> None:
    rows = [(0.2 + 0.25 * i, 0.25, 60 + i, 0.9, HARMONY) for i in range(15)]
    song = make_song(rows, ("kit", "electric bass", "organ", "flute"))
    plain, faded = mono(render(song)["harmony"]), mono(render(replace(song, fade_out_s=3.0))["harmony"])
    seconds = [slice(round(a * SAMPLE_RATE), round((a + 0.4) * SAMPLE_RATE)) for a in (0.3, 1.6, 2.4, 3.2)]
    lost = [level_db(plain[s]) - level_db(faded[s]) for s in seconds]
    assert abs(lost[0]) < 1
    assert lost[0] < lost[1] < lost[2] < lost[3]
    assert lost[3] > 20


def test_distorted_chord_is_brighter_and_denser_than_a_clean_one() -> None:
    rows = [(0.2, 3.0, pitch, 0.9, HARMONY) for pitch in (45, 52, 57)]
    loudness = {}
    for name in ("acoustic guitar", "distorted guitar"):
        signal = mono(render(make_song(rows, ("kit", "electric bass", name, "flute")))["harmony"])
        loudness[name] = level_db(signal[2 * SAMPLE_RATE : 3 * SAMPLE_RATE]) - level_db(signal[: SAMPLE_RATE // 2])
    assert loudness["distorted guitar"] > loudness["acoustic guitar"] + 6


def test_drum_pattern_has_every_stroke() -> None:
    drums = [*(drum for drum in DRUMS if drum not in ("ride", "crash")), "ride", "crash"]
    rows = [(0.3 + 0.28 * i, 0.1, DRUMS[drum], 0.9, 0) for i, drum in enumerate(drums)]
    for kit in ("kit", "brushes", "drum machine", "electronic kit", "hand drums"):
        signal = mono(render(make_song(rows, (kit, *BAND[1:])))["drums"])
        for (start, *_), drum in zip(rows, drums, strict=True):
            place = round(start * SAMPLE_RATE)
            before, after = signal[place - 882 : place], signal[place : place + 2205]
            assert level_db(np.diff(after)) > level_db(np.diff(before)) + 3, (kit, drum)


def test_limiter_holds_the_ceiling_and_moves_gently() -> None:
    rng = np.random.default_rng(3)
    peaks = rng.random(500) * (1 + 3 * (rng.random(500) > 0.97))
    gain = ride_gain(peaks, 0.9, 0.8, 1.004)
    assert len(gain) == 501
    # the gain is a straight line over a block, so both of its ends must hold
    assert (peaks * np.maximum(gain[:-1], gain[1:]) <= 0.9 + 1e-12).all()
    assert (gain[1:] <= gain[:-1] * 1.004 + 1e-12).all()
    assert (gain[1:] >= gain[:-1] * 0.8 - 1e-12).all()
    assert np.array_equal(ride_gain(np.full(5, 0.5), 0.9, 0.8, 1.004), np.ones(6))


def test_parts_have_the_order_of_the_stems() -> None:
    assert PARTS == ("drums", "bass", "harmony", "lead")
