"""Timbre transfer of melodies: is it the melody, is it the instrument, and how fast.

The melodies are the first 30 s of ten songs of POP909 that only report, played by programs of a soundfont that took no
part in any training. Faults of the transfer were found on these melodies, so the figures flatter it. What is found in
the result is compared with the written notes; the same figures of the input are the upper bound. The judge of
instruments knows other melodies, played by another soundfont.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import mir_eval
import numpy as np
import soundfile
import soxr
from bench_stems import measure_process
from bench_voices import play, read_excerpt, thin
from measuring import Row

from reprise.conf import load
from reprise.jobs._covers.instruments import choose_instrument
from reprise.jobs._shipped_models.fit_instruments import PRESETS, Etude, play_line
from reprise.jobs._shipped_models.rendered_midi import list_songs
from reprise.lib.arrays import Float32Array
from reprise.lib.audio.loudness import LoudnessMeter
from reprise.lib.covers.default_instruments import list_default_instruments
from reprise.lib.covers.performance import DDSP, Performance, measure_performance
from reprise.lib.covers.scores import PartNotes, read_midi
from reprise.lib.music.render.soundfont_player import SoundfontPlayer
from reprise.lib.nets.note_transcriber import SAMPLE_RATE as NOTES_RATE
from reprise.lib.nets.note_transcriber import Notes, NoteTranscriber
from reprise.lib.nets.pitch_tracker import PitchTracker
from reprise.udfs.transferred_parts import arrange_file, play_file

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
INPUT_FONT, JUDGE_FONT = (Path("/usr/share/sounds/sf2", name) for name in ("TimGM6mb.sf2", "FluidR3_GM.sf2"))
PLAYER_RATE, RATE, CLIP_S = 44_100, 16_000, 30
INPUT_PROGRAMS = (52, 73, 40, 65, 56, 53, 71, 41, 68, 75)
"""Choir, flute, violin, alto saxophone, trumpet, voice, clarinet, viola, oboe, pan flute: one for each song."""

JUDGE_SONGS = 10
CHORD_SONGS, CHORD_PROGRAMS, CHORD_INSTRUMENTS = 3, (0, 48), ("violin", "clarinet", "trumpet", "electric_guitar")
"""Songs, the programs that play them (piano and strings), and the instruments that play them again."""


class Melody(NamedTuple):
    """Notes of a melody, and its audio: mono at 44,100 Hz."""

    name: str
    notes: PartNotes
    audio: Float32Array


def read_melody(path: Path) -> PartNotes:
    """Read the first 30 s of the melody of a song, from its first note."""
    part = read_midi(path.read_bytes())["MELODY"]
    start_s = part.start_s - part.start_s.min() + 0.2
    kept = start_s + part.duration_s < CLIP_S - 0.5
    return PartNotes(start_s[kept], part.duration_s[kept], part.pitch[kept], part.loudness[kept])


def render(player: SoundfontPlayer, notes: PartNotes, program: int, shift: int = 0) -> Float32Array:
    """Play a melody, mono, with a peak of 0.25, so that the level of a stem, about -20 LUFS, can be met."""
    etude = Etude(notes.start_s, notes.duration_s, notes.pitch + shift, notes.loudness)
    audio = play_line(player, etude, CLIP_S * PLAYER_RATE, program)
    return np.asarray(audio * (0.25 / np.abs(audio).max()), np.float32)


@cache
def list_melodies() -> list[Melody]:
    """Render the melodies that are transferred."""
    player = SoundfontPlayer(str(INPUT_FONT))
    songs = list_songs(SHARED / "midi" / "pop909", reports=True)[: len(INPUT_PROGRAMS)]
    notes = [read_melody(path) for path in songs]
    return [
        Melody(path.stem, one, render(player, one, program))
        for path, one, program in zip(songs, notes, INPUT_PROGRAMS, strict=True)
    ]


def describe(audio: Float32Array) -> Any:
    """Mean and deviation of 20 MFCCs of mono audio at 16 kHz, where it sounds: 40 numbers."""
    import librosa

    mfcc = librosa.feature.mfcc(y=audio, sr=RATE, n_mfcc=20)
    level = librosa.feature.rms(y=audio)[0]
    sounding = mfcc[1:, level > level.max() / 30]
    return np.concatenate([sounding.mean(axis=1), sounding.std(axis=1)])


class Judge:
    """Names the instrument whose renderings of other melodies have the nearest statistics."""

    def __init__(self) -> None:
        player = SoundfontPlayer(str(JUDGE_FONT))
        melodies = [read_melody(p) for p in islice(list_songs(SHARED / "midi" / "pop909", reports=False), JUDGE_SONGS)]
        self._known = {name: [self._render(player, one, name) for one in melodies] for name in PRESETS}
        held_out = [read_melody(p) for p in list_songs(SHARED / "midi" / "pop909", reports=True)[:4]]
        self._centres = {name: np.mean(found, axis=0) for name, found in self._known.items()}
        within = np.concatenate([found - self._centres[name] for name, found in self._known.items()])
        self._scale = within.std(axis=0) + 1e-9
        right = [self.name(self._render(player, one, name)) == name for name in PRESETS for one in held_out]
        self.accuracy = float(np.mean(right))
        """Share of its own soundfont's other renderings that it names rightly."""

    @staticmethod
    def _render(player: SoundfontPlayer, notes: PartNotes, name: str) -> Any:
        preset = PRESETS[name]
        middle = (preset.low + preset.high) / 2
        shift = 12 * round((middle - float(np.median(notes.pitch))) / 12)
        return describe(soxr.resample(render(player, notes, preset.program, shift), PLAYER_RATE, RATE))

    def name(self, statistics: Any) -> str:
        """Return the name of the nearest instrument."""
        return min(self._centres, key=lambda one: float(np.sum(((statistics - self._centres[one]) / self._scale) ** 2)))


def note_at(notes: PartNotes, n: int) -> tuple[Any, Any]:
    """Return the written pitch in Hz of n frames at 250 a second, 0 in rests; the highest note where two sound."""
    pitch = np.zeros(n)
    for start, duration, midi in zip(notes.start_s, notes.duration_s, notes.pitch, strict=True):
        span = slice(round(250 * start), round(250 * (start + duration)))
        pitch[span] = np.maximum(pitch[span], 440 * 2 ** ((midi - 69) / 12))
    return np.arange(n) / 250, pitch


class Heard(NamedTuple):
    """What is found in audio: pitch and loudness, and the times at which notes begin, in s."""

    performance: Performance
    onsets_s: Any


@cache
def _networks() -> tuple[PitchTracker, NoteTranscriber]:
    return PitchTracker(), NoteTranscriber()


def listen(audio: Float32Array) -> Heard:
    """Follow the pitch, the loudness and the onsets of mono audio at 44,100 Hz."""
    tracker, transcriber = _networks()
    notes = transcriber.transcribe(soxr.resample(audio, PLAYER_RATE, NOTES_RATE))
    performance = measure_performance(soxr.resample(audio, PLAYER_RATE, RATE), tracker, DDSP)
    return Heard(performance, np.unique(notes.start_s))


def compare(notes: PartNotes, octaves: int, source: Heard, result: Heard) -> dict[str, float]:
    """Compare what was played with what was written, and its pitch and loudness with those of the input."""
    n = min(len(source.performance), len(result.performance))
    time_s, written_hz = note_at(notes, n)
    input_hz = np.where(written_hz > 0, _signed_pitch(source.performance)[:n], 0)
    found_hz = _signed_pitch(result.performance)[:n]
    factor = 2.0**octaves

    def score(reference_hz: Any) -> float:
        reference = mir_eval.melody.to_cent_voicing(time_s, np.maximum(reference_hz, 0) * factor, time_s, found_hz)
        return float(mir_eval.melody.raw_pitch_accuracy(*reference))

    sounding = (input_hz > 0) & (found_hz > 0)
    cents = 1200 * np.log2(found_hz[sounding] / factor / input_hz[sounding])
    levels = [one.performance.loudness_db[:n][sounding] for one in (source, result)]
    true_onsets = np.unique(np.round(notes.start_s, 3))
    return {
        "pitch": score(written_hz),
        "as input": score(input_hz),
        "cents": float(np.median(np.abs(cents))),
        "onsets": float(mir_eval.onset.f_measure(true_onsets, result.onsets_s, window=0.05)[0]),
        "loudness": float(np.corrcoef(*levels)[0, 1]),
    }


def _signed_pitch(performance: Performance) -> Any:
    return np.where(performance.voiced, performance.f0_hz, -performance.f0_hz)


def measure_level(audio: Float32Array, rate: int) -> float:
    """Integrated loudness in LUFS."""
    meter = LoudnessMeter(rate, 1)
    meter.add(audio[:, None])
    return meter.integrated_lufs


def list_instruments() -> Iterator[tuple[str, str, str]]:
    """Yield name, argument of ``--instrument`` and the judge's name of each instrument."""
    for name in list_default_instruments():
        yield name, name, name
    for folder in sorted((SHARED / "ddsp").glob("*/")):
        yield f"magenta {folder.name}", str(folder), folder.name


def _lacks_data() -> bool:
    missing = [path for path in (SHARED, INPUT_FONT, JUDGE_FONT) if not path.exists()]
    if missing:
        print(f"left out: {missing[0]} is missing")
    return bool(missing)


def measure_transfer() -> list[Row]:
    """Pitch, onsets, loudness, level and instrument of ten melodies, each played by each instrument."""
    if _lacks_data():
        return []
    judge, rows = Judge(), []
    print(f"judge: {judge.accuracy:.2f} of its own soundfont's renderings of other melodies are named rightly")
    bound: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heard = {}
        for melody in list_melodies():
            soundfile.write(folder / f"{melody.name}.wav", melody.audio, PLAYER_RATE, subtype="FLOAT")
            heard[melody.name] = listen(melody.audio)
            bound.append(compare(melody.notes, 0, heard[melody.name], heard[melody.name]))
        for title, argument, label in list_instruments():
            instrument = choose_instrument(load([]), argument).load()
            found: list[Mapping[str, float]] = []
            named, seconds, outside = [], 0.0, []
            for melody in list_melodies():
                source, out = folder / f"{melody.name}.wav", folder / "out.flac"
                clock = time.process_time()
                made = arrange_file(source, instrument)
                play_file(made, instrument, out, seed=1)
                seconds += time.process_time() - clock
                audio = soundfile.read(out, dtype="float32")[0]
                figures = compare(melody.notes, made.lines[0].octaves, heard[melody.name], listen(audio))
                level = measure_level(audio, PLAYER_RATE) - measure_level(melody.audio, PLAYER_RATE)
                found.append(figures | {"level": abs(level)})
                named.append(judge.name(describe(soxr.resample(audio, PLAYER_RATE, RATE))))
                outside.append(made.lines[0].outside)
            rows.append(_make_row(title, found, named, label, len(found) * CLIP_S / seconds))
            print(rows[-1], named, f"outside {np.mean(outside):.2f}", flush=True)
    rows.append(_make_row("the input itself", bound, [], "", float("nan")))
    return rows


def _make_row(title: str, found: list[Any], named: list[str], label: str, speed: float) -> Row:
    return {
        "instrument": title,
        "raw pitch accuracy: notes": _mean(found, "pitch"),
        "pitch of the input": _mean(found, "as input"),
        "median error (cents)": _mean(found, "cents"),
        "onset F": _mean(found, "onsets"),
        "loudness correlation": _mean(found, "loudness"),
        "largest level difference (dB)": float(np.max([one["level"] for one in found])) if "level" in found[0] else 0.0,
        "named rightly": float(np.mean([one == label for one in named])) if named else "",
        "× real time a core": speed if named else "",
    }


def _mean(found: list[Any], name: str) -> float:
    return float(np.mean([one[name] for one in found]))


def measure_length() -> list[Row]:
    """Memory and speed of the command, of melodies of two minutes and of an hour."""
    if _lacks_data():
        return []
    clip = np.concatenate([soxr.resample(one.audio, PLAYER_RATE, RATE) for one in list_melodies()[:4]])
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for minutes in (2, 60):
            source = folder / f"{minutes}.flac"
            soundfile.write(source, np.tile(clip, minutes // 2), RATE, subtype="PCM_16")
            command = [Path(sys.executable).with_name("reprise"), "transfer"]
            _, seconds, mib = measure_process(
                *command, "--in", source, "--instrument", "cello", "--out", folder / "out.flac", cwd=folder
            )
            rows.append({"melody": f"{minutes} minutes", "CPU s, with loading": seconds, "MiB": mib})
    begin, end = rows[0]["CPU s, with loading"], rows[1]["CPU s, with loading"]
    assert isinstance(begin, float)
    assert isinstance(end, float)
    rows[1]["× real time a core, without loading"] = 58 * 60 / (end - begin)
    rows[0]["× real time a core, without loading"] = ""
    return rows


def measure_chords() -> list[Row]:
    """F of the notes that are read again from chords that instruments played; the truth is what was written."""
    if _lacks_data():
        return []
    player, transcriber = SoundfontPlayer(str(INPUT_FONT)), NoteTranscriber()
    songs = list_songs(SHARED / "midi" / "pop909", reports=True)[:CHORD_SONGS]
    instruments = {name: choose_instrument(load([]), name).load() for name in CHORD_INSTRUMENTS}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.wav"), Path(folder, "out.flac")
        for size in (2, 3, 4):
            found: dict[str, list[float]] = {name: [] for name in ("input", *instruments)}
            for path in songs:
                part = thin(read_excerpt(path), size)
                for program in CHORD_PROGRAMS:
                    samples = play(player, part, program)
                    soundfile.write(source, samples, NOTES_RATE, subtype="FLOAT")
                    found["input"].append(_score(part, transcriber.transcribe(samples), 0))
                    for name, instrument in instruments.items():
                        made = arrange_file(source, instrument)
                        play_file(made, instrument, out, seed=1)
                        again = soxr.resample(soundfile.read(out, dtype="float32")[0], PLAYER_RATE, NOTES_RATE)
                        notes = transcriber.transcribe(again)
                        found[name].append(_score(part, notes, made.lines[0].octaves))
            rows.append({"notes at a time": size, **{name: float(np.mean(scores)) for name, scores in found.items()}})
            print(rows[-1], flush=True)
    return rows


def _score(part: PartNotes, notes: Notes, octaves: int) -> float:
    """F of notes: a found note is right within 50 ms of the start and 50 cents of the pitch of a written one."""
    written = np.stack([part.start_s, part.start_s + part.duration_s], 1)
    written_hz = mir_eval.util.midi_to_hz(part.pitch + 12.0 * octaves)
    found = np.stack([notes.start_s, notes.end_s], 1)
    found_hz = mir_eval.util.midi_to_hz(notes.pitch.astype(np.float64))
    scores = mir_eval.transcription.precision_recall_f1_overlap(written, written_hz, found, found_hz, offset_ratio=None)
    return float(scores[2])
