"""A composition as sound: every part a stem, the stems a mix."""

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.music.compose.composition import BASS_PART, DRUM_PART, HARMONY_PART, LEAD_PART, Composition
from reprise.lib.music.compose.random_draws import generator
from reprise.lib.music.render import tones
from reprise.lib.music.render.compiled import add_notes, saturate
from reprise.lib.music.render.drums import DRUM_OF_KEY, KITS, hit_drum
from reprise.lib.music.render.drums import VARIANTS as STROKES
from reprise.lib.music.render.instruments import DRIVE, SOUNDS
from reprise.lib.music.render.mixing import balance_stems, draw_desk
from reprise.lib.music.render.soundfont import Soundfont, play_part
from reprise.lib.music.render.tones import SAMPLE_RATE, play_note

_SOFTNESS = 1.5  # amplitude goes with velocity to this power
_VELOCITIES = (0.45, 0.65, 0.85, 1.0)  # a note is rendered at the nearest of them, then played at its own loudness
_LONGEST_S = 14.0
# where parts stand between left and right, and how far a keyboard spreads around that
_PAN = {BASS_PART: (0.0, 0.0), HARMONY_PART: (-0.25, 0.3), LEAD_PART: (0.06, 0.0)}


def render(song: Composition, *, soundfont: Soundfont | None = None) -> dict[str, Float32Array]:
    """Play a composition: one stem for each part, which sum to the mix.

    Parameters
    ----------
    soundfont
        Play with FluidSynth and this soundfont instead of the instruments of this package.

    Returns
    -------
    dict of str to numpy.ndarray
        ``drums``, ``bass``, ``harmony``, and ``voice`` where the lead is sung, else ``lead``: float32 of shape
        (frames, 2), 44,100 frames a second. Neither a stem nor the mix reaches 1. Same composition, same samples.
    """
    frames = round(song.duration_s * SAMPLE_RATE)
    stems = np.zeros((4, frames, 2), dtype=np.float32)
    section = np.searchsorted(song.section_cells, song.notes.cell, side="right") - 1
    loudness = 10 ** (song.section_db[section] / 20) * song.notes.velocity**_SOFTNESS
    for part in range(4):
        rows = np.flatnonzero(song.notes.part == part)
        if not len(rows):
            continue
        if soundfont is not None:
            stems[part] = play_part(song, part, np.minimum(loudness[rows], 1.0), frames, soundfont)
        elif part == DRUM_PART:
            _play_drums(song, rows, loudness[rows], stems[part])
        else:
            _play_notes(song, part, rows, loudness[rows], stems[part])
            drive = DRIVE.get(song.instruments[part].name)
            if drive:
                stems[part] = _amplify(stems[part], drive)
    balance_stems(stems, draw_desk(song))
    lead = "voice" if song.instruments[LEAD_PART].name == "voice" else "lead"
    return dict(zip(("drums", "bass", "harmony", lead), stems, strict=True))


def _pan(position: Float64Array) -> Float32Array:
    """Left and right gains, shape (n, 2), of equal power for positions from -1 to 1."""
    angle = (position + 1) * (np.pi / 4)
    return np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)


def _play_drums(song: Composition, rows: Int64Array, loudness: Float64Array, out: Float32Array) -> None:
    notes, kit = song.notes, song.instruments[DRUM_PART].name
    start = np.round(notes.start_s[rows] * SAMPLE_RATE).astype(np.int64)
    soft = np.abs(notes.velocity[rows][:, None] - np.array(_VELOCITIES)).argmin(axis=1)
    code = (notes.pitch[rows] * len(_VELOCITIES) + soft) * STROKES + notes.cell[rows] // 2 % STROKES
    for one in np.unique(code):
        played = np.flatnonzero(code == one)
        key, velocity, variant = one // STROKES // len(_VELOCITIES), one // STROKES % len(_VELOCITIES), one % STROKES
        drum = DRUM_OF_KEY[int(key)]
        stroke = hit_drum(kit, drum, _VELOCITIES[velocity], int(variant))
        gain = loudness[played, None] * _pan(np.full(len(played), KITS[kit][drum].pan))
        add_notes(out, stroke, start[played], np.full(len(played), len(stroke)), gain.astype(np.float32), 1)


def _play_notes(song: Composition, part: int, rows: Int64Array, loudness: Float64Array, out: Float32Array) -> None:
    notes, name = song.notes, song.instruments[part].name
    character = generator(song.plan.seed, "player", song.track.artist * 4 + part)
    size = float(np.exp(0.12 * np.clip(character.standard_normal(), -1.4, 1.4)))
    start = np.round(notes.start_s[rows] * SAMPLE_RATE).astype(np.int64)
    held = np.maximum(np.round(notes.duration_s[rows] * SAMPLE_RATE).astype(np.int64), 1)
    pitch, soft = notes.pitch[rows], np.abs(notes.velocity[rows][:, None] - np.array(_VELOCITIES)).argmin(axis=1)
    # the same words to the same tune: a vowel goes with the place in the section, not with the time
    variant = (notes.cell[rows] * 5 + pitch * 3) % tones.VARIANTS if name == "voice" else np.zeros_like(pitch)
    sound = SOUNDS[name]
    fall = max(int(sound.release_s * SAMPLE_RATE * 2), 1)
    middle, spread = _PAN[part]
    code = (pitch * len(_VELOCITIES) + soft) * tones.VARIANTS + variant
    for one in np.unique(code):
        played = np.flatnonzero(code == one)
        midi = int(pitch[played[0]])
        hz = 440.0 * 2 ** ((midi - 69 + song.track.tuning_cents / 100) / 12)
        longest = min((int(held[played].max()) + fall) / SAMPLE_RATE, _LONGEST_S)
        note = play_note(name, hz, _VELOCITIES[soft[played[0]]], longest, int(variant[played[0]]), size)
        place = middle + spread * (midi - song.instruments[part].register - 6) / 12
        gain = loudness[played, None] * _pan(np.full(len(played), np.clip(place, -0.9, 0.9)))
        add_notes(out, note, start[played], held[played], gain.astype(np.float32), fall)


def _amplify(stem: Float32Array, drive: float) -> Float32Array:
    """A guitar amplifier and its loudspeaker: the summed strings overdriven, highs and lows cut off."""
    mono = stem[:, 0] + stem[:, 1]
    # what the player sets the drive by: the loudest tenth of what is heard
    active = np.abs(mono[::16])
    loud = float(np.quantile(active[active > 1e-3], 0.9)) if (active > 1e-3).any() else 1.0
    driven = saturate(mono / np.float32(loud), drive)
    from scipy.signal import butter, sosfilt  # takes a second to import, and most parts need none

    speaker = np.vstack(
        [
            butter(2, 85, "highpass", fs=SAMPLE_RATE, output="sos"),
            butter(4, 4600, "lowpass", fs=SAMPLE_RATE, output="sos"),
        ]
    )
    heard = sosfilt(speaker.astype(np.float32), driven)
    # two takes, one a little later, stand left and right
    late = np.concatenate([np.zeros(int(0.009 * SAMPLE_RATE), dtype=np.float32), heard])[: len(heard)]
    return np.column_stack([heard, 0.35 * heard + 0.75 * late]).astype(np.float32)
