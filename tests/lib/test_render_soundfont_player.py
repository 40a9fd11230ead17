"""The player of soundfonts, with a soundfont that the test writes, and beside FluidSynth where it is installed."""

from pathlib import Path

import librosa
import numpy as np
import pytest

from reprise.lib.errors import InputError
from reprise.lib.music.render.soundfont_player import SoundfontPlayer

RATE = 44_100
REAL = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")


@pytest.fixture(scope="module")
def player(soundfont):
    return SoundfontPlayer(str(soundfont))


def play(player, start, duration, pitch, frames=RATE, **kwargs):
    columns = (np.asarray(start, dtype=float), np.asarray(duration, dtype=float), np.asarray(pitch, dtype=np.int64))
    return player.play(*columns, np.full(len(pitch), 0.7), frames, 5, **kwargs)


def test_the_presets_are_listed(player):
    assert player.programs == (5,)
    assert player.kits == (8,)


def test_a_note_starts_and_ends_when_it_should(player):
    sound = play(player, [0.25], [0.5], [69])
    assert sound.shape == (RATE, 2)
    loud = np.flatnonzero(np.abs(sound[:, 0]) > 0.05)
    assert loud[0] == pytest.approx(0.25 * RATE, abs=60)
    assert loud[-1] == pytest.approx(0.75 * RATE, abs=0.05 * RATE)
    spectrum = np.abs(np.fft.rfft(sound[round(0.3 * RATE) : round(0.7 * RATE), 0]))
    assert spectrum.argmax() * RATE / (2 * (len(spectrum) - 1)) == pytest.approx(440, abs=5)


def test_notes_after_the_end_and_no_notes(player):
    assert not play(player, [2.0], [1.0], [69]).any()
    assert not play(player, [], [], []).any()
    assert play(player, [0.0], [9.0], [69], frames=0).shape == (0, 2)


def test_nothing_sounds_on_from_the_last_call(player):
    play(player, [0.0], [99.0], [69])
    assert not play(player, [], [], []).any()


def test_a_repeated_key_sounds_twice(player):
    once, twice = play(player, [0.0], [0.8], [69]), play(player, [0.0, 0.4], [0.4, 0.4], [69, 69])
    assert np.abs(twice[round(0.5 * RATE) : round(0.7 * RATE)]).max() > 0.1 * np.abs(once).max()


def test_a_missing_program_is_replaced_by_the_nearest(player):
    columns = (np.zeros(1), np.full(1, 0.5), np.array([69]), np.ones(1), RATE // 2)
    np.testing.assert_array_equal(player.play(*columns, 99), player.play(*columns, 5))
    assert player.play(*columns, 0, is_drums=True).any()


def test_equal_calls_give_equal_samples(player):
    np.testing.assert_array_equal(play(player, [0.1], [0.5], [60]), play(player, [0.1], [0.5], [60]))


@pytest.mark.parametrize("content", [b"", b"RIFF\0\0\0\0sfbk", b"not a soundfont" * 99])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "füßchen.sf2"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"füßchen\.sf2 is not a soundfont"):
        SoundfontPlayer(str(path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a soundfont"):
        SoundfontPlayer(str(tmp_path / "none.sf2"))


@pytest.mark.skipif(not REAL.exists(), reason="no soundfont of Debian")
def test_the_pitches_are_those_of_a_real_soundfont():
    sound = SoundfontPlayer(str(REAL)).play(np.array([0.0]), np.array([1.5]), np.array([64]), np.ones(1), 2 * RATE, 73)
    hz, voiced, _ = librosa.pyin(sound.mean(axis=1), fmin=100, fmax=1000, sr=RATE)
    assert np.median(librosa.hz_to_midi(hz[voiced])) == pytest.approx(64, abs=0.3)
