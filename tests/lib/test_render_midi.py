"""MIDI files of parts, and their rendering with FluidSynth if it is installed."""

import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprise.lib.errors import RepriseError
from reprise.lib.music.render import SAMPLE_RATE, render
from reprise.lib.music.render.midi import write_midi
from reprise.lib.music.render.soundfont import Soundfont
from reprise.lib.music.sample import INSTRUMENTS, Composition, Notes, SamplePlan, compose

PLAN = SamplePlan(400, seed=5)
SHORT = next(i for i in range(400) if PLAN.track(i).state == 1 and PLAN.track(i).length_s < 16)
FONTS = sorted(Path("/usr/share/sounds/sf2").glob("*.sf2"))


def parse(midi: bytes) -> list[tuple[int, tuple[int, ...]]]:
    """Return (absolute tick, bytes) of each event of a file with one track and no running status."""
    kind, tracks, division = struct.unpack(">HHH", midi[8:14])
    assert (midi[:8], kind, tracks, division) == (b"MThd\0\0\0\6", 0, 1, 1000)
    assert midi[14:18] == b"MTrk"
    data = midi[22:]
    assert len(data) == int.from_bytes(midi[18:22], "big")
    events, position, now = [], 0, 0
    while position < len(data):
        ticks = 0
        while True:
            ticks = ticks << 7 | data[position] & 0x7F
            position += 1
            if not data[position - 1] & 0x80:
                break
        now += ticks
        size = 3 + data[position + 2] if data[position] == 0xFF else 2 if data[position] >> 4 in (0xC, 0xD) else 3
        events.append((now, tuple(data[position : position + size])))
        position += size
    assert events[-1][1] == (0xFF, 0x2F, 0)
    return events


@pytest.mark.parametrize("part", range(4))
def test_midi_file_has_the_notes_of_the_part(part: int) -> None:
    song = compose(PLAN, SHORT)
    rows = np.flatnonzero(song.notes.part == part)
    events = parse(write_midi(song, part, song.notes.velocity[rows]))
    on = sorted((time, event[1]) for time, event in events if event[0] >> 4 == 9)
    off = [event for _, event in events if event[0] >> 4 == 8]
    start = np.round(1000 * song.notes.start_s[rows]).astype(int).tolist()
    assert on == sorted(zip(start, song.notes.pitch[rows].tolist(), strict=True))
    assert len(off) == len(on)
    channels = {event[0] & 15 for _, event in events if event[0] < 0xF0}
    assert channels == {9 if part == 0 else part}
    assert next(event[1] for _, event in events if event[0] >> 4 == 0xC) == song.instruments[part].program


def test_repeated_note_ends_before_it_starts_again() -> None:
    song = make_one_note_song(60, 0.0)
    repeated = replace(
        song,
        notes=replace(
            song.notes,
            **{name: np.repeat(getattr(song.notes, name), 2) for name in ("pitch", "velocity", "part", "cell")},
            start_s=np.array([0.5, 1.0]),
            duration_s=np.array([0.5, 0.5]),
            end_cell=np.ones(2, dtype=np.int64),
        ),
    )
    events = parse(write_midi(repeated, 3, np.ones(2)))
    assert [event[0] >> 4 for time, event in events if time == 1000] == [8, 9]


def make_one_note_song(pitch: int, cents: float) -> Composition:
    song = compose(PLAN, SHORT)
    one = np.zeros(1, dtype=np.int64)
    notes = Notes(
        np.array([0.5]), np.array([2.0]), one + pitch, np.array([0.9]), np.array([3], dtype=np.int8), one, one + 1
    )
    instruments = (*song.instruments[:3], INSTRUMENTS["flute"])
    track = replace(song.track, tuning_cents=cents)
    return replace(song, notes=notes, instruments=instruments, track=track, duration_s=3.0, fade_out_s=0.0)


@pytest.mark.slow
@pytest.mark.skipif(not FONTS or shutil.which("fluidsynth") is None, reason="needs fluidsynth and a soundfont")
def test_fluidsynth_timing_and_tuning_are_right() -> None:
    soundfont = Soundfont(shutil.which("fluidsynth") or "", str(FONTS[0]))
    for cents in (0.0, 40.0):
        stems = render(make_one_note_song(81, cents), soundfont=soundfont)
        assert [name for name, stem in stems.items() if stem.any()] == ["lead"]
        signal = stems["lead"].astype(np.float64).mean(axis=1)
        assert len(signal) == 3 * SAMPLE_RATE
        magnitude = np.abs(signal)
        assert magnitude[: round(0.49 * SAMPLE_RATE)].max() < 1e-4 < 0.01 < magnitude[: round(0.7 * SAMPLE_RATE)].max()
        power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), 1 << 20))
        peak_hz = power.argmax() * SAMPLE_RATE / (1 << 20)
        assert abs(1200 * np.log2(peak_hz / (880 * 2 ** (cents / 1200)))) < 12


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="needs fluidsynth")
def test_invalid_soundfont_is_an_error(tmp_path: Path) -> None:
    invalid = tmp_path / "fake.sf2"
    invalid.write_bytes(b"RIFF....")
    with pytest.raises(RepriseError, match=r"cannot render with .*fake\.sf2"):
        render(make_one_note_song(60, 0.0), soundfont=Soundfont(shutil.which("fluidsynth") or "", str(invalid)))
