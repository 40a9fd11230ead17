"""Voices of stems: who plays which note, levels beside known tones, rests, edges."""

from itertools import pairwise

import librosa
import mir_eval
import numpy as np
import pytest

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.covers import voices
from reprise.lib.covers.voices import SILENT_DB, Voice, measure_polyphony, split_voices
from reprise.lib.nets.instrument_network import FRAME_RATE
from reprise.lib.nets.note_transcriber import Notes, NoteTranscriber

RATE = 22_050


def make(*rows: tuple[float, float, int], activation: float = 0.7) -> Notes:
    """Notes from rows of start, end and pitch."""
    array = np.array(sorted(rows), dtype=np.float64).reshape(-1, 3)
    alike = np.full(len(array), activation, dtype=np.float32)
    return Notes(array[:, 0], array[:, 1], array[:, 2].astype(np.int64), alike, np.zeros_like(alike))


def to_hz(pitch: float) -> float:
    return float(440 * 2 ** ((pitch - 69) / 12))


def tone(hz: float, amplitudes: list[float], length_s: float, rate: int = RATE) -> Float64Array:
    """The sum of harmonics with the given amplitudes."""
    time = np.arange(round(length_s * rate)) / rate
    return np.asarray(sum(a * np.sin(2 * np.pi * h * hz * time + h) for h, a in enumerate(amplitudes, start=1)))


def split(notes: Notes, samples: Float64Array | None = None, length_s: float = 4.0, **options: int) -> list[Voice]:
    """Split notes of noise, or of the given samples."""
    if samples is None:
        samples = 0.1 * np.random.default_rng(0).standard_normal(round(length_s * RATE))
    return split_voices(notes, samples.astype(np.float32), RATE, round(length_s * FRAME_RATE), **options)


def read(voice: Voice) -> list[tuple[float, float, int]]:
    """Start, end and pitch of the notes of a voice."""
    changes = np.flatnonzero(np.diff(voice.f0_hz * voice.voiced, prepend=0, append=0))
    rows = pairwise(changes)
    found = [(a, b, round(float(librosa.hz_to_midi(voice.f0_hz[a])))) for a, b in rows if voice.voiced[a]]
    return [(int(a) / FRAME_RATE, int(b) / FRAME_RATE, pitch) for a, b, pitch in found]


def pitches(voice: Voice) -> list[int]:
    return [pitch for _, _, pitch in read(voice)]


PARTS = [[72, 74, 76, 77, 76, 74, 72, 71], [64, 62, 60, 62, 64, 65, 67, 67], [52, 53, 55, 50, 48, 53, 55, 43]]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_become_voices(count):
    rows = [(0.5 * i + 0.01 * v, 0.5 * i + 0.5, part[i]) for v, part in enumerate(PARTS[:count]) for i in range(8)]
    assert [pitches(voice) for voice in split(make(*rows))] == PARTS[:count]


def test_a_melody_above_held_chords_stays_in_one_voice():
    held = [(0.0, 4.0, pitch) for pitch in (48, 55, 60)]
    melody = [(0.5 * i, 0.5 * i + 0.45, 72 + i) for i in range(8)]
    found = split(make(*held, *melody))
    assert [pitches(voice) for voice in found] == [[pitch for *_, pitch in melody], [60], [55], [48]]


@pytest.mark.parametrize("max_voices", [1, 2, 4])
def test_of_more_notes_than_voices_the_loudest_and_the_outer_ones_stay(max_voices):
    notes = make(*((0.5, 1.5, pitch) for pitch in (40, 47, 52, 56, 59, 64)))
    activation = np.array([0.6, 0.5, 0.8, 0.4, 0.3, 0.7], dtype=np.float32)
    notes = Notes(notes.start_s, notes.end_s, notes.pitch, activation, notes.deviation)
    found = split(notes, max_voices=max_voices)
    expected = {1: [64], 2: [64, 40], 4: [64, 52, 47, 40]}
    assert [pitches(voice) for voice in found] == [[pitch] for pitch in expected[max_voices]]


def test_a_new_note_ends_an_old_one():
    old = [(0.0, 4.0, 50), (1.0, 4.0, 57), (1.8, 4.0, 62), (1.9, 4.0, 66)]
    found = split(make(*old, (2.0, 4.0, 52)))
    assert [read(voice) for voice in found] == [
        [(1.9, 4.0, 66)],
        [(1.8, 4.0, 62)],
        [(1.0, 4.0, 57)],
        [(0.0, 2.0, 50), (2.0, 4.0, 52)],
    ]


def test_repeated_notes_are_apart_and_rests_hold_the_pitch():
    (voice,) = split(make((0.4, 1.0, 60), (1.0, 2.0, 60), (2.0, 3.0, 62), (3.2, 3.6, 62)))
    assert read(voice) == [(0.4, 0.98, 60), (1.0, 2.0, 60), (2.0, 3.0, 62), (3.2, 3.6, 62)]
    hz = voice.f0_hz
    np.testing.assert_allclose(hz[:500], to_hz(60), rtol=1e-6)
    np.testing.assert_allclose(hz[500:], to_hz(62), rtol=1e-6)
    assert (voice.level_db[~voice.voiced] == SILENT_DB).all()
    assert [array.dtype for array in (hz, voice.voiced, voice.level_db)] == [np.float32, np.bool_, np.float32]
    assert {len(array) for array in (hz, voice.voiced, voice.level_db)} == {1000}


def test_the_deviation_is_part_of_the_frequency():
    notes = make((0.5, 1.5, 60))
    notes = Notes(notes.start_s, notes.end_s, notes.pitch, notes.activation, np.array([0.3], dtype=np.float32))
    assert split(notes)[0].f0_hz[0] == pytest.approx(to_hz(60.3))


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_levels_of_tones_are_their_shares_of_the_weighted_power(rate):
    chord, gains = (85, 69, 53), (0.1, 0.3, 1.0)  # harmonics do not meet
    hz = [to_hz(pitch) for pitch in chord]
    tones = [tone(f, [0.2 * g], 2.0, rate) for f, g in zip(hz, gains, strict=True)]
    samples = np.sum(tones, axis=0).astype(np.float32)
    notes = make(*((0.0, 2.0, pitch) for pitch in chord))
    found = split_voices(notes, samples, rate, 500)
    power = np.square(gains) * 10 ** (librosa.A_weighting(np.array(hz), min_db=None) / 10)
    for voice, expected in zip(found, 10 * np.log10(power / power.sum()), strict=True):
        assert np.abs(voice.level_db[50:450] - expected).max() < 0.3


@pytest.mark.parametrize("interval", [12, 7, 19, 4, 24])
@pytest.mark.parametrize("gain", [0.6, 1.0])
def test_shared_harmonics_are_divided(interval, gain):
    """Two tones whose harmonics meet, with slopes that differ from each other."""
    low = tone(to_hz(57), [h**-0.8 for h in range(1, 9)], 2.0)
    high = gain * tone(to_hz(57 + interval), [h**-1.2 for h in range(1, 9)], 2.0)
    found = split(make((0.0, 2.0, 57), (0.0, 2.0, 57 + interval)), 0.1 * (low + high), 2.0)
    levels = [float(np.median(voice.level_db[50:450])) for voice in found]

    def weigh(samples: Float64Array) -> float:
        square = np.square(np.abs(np.fft.rfft(samples)))
        hz = np.fft.rfftfreq(len(samples), 1 / RATE)
        return float((square[1:] * 10 ** (librosa.A_weighting(hz[1:], min_db=None) / 10)).sum())

    total = weigh(low + high)
    for level, part in zip(levels, (high, low), strict=True):
        assert level == pytest.approx(10 * np.log10(weigh(part) / total), abs=3)
    assert 10 * np.log10(sum(10 ** (level / 10) for level in levels)) == pytest.approx(0, abs=0.5)


def test_noise_beside_a_tone_is_not_its_level():
    noise = np.random.default_rng(0).standard_normal(2 * RATE)
    alone = split(make((0.0, 2.0, 69)), tone(440, [0.1], 2.0), 2.0)[0].level_db[50:450]
    beside = split(make((0.0, 2.0, 69)), tone(440, [0.1], 2.0) + 0.2 * noise, 2.0)[0].level_db[50:450]
    assert np.median(alone) == pytest.approx(0, abs=0.1)
    assert -14 < np.median(beside) < -6


def test_blocks_do_not_matter_and_calls_repeat(monkeypatch, tmp_path):
    samples = np.random.default_rng(1).standard_normal(3 * RATE).astype(np.float32)
    samples.tofile(tmp_path / "samples")
    mapped = np.memmap(tmp_path / "samples", np.float32, "r")
    notes = make((0.1, 2.9, 60), (0.5, 2.0, 67))
    found, again = split_voices(notes, samples, RATE, 750), split_voices(notes, mapped, RATE, 750)
    monkeypatch.setattr(voices, "_BLOCK_FRAMES", 77)
    in_blocks = split_voices(notes, samples, RATE, 750)
    for one, two, three in zip(found, again, in_blocks, strict=True):
        np.testing.assert_array_equal(one.level_db, two.level_db)
        np.testing.assert_allclose(one.level_db, three.level_db, atol=1e-3)
        assert (one.level_db[one.voiced] > -60).all()


def test_silence_damage_and_nothing():
    notes = make((0.5, 1.5, 60))
    for samples in (np.zeros(4 * RATE), np.full(4 * RATE, np.nan), np.zeros(0)):
        (voice,) = split(notes, samples)
        assert (voice.level_db == SILENT_DB).all()
        assert voice.voiced.sum() == 250
    assert split(make()) == []
    assert split(notes, length_s=0.0) == []
    assert split(notes, length_s=0.4) == []  # the note starts later
    (short,) = split(make((0.0, 0.3, 60)), length_s=0.3)
    assert short.voiced.all()


def test_polyphony_is_the_share_of_time_with_several_notes():
    assert measure_polyphony(make()) == 0
    assert measure_polyphony(make((1.0, 2.0, 60), (2.0, 3.0, 62), (5.0, 6.0, 60))) == 0
    assert measure_polyphony(make((0.0, 2.0, 60), (1.0, 3.0, 64), (1.0, 3.0, 67))) == pytest.approx(2 / 3)
    rng = np.random.default_rng(2)
    start_s = rng.uniform(0, 20, 30)
    notes = make(*((s, s + rng.uniform(0.1, 2), 60) for s in start_s.tolist()))
    time_s = np.linspace(0, 25, 50_001)[:, None]
    count = ((notes.start_s <= time_s) & (time_s < notes.end_s)).sum(axis=1)
    assert measure_polyphony(notes) == pytest.approx((count >= 2).sum() / (count >= 1).sum(), abs=1e-3)


@pytest.fixture(scope="module")
def transcriber() -> NoteTranscriber:
    return NoteTranscriber()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_notes_that_are_read_and_split_are_those_played(transcriber, count):
    """Chords of tones: onset within 50 ms and pitch within 50 cents."""
    rng = np.random.default_rng(count)
    out, rows = np.zeros(17 * RATE), []
    for i in range(32):
        for pitch in 45 + 9 * np.arange(count) + rng.integers(0, 8, count):
            start_s = 0.3 + 0.5 * i
            sound = tone(to_hz(pitch), [0.1 * h**-1.5 for h in range(1, 7)], 0.45)
            sound *= np.exp(-3 * np.arange(len(sound)) / RATE) * np.minimum(np.arange(len(sound))[::-1] / 300, 1)
            first = round(start_s * RATE)
            out[first : first + len(sound)] += sound
            rows.append((start_s, start_s + 0.45, int(pitch)))
    samples: Float32Array = out.astype(np.float32)
    found = [row for voice in split_voices(transcriber.transcribe(samples), samples, RATE, 4250) for row in read(voice)]
    arrays = [(np.array(r)[:, :2], librosa.midi_to_hz(np.array(r)[:, 2])) for r in (rows, found)]
    scores = mir_eval.transcription.precision_recall_f1_overlap(*arrays[0], *arrays[1], offset_ratio=None)
    assert scores[2] > 0.7


@pytest.mark.parametrize(("interval", "polyphony"), [(12, 0.0), (19, 0.0), (24, 0.0), (28, 0.0), (7, 1.0), (16, 1.0)])
def test_harmonics_are_no_polyphony(interval: int, polyphony: float) -> None:
    notes = make((0, 1, 50), (1, 2, 52), (0.05, 0.95, 50 + interval), (1.02, 1.9, 52 + interval))
    assert measure_polyphony(notes) == pytest.approx(polyphony, abs=0.15)
