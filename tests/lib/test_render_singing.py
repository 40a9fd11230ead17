"""The singer: pitch, silence, edges, determinism."""

import librosa
import numpy as np
import pytest

from reprise.lib.music.render.singing import Singer, draw_singer, sing

RATE = 44_100
PLAIN = Singer(1.0, 0, 1.0, 5.5, 20.0, 0.02, 0.002, 0.0)


def sing_notes(pitch, *, seconds=4.0, singer=PLAIN, start=None, duration=0.9, seed=3):
    pitch = np.asarray(pitch)
    start = np.arange(len(pitch)) * 1.0 if start is None else np.asarray(start, dtype=float)
    length = np.full(len(pitch), duration)
    rng = np.random.default_rng(seed)
    return sing(start, length, pitch, np.full(len(pitch), 0.8), round(seconds * RATE), singer, rng)


def test_the_written_pitch_is_sung():
    written = [57, 60, 64, 62]
    sound = sing_notes(written)
    hz, voiced, _ = librosa.pyin(sound, fmin=80, fmax=800, sr=RATE)
    at = librosa.times_like(hz, sr=RATE)
    for number, pitch in enumerate(written):
        inside = (at > number + 0.3) & (at < number + 0.8) & voiced
        assert np.median(librosa.hz_to_midi(hz[inside])) == pytest.approx(pitch, abs=0.3)


def test_a_voice_has_formants_and_glides():
    sound = sing_notes([57, 69], seconds=2.0, singer=Singer(1.0, 0, 1.0, 5.5, 0.0, 0.06, 0.002, 0.0), duration=1.0)
    hz, voiced, _ = librosa.pyin(sound, fmin=80, fmax=800, sr=RATE, hop_length=256)
    midi = librosa.hz_to_midi(hz[voiced])
    between = (midi > 58.5) & (midi < 67.5)
    assert between.sum() >= 4  # a step would jump
    spectrum = np.abs(np.fft.rfft(sound[:RATE]))
    assert spectrum[3000:].sum() > 0.02 * spectrum.sum()


def test_silence_between_and_around_notes():
    sound = sing_notes([60], start=[1.0], duration=0.5, seconds=3.0)
    assert np.abs(sound[: round(0.85 * RATE)]).max() == 0
    assert np.abs(sound[round(1.8 * RATE) :]).max() == 0
    assert np.abs(sound).max() == pytest.approx(0.9, rel=1e-5)


def test_consonants_come_before_the_notes():
    spoken = Singer(1.0, 0, 1.0, 5.5, 0.0, 0.02, 0.002, 1.0)
    early = slice(round(0.85 * RATE), round(0.98 * RATE))
    assert max(np.abs(sing_notes([60], start=[1.0], singer=spoken, seed=seed)[early]).max() for seed in range(6)) > 0.01


@pytest.mark.parametrize("notes", [[], [60]])
def test_edges(notes):
    assert sing_notes(notes, seconds=0.5).shape == (RATE // 2,)
    assert sing_notes(notes, seconds=0).shape == (0,)
    assert np.isfinite(sing_notes(notes, start=[9.0][: len(notes)])).all()


def test_chords_are_sung_as_one_line_and_very_high_notes_stay_finite():
    sound = sing_notes([60, 64, 67, 127], start=[0, 0, 0, 1])
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() > 0


def test_equal_seeds_give_equal_samples():
    np.testing.assert_array_equal(sing_notes([60, 62]), sing_notes([60, 62]))
    assert not np.array_equal(sing_notes([60, 62]), sing_notes([60, 62], seed=4))


def test_singers_move_a_melody_into_their_range():
    rng = np.random.default_rng(0)
    for mean in (30.0, 60.0, 90.0):
        for _ in range(20):
            assert 43 <= mean + 12 * draw_singer(rng, mean).octave <= 75
