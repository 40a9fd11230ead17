"""Train the package's instruments: ``python -m reprise.jobs._shipped_models.fit_instruments SOUNDFONT OUT [NAME …]``.

Composes études, renders them with one program of the soundfont, follows their pitch as that of any recording, and
trains. Writes ``NAME.safetensors`` and the plot of the training to ``OUT/NAME``, and ``OUT/instruments.json``. An
instrument takes about seven minutes of one core.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.covers.instrument_training import BATCH, Passage, choose_shape, make_schedule, train_instrument
from reprise.lib.covers.instruments import measure_range, pack_instrument, read_instrument
from reprise.lib.covers.performance import measure_performance
from reprise.lib.music.render.soundfont_player import SoundfontPlayer
from reprise.lib.music.render.tones import SAMPLE_RATE as PLAYER_RATE
from reprise.lib.nets.instrument_network import SAMPLE_RATE
from reprise.lib.nets.pitch_tracker import PitchTracker
from reprise.lib.nets.training import write_history

SEED, ETUDES, ETUDE_S, VALIDATION = 20, 24, 30, 4
STEPS = 1100
PEAK = 0.9
LICENCE = "Apache-2.0"
_SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
_BEATS, _BEAT_SHARES = (0.25, 0.5, 1.0, 2.0, 3.0), (0.12, 0.42, 0.28, 0.13, 0.05)


class Preset(NamedTuple):
    """A program of General MIDI from 0, and its lowest and highest pitch as MIDI numbers."""

    title: str
    program: int
    low: int
    high: int
    is_sustained: bool = True


PRESETS = {
    "tenor_saxophone": Preset("tenor saxophone", 66, 44, 77),
    "trumpet": Preset("trumpet", 56, 52, 84),
    "flute": Preset("flute", 73, 60, 96),
    "violin": Preset("violin", 40, 55, 96),
    "cello": Preset("cello", 42, 36, 76),
    "clarinet": Preset("clarinet", 71, 50, 89),
    "electric_guitar": Preset("electric guitar", 27, 40, 84, is_sustained=False),
    "double_bass": Preset("double bass", 32, 28, 62, is_sustained=False),
}
"""The package's instruments."""


class Etude(NamedTuple):
    """Notes of a melody for one voice: starts and durations in s, MIDI pitches, and amplitudes from 0 to 1."""

    start_s: Float64Array
    duration_s: Float64Array
    pitch: Int64Array
    loudness: Float64Array


def compose_etude(preset: Preset, rng: np.random.Generator) -> Etude:
    """Compose phrases of steps and leaps over the whole range, loud and soft, legato and detached, with rests."""
    notes: list[tuple[float, float, int, float]] = []
    key = int(rng.integers(12))
    scale = [pitch for pitch in range(preset.low, preset.high + 1) if (pitch - key) % 12 in _SCALE]
    at, now, end = int(rng.integers(len(scale))), 0.3, ETUDE_S - 1.5
    while now < end - 1:
        beat_s, level, share = 60 / rng.uniform(60, 150), rng.uniform(0.12, 1.0), rng.uniform(0.5, 1.02)
        for _ in range(int(rng.integers(4, 14))):
            duration_s = beat_s * rng.choice(_BEATS, p=_BEAT_SHARES)
            if now + duration_s > end:
                break
            at = int(np.clip(at + rng.choice([-7, -4, -3, -2, -1, -1, 0, 1, 1, 2, 3, 4, 7]), 0, len(scale) - 1))
            chromatic = int(rng.choice([-1, 0, 1], p=[0.04, 0.92, 0.04]))
            pitch = int(np.clip(scale[at] + chromatic, preset.low, preset.high))
            notes.append((now, max(0.08, share * duration_s), pitch, np.clip(level * rng.uniform(0.8, 1.2), 0.06, 1)))
            now += duration_s
        now += rng.choice([0.2, 0.5, 1.0])
        # phrases begin anywhere, so that all pitches are as frequent
        at = int(rng.integers(len(scale)))
    return Etude(*(np.array(column) for column in zip(*notes, strict=True)))


def play_line(player: SoundfontPlayer, etude: Etude, frames: int, program: int) -> Float32Array:
    """Play one note at a time, mono.

    A note fades out in 30 ms when the next one begins, as on an instrument that plays one note, instead of sounding on
    in its release.
    """
    time_s = np.arange(frames) / PLAYER_RATE
    ends_s = np.append(etude.start_s[1:], np.inf)
    audio = np.zeros(frames, np.float32)
    for notes in (slice(0, None, 2), slice(1, None, 2)):
        chosen = etude.start_s[notes], etude.duration_s[notes], etude.pitch[notes], etude.loudness[notes]
        part = player.play(*chosen, frames, program).mean(axis=1)
        # time since the last note of this part had to end
        began = np.searchsorted(etude.start_s[notes], time_s, side="right") - 1
        over_s = time_s - ends_s[notes][np.maximum(began, 0)]
        audio += part * np.clip(1 - over_s / 0.03, 0, 1).astype(np.float32)
    return audio


def render_etudes(player: SoundfontPlayer, preset: Preset, seed: int) -> Iterator[Float32Array]:
    """Render études as mono audio at 16 kHz: every second one swells, every third one has vibrato."""
    rng = np.random.default_rng(seed)
    frames = ETUDE_S * PLAYER_RATE
    time_s = np.arange(frames) / PLAYER_RATE
    for number in range(ETUDES):
        audio = play_line(player, compose_etude(preset, rng), frames, preset.program)
        if preset.is_sustained and number % 2:
            gain_db = np.interp(time_s, np.linspace(0, ETUDE_S, 13), rng.uniform(-14, 3, 13))
            audio *= (10 ** (gain_db / 20)).astype(np.float32)
        if number % 3 == 2:
            rate_hz, cents = rng.uniform(4.5, 6.5), rng.uniform(10, 50)
            depth_s = (2 ** (cents / 1200) - 1) / (2 * np.pi * rate_hz)
            moved_s = time_s + depth_s * np.sin(2 * np.pi * rate_hz * time_s)
            audio = np.interp(moved_s, time_s, audio).astype(np.float32)
        yield soxr.resample(audio, PLAYER_RATE, SAMPLE_RATE, "VHQ")


def make_passages(player: SoundfontPlayer, preset: Preset) -> list[Passage]:
    """Render the études of an instrument, all with the same gain, and measure their performances."""
    etudes = list(render_etudes(player, preset, SEED))
    gain = np.float32(PEAK / max(float(np.abs(one).max()) for one in etudes))
    tracker = PitchTracker()
    return [Passage(one * gain, measure_performance(one * gain, tracker)) for one in etudes]


def fit(name: str, soundfont: Path, folder: Path) -> None:
    """Train an instrument and write its files."""
    preset = PRESETS[name]
    passages = make_passages(SoundfontPlayer(str(soundfont)), preset)
    training, validation = passages[:-VALIDATION], passages[-VALIDATION:]
    shape = choose_shape(440 * 2 ** ((preset.low - 69) / 12))
    folder.mkdir(parents=True, exist_ok=True)
    weights, history = train_instrument(
        training,
        validation,
        shape,
        make_schedule(STEPS, SEED),
        batch=BATCH,
        checkpoint=folder / "checkpoint.safetensors",
    )
    card = {
        "title": preset.title,
        "licence": LICENCE,
        "trained_on": f"{len(training)} composed études of {ETUDE_S} s, program {preset.program} of {soundfont.name}",
        "soundfont_sha256": hashlib.sha256(soundfont.read_bytes()).hexdigest(),
        "params": {"steps": STEPS, "best_step": history.best_step, "batch": BATCH, "seed": SEED},
        "metrics": {"validation_loss": round(-history.best_score, 3)},
    }
    data = pack_instrument(name, measure_range([one.performance for one in training]), shape, weights, card)
    (folder / f"{name}.safetensors").write_bytes(data)
    write_history(folder, history, f"{preset.title}: loss, and negative loss of études that did not train")


def describe(out: Path) -> dict[str, dict[str, object]]:
    """Describe the instruments in the folders of ``out``: the content of the package's ``instruments.json``."""
    described = {}
    for name in PRESETS:
        path = out / name / f"{name}.safetensors"
        if path.exists():
            file = read_instrument(path.read_bytes())
            described[name] = {"sha256": file.sha256, **file.card}
    return described


def main() -> int:
    """Train the instruments that are named, or all."""
    parser = argparse.ArgumentParser(description="Train the package's instruments.")
    parser.add_argument("soundfont", type=Path, metavar="SOUNDFONT", help="General MIDI soundfont")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the instruments")
    parser.add_argument("names", nargs="*", metavar="NAME", help="instruments (default: all)")
    args = parser.parse_args()
    for name in args.names or PRESETS:
        fit(name, args.soundfont, args.out / name)
    (args.out / "instruments.json").write_text(json.dumps(describe(args.out), indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
