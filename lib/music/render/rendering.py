"""Rendering of a composition to stems, one for each part, whose sum is the mix."""

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.music.compose.composition import BASS_PART, DRUM_PART, HARMONY_PART, LEAD_PART, Composition
from reprise.lib.music.compose.random_draws import make_generator
from reprise.lib.music.render import tones
from reprise.lib.music.render.compiled import add_notes, saturate
from reprise.lib.music.render.drums import DRUM_OF_KEY, KITS, play_stroke
from reprise.lib.music.render.drums import VARIANTS as STROKE_VARIANTS
from reprise.lib.music.render.instruments import DRIVE, SOUNDS
from reprise.lib.music.render.mixing import balance_stems, draw_mix_settings
from reprise.lib.music.render.soundfont import Soundfont, play_part
from reprise.lib.music.render.tones import SAMPLE_RATE, play_note

_VELOCITY_EXPONENT = 1.5  # amplitude = velocity ** exponent
_VELOCITIES = (0.45, 0.65, 0.85, 1.0)  # a note is rendered at the nearest velocity, then scaled to its loudness
_MAX_LENGTH_S = 14.0
# pan position of each pitched part from -1 (left) to 1 (right), and its change per octave of pitch
_PAN = {BASS_PART: (0.0, 0.0), HARMONY_PART: (-0.25, 0.3), LEAD_PART: (0.06, 0.0)}


def render(song: Composition, *, soundfont: Soundfont | None = None) -> dict[str, Float32Array]:
    """Render a composition to one stem for each part. The sum of the stems is the mix.

    Parameters
    ----------
    soundfont
        FluidSynth program and soundfont to render with. If it is None, the instruments of this package are used.

    Returns
    -------
    dict of str to numpy.ndarray
        Stems by name: ``drums``, ``bass``, ``harmony``, and ``lead``, which is named ``voice`` if it is sung. A stem is
        float32 of shape (frames, 2) at 44,100 frames per second. The magnitudes of the stems and of the mix stay below
        1. Equal compositions give equal samples.

    Raises
    ------
    RepriseError
        FluidSynth fails, see `soundfont.play_part`.
    """
    frames = round(song.duration_s * SAMPLE_RATE)
    stems = np.zeros((4, frames, 2), dtype=np.float32)
    section = np.searchsorted(song.section_cells, song.notes.cell, side="right") - 1
    loudness = 10 ** (song.section_db[section] / 20) * song.notes.velocity**_VELOCITY_EXPONENT
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
                stems[part] = apply_amplifier(stems[part], drive)
    balance_stems(stems, draw_mix_settings(song))
    lead = "voice" if song.instruments[LEAD_PART].name == "voice" else "lead"
    return dict(zip(("drums", "bass", "harmony", lead), stems, strict=True))


def _pan(position: Float64Array) -> Float32Array:
    """Return left and right gains of equal power, shape (n, 2), for positions from -1 to 1."""
    angle = (position + 1) * (np.pi / 4)
    return np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)


def _play_drums(song: Composition, rows: Int64Array, loudness: Float64Array, out: Float32Array) -> None:
    notes, kit = song.notes, song.instruments[DRUM_PART].name
    variant = notes.cell[rows] // 2 % STROKE_VARIANTS
    play_drum_notes(kit, notes.start_s[rows], notes.pitch[rows], loudness, out, notes.velocity[rows], variant)


def play_drum_notes(
    kit: str,
    start_s: Float64Array,
    key: Int64Array,
    loudness: Float64Array,
    out: Float32Array,
    velocity: Float64Array | None = None,
    variant: Int64Array | None = None,
) -> None:
    """Add drum strokes to a stem (frames, 2) in place. Keys that the kit does not have are left out.

    Parameters
    ----------
    kit
        Key of KITS.
    start_s, key, loudness
        Strokes, (n,): time in s, General MIDI percussion key, amplitude from 0 to 1.
    velocity, variant
        Strength from 0 to 1, by default the loudness, and number of the variant of the stroke, by default in turn.
    """
    velocity = loudness if velocity is None else velocity
    stroke_variant = np.arange(len(key)) % STROKE_VARIANTS if variant is None else variant
    start = np.round(start_s * SAMPLE_RATE).astype(np.int64)
    velocity_index = np.abs(velocity[:, None] - np.array(_VELOCITIES)).argmin(axis=1)
    code = (key * len(_VELOCITIES) + velocity_index) * STROKE_VARIANTS + stroke_variant
    for unique_code in np.unique(code):
        drum = DRUM_OF_KEY.get(int(unique_code // STROKE_VARIANTS // len(_VELOCITIES)))
        if drum not in KITS[kit]:
            continue
        played = np.flatnonzero(code == unique_code)
        strength = _VELOCITIES[unique_code // STROKE_VARIANTS % len(_VELOCITIES)]
        stroke = play_stroke(kit, drum, strength, int(unique_code % STROKE_VARIANTS))
        gain = loudness[played, None] * _pan(np.full(len(played), KITS[kit][drum].pan))
        add_notes(out, stroke, start[played], np.full(len(played), len(stroke)), gain.astype(np.float32), 1)


def _play_notes(song: Composition, part: int, rows: Int64Array, loudness: Float64Array, out: Float32Array) -> None:
    notes, name = song.notes, song.instruments[part].name
    player_rng = make_generator(song.plan.seed, "player", song.track.artist * 4 + part)
    pitch = notes.pitch[rows]
    # compute the vowel from position and pitch, so that equal compositions have equal vowels
    variant = (notes.cell[rows] * 5 + pitch * 3) % tones.VARIANTS if name == "voice" else np.zeros_like(pitch)
    play_pitched_notes(
        name,
        notes.start_s[rows],
        notes.duration_s[rows],
        pitch,
        loudness,
        out,
        size=float(np.exp(0.12 * np.clip(player_rng.standard_normal(), -1.4, 1.4))),
        velocity=notes.velocity[rows],
        variant=variant,
        tuning_cents=song.track.tuning_cents,
        pan=_PAN[part],
        register=song.instruments[part].register,
    )


def play_pitched_notes(
    name: str,
    start_s: Float64Array,
    duration_s: Float64Array,
    pitch: Int64Array,
    loudness: Float64Array,
    out: Float32Array,
    *,
    size: float,
    velocity: Float64Array | None = None,
    variant: Int64Array | None = None,
    tuning_cents: float = 0.0,
    pan: tuple[float, float] = (0.0, 0.0),
    register: int = 60,
) -> None:
    """Add notes of an instrument to a stem (frames, 2) in place.

    Parameters
    ----------
    name
        Key of SOUNDS.
    start_s, duration_s, pitch, loudness
        Notes, (n,): time and length in s, MIDI pitch, amplitude from 0 to 1.
    size
        Size of the singer or of the body, see `tones.play_note`.
    velocity, variant
        Strength from 0 to 1, by default the loudness, and number of the variant of the note, by default from its pitch.
    pan, register
        Pan position of the pitch ``register`` + 6, and its change per octave.
    """
    velocity = loudness if velocity is None else velocity
    variant = pitch * 3 % tones.VARIANTS if variant is None else variant
    start = np.round(start_s * SAMPLE_RATE).astype(np.int64)
    held_samples = np.maximum(np.round(duration_s * SAMPLE_RATE).astype(np.int64), 1)
    velocity_index = np.abs(velocity[:, None] - np.array(_VELOCITIES)).argmin(axis=1)
    release_samples = max(int(SOUNDS[name].release_s * SAMPLE_RATE * 2), 1)
    centre, spread = pan
    code = (pitch * len(_VELOCITIES) + velocity_index) * tones.VARIANTS + variant
    for unique_code in np.unique(code):
        played = np.flatnonzero(code == unique_code)
        midi_pitch = int(pitch[played[0]])
        hz = 440.0 * 2 ** ((midi_pitch - 69 + tuning_cents / 100) / 12)
        length_s = min((int(held_samples[played].max()) + release_samples) / SAMPLE_RATE, _MAX_LENGTH_S)
        note = play_note(name, hz, _VELOCITIES[velocity_index[played[0]]], length_s, int(variant[played[0]]), size)
        position = centre + spread * (midi_pitch - register - 6) / 12
        gain = loudness[played, None] * _pan(np.full(len(played), np.clip(position, -0.9, 0.9)))
        add_notes(out, note, start[played], held_samples[played], gain.astype(np.float32), release_samples)


def apply_amplifier(stem: Float32Array, drive: float) -> Float32Array:
    """Apply a guitar amplifier and its loudspeaker: distort the sum of the notes, cut low and high frequencies."""
    mono = stem[:, 0] + stem[:, 1]
    # players set the drive for their loud notes, so scale by the 90th percentile of the samples that are not silent
    active = np.abs(mono[::16])
    reference = float(np.quantile(active[active > 1e-3], 0.9)) if (active > 1e-3).any() else 1.0
    driven = saturate(mono / np.float32(reference), drive)
    from scipy.signal import butter, sosfilt  # imported here: the import takes a second and most parts do not need it

    loudspeaker = np.vstack(
        [
            butter(2, 85, "highpass", fs=SAMPLE_RATE, output="sos"),
            butter(4, 4600, "lowpass", fs=SAMPLE_RATE, output="sos"),
        ]
    )
    filtered = sosfilt(loudspeaker.astype(np.float32), driven)
    # only the right channel contains a copy delayed by 9 ms, which imitates two takes
    delayed = np.concatenate([np.zeros(int(0.009 * SAMPLE_RATE), dtype=np.float32), filtered])[: len(filtered)]
    return np.column_stack([filtered, 0.35 * filtered + 0.75 * delayed]).astype(np.float32)
