"""Notes of chords, read and split into voices, beside the notes that were played; speed on one core.

The songs are those of POP909 that only report: their three parts together, thinned to chords of two, three and four
notes, or as they are. A found note is right if it starts within 50 ms of a true one and is within 50 cents of it.
Sixteen-foot stops of church organs sound an octave lower than the notes, which counts as errors.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import mir_eval
import numpy as np
import soxr
from measuring import Row

from reprise.jobs._shipped_models.rendered_midi import list_songs
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.covers.scores import PartNotes, read_midi
from reprise.lib.covers.voices import FRAME_RATE, Voice, split_voices
from reprise.lib.music.render.soundfont_player import SoundfontPlayer
from reprise.lib.nets.note_transcriber import SAMPLE_RATE, NoteTranscriber

POP909 = Path(__file__).resolve().parents[3] / "shared" / "data" / "midi" / "pop909"
SOUNDFONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
PROGRAMS = {"piano": 0, "guitar": 24, "reed organ": 20, "strings": 48, "church organ": 19}
IN_MEAN = ("piano", "guitar", "reed organ", "strings")
SIZES = {"2": 2, "3": 3, "4": 4, "as written": 99}
"""Largest number of notes that sound at the same time."""

START_S, LENGTH_S, TAIL_S = 30.0, 30.0, 2.0
CHORD_S, SHORTEST_S = 0.05, 0.06
GOAL = 0.6

Pitches = tuple[Float64Array, Float64Array]
"""Start and end of notes in s, (n, 2), and their frequencies in Hz, (n,)."""


def thin(part: PartNotes, size: int) -> PartNotes:
    """Let at most ``size`` notes sound: of a chord, notes from the lowest to the highest; the oldest notes end."""
    order = np.lexsort((part.pitch, part.start_s))
    part = part.select(order)
    start_s, end_s = part.start_s, part.start_s + part.duration_s
    sounding: list[int] = []
    kept: list[int] = []
    first = 0
    while first < len(order):
        last = int(np.searchsorted(start_s, start_s[first] + CHORD_S))
        chord = first + np.unique(part.pitch[first:last], return_index=True)[1]
        chord = chord[np.unique(np.linspace(0, len(chord) - 1, min(size, len(chord))).round().astype(int))]
        sounding = [row for row in sounding if end_s[row] > start_s[first] + SHORTEST_S / 2]
        for row in sounding[: max(len(sounding) + len(chord) - size, 0)]:
            end_s[row] = start_s[first]
        sounding = sounding[max(len(sounding) + len(chord) - size, 0) :]
        for row in sounding:
            if part.pitch[row] in part.pitch[chord]:
                end_s[row] = start_s[first]
        sounding += chord.tolist()
        kept += chord.tolist()
        first = last
    rows = np.array(kept)[(end_s - start_s)[kept] >= SHORTEST_S]
    return PartNotes(start_s[rows], (end_s - start_s)[rows], part.pitch[rows], part.loudness[rows])


def read_excerpt(path: Path) -> PartNotes:
    """Return the notes of all parts of a song that start in its excerpt."""
    parts = read_midi(path.read_bytes()).values()
    columns = [
        np.concatenate([getattr(p, name) for p in parts]) for name in ("start_s", "duration_s", "pitch", "loudness")
    ]
    part = PartNotes(*columns)
    part = part.select(np.flatnonzero((part.start_s >= START_S) & (part.start_s < START_S + LENGTH_S)))
    return PartNotes(part.start_s - START_S, part.duration_s, part.pitch, part.loudness)


def play(player: SoundfontPlayer, part: PartNotes, program: int) -> Float32Array:
    """Return the notes as a mono signal at 22,050 Hz."""
    frames = round((LENGTH_S + TAIL_S) * 44_100)
    sound = player.play(part.start_s, part.duration_s, part.pitch, part.loudness, frames, program).mean(axis=1)
    return np.asarray(soxr.resample(sound, 44_100, SAMPLE_RATE), dtype=np.float32)


def read_voices(voices: Iterable[Voice]) -> Pitches:
    """Return the notes of voices: a note starts where a voice becomes voiced or its pitch changes."""
    starts, ends, hz = [], [], []
    for voice in voices:
        changes = np.flatnonzero(np.diff(voice.f0_hz * voice.voiced, prepend=0, append=0))
        sounds = voice.voiced[changes[:-1]]
        starts.append(changes[:-1][sounds] / FRAME_RATE)
        ends.append(changes[1:][sounds] / FRAME_RATE)
        hz.append(voice.f0_hz[changes[:-1][sounds]].astype(np.float64))
    return np.stack([np.concatenate(starts), np.concatenate(ends)], 1), np.concatenate(hz)


def measure_songs(paths: Iterable[Path]) -> list[Row]:
    """Measure the notes of songs."""
    player, transcriber = SoundfontPlayer(str(SOUNDFONT)), NoteTranscriber()
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    split_voices(transcriber.transcribe(silence), silence, SAMPLE_RATE, FRAME_RATE)  # compiles
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    seconds = np.zeros(3)
    for path in paths:
        whole = read_excerpt(path)
        for size, largest in SIZES.items():
            part = thin(whole, largest)
            truth = np.stack([part.start_s, part.start_s + part.duration_s], 1), mir_eval.util.midi_to_hz(part.pitch)
            for name, program in PROGRAMS.items():
                samples = play(player, part, program)
                times = [time.process_time()]
                notes = transcriber.transcribe(samples)
                times.append(time.process_time())
                voices = split_voices(notes, samples, SAMPLE_RATE, len(samples) * FRAME_RATE // SAMPLE_RATE)
                times.append(time.process_time())
                seconds += [*np.diff(times), len(samples) / SAMPLE_RATE]
                scores = mir_eval.transcription.precision_recall_f1_overlap(
                    *truth, *read_voices(voices), offset_ratio=None
                )
                found[size, name].append(scores[:3])
        print(path.stem, {size: round(found[size, "piano"][-1][2], 2) for size in SIZES}, flush=True)
    rows: list[Row] = []
    for size in SIZES:
        f = {name: float(np.mean([scores[2] for scores in found[size, name]])) for name in PROGRAMS}
        both = np.mean(list(chain.from_iterable(found[size, name] for name in IN_MEAN)), axis=0)
        rows.append(
            {
                "notes at a time": size,
                **{f"F, {name}": f[name] for name in PROGRAMS},
                "F, mean of the first four": float(both[2]),
                "precision": float(both[0]),
                "recall": float(both[1]),
                "goal of F": GOAL if size != "as written" else "",
                "CPU s a minute: reading": "",
                "splitting": "",
            }
        )
    rows[0]["CPU s a minute: reading"], rows[0]["splitting"] = (60 * seconds[:2] / seconds[2]).tolist()
    return rows


def measure_voices() -> list[Row]:
    """Measure the songs that only report."""
    if not POP909.is_dir() or not SOUNDFONT.is_file():
        print(f"left out: {POP909} or {SOUNDFONT} is missing")
        return []
    return measure_songs(list_songs(POP909, reports=True))
