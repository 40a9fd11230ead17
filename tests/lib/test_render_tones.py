"""Single notes and strokes: in tune, without faults, and as different as their names."""

import numpy as np
import pytest

from reprise.lib.music.render.drums import KITS, hit_drum
from reprise.lib.music.render.instruments import SOUNDS
from reprise.lib.music.render.tones import SAMPLE_RATE, VARIANTS, play_note
from reprise.lib.music.sample import DRUMS, INSTRUMENTS


def hertz(pitch: float) -> float:
    return 440.0 * 2 ** ((pitch - 69) / 12)


def fundamental(signal: np.ndarray, lowest: float, highest: float) -> float:
    """Frequency in Hz at the first of the large peaks of the autocorrelation between two bounds."""
    size = 1 << (2 * len(signal) - 1).bit_length()
    power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), size)) ** 2
    correlation = np.fft.irfft(power)[: len(signal)]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(len(signal)), size)) ** 2)[: len(signal)]
    correlation /= np.maximum(window, 1e-6 * window[0])
    first, last = int(SAMPLE_RATE / highest), int(SAMPLE_RATE / lowest) + 1
    # twice the period fits as well as the period
    inner = correlation[first:last]
    peaks = np.flatnonzero((inner[1:-1] >= inner[:-2]) & (inner[1:-1] > inner[2:]) & (inner[1:-1] > 0.9 * inner.max()))
    lag = first + 1 + int(peaks[0])
    left, middle, right = correlation[lag - 1 : lag + 2]
    return SAMPLE_RATE / (lag + 0.5 * (left - right) / (left - 2 * middle + right))


def centroid(signal: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(signal)) ** 2
    return float((power * np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)).sum() / power.sum())


def share_between(signal: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(signal)) ** 2
    hz = np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)
    return float(power[(hz > low) & (hz < high)].sum() / power.sum())


def rise_s(signal: np.ndarray) -> float:
    """Seconds until the note is half as loud as it gets."""
    level = np.sqrt(np.convolve(signal**2, np.ones(256) / 256, "same"))
    return float(np.argmax(level > 0.5 * level.max())) / SAMPLE_RATE


def middle_note(name: str, velocity: float = 0.85, length_s: float = 1.2, variant: int = 3) -> np.ndarray:
    return play_note(name, hertz(INSTRUMENTS[name].register + 7), velocity, length_s, variant, 1.0).astype(np.float64)


def decay_db(signal: np.ndarray) -> float:
    """How much louder the first tenths of a second are than the last."""
    early, late = signal[SAMPLE_RATE // 10 : 3 * SAMPLE_RATE // 10], signal[-SAMPLE_RATE // 5 :]
    return float(10 * np.log10(np.mean(early**2) / np.mean(late**2)))


def test_every_instrument_has_a_sound() -> None:
    assert set(SOUNDS) | set(KITS) == set(INSTRUMENTS)
    assert all(set(kit) == set(DRUMS) for kit in KITS.values())


@pytest.mark.parametrize("name", SOUNDS)
def test_notes_are_in_tune_and_sound(name: str) -> None:
    register = INSTRUMENTS[name].register
    for pitch, velocity in ((register, 0.5), (register + 7.4, 0.85), (register + 19, 1.0)):
        hz = hertz(pitch)
        note = play_note(name, hz, velocity, 1.0, 1, 1.0)
        assert note.dtype == np.float32
        assert len(note) == SAMPLE_RATE
        assert np.isfinite(note).all()
        assert 0.89 < np.abs(note).max() < 0.91
        # after vibrato's start and a singer's slide, over whole turns of the vibrato
        heard = fundamental(note[SAMPLE_RATE // 5 :].astype(np.float64), hz / 2.2, hz * 1.8)
        assert abs(1200 * np.log2(heard / hz)) < 10, pitch


@pytest.mark.parametrize("name", SOUNDS)
def test_notes_begin_with_their_attack_and_repeat_exactly(name: str) -> None:
    note = play_note(name, 220.0, 0.8, 0.5, 2, 0.9)
    assert abs(note[0]) < 0.05
    assert np.abs(note[: SAMPLE_RATE // 20]).max() > 0.1
    assert np.array_equal(note, play_note(name, 220.0, 0.8, 0.5, 2, 0.9))


@pytest.mark.parametrize("name", SOUNDS)
def test_highest_and_shortest_notes_have_no_fault(name: str) -> None:
    for hz in (30.0, 3500.0, 9000.0):
        assert np.isfinite(play_note(name, hz, 0.05, 0.001, 0, 1.2)).all()


@pytest.mark.parametrize("name", [name for name in SOUNDS if name not in ("organ", "flute")])
def test_harder_notes_are_brighter(name: str) -> None:
    lowest = 2.5 * hertz(INSTRUMENTS[name].register + 7)
    soft, hard = (share_between(middle_note(name, velocity), lowest, 16_000) for velocity in (0.4, 1.0))
    assert hard / (1 - hard) > 1.05 * soft / (1 - soft)


def test_struck_notes_die_away_and_fed_ones_do_not() -> None:
    for name in ("piano", "acoustic guitar", "nylon guitar", "electric guitar", "double bass", "electric piano"):
        assert decay_db(middle_note(name)) > 3, name
    assert decay_db(middle_note("banjo")) > 20
    for name in ("organ", "strings", "flute", "trumpet", "saxophone", "voice", "synth lead", "harmonica"):
        assert decay_db(middle_note(name)) < 2, name


def test_brightness_is_ordered_as_the_names_say() -> None:
    bright = {name: centroid(play_note(name, 330.0, 0.85, 0.6, 3, 1.0)) for name in SOUNDS}
    for dull, sharp in (
        ("nylon guitar", "acoustic guitar"), ("acoustic guitar", "banjo"), ("flute", "trumpet"), ("pad", "strings"),
        ("electric piano", "piano"), ("flute", "fiddle"), ("synth keys", "harmonica"), ("double bass", "electric bass"),
    ):  # fmt: skip
        assert bright[dull] < bright[sharp], (dull, sharp, bright)


def test_attacks_are_ordered_as_the_names_say() -> None:
    slow = {name: rise_s(middle_note(name)) for name in SOUNDS}
    assert max(slow[name] for name in ("piano", "banjo", "acoustic guitar", "organ", "synth keys")) < 0.02
    assert min(slow[name] for name in ("strings", "pad")) > 0.03
    assert slow["flute"] > slow["trumpet"] / 2 > 0.004


def test_sung_vowels_differ_and_move() -> None:
    notes = [play_note("voice", 196.0, 0.85, 1.0, variant, 1.0) for variant in range(VARIANTS)]
    assert len({note.tobytes() for note in notes}) == VARIANTS
    half = SAMPLE_RATE // 2
    # the second formant of i lies above 1.8 kHz, those of a and o below 1.2 kHz
    late_i, late_o, early_a = (
        share_between(signal, 1800, 3200) for signal in (notes[1][half:], notes[5][half:], notes[1][: half // 5])
    )
    assert late_i > 2 * late_o
    assert late_i > 1.4 * early_a


@pytest.mark.parametrize("kit", KITS)
def test_strokes_are_sound_and_end(kit: str) -> None:
    for drum in DRUMS:
        hard, again, other = hit_drum(kit, drum, 0.9, 0), hit_drum(kit, drum, 0.9, 0), hit_drum(kit, drum, 0.9, 1)
        assert hard.dtype == np.float32
        assert np.isfinite(hard).all()
        assert 0.1 < np.abs(hard).max() < 2
        assert abs(hard[-1]) < 1e-3
        assert np.array_equal(hard, again)
        assert drum in ("kick", "tom") or not np.array_equal(hard, other)


def test_drums_are_ordered_from_deep_to_high() -> None:
    for kit in KITS:
        heard = {drum: centroid(hit_drum(kit, drum, 0.9, 0).astype(np.float64)) for drum in DRUMS}
        assert heard["kick"] < 250, kit
        assert heard["kick"] < heard["snare"] < heard["hat"], (kit, heard)
        assert heard["tom"] < heard["snare"], (kit, heard)
        assert heard["hat"] > 5000, (kit, heard)
        assert abs(heard["clave"] - 2500) < 300, (kit, heard)


def test_kits_differ() -> None:
    for drum in ("kick", "snare", "hat", "tom"):
        assert len({hit_drum(kit, drum, 0.9, 0).tobytes() for kit in KITS}) == len(KITS)
    assert len(hit_drum("drum machine", "kick", 0.9, 0)) > 1.5 * len(hit_drum("kit", "kick", 0.9, 0))
    # a brush sweeps where a stick hits
    assert rise_s(hit_drum("brushes", "snare", 0.9, 0)) > 2 * rise_s(hit_drum("kit", "snare", 0.9, 0))
