"""Scores with four parts: composed songs, songs of POP909, MIDI files."""

import numpy as np
import pytest

from reprise.lib.covers.scores import PartNotes, Score, read_composition, read_midi, read_pop909
from reprise.lib.music import sample
from reprise.lib.nets.separators import STEMS


def number(value):
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def midi(*tracks, division=480):
    def track(events):
        data = b"".join(number(delta) + event for delta, event in events) + b"\0\xff\x2f\0"
        return b"MTrk" + len(data).to_bytes(4, "big") + data

    header = (1).to_bytes(2, "big") + len(tracks).to_bytes(2, "big") + division.to_bytes(2, "big")
    return b"MThd" + (6).to_bytes(4, "big") + header + b"".join(track(events) for events in tracks)


def named(name):
    return (0, b"\xff\x03" + bytes([len(name)]) + name)


TEMPO = b"\xff\x51\x03"


def test_notes_of_a_midi_file_follow_its_tempo_changes():
    tempos = [(0, TEMPO + (500_000).to_bytes(3, "big")), (960, TEMPO + (1_000_000).to_bytes(3, "big"))]
    notes = [
        named(b"MELODY"),
        (480, b"\x90\x40\x7f"),
        (480, b"\x90\x40\x00"),
        (480, b"\x90\x43\x40"),
        (240, b"\x80\x43\0"),
    ]
    part = read_midi(midi(tempos, notes))["MELODY"]
    np.testing.assert_allclose(part.start_s, [0.5, 2.0])
    np.testing.assert_allclose(part.duration_s, [0.5, 0.5])
    assert part.pitch.tolist() == [64, 67]
    np.testing.assert_allclose(part.loudness, [1, (64 / 127) ** 2])


def test_running_status_and_a_note_that_starts_again():
    notes = [
        named(b"PIANO"),
        (0, b"\x90\x40\x50"),
        (480, b"\x40\x50"),
        (480, b"\x40\x00"),
        (0, b"\xc0\x05"),
        (0, b"\xf0\x01\xf7"),
    ]
    part = read_midi(midi([], notes))["PIANO"]
    np.testing.assert_allclose(part.start_s, [0, 0.5])
    np.testing.assert_allclose(part.duration_s, [0.5, 0.5])


@pytest.mark.parametrize("data", [b"", b"RIFF", midi([], division=0x8000 | 25)])
def test_another_file_is_refused(data):
    with pytest.raises(ValueError, match="Standard MIDI File"):
        read_midi(data)


def test_a_composed_song_keeps_its_notes():
    song = sample.compose(sample.SamplePlan(4, seed=2), 1)
    score = read_composition(song)
    assert len(score.parts) == len(STEMS)
    assert sum(len(part.pitch) for part in score.parts) == len(song.notes)
    assert all((part.loudness > 0).all() and (part.loudness <= 1).all() for part in score.parts)
    bass = score.parts[1]
    assert np.median(bass.pitch) < 50


def part(start, pitch):
    n = len(start)
    return PartNotes(np.array(start, dtype=float), np.full(n, 0.5), np.array(pitch, dtype=np.int64), np.ones(n))


def test_excerpts_tempo_and_key():
    score = Score((part([0, 1, 2], [36, 38, 36]), part([1], [40]), part([], []), part([3], [60])), 4.0)
    cut = score.cut(1.0, 2.0)
    assert cut.duration_s == 2.0
    assert cut.parts[0].start_s.tolist() == [0, 1]
    assert cut.parts[3].pitch.tolist() == []
    assert score.cut(3.0, 9.0).duration_s == 1.0
    faster = score.change_tempo(2)
    assert faster.duration_s == 2.0
    assert faster.parts[3].start_s.tolist() == [1.5]
    higher = score.transpose(3)
    assert higher.parts[0].pitch.tolist() == [36, 38, 36]
    assert higher.parts[1].pitch.tolist() == [43]


def write_song(folder, beats=64):
    piano = [named(b"PIANO")]
    for _ in range(beats):
        piano += [
            (0, b"\x90\x28\x50"),
            (0, b"\x90\x40\x50"),
            (240, b"\x80\x28\0"),
            (0, b"\x80\x40\0"),
            (240, b"\xb0\x40\0"),
        ]
    melody = [named(b"MELODY"), (0, b"\x90\x48\x60"), (480 * beats, b"\x80\x48\0")]
    path = folder / "001.mid"
    path.write_bytes(midi([(0, TEMPO + (500_000).to_bytes(3, "big"))], piano, melody))
    rows = "".join(f"{0.5 * beat} {float(beat % 2 == 0)} {float(beat % 4 == 0)}\n" for beat in range(beats))
    (folder / "beat_midi.txt").write_text(rows)
    return path


def test_a_song_of_pop909_gets_a_rhythm_section(tmp_path):
    path = write_song(tmp_path)
    for seed in range(8):
        drums, bass, other, vocals = read_pop909(path, np.random.default_rng(seed)).parts
        assert vocals.pitch.tolist() == [72]
        assert set(bass.pitch.tolist()) == {40}
        assert (bass.start_s[:-1] + bass.duration_s[:-1] <= bass.start_s[1:] + 1e-9).all()
        assert set(other.pitch.tolist()) <= {40, 64}
        assert (other.pitch == 64).sum() == 64
        grid = drums.start_s / 0.125
        assert np.abs(grid - np.round(grid)).max() * 0.125 < 0.03
        assert drums.start_s.max() < 32


def test_equal_seeds_give_equal_scores(tmp_path):
    path = write_song(tmp_path)
    first, second = (read_pop909(path, np.random.default_rng(5)) for _ in range(2))
    for one, other in zip(first.parts, second.parts, strict=True):
        np.testing.assert_array_equal(one.start_s, other.start_s)
