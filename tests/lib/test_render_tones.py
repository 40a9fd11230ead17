"""Synthesis of single notes and drum strokes: tuning, validity, and differences between instruments."""

import numpy as np
import pytest

from reprise.lib.music.render.drums import KITS, play_stroke
from reprise.lib.music.render.instruments import SOUNDS
from reprise.lib.music.render.tones import SAMPLE_RATE, VARIANTS, play_note
from reprise.lib.music.sample import DRUMS, INSTRUMENTS


def to_hz(pitch: float) -> float:
    return 440.0 * 2 ** ((pitch - 69) / 12)


def find_fundamental(signal: np.ndarray, lowest: float, highest: float) -> float:
    """Return the frequency in Hz of the first large autocorrelation peak between two frequencies."""
    size = 1 << (2 * len(signal) - 1).bit_length()
    power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), size)) ** 2
    correlation = np.fft.irfft(power)[: len(signal)]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(len(signal)), size)) ** 2)[: len(signal)]
    correlation /= np.maximum(window, 1e-6 * window[0])
    first, last = int(SAMPLE_RATE / highest), int(SAMPLE_RATE / lowest) + 1
    # the autocorrelation is equally large at twice the period, so take the first large peak
    inner = correlation[first:last]
    peaks = np.flatnonzero((inner[1:-1] >= inner[:-2]) & (inner[1:-1] > inner[2:]) & (inner[1:-1] > 0.9 * inner.max()))
    lag = first + 1 + int(peaks[0])
    left, middle, right = correlation[lag - 1 : lag + 2]
    return SAMPLE_RATE / (lag + 0.5 * (left - right) / (left - 2 * middle + right))


def compute_centroid(signal: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(signal)) ** 2
    return float((power * np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)).sum() / power.sum())


def compute_power_share(signal: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(signal)) ** 2
    hz = np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)
    return float(power[(hz > low) & (hz < high)].sum() / power.sum())


def measure_rise_s(signal: np.ndarray) -> float:
    """Return the time until the note has half of its maximum level, in seconds."""
    level = np.sqrt(np.convolve(signal**2, np.ones(256) / 256, "same"))
    return float(np.argmax(level > 0.5 * level.max())) / SAMPLE_RATE


def play_middle_note(name: str, velocity: float = 0.85, length_s: float = 1.2, variant: int = 3) -> np.ndarray:
    return play_note(name, to_hz(INSTRUMENTS[name].register + 7), velocity, length_s, variant, 1.0).astype(np.float64)


def measure_decay_db(signal: np.ndarray) -> float:
    """Return the level from 0.1 to 0.3 seconds minus the level of the last 0.2 seconds, in dB."""
    early, late = signal[SAMPLE_RATE // 10 : 3 * SAMPLE_RATE // 10], signal[-SAMPLE_RATE // 5 :]
    return float(10 * np.log10(np.mean(early**2) / np.mean(late**2)))


def test_every_instrument_has_a_sound() -> None:
    assert set(SOUNDS) | set(KITS) == set(INSTRUMENTS)
    assert all(set(kit) == set(DRUMS) for kit in KITS.values())


@pytest.mark.parametrize("name", SOUNDS)
def test_notes_are_valid_and_in_tune(name: str) -> None:
    register = INSTRUMENTS[name].register
    for pitch, velocity in ((register, 0.5), (register + 7.4, 0.85), (register + 19, 1.0)):
        hz = to_hz(pitch)
        note = play_note(name, hz, velocity, 1.0, 1, 1.0)
        assert note.dtype == np.float32
        assert len(note) == SAMPLE_RATE
        assert np.isfinite(note).all()
        assert 0.89 < np.abs(note).max() < 0.91
        # after the vibrato's delay and the singer's slide, over whole periods of the vibrato
        measured = find_fundamental(note[SAMPLE_RATE // 5 :].astype(np.float64), hz / 2.2, hz * 1.8)
        assert abs(1200 * np.log2(measured / hz)) < 10, pitch


@pytest.mark.parametrize("name", SOUNDS)
def test_notes_start_with_an_attack_and_are_reproducible(name: str) -> None:
    note = play_note(name, 220.0, 0.8, 0.5, 2, 0.9)
    assert abs(note[0]) < 0.05
    assert np.abs(note[: SAMPLE_RATE // 20]).max() > 0.1
    assert np.array_equal(note, play_note(name, 220.0, 0.8, 0.5, 2, 0.9))


@pytest.mark.parametrize("name", SOUNDS)
def test_extreme_notes_are_finite(name: str) -> None:
    for hz in (30.0, 3500.0, 9000.0):
        assert np.isfinite(play_note(name, hz, 0.05, 0.001, 0, 1.2)).all()


@pytest.mark.parametrize("name", [name for name in SOUNDS if name not in ("organ", "flute")])
def test_harder_notes_are_brighter(name: str) -> None:
    lowest = 2.5 * to_hz(INSTRUMENTS[name].register + 7)
    soft, hard = (compute_power_share(play_middle_note(name, velocity), lowest, 16_000) for velocity in (0.4, 1.0))
    assert hard / (1 - hard) > 1.05 * soft / (1 - soft)


def test_struck_notes_decay_and_sustained_notes_do_not() -> None:
    for name in ("piano", "acoustic guitar", "nylon guitar", "electric guitar", "double bass", "electric piano"):
        assert measure_decay_db(play_middle_note(name)) > 3, name
    assert measure_decay_db(play_middle_note("banjo")) > 20
    for name in ("organ", "strings", "flute", "trumpet", "saxophone", "voice", "synth lead", "harmonica"):
        assert measure_decay_db(play_middle_note(name)) < 2, name


def test_instruments_are_ordered_by_brightness() -> None:
    centroid_hz = {name: compute_centroid(play_note(name, 330.0, 0.85, 0.6, 3, 1.0)) for name in SOUNDS}
    for dull, sharp in (
        ("nylon guitar", "acoustic guitar"), ("acoustic guitar", "banjo"), ("flute", "trumpet"), ("pad", "strings"),
        ("electric piano", "piano"), ("flute", "fiddle"), ("synth keys", "harmonica"), ("double bass", "electric bass"),
    ):  # fmt: skip
        assert centroid_hz[dull] < centroid_hz[sharp], (dull, sharp, centroid_hz)


def test_instruments_are_ordered_by_attack_time() -> None:
    rise_s = {name: measure_rise_s(play_middle_note(name)) for name in SOUNDS}
    assert max(rise_s[name] for name in ("piano", "banjo", "acoustic guitar", "organ", "synth keys")) < 0.02
    assert min(rise_s[name] for name in ("strings", "pad")) > 0.03
    assert rise_s["flute"] > rise_s["trumpet"] / 2 > 0.004


def test_sung_vowels_differ_and_change() -> None:
    notes = [play_note("voice", 196.0, 0.85, 1.0, variant, 1.0) for variant in range(VARIANTS)]
    assert len({note.tobytes() for note in notes}) == VARIANTS
    half = SAMPLE_RATE // 2
    # the second formant of i lies above 1.8 kHz, those of a and o below 1.2 kHz
    late_i, late_o, early_a = (
        compute_power_share(signal, 1800, 3200) for signal in (notes[1][half:], notes[5][half:], notes[1][: half // 5])
    )
    assert late_i > 2 * late_o
    assert late_i > 1.4 * early_a


@pytest.mark.parametrize("kit", KITS)
def test_strokes_are_valid_and_end(kit: str) -> None:
    for drum in DRUMS:
        hard, again, other = (
            play_stroke(kit, drum, 0.9, 0),
            play_stroke(kit, drum, 0.9, 0),
            play_stroke(kit, drum, 0.9, 1),
        )
        assert hard.dtype == np.float32
        assert np.isfinite(hard).all()
        assert 0.1 < np.abs(hard).max() < 2
        assert abs(hard[-1]) < 1e-3
        assert np.array_equal(hard, again)
        assert drum in ("kick", "tom") or not np.array_equal(hard, other)


def test_drums_are_ordered_by_brightness() -> None:
    for kit in KITS:
        measured = {drum: compute_centroid(play_stroke(kit, drum, 0.9, 0).astype(np.float64)) for drum in DRUMS}
        assert measured["kick"] < 250, kit
        assert measured["kick"] < measured["snare"] < measured["hat"], (kit, measured)
        assert measured["tom"] < measured["snare"], (kit, measured)
        assert measured["hat"] > 5000, (kit, measured)
        assert abs(measured["clave"] - 2500) < 300, (kit, measured)


def test_kits_differ() -> None:
    for drum in ("kick", "snare", "hat", "tom"):
        assert len({play_stroke(kit, drum, 0.9, 0).tobytes() for kit in KITS}) == len(KITS)
    assert len(play_stroke("drum machine", "kick", 0.9, 0)) > 1.5 * len(play_stroke("kit", "kick", 0.9, 0))
    # a brush stroke rises more slowly than a stick stroke
    assert measure_rise_s(play_stroke("brushes", "snare", 0.9, 0)) > 2 * measure_rise_s(
        play_stroke("kit", "snare", 0.9, 0)
    )
