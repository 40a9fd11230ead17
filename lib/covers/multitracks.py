"""Multitracks for training and measuring separation: scores, played by random instruments as four dry stems.

Each part is played by a soundfont or by the instruments of `reprise.lib.music`. Half of the vocals are sung by formant
synthesis, the others are played by a choir or a solo instrument of a soundfont. No recording of a voice takes part.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.covers.scores import PartNotes, Score
from reprise.lib.music.render.compiled import saturate
from reprise.lib.music.render.mixing import measure_loudness
from reprise.lib.music.render.rendering import apply_amplifier, play_drum_notes, play_pitched_notes
from reprise.lib.music.render.singing import draw_singer, sing
from reprise.lib.music.render.soundfont_player import SoundfontPlayer
from reprise.lib.music.render.tones import SAMPLE_RATE
from reprise.lib.nets.separators import STEMS

LEVEL_DB = (-18.0, -19.5, -20.0, -19.0)
"""Loudness of the stems before the mix, see `measure_loudness`, in the order of `STEMS`."""

SINGING_SHARE = 0.5
_DRUM_PLAYER_SHARE = 0.2
_ORCHESTRA_KIT = 48  # from here on the kits have effects instead of drums
_TWO_LAYERS_SHARE = 0.45
# General MIDI programs from 0
_PIANOS = (0, 1, 2, 3, 4, 5, 6, 7)
_ORGANS = (16, 17, 18, 19, 20, 21, 22, 23)
_GUITARS = (24, 25, 26, 27, 28)
_DISTORTED = (29, 30)
_STRINGS = (40, 41, 44, 45, 46, 48, 49, 50, 51)
_BRASS = (56, 57, 58, 60, 61, 62, 63)
_REEDS = (64, 65, 66, 68, 71)
_PADS = (88, 89, 90, 91, 92, 93, 94, 95)
_MALLETS = (8, 9, 10, 11, 12, 13, 108)
_PLUCKED = (104, 105, 106, 107)
_BASSES = (32, 33, 34, 35, 36, 37, 38, 39)
_CHOIRS = (52, 53, 54)
_SOLO = (22, 40, 56, 64, 65, 66, 68, 71, 72, 73, 74, 75, 78, 80, 81, 82, 85, 87)
_OTHER_GROUPS: tuple[tuple[int, ...], ...] = (
    *(_PIANOS, _PIANOS, _GUITARS, _GUITARS, _DISTORTED, _ORGANS),
    *(_STRINGS, _BRASS, _REEDS, _PADS, _MALLETS, _PLUCKED),
)
_OWN_DRUMS = ("kit", "kit", "brushes", "drum machine", "electronic kit", "hand drums")
_OWN_BASSES = ("electric bass", "double bass", "synth bass")
_OWN_OTHER = (
    *("electric guitar", "distorted guitar", "acoustic guitar", "nylon guitar", "banjo", "piano"),
    *("electric piano", "organ", "accordion", "strings", "pad", "synth keys"),
)
_OWN_VOCALS = ("voice", "voice", "synth lead", "harmonica", "fiddle", "flute", "saxophone", "trumpet")


def render_multitrack(
    score: Score,
    players: Sequence[SoundfontPlayer],
    drum_players: Sequence[SoundfontPlayer],
    rng: np.random.Generator,
    *,
    own_share: float = 0.2,
) -> Float32Array:
    """Play a score with random instruments: four dry stems, float32 (4, frames, 2), in the order of `STEMS`.

    Each stem is scaled to the loudness in `LEVEL_DB`. A part without notes is silent.

    Parameters
    ----------
    players
        General MIDI soundfonts. At least one.
    drum_players
        Further soundfonts whose program 0 is a drum kit.
    own_share
        Share of the parts that the instruments of `reprise.lib.music` play.
    """
    frames = round(score.duration_s * SAMPLE_RATE)
    stems = np.zeros((len(STEMS), frames, 2), dtype=np.float32)
    play: tuple[Callable[..., Float32Array], ...] = (
        partial(_play_drums, drum_players=drum_players),
        _play_bass,
        _play_other,
        _play_vocals,
    )
    for number, (part, play_part) in enumerate(zip(score.parts, play, strict=True)):
        if not len(part.pitch) or not frames:
            continue
        player = players[int(rng.integers(len(players)))]
        stem = play_part(part, frames, player, own_share, rng)
        loudness = measure_loudness(stem)
        if loudness > -np.inf:
            stems[number] = stem * np.float32(10 ** ((LEVEL_DB[number] - loudness) / 20))
    return stems


def _play(part: PartNotes, frames: int, player: SoundfontPlayer, preset: int) -> Float32Array:
    return player.play(part.start_s, part.duration_s, part.pitch, part.loudness, frames, preset)


def _play_own(part: PartNotes, frames: int, name: str, rng: np.random.Generator) -> Float32Array:
    out = np.zeros((frames, 2), dtype=np.float32)
    size = float(np.exp(rng.uniform(-0.15, 0.15)))
    play_pitched_notes(name, part.start_s, part.duration_s, part.pitch, part.loudness, out, size=size)
    return out


def _play_drums(
    part: PartNotes,
    frames: int,
    player: SoundfontPlayer,
    own_share: float,
    rng: np.random.Generator,
    *,
    drum_players: Sequence[SoundfontPlayer],
) -> Float32Array:
    draw = rng.random()
    if draw < own_share:
        out = np.zeros((frames, 2), dtype=np.float32)
        name = _OWN_DRUMS[int(rng.integers(len(_OWN_DRUMS)))]
        play_drum_notes(name, part.start_s, part.pitch, part.loudness, out)
        return out
    if draw < own_share + _DRUM_PLAYER_SHARE and drum_players:
        kit = drum_players[int(rng.integers(len(drum_players)))]
        return kit.play(part.start_s, part.duration_s, part.pitch, part.loudness, frames, 0, is_drums=True, bank=0)
    kits = [kit for kit in player.kits if kit < _ORCHESTRA_KIT] or [0]
    kit_number = kits[int(rng.integers(len(kits)))]
    return player.play(part.start_s, part.duration_s, part.pitch, part.loudness, frames, kit_number, is_drums=True)


def _play_bass(
    part: PartNotes,
    frames: int,
    player: SoundfontPlayer,
    own_share: float,
    rng: np.random.Generator,
) -> Float32Array:
    if rng.random() < own_share:
        return _play_own(part, frames, str(rng.choice(_OWN_BASSES)), rng)
    stem = _play(part, frames, player, int(rng.choice(_BASSES)))
    if rng.random() < 0.2:
        mono = stem.sum(axis=1)
        peak = np.float32(max(float(np.abs(mono).max()), 1e-9))
        stem = np.repeat(saturate(mono / peak, float(rng.uniform(2, 8)))[:, None], 2, axis=1)
    return stem


def _play_other(
    part: PartNotes,
    frames: int,
    player: SoundfontPlayer,
    own_share: float,
    rng: np.random.Generator,
) -> Float32Array:
    layers = 2 if rng.random() < _TWO_LAYERS_SHARE else 1
    out = np.zeros((frames, 2), dtype=np.float32)
    for _ in range(layers):
        out += 10 ** (rng.uniform(-6, 0) / 20) * _play_other_layer(part, frames, player, own_share, rng)
    return out


def _play_other_layer(
    part: PartNotes, frames: int, player: SoundfontPlayer, own_share: float, rng: np.random.Generator
) -> Float32Array:
    octave = int(rng.choice([0, 0, 0, 12, -12]))
    moved = PartNotes(part.start_s, part.duration_s, np.clip(part.pitch + octave, 24, 108), part.loudness)
    if rng.random() < own_share:
        name = str(rng.choice(_OWN_OTHER))
        is_driven = name == "distorted guitar"
        stem = _play_own(moved, frames, name, rng)
    else:
        group = _OTHER_GROUPS[int(rng.integers(len(_OTHER_GROUPS)))]
        # a distorted guitar is played clean and then driven, or is distorted in the soundfont
        is_driven = group is _DISTORTED and rng.random() < 0.6
        stem = _play(moved, frames, player, int(rng.choice(_GUITARS if is_driven else group)))
    if is_driven:
        stem = apply_amplifier(stem, float(np.exp(rng.uniform(np.log(2), np.log(40)))))
    pan = rng.uniform(-0.8, 0.8) if rng.random() < 0.5 else 0.0
    return stem * np.array([min(1, 1 - pan), min(1, 1 + pan)], dtype=np.float32)


def _play_vocals(
    part: PartNotes,
    frames: int,
    player: SoundfontPlayer,
    own_share: float,
    rng: np.random.Generator,
) -> Float32Array:
    if rng.random() < SINGING_SHARE:
        return _sing(part, frames, rng)
    if rng.random() < own_share:
        return _play_own(part, frames, str(rng.choice(_OWN_VOCALS)), rng)
    return _play(part, frames, player, int(rng.choice(_CHOIRS if rng.random() < 0.35 else _SOLO)))


def _sing(part: PartNotes, frames: int, rng: np.random.Generator) -> Float32Array:
    """Sing a part, in some songs doubled or in parallel thirds or octaves by a second take."""
    singer = draw_singer(rng, float(part.pitch.mean()))
    notes = (part.start_s, part.duration_s, part.pitch, part.loudness)
    lead = sing(*notes, frames, singer, rng)
    out = np.repeat(lead[:, None], 2, axis=1)
    if rng.random() < 0.35:
        interval = int(rng.choice([0, 0, 4, -3, 12, -12]))
        late = part.start_s + 0.012 * rng.standard_normal(len(part.start_s)) + 0.015
        second = sing(late, part.duration_s, part.pitch + interval, part.loudness, frames, singer, rng)
        pan = rng.uniform(-1, 1)
        out += 10 ** (rng.uniform(-14, -4) / 20) * second[:, None] * np.array([1 - pan, 1 + pan], dtype=np.float32)
    return out.astype(np.float32)
